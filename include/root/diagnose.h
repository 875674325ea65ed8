/*
 * Why the kernel refuses BPF to this process.
 */
#ifndef H2OLOG_ROOT_DIAGNOSE_H
#define H2OLOG_ROOT_DIAGNOSE_H

#include "error.h"

/*
 * Checks that this process has the capabilities for loading BPF programs, with or without uid 0.
 * Returns 0, or -1 with `error` set to a sentence that names the missing ones.
 */
int diagnose_capabilities(struct error *error);

/*
 * Explains a refusal: `what` was refused ("BPF maps"), with this errno. Sets `error` to a sentence
 * that says what to change. Returns -1.
 */
int diagnose_refusal(const char *what, int code, struct error *error);

#endif
