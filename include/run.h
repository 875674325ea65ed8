/* Everything that a run holds, in the order in which it is made. */
#ifndef H2OLOG_RUN_H
#define H2OLOG_RUN_H

#include "error.h"
#include "kernel/attach.h"
#include "kernel/load.h"
#include "kernel/maps.h"
#include "kernel/program.h"
#include "options.h"
#include "plan.h"
#include "print/output.h"
#include "root/caller.h"
#include "server/find.h"
#include "server/generations.h"
#include "server/notes.h"
#include "server/process.h"
#include "server/selection.h"
#include "server/version.h"

struct run {
    struct options options;
    struct plan plan;
    struct identity invoker;
    int signals; /* signalfd of the signals that end the run; -1: not open */
    struct output output, messages;
    struct found found;
    struct process process;
    struct notes notes;
    struct generations generations;
    struct version version;
    struct selection selection;
    size_t ring_size;
    struct maps maps;
    struct program program;
    struct loaded loaded;
    struct attached attached;
    struct error error;
};

/* A run that holds nothing yet. run_dispose accepts it. */
#define RUN_NONE                                                                                   \
    {                                                                                              \
        .signals = -1, .output.fd = -1, .messages.fd = -1, .process.pidfd = -1,                    \
        .generations = {.supervisor = -1, .children = -1}, .maps = MAPS_NONE,                      \
        .loaded = LOADED_NONE                                                                      \
    }

/*
 * Finds the process to trace. Says on stderr which one it takes, if the options name another one,
 * or why there is none. Returns 0 or the exit status.
 */
int run_find_server(struct run *run);

/*
 * Opens the process that was found, and reads its probes. Returns 0, or -1 with run->error
 * set. If the process has ended, the error always says so.
 */
int run_open_server(struct run *run);

void run_dispose(struct run *run);

#endif
