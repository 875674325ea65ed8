/* Resource limits that h2olog raises. */
#ifndef H2OLOG_KERNEL_LIMITS_H
#define H2OLOG_KERNEL_LIMITS_H

#include "error.h"

/*
 * Raises the limits of open files and of locked memory as far as possible. Returns no error: what
 * needs them reports it later.
 */
void limits_raise(void);

/*
 * Raises the limit of the stack to what the compiler needs. Returns 0, or -1 with `error` set if
 * the limit stays too low.
 */
int limits_raise_stack(struct error *error);

#endif
