/*
 * The rings of all CPUs -> events in order of time, losses counted.
 *
 * A ring's records are in order: the kernel stamps a record and puts it in its place without being preempted
 * between. So the rings are merged as they lie, without a copy: the oldest head is next. An event younger
 * than STREAM_HOLD_NS stays where it is, as one that another CPU is about to put down can be older.
 */
#ifndef H2OLOG_STREAM_H
#define H2OLOG_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decode.h"

/*
 * How long an event waits for older ones of other CPUs. Between stamp and place lie some hundred nanoseconds,
 * but for interrupts and, on a virtual machine, for the host taking the CPU away.
 */
#define STREAM_HOLD_NS (uint64_t)(20 * 1000 * 1000)

/* What becomes of the stream. */
struct stream_sink {
    void (*event)(void *context, const struct event *event);
    /* `count` events are missing here */
    void (*lost)(void *context, uint64_t time_ns, uint64_t count);
    void *context;
};

struct stream;

/*
 * Opens a ring of `size` bytes (a power of two pages) for every CPU; `install` gives its descriptor to the
 * kernel side. With `tids`, events say their thread. Returns NULL with a sentence in `error`.
 */
struct stream *stream_open(size_t size, bool tids, int (*install)(void *context, int cpu, int fd),
                           void *context, char *error, size_t error_size);

/* A descriptor that is readable when a ring has filled to its watermark. */
int stream_fd(const struct stream *stream);

/* The size for `-b` by default, and what a given one becomes: a power of two pages. */
size_t stream_default_size(void);
size_t stream_round_size(size_t size);

/*
 * Gives out the events that happened until `until_ns` (CLOCK_MONOTONIC), and what was lost among them.
 * `counted` is how many the kernel side had counted as lost before the call: where the rings are found
 * empty, losses that no later event has announced yet are given out too. Returns how many events it were.
 */
size_t stream_drain(struct stream *stream, uint64_t until_ns, uint64_t counted,
                    const struct stream_sink *sink);

void stream_close(struct stream *stream);

#endif
