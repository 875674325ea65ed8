/*
 * Child processes, for actions that a test cannot undo in its own process.
 */
#ifndef H2OLOG_UNIT_CHILD_H
#define H2OLOG_UNIT_CHILD_H

#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "support.h"

/* Memory shared with the latest child. child_start clears it. */
extern struct error *child_error;

/* Starts a child that calls a function and ends with the status that it returns. */
pid_t child_start(int (*function)(const void *), const void *argument);

/* Waits until a child ends. Returns its status, as wait(2) does. */
int child_wait(pid_t child);

/* Does both. */
int child_run(int (*function)(const void *), const void *argument);

/* Kills a child, and waits for it. */
void child_end(pid_t child);

/* Ends the test, unless a child has ended with status 0. `what` says what it did. */
void child_check(const char *what, int status);

/*
 * Drops capabilities, given as bits, for good; UINT64_MAX drops all. Call this in a child. Returns
 * 0, or -1 with errno.
 */
int child_drop_capabilities(uint64_t capabilities);

/* Skips the test if this is not root. */
void child_needs_root(void);

#endif
