#include "event/ring.h"

#include <linux/bpf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * 500,000 events a second of 136 bytes, a header of usual length with all that is around it,
 * fill 6.8 MB in 0.1 s.
 */
#define RING_SIZE ((size_t)16 << 20)

/* The reader is woken for so much: often enough to find it in the cache. */
#define WATERMARK ((size_t)256 << 10)

/*
 * Space is given back at this rate, not record by record: the kernel side reads the same cache
 * line.
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
 * The first page is the reader's, to write; behind it are the kernel's page and the data, to read.
 */
int ring_open(struct ring *stream, int fd, size_t ring_size)
{
    void *ours, *theirs;

    *stream = (struct ring){.size = ring_size};
    ours = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ours == MAP_FAILED)
        return -1;
    stream->consumed = ours;
    theirs = mmap(NULL, page_size() + 2 * ring_size, PROT_READ, MAP_SHARED, fd, (off_t)page_size());
    if (theirs == MAP_FAILED)
        return -1;
    stream->produced = theirs;
    stream->data = (const uint8_t *)theirs + page_size();
    return 0;
}

void ring_close(struct ring *stream)
{
    if (stream->consumed != NULL)
        munmap(stream->consumed, page_size());
    if (stream->produced != NULL)
        munmap(stream->produced, page_size() + 2 * stream->size);
    *stream = (struct ring){0};
}

static void announce(struct ring *stream, uint64_t count, const struct ring_sink *sink)
{
    stream->announced += count;
    sink->lost(sink->context, count);
}

/*
 * An event says how many were lost before it; those that other CPUs lost meanwhile can be in later
 * ones.
 */
static void look_for_losses(struct ring *stream, const struct event *event,
                            const struct ring_sink *sink)
{
    uint32_t lost, missing;

    if (event->size < sizeof(struct event_head))
        return;
    memcpy(&lost, event->bytes + offsetof(struct event_head, lost), sizeof(lost));
    missing = lost - (uint32_t)stream->announced;
    if (missing != 0 && missing < UINT32_MAX / 2)
        announce(stream, missing, sink);
}

static void release(struct ring *stream)
{
    __atomic_store_n(stream->consumed, stream->at, __ATOMIC_RELEASE);
}

size_t ring_drain(struct ring *stream, uint64_t counted, const struct ring_sink *sink)
{
    /* what comes during the round is for the next: a busy server is not to keep it from ending */
    const uint64_t begin = stream->at, end = __atomic_load_n(stream->produced, __ATOMIC_ACQUIRE);
    uint64_t released = begin;

    while (stream->at != end) {
        const void *record = stream->data + (stream->at & (stream->size - 1));
        uint32_t length = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
        struct event event = {(const uint8_t *)record + RECORD_HEAD,
                              length & ~BPF_RINGBUF_DISCARD_BIT};
        if ((length & BPF_RINGBUF_BUSY_BIT) != 0) /* a CPU is about to complete it */
            break;
        if ((length & BPF_RINGBUF_DISCARD_BIT) == 0) {
            look_for_losses(stream, &event, sink);
            sink->event(sink->context, &event);
        }
        stream->at += (RECORD_HEAD + event.size + 7) / 8 * 8;
        if (stream->at - released >= RELEASE_SIZE) {
            release(stream);
            released = stream->at;
        }
    }
    if (stream->at != released)
        release(stream);
    if (stream->at == end && counted > stream->announced)
        announce(stream, counted - stream->announced, sink);
    return (size_t)(stream->at - begin);
}
