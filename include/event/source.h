/*
 * A source of events, such as the ring of a traced server. It has events and losses in the order in
 * which they happened, and the clock of the events.
 */
#ifndef H2OLOG_EVENT_SOURCE_H
#define H2OLOG_EVENT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/clock.h"

/* An event as the kernel side wrote it (bpf/event.h). */
struct event {
    const uint8_t *bytes;
    size_t size;
};

/* Callbacks for the events of a source. */
struct source_reader {
    void (*event)(void *context, const struct event *event);
    /* `count` events are missing at this point. */
    void (*lost)(void *context, uint64_t count);
    /* Whether drain is to return early; called now and then. NULL: never. */
    bool (*is_done)(void *context);
    void *context;
};

struct source {
    void *state;
    int fd;             /* POLLIN: there are events to drain; -1: there always are */
    struct clock clock; /* drain sets it before the first event */
    /* Call it with true before poll(2), with false after. It makes no system call. */
    void (*set_waiting)(struct source *source, bool waiting);
    /* Passes the events that are there at the time of the call to `reader`. */
    void (*drain)(struct source *source, const struct source_reader *reader);
};

#endif
