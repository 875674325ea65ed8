/*
 * What h2olog says on standard error before the first line: errors, doubts, and what -d and -dd ask for.
 */
#ifndef H2OLOG_EXPLAIN_H
#define H2OLOG_EXPLAIN_H

#include <stdbool.h>

#include "run.h"

/* Says the sentence of an error. Returns the exit status. */
int explain_error(const struct error *error);

/* Lists the servers of this machine, because -p is missing. Returns the exit status. */
int explain_no_pid(void);

/* Says what looks wrong, but does not prevent tracing. */
void explain_doubts(const struct run *run);

/* Says that a location is not traced, and why. */
void explain_skipped(const struct server_probe *server_probe, const struct location *location);

/* Says that the kernel refuses a location; see attach_refused. */
void explain_refused(const struct server_probe *server_probe, const struct location *location,
                     bool held);

/* -dd: says what was selected, why, where it is, and the BPF program. */
void explain_selection(const struct run *run);

/* -d: says that everything is attached. */
void explain_attached(struct run *run);

#endif
