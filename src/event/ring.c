#include "event/ring.h"

#include <linux/bpf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * 500,000 events per second with 136 bytes each (a typical header) fill 6.8 MB in 0.1 s.
 */
#define RING_SIZE ((size_t)16 << 20)

/* A batch wakes the reader. This size fits into the CPU cache. */
#define WATERMARK ((size_t)256 << 10)

/*
 * The reader releases space in pieces of this size. Releasing each record would slow down the
 * kernel side, which reads the same cache line.
 */
#define RELEASE_SIZE ((uint64_t)64 << 10)

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t ring_round_size(size_t wanted)
{
    size_t size = page_size();

    if (wanted == 0)
        return RING_SIZE;
    while (size < wanted)
        size *= 2;
    return size;
}

size_t ring_watermark(size_t ring_size)
{
    return ring_size / 4 < WATERMARK ? ring_size / 4 : WATERMARK;
}

/*
 * The first page is written by the reader. The kernel's page and the data follow, read-only.
 */
int ring_open(struct ring *ring, int fd, size_t ring_size)
{
    void *ours, *theirs;

    *ring = (struct ring){.size = ring_size};
    ours = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ours == MAP_FAILED)
        return -1;
    ring->consumed = ours;
    theirs = mmap(NULL, page_size() + 2 * ring_size, PROT_READ, MAP_SHARED, fd, (off_t)page_size());
    if (theirs == MAP_FAILED)
        return -1;
    ring->produced = theirs;
    ring->data = (const uint8_t *)theirs + page_size();
    return 0;
}

void ring_close(struct ring *ring)
{
    if (ring->consumed != NULL)
        munmap(ring->consumed, page_size());
    if (ring->produced != NULL)
        munmap(ring->produced, page_size() + 2 * ring->size);
    *ring = (struct ring){0};
}

static void announce(struct ring *ring, uint64_t count, const struct source_reader *reader)
{
    ring->announced += count;
    reader->lost(reader->context, count);
}

/*
 * Reports events that were lost before this one. Each event has the count of all losses before it.
 */
static void look_for_losses(struct ring *ring, const struct event *event,
                            const struct source_reader *reader)
{
    uint32_t lost, missing;

    if (event->size < sizeof(struct event_head))
        return;
    memcpy(&lost, event->bytes + offsetof(struct event_head, lost), sizeof(lost));
    missing = lost - (uint32_t)ring->announced;
    if (missing != 0 && missing < UINT32_MAX / 2)
        announce(ring, missing, reader);
}

static void release(struct ring *ring)
{
    __atomic_store_n(ring->consumed, ring->at, __ATOMIC_RELEASE);
}

size_t ring_drain(struct ring *ring, uint64_t counted, const struct source_reader *reader)
{
    /* Events that arrive now are left to the next call, so that this one ends. */
    const uint64_t begin = ring->at, end = __atomic_load_n(ring->produced, __ATOMIC_ACQUIRE);
    uint64_t released = begin;

    while (ring->at != end) {
        const void *record = ring->data + (ring->at & (ring->size - 1));
        uint32_t length = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
        struct event event = {(const uint8_t *)record + RECORD_HEAD,
                              length & ~BPF_RINGBUF_DISCARD_BIT};
        if ((length & BPF_RINGBUF_BUSY_BIT) != 0) /* a CPU is still writing it */
            break;
        if ((length & BPF_RINGBUF_DISCARD_BIT) == 0) {
            look_for_losses(ring, &event, reader);
            reader->event(reader->context, &event);
        }
        ring->at += (RECORD_HEAD + event.size + 7) / 8 * 8;
        if (ring->at - released >= RELEASE_SIZE) {
            release(ring);
            released = ring->at;
            if (reader->is_done != NULL && reader->is_done(reader->context))
                break;
        }
    }
    if (ring->at != released)
        release(ring);
    if (ring->at == end && counted > ring->announced)
        announce(ring, counted - ring->announced, reader);
    return (size_t)(ring->at - begin);
}

static void drain_source(struct source *source, const struct source_reader *reader)
{
    struct ring *ring = source->state;
    const uint64_t counted = __atomic_load_n(ring->lost, __ATOMIC_RELAXED);

    clock_read(&source->clock);
    ring_drain(ring, counted, reader);
}

static void set_waiting(struct source *source, bool waiting)
{
    const struct ring *ring = source->state;

    __atomic_store_n(&ring->gate->reader_waits, waiting, __ATOMIC_SEQ_CST);
}

void ring_source(struct ring *ring, int fd, const uint64_t *lost, struct gate *gate,
                 struct source *source)
{
    ring->lost = lost;
    ring->gate = gate;
    *source =
        (struct source){.state = ring, .fd = fd, .set_waiting = set_waiting, .drain = drain_source};
    clock_open(&source->clock);
}
