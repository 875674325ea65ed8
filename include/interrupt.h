/*
 * Ending early: a descriptor (a signalfd) that is readable when a signal that ends the run is
 * pending.
 */
#ifndef H2OLOG_INTERRUPT_H
#define H2OLOG_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Opens the descriptor: blocks the signals, and ignores those that a write would raise. Returns -1
 * with errno on error.
 */
int interrupt_open(void);

/* Whether a signal is pending. Always false for a descriptor of -1. */
bool interrupt_is_due(int signals);

/*
 * Ends the run after a time, as a signal does (SIGALRM). At least 1 ms. Call it before system calls
 * are filtered.
 */
void interrupt_after(uint64_t ns);

#endif
