/*
 * Finding the server to trace: a process or its supervisor that is named, the server that listens
 * on a port, or the only server of the machine.
 */
#ifndef H2OLOG_SERVER_FIND_H
#define H2OLOG_SERVER_FIND_H

#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "server/list.h"

/* What was found. Begins as zeros. */
struct found {
    pid_t pid;              /* the process to trace; 0: none */
    pid_t supervisor;       /* the supervisor that was named; 0: none was */
    struct servers servers; /* the generations of the server, `pid` first; empty for a named
                               process. After an error: those to choose from */
};

/*
 * Finds the process to trace. `named` is the PID of the command line, which may be a supervisor;
 * 0: none. `port` is the port of the command line; 0: none. Of a server with several generations,
 * this is the newest. Returns 0, or -1 with `error` set. It does not check that a named process
 * exists. Call find_close in either case.
 */
int find_server(struct found *found, pid_t named, uint16_t port, struct error *error);

void find_close(struct found *found);

#endif
