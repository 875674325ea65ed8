/*
 * A program in the kernel cannot read a page that is in no page table of the process: a constant of
 * the server's binary, say, that the server itself has not read yet.
 */
#ifndef H2OLOG_PAGES_H
#define H2OLOG_PAGES_H

#include "target.h"

/*
 * Maps the read-only pages of the files that the target's probes stand in, as if the process had
 * read them. What cannot be mapped within a second, or before `interrupt` is readable, stays as it is:
 * that is no error. Before target_settle.
 */
void pages_map(const struct target *target, int interrupt);

#endif
