/*
 * Attaching a loaded program to the locations of a process, and detaching.
 */
#ifndef H2OLOG_KERNEL_ATTACH_H
#define H2OLOG_KERNEL_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "error.h"
#include "kernel/load.h"
#include "kernel/program.h"
#include "server/notes.h"

/* What is attached: one link per module, or one event per location. */
struct attached {
    int *fds; /* closing them detaches */
    size_t count;
    size_t num_probes; /* printed probes with an attached location */
};

/* What is to be attached, and to what. */
struct attach_request {
    const struct program *program;
    const struct loaded *loaded;
    const struct notes *notes; /* the files are open */
    pid_t pid;
    int signals; /* ends early once it is readable, see interrupt.h */
};

/*
 * Called for a location that the kernel refuses while it accepts others. `held`: another tracer has
 * a uprobe at this location, without the semaphore of the probe as its reference counter.
 */
typedef void attach_refused(const struct server_probe *server_probe,
                            const struct location *location, bool held);

/*
 * Attaches all functions of the program. Locations that the kernel refuses are left out, unless no
 * location of a printed probe would be left. Returns 0, or -1 with `error` set. Call attach_close
 * in either case.
 */
int attach_all(struct attached *attached, const struct attach_request *request,
               attach_refused *refused, struct error *error);

/* Detaches everything. Close the gate first. Events in the ring stay. */
void attach_close(struct attached *attached);

#endif
