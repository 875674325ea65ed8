/*
 * The loop of a run, from the first event to the last: waits for the source, decodes its events, passes them
 * to the sink, and says what was lost.
 */
#ifndef H2OLOG_SESSION_H
#define H2OLOG_SESSION_H

#include <stdbool.h>

#include "event/record.h"
#include "event/source.h"
#include "kernel/attach.h"
#include "kernel/maps.h"
#include "print/output.h"
#include "print/sink.h"
#include "server/generations.h"
#include "server/process.h"
#include "server/selection.h"

struct session {
    const struct process *process;
    const struct selection *selection;
    const struct generations *generations;
    struct maps *maps;
    struct attached *attached;
    struct source *source;
    struct decoder *decoder;
    struct sink *sink;
    struct output *output;
    struct output *messages; /* standard error */
    int signals;             /* signalfd */
    bool reports;            /* -d: says events per second every 10 s, and losses of each probe */
};

/*
 * Runs until the server ends, a signal comes, or nobody reads the output any more. Returns h2olog's exit
 * status.
 */
int session_run(struct session *session);

#endif
