/*
 * Maps the constants of the server. A BPF program cannot read a page that is not in the page table,
 * such as a constant that the server has not used yet.
 */
#ifndef H2OLOG_SERVER_PAGES_H
#define H2OLOG_SERVER_PAGES_H

#include <sys/types.h>

#include "server/notes.h"

/*
 * Maps the read-only pages of the modules with probes, as if the process had read them. Pages that
 * cannot be mapped within a second, or before `signals` is readable, are skipped without an error.
 * Call this before notes_close_files.
 */
void pages_map(pid_t pid, const struct notes *notes, int signals);

#endif
