/*
 * The request assembler, a stage: puts the events of a request together, and passes the request on
 * when it is complete.
 *
 * All events of a response header come from one loop of one thread. A response is complete at the
 * next event of that thread that is not of it, or after ASSEMBLER_QUIET_NS without such an event.
 * An HTTP/3 request is complete at the end of its stream, if the server has a probe for that.
 */
#ifndef H2OLOG_EVENT_ASSEMBLER_H
#define H2OLOG_EVENT_ASSEMBLER_H

#include <stddef.h>
#include <stdint.h>

#include "print/sink.h"

/* A thread that is preempted in the loop of a response is silent for less than this. */
#define ASSEMBLER_QUIET_NS ((uint64_t)100 * 1000 * 1000)

/* What the table of open requests may hold. The request that was open longest falls out first. */
struct assembler_limits {
    size_t requests;
    size_t bytes; /* of memory */
    uint64_t age_ns;
};

#define ASSEMBLER_LIMITS_DEFAULT                                                                   \
    {                                                                                              \
        .requests = 100000, .bytes = (size_t)64 << 20, .age_ns = (uint64_t)3600 * 1000000000       \
    }

/* The probes that the stage needs, besides those of the requests. The list ends with NULL. */
extern const char *const assembler_probes[];

/*
 * Opens the stage. It passes requests to `next`, and closes it. Requests that fall out of the table
 * are counted, and reported on settings->messages at the end.
 */
struct sink assembler_open(const struct sink_settings *settings,
                           const struct assembler_limits *limits, struct sink next);

#endif
