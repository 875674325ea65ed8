/*
 * The command line. Parsing, --help, the manual page and the completions are made from
 * one table, src/options.def.
 */
#ifndef H2OLOG_OPTIONS_H
#define H2OLOG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "error.h"
#include "view.h"

/* Words of the command line; they live as long as it does. */
struct options_words {
    const char **words;
    size_t count;
};

struct options {
    const struct view *view; /* the mode */
    pid_t pid;               /* 0: not given */
    struct options_words tracepoints;
    struct options_words response_headers;
    bool application_data;
    const char *write; /* NULL: standard output */
    size_t buffer;     /* bytes of the ring; 0: not given */
    bool keep_root;
    int debug; /* how often -d was given */
    bool list, help, version;
};

/*
 * Parses the command line. Returns 0, or -1 with a sentence in `error`: wrong usage.
 * options_dispose is due in either case.
 */
int options_parse(struct options *options, int argc, char **argv, struct error *error);

void options_dispose(struct options *options);

/* What --help prints. */
void options_print_help(FILE *file);

#endif
