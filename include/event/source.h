/*
 * Where events come from: the ring of a traced server, or a recording. A source gives events in the
 * order in which they happened, losses where they happened, and the clock of the events.
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

/* What becomes of the events of a source. */
struct source_reader {
    void (*event)(void *context, const struct event *event);
    /* `count` events are missing at this point. */
    void (*lost)(void *context, uint64_t count);
    void *context;
};

struct source {
    void *state;
    int fd; /* poll(2) says POLLIN when there is something to drain; -1: there always is */
    struct clock clock; /* drain sets it before it gives out an event */
    /* Says whether the reader is about to wait in poll(2). No system call. */
    void (*set_waiting)(struct source *source, bool waiting);
    /* Gives out what is there at the time of the call. */
    void (*drain)(struct source *source, const struct source_reader *reader);
};

#endif
