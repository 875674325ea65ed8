/*
 * Giving up root: once the probes are attached and the output is open, h2olog needs none of it.
 */
#ifndef H2OLOG_ROOT_DROP_H
#define H2OLOG_ROOT_DROP_H

#include <stdbool.h>

#include "error.h"
#include "root/caller.h"

/*
 * Hardens the process; call this first. It turns off core dumps, as the memory holds cookies of the
 * server's clients, and clears the environment, so that no variable of the caller decides which
 * headers, files or code a library uses. TZ is kept if it is the name of a time zone.
 */
void drop_harden(void);

/*
 * Gives up, for good: supplementary groups, gid and uid (unless `keep_root`), all capabilities,
 * gaining new privileges, and most system calls. Allowed system calls are those for draining,
 * printing and ending, read(2) of `signals`, and pread(2) of `readable` (-1: none). Any other
 * system call ends the process with SIGSYS. Without uid 0, the supplementary groups stay if
 * CAP_SETGID is missing. Returns 0, or -1 with `error` set: then print nothing of the server.
 */
int drop_root(const struct identity *identity, bool keep_root, int signals, int readable,
              struct error *error);

#endif
