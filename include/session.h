/*
 * The main loop: waits for events, decodes them, passes them to the sink, and reports losses.
 */
#ifndef H2OLOG_SESSION_H
#define H2OLOG_SESSION_H

#include <stdbool.h>

#include "event/record.h"
#include "event/source.h"
#include "kernel/attach.h"
#include "kernel/maps.h"
#include "plan.h"
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
    const struct plan *plan; /* says when the run is done */
    struct output *output;
    struct output *messages; /* standard error */
    int signals;             /* signalfd */
    bool reports; /* -d: report events per second every 10 s, and losses of each probe at the end */
};

/*
 * Runs until the server ends, a signal arrives, the reader of the output is gone, or the plan is
 * done. Returns the exit status of h2olog.
 */
int session_run(struct session *session);

#endif
