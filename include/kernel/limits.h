/*
 * Resource limits that h2olog needs raised.
 */
#ifndef H2OLOG_KERNEL_LIMITS_H
#define H2OLOG_KERNEL_LIMITS_H

#include "error.h"

/*
 * Raises the limits of open files and of locked memory as far as it may. No error: what fails later
 * for lack of them says so.
 */
void limits_raise(void);

/*
 * Raises the limit of the stack to what the compiler needs. Returns 0, or -1 with `error` set if the
 * limit stays too low.
 */
int limits_raise_stack(struct error *error);

#endif
