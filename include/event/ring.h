/*
 * The BPF ring buffer, a source of events. All CPUs write into one ring, so its order is the order of the
 * events, whatever CPU and thread they happened on: nothing is sorted, and nothing is held back.
 */
#ifndef H2OLOG_EVENT_RING_H
#define H2OLOG_EVENT_RING_H

#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "event/source.h"

/* The ring as the kernel maps it (linux/bpf.h, BPF_MAP_TYPE_RINGBUF), and what is known of it. */
struct ring {
    uint64_t *produced;   /* read-only: bytes that the kernel side has reserved, ever */
    uint64_t *consumed;   /* bytes that were given back to it */
    const uint8_t *data;  /* mapped twice in a row, so that no record is in two pieces */
    size_t size;          /* of the data, once */
    uint64_t at;          /* bytes read, ever */
    uint64_t announced;   /* losses that were given out */
    const uint64_t *lost; /* the kernel side's count of all lost events */
    struct gate *gate;    /* what the kernel side reads of the reader */
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
int ring_open(struct ring *ring, int fd, size_t ring_size);

/*
 * Gives out the events that are there, and what was lost among them. `counted` is how many losses
 * the kernel side had counted before the call: those that no later event tells of are given out
 * once the ring is empty. Returns how many bytes were read.
 */
size_t ring_drain(struct ring *ring, uint64_t counted, const struct source_reader *reader);

/*
 * Makes a source of an open ring. `fd` is the map of the ring, `lost` the mapped counter of all lost events,
 * `gate` the mapped page that the programs look at; they have to outlive the source. Opens a file of /proc.
 */
void ring_source(struct ring *ring, int fd, const uint64_t *lost, struct gate *gate,
                 struct source *source);

void ring_close(struct ring *ring);

#endif
