/*
 * From the first event to the last: waits, drains, prints, and says what was lost.
 */
#ifndef H2OLOG_SESSION_H
#define H2OLOG_SESSION_H

#include <stdint.h>

#include "server/selection.h"
#include "options.h"
#include "print/output.h"
#include "event/ring.h"
#include "server/process.h"
#include "kernel/attach.h"
#include "kernel/maps.h"
#include "server/generations.h"

struct session {
    const struct options *options;
    const struct process *process;
    const struct selection *selection;
    const struct generations *generations;
    struct maps *maps;
    struct attached *attached;
    struct ring *stream;
    struct output *output;
    struct output *messages; /* standard error */
    int64_t clock_offset_ns; /* of our CLOCK_MONOTONIC against the kernel's */
    int signals;             /* signalfd of those that end the session */
};

/*
 * Runs until the server ends, a signal comes, or nobody reads any more. Returns h2olog's exit
 * status.
 */
int session_run(struct session *session);

#endif
