/*
 * The ring -> events, in the order in which they happened, losses counted.
 *
 * All CPUs put their events into one ring, and their order there is the order of the events: an
 * event that another one caused, on whatever CPU and thread, is behind it. So there is nothing to
 * sort and nothing to hold back.
 */
#ifndef H2OLOG_EVENT_RING_H
#define H2OLOG_EVENT_RING_H

#include <stddef.h>
#include <stdint.h>

#include "event/record.h"

/* What becomes of the stream. */
struct ring_sink {
    void (*event)(void *context, const struct event *event);
    /* `count` events are missing here */
    void (*lost)(void *context, uint64_t count);
    void *context;
};

/* The ring as the kernel maps it (linux/bpf.h, BPF_MAP_TYPE_RINGBUF), and what is known of it. */
struct ring {
    uint64_t *produced;  /* read-only: bytes that the kernel side has reserved, ever */
    uint64_t *consumed;  /* bytes that were given back to it */
    const uint8_t *data; /* mapped twice in a row, so that no record is in two pieces */
    size_t size;         /* of the data, once */
    uint64_t at;         /* bytes read, ever */
    uint64_t announced;  /* losses that were given out */
};

/*
 * The size of the ring in bytes: the smallest power of two that is a page or more and holds `wanted`
 * bytes; or (0) enough for a reader that does not run for 0.1 s at 500,000 events a second.
 */
size_t ring_round_size(size_t wanted);

/* How much is to be in the ring for the reader to be woken, in bytes. */
size_t ring_watermark(size_t ring_size);

/*
 * Maps the ring of the map `fd`. Returns 0, or -1 with errno; ring_close is due in either case.
 */
int ring_open(struct ring *stream, int fd, size_t ring_size);

/*
 * Gives out the events that are there, and what was lost among them. `counted` is how many losses
 * the kernel side had counted before the call: those that no later event tells of are given out
 * once the ring is empty. Returns how many bytes were read.
 */
size_t ring_drain(struct ring *stream, uint64_t counted, const struct ring_sink *sink);

void ring_close(struct ring *stream);

#endif
