/*
 * The generations of a server: after SIGHUP, h2o's supervisor (start_server) starts a new server
 * process and ends the old one.
 */
#ifndef H2OLOG_SERVER_GENERATIONS_H
#define H2OLOG_SERVER_GENERATIONS_H

#include <stdbool.h>
#include <sys/types.h>

#include "server/proc.h"

struct generations {
    pid_t pid;         /* the traced process */
    int supervisor;    /* pidfd of its parent, if that is start_server; else -1 */
    int children;      /* list of the supervisor's children, for pread(2); -1: none */
    struct pids older; /* the children that were there before the process */
};

/* Whether the process is h2o's supervisor. */
bool generations_is_supervisor(pid_t pid);

/*
 * Returns the number that the supervisor gave to a server, from 1; 0 if the server has none, or its
 * environment cannot be read.
 */
unsigned long generations_number(pid_t pid);

/*
 * Opens what the two functions below read, because no file can be opened later. A process without a
 * supervisor has no other generations. Call generations_close in either case.
 */
void generations_open(struct generations *generations, pid_t pid);

/*
 * Returns the newest server that the supervisor has started after the process; 0 if there is none.
 * Calls only pread(2) of `children`.
 */
pid_t generations_find_newer(const struct generations *generations);

/*
 * The same for a process that has ended. Waits up to 0.5 s for the supervisor to start a new one.
 */
pid_t generations_find_successor(const struct generations *generations);

void generations_close(struct generations *generations);

#endif
