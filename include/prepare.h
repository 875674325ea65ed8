/*
 * The first half of a run: from the process to the text of the BPF program.
 */
#ifndef H2OLOG_PREPARE_H
#define H2OLOG_PREPARE_H

#include "run.h"

/*
 * Opens the server, selects its probes, creates the maps, and writes the program. Messages about
 * probes go to stderr. Returns 0, or the exit status with run->error set. If a signal arrives, it
 * returns 0 early: check interrupt_is_due.
 */
int prepare_program(struct run *run);

#endif
