/*
 * The command line. The parser, --help, the manual page and the completions are made from one
 * table, src/options.def.
 */
#ifndef H2OLOG_OPTIONS_H
#define H2OLOG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "error.h"
#include "event/assembler.h"
#include "view.h"

/* Words that point into argv. */
struct options_words {
    const char **words;
    size_t count;
};

enum options_color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

struct options {
    const struct view *view; /* the mode */
    pid_t pid;               /* 0: not given */
    uint16_t port;           /* 0: not given */
    const char *query;       /* NULL: not given */
    bool group, timestamps, json;
    const char *format; /* NULL: not given */
    struct options_words tracepoints;
    struct options_words response_headers, request_headers;
    bool application_data;
    bool redacts;
    struct options_words redacted; /* lower case, owned; empty: the default names */
    bool strip_query;
    uint64_t count;    /* 0: not given */
    uint64_t for_ns;   /* 0: not given */
    const char *write; /* NULL: standard output */
    size_t buffer;     /* size of the ring in bytes; 0: not given */
    enum options_color color;
    struct assembler_limits limits; /* of open requests */
    bool keep_root;
    int debug; /* how often -d was given */
    bool list, servers, help, version;
};

/*
 * Parses the command line. Returns 0, or -1 with `error` set (ERROR_USAGE). Call options_dispose in
 * either case.
 */
int options_parse(struct options *options, int argc, char **argv, struct error *error);

void options_dispose(struct options *options);

/* Prints the text of --help. */
void options_print_help(FILE *file);

#endif
