/*
 * From the first event to the last: waits, drains, prints, and says what was lost.
 */
#ifndef H2OLOG_SESSION_H
#define H2OLOG_SESSION_H

#include <stdint.h>

#include "choice.h"
#include "options.h"
#include "output.h"
#include "stream.h"
#include "target.h"
#include "tracer.h"

struct session {
    const struct options *options;
    const struct target *target;
    const struct choice *choice;
    struct tracer *tracer;
    struct stream *stream;
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
