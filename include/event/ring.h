/*
 * The BPF ring buffer, a source of events. All CPUs write to one ring, so its order is the order of
 * the events, and the reader need not sort or hold back events.
 */
#ifndef H2OLOG_EVENT_RING_H
#define H2OLOG_EVENT_RING_H

#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "event/source.h"

/* The mapped ring (linux/bpf.h, BPF_MAP_TYPE_RINGBUF) and the state of the reader. */
struct ring {
    uint64_t *produced;   /* read-only: all bytes that the kernel side has reserved */
    uint64_t *consumed;   /* all bytes that the reader has released */
    const uint8_t *data;  /* mapped twice in a row, so that every record is contiguous */
    size_t size;          /* bytes of data, mapped once */
    uint64_t at;          /* all bytes that the reader has read */
    uint64_t announced;   /* losses that were reported */
    const uint64_t *lost; /* the kernel side's count of all lost events */
    struct gate *gate;    /* words that the kernel side reads */
};

/*
 * Returns the size of the ring in bytes: `wanted` rounded up to a power of two of at least one
 * page. 0 means the default, which is enough for a pause of 0.1 s at 500,000 events per second.
 */
size_t ring_round_size(size_t wanted);

/* Returns the watermark: how many bytes in the ring wake the reader. */
size_t ring_watermark(size_t ring_size);

/*
 * Maps the ring of the map `fd`. Returns 0, or -1 with errno. Call ring_close in either case.
 */
int ring_open(struct ring *ring, int fd, size_t ring_size);

/*
 * Passes the events in the ring, and the losses among them, to `reader`. `counted` is the kernel
 * side's count of losses before the call. Losses after the last event are reported when the ring is
 * empty. Returns the number of bytes read.
 */
size_t ring_drain(struct ring *ring, uint64_t counted, const struct source_reader *reader);

/*
 * Makes a source from an open ring. `fd` is the map of the ring, `lost` the mapped counter of all
 * lost events, `gate` the mapped page that the programs read. They must outlive the source. Opens a
 * file in /proc, so call it before root is given up.
 */
void ring_source(struct ring *ring, int fd, const uint64_t *lost, struct gate *gate,
                 struct source *source);

void ring_close(struct ring *ring);

#endif
