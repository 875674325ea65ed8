/*
 * Which of the server's probes are traced: what the mode means, or what -t says.
 */
#ifndef H2OLOG_SERVER_SELECTION_H
#define H2OLOG_SERVER_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "error.h"

#include "server/version.h"
#include "options.h"

struct selection {
    struct server_probe *probes; /* their order gives the ids of the events */
    size_t num_probes;
    size_t num_printed;  /* the first so many */
    size_t num_followed; /* so many more tell the reader when a connection begins and ends; the rest
                            tie h2o's connections to quicly's in the kernel */
    bool needs_ties;     /* events of connections of h2o are printed as JSON */
};

/*
 * Chooses. Returns 0, or -1 with a sentence in `error`: nothing to trace, or a glob of -t that
 * matches nothing, with names that are near. selection_dispose is due in either case.
 */
int selection_open(struct selection *selection, const struct options *options,
                   const struct version *version, struct error *error);

void selection_dispose(struct selection *selection);

/*
 * Prints a line for each probe that is not read as the server's version declares it: one that is
 * not traced, although the mode means it, as its arguments have changed; one of which only the first
 * arguments are known; one that is read as another version declares it. New probes that the mode
 * means are named in one line.
 */
void selection_print_changed(FILE *file, const struct selection *selection,
                             const struct options *options, const struct version *version);

/* Prints a line for each thing that the mode promises and no probe of this server gives. */
void selection_print_missing(FILE *file, const struct options *options,
                             const struct version *version);

/*
 * Prints the probes that the mode means and the server's version of the lists has, but the server
 * lacks.
 */
void selection_print_lacking(FILE *file, const struct options *options,
                             const struct version *version);

/*
 * -l: prints the tracepoints, a declaration a line: of the server, or (NULL) of all lists, the
 * newest signature of each. Returns how many it were.
 */
size_t selection_print_list(FILE *file, const struct options *options,
                            const struct version *version);

#endif
