/*
 * Which of the server's probes are traced: what the mode means, or what -t says.
 */
#ifndef H2OLOG_CHOICE_H
#define H2OLOG_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "catalog.h"
#include "options.h"

struct choice {
    struct traced *probes; /* their order gives the ids of the events */
    size_t num_probes;
    size_t num_printed;  /* the first so many */
    size_t num_followed; /* so many more tell the reader when a connection begins and ends; the rest
                            tie h2o's connections to quicly's in the kernel */
    bool needs_ties;     /* events of connections of h2o are printed as JSON */
};

/*
 * Chooses. Returns 0, or -1 with a sentence in `error`: nothing to trace, or a glob of -t that
 * matches nothing, with names that are near. choice_dispose is due in either case.
 */
int choice_open(struct choice *choice, const struct options *options, const struct catalog *catalog,
                char *error, size_t error_size);

void choice_dispose(struct choice *choice);

/*
 * Prints a line for each probe that is not read as the server's version declares it: one that is
 * not traced, although the mode means it, as its arguments have changed; one of which only the first
 * arguments are known; one that is read as another version declares it. New probes that the mode
 * means are named in one line.
 */
void choice_print_changed(FILE *file, const struct choice *choice, const struct options *options,
                          const struct catalog *catalog);

/* Prints a line for each thing that the mode promises and no probe of this server gives. */
void choice_print_missing(FILE *file, const struct options *options, const struct catalog *catalog);

/*
 * Prints the probes that the mode means and the server's version of the lists has, but the server
 * lacks.
 */
void choice_print_lacking(FILE *file, const struct options *options, const struct catalog *catalog);

/*
 * -l: prints the tracepoints, a declaration a line: of the server, or (NULL) of all lists, the
 * newest signature of each. Returns how many it were.
 */
size_t choice_print_list(FILE *file, const struct options *options, const struct catalog *catalog);

#endif
