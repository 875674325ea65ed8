/*
 * What h2olog prints on standard error before the first line: errors, warnings, and the output of
 * -d and -dd.
 */
#ifndef H2OLOG_EXPLAIN_H
#define H2OLOG_EXPLAIN_H

#include <stdbool.h>

#include "run.h"

/* Prints the sentence of an error. Returns the exit status. */
int explain_error(const struct error *error);

/* Prints why no server was found, and a table of those to choose from. Returns the exit status. */
int explain_not_found(const struct run *run);

/* Prints which process is traced, if it is not the one that was named, or one of several. */
void explain_found(const struct run *run);

/* Prints warnings about the server that do not prevent tracing. */
void explain_doubts(const struct run *run);

/* Prints that a location is not traced, and why. */
void explain_skipped(const struct server_probe *server_probe, const struct location *location);

/* Prints that the kernel refuses a location; see attach_refused. */
void explain_refused(const struct server_probe *server_probe, const struct location *location,
                     bool held);

/*
 * -dd: prints the selected probes, why they were selected, their locations, and the BPF program.
 */
void explain_selection(const struct run *run);

/* -d: prints that everything is attached. */
void explain_attached(struct run *run);

/*
 * Says that the output cannot be opened, emptied or written (`what`). Returns the exit status.
 */
int explain_output(struct run *run, const char *what, const char *reason);

#endif
