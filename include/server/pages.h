/*
 * Maps the constants of the server. A BPF program cannot read a page that is in no page table of the
 * process, such as a constant of its binary that the process has not read yet.
 */
#ifndef H2OLOG_SERVER_PAGES_H
#define H2OLOG_SERVER_PAGES_H

#include <sys/types.h>

#include "server/notes.h"

/*
 * Maps the read-only pages of the modules that have probes, as if the process had read them. A page
 * that cannot be mapped within a second, or before `signals` is readable, is left out: that is no error.
 * Call this before notes_close_files.
 */
void pages_map(pid_t pid, const struct notes *notes, int signals);

#endif
