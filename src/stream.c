#include "stream.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

/*
 * 500,000 events a second of 128 bytes, a header of usual length, fill 6.4 MB in 100 ms, on one CPU if it
 * has to be. On a machine of many CPUs they cannot all be that busy with one server: the rings together
 * take no more than RINGS_MAX.
 */
#define RING_SIZE ((size_t)8 << 20)
#define RINGS_MAX ((size_t)256 << 20)
#define RING_MIN  ((size_t)1 << 20)

/* The reader is woken when this much is new in a ring: often enough to stay in the cache. */
#define WATERMARK ((uint32_t)512 << 10)

/* Consumed space is given back at this rate, not record by record: the kernel reads the same line. */
#define RELEASE_SIZE ((uint64_t)64 << 10)

/* The head of a ring's oldest record. */
struct ring {
    int fd;
    struct perf_event_mmap_page *control;
    uint8_t *data;
    uint64_t head, tail; /* read up to where the kernel had written; consumed */
    uint64_t released;   /* data_tail as the kernel knows it */
    uint64_t time_ns;    /* of the record at tail */
    const struct perf_event_header *record; /* at tail; NULL: nothing there */
    uint8_t *straight; /* a record that wraps around the end, in one piece */
};

struct stream {
    struct ring *rings;
    size_t num_rings;
    size_t size; /* of a ring's data */
    size_t page;
    bool tids;
    int epoll;
    uint64_t announced; /* losses that were given out */
    uint64_t ahead;     /* of these, given out before the ring's own record of them came */
};

size_t stream_round_size(size_t size)
{
    size_t rounded = (size_t)sysconf(_SC_PAGESIZE);

    while (rounded < size && rounded << 1 != 0)
        rounded <<= 1;
    return rounded;
}

size_t stream_default_size(void)
{
    size_t cpus = (size_t)sysconf(_SC_NPROCESSORS_ONLN), size = RING_SIZE;

    while (size > RING_MIN && size * cpus > RINGS_MAX)
        size /= 2;
    return stream_round_size(size);
}

static int open_event(const struct stream *stream, int cpu)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof(attr),
        .config = PERF_COUNT_SW_BPF_OUTPUT,
        .sample_period = 1,
        .sample_type = PERF_SAMPLE_RAW | PERF_SAMPLE_TIME | (stream->tids ? PERF_SAMPLE_TID : 0),
        .sample_id_all = 1,
        .watermark = 1,
        .wakeup_watermark = stream->size / 4 < WATERMARK ? (uint32_t)(stream->size / 4) : WATERMARK,
        .use_clockid = 1,
        .clockid = CLOCK_MONOTONIC,
    };

    return (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static void explain_ring(const struct stream *stream, int code, char *error, size_t error_size)
{
    if (code == EPERM)
        snprintf(error, error_size,
                 "the kernel refuses rings of %zu bytes: more than kernel.perf_event_mlock_kb and the "
                 "limit of locked memory (ulimit -l) allow; give -b a smaller SIZE",
                 stream->size);
    else
        snprintf(error, error_size,
                 "the kernel refuses rings of %zu bytes (%s): give -b a SIZE from 4K to 1G that "
                 "this machine has memory for, on each of its CPUs",
                 stream->size, strerror(code));
}

static int open_ring(struct stream *stream, int cpu, char *error, size_t error_size)
{
    struct ring *ring;
    struct epoll_event event = {.events = EPOLLIN};
    void *mapped;
    int fd = open_event(stream, cpu);

    if (fd < 0) {
        if (errno == ENODEV) /* offline */
            return -1;
        snprintf(error, error_size, "perf_event_open is refused: %s%s", strerror(errno),
                 errno == EACCES || errno == EPERM
                     ? "; h2olog needs root, or CAP_PERFMON, or a lower kernel.perf_event_paranoid"
                     : "");
        return -2;
    }
    mapped = mmap(NULL, stream->page + stream->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        explain_ring(stream, errno, error, error_size);
        close(fd);
        return -2;
    }
    stream->rings = memory_grow(stream->rings, stream->num_rings + 1, sizeof(stream->rings[0]));
    ring = &stream->rings[stream->num_rings++];
    *ring = (struct ring){
        .fd = fd,
        .control = mapped,
        .data = (uint8_t *)mapped + stream->page,
        .straight = memory_grow(NULL, UINT16_MAX + 1, 1), /* a record's size has 16 bits */
    };
    if (epoll_ctl(stream->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        snprintf(error, error_size, "a ring cannot be watched: %s", strerror(errno));
        return -2;
    }
    return fd;
}

struct stream *stream_open(size_t size, bool tids, int (*install)(void *context, int cpu, int fd),
                           void *context, char *error, size_t error_size)
{
    struct stream *stream = memory_grow(NULL, 1, sizeof(*stream));
    long cpus = sysconf(_SC_NPROCESSORS_CONF);

    *stream = (struct stream){
        .size = size,
        .page = (size_t)sysconf(_SC_PAGESIZE),
        .tids = tids,
        .epoll = epoll_create1(EPOLL_CLOEXEC),
    };
    for (int cpu = 0; cpu < cpus; ++cpu) {
        int fd = open_ring(stream, cpu, error, error_size);
        if (fd == -1)
            continue;
        if (fd >= 0 && install(context, cpu, fd) != 0) {
            snprintf(error, error_size, "the ring of CPU %d cannot be given to the BPF programs: %s",
                     cpu, strerror(errno));
            fd = -2;
        }
        if (fd < 0) {
            stream_close(stream);
            return NULL;
        }
    }
    return stream;
}

int stream_fd(const struct stream *stream)
{
    return stream->epoll;
}

void stream_close(struct stream *stream)
{
    for (size_t i = 0; i != stream->num_rings; ++i) {
        munmap(stream->rings[i].control, stream->page + stream->size);
        close(stream->rings[i].fd);
        free(stream->rings[i].straight);
    }
    free(stream->rings);
    close(stream->epoll);
    free(stream);
}

static void release(struct ring *ring)
{
    if (ring->released == ring->tail)
        return;
    __atomic_store_n(&ring->control->data_tail, ring->tail, __ATOMIC_RELEASE);
    ring->released = ring->tail;
}

/*
 * Where the fields of a record begin that say when it was written: a sample's are its first, another's its
 * last (PERF_RECORD_LOST has them by sample_id_all).
 */
static const uint8_t *stamp_of(const struct stream *stream, const struct perf_event_header *record)
{
    const uint8_t *bytes = (const uint8_t *)record;
    size_t size = stream->tids ? 16 : 8;

    return record->type == PERF_RECORD_SAMPLE ? bytes + sizeof(*record) : bytes + record->size - size;
}

/* Looks at the record at the tail. */
static void peek(const struct stream *stream, struct ring *ring)
{
    size_t at = (size_t)(ring->tail & (stream->size - 1)), until_end = stream->size - at;
    const struct perf_event_header *record = (const void *)(ring->data + at);
    uint64_t time_ns;

    ring->record = NULL;
    if (ring->head == ring->tail)
        return;
    /* records are aligned to 8 bytes, so their head of 8 never wraps */
    if (record->size > until_end) {
        memcpy(ring->straight, record, until_end);
        memcpy(ring->straight + until_end, ring->data, record->size - until_end);
        record = (const void *)ring->straight;
    }
    ring->record = record;
    memcpy(&time_ns, stamp_of(stream, record) + (stream->tids ? 8 : 0), sizeof(time_ns));
    /* the order in a ring is the truth; CLOCK_MONOTONIC can be some nanoseconds behind itself */
    if (time_ns > ring->time_ns)
        ring->time_ns = time_ns;
}

static void consume(const struct stream *stream, struct ring *ring)
{
    ring->tail += ring->record->size;
    if (ring->tail - ring->released >= RELEASE_SIZE)
        release(ring);
    peek(stream, ring);
}

static void give_sample(const struct stream *stream, const struct ring *ring,
                        const struct stream_sink *sink)
{
    const uint8_t *stamp = stamp_of(stream, ring->record);
    const uint8_t *raw = stamp + (stream->tids ? 16 : 8);
    const uint8_t *end = (const uint8_t *)ring->record + ring->record->size;
    struct event event = {.time_ns = ring->time_ns, .bytes = raw + 4};
    uint32_t size;

    if (stream->tids)
        memcpy(&event.tid, stamp + 4, sizeof(event.tid));
    memcpy(&size, raw, sizeof(size));
    /* the kernel pads the raw data to end at a multiple of 8, and counts the padding in */
    event.size = size <= (size_t)(end - event.bytes) ? size : 0;
    sink->event(sink->context, &event);
}

static void give_lost(struct stream *stream, uint64_t time_ns, uint64_t count,
                      const struct stream_sink *sink)
{
    uint64_t known = count < stream->ahead ? count : stream->ahead;

    stream->ahead -= known;
    count -= known;
    stream->announced += count;
    if (count != 0)
        sink->lost(sink->context, time_ns, count);
}

/* The ring with the oldest record, and the time of the next oldest. */
static struct ring *find_oldest(struct stream *stream, uint64_t until_ns, uint64_t *next_ns)
{
    struct ring *oldest = NULL;

    *next_ns = until_ns;
    for (size_t i = 0; i != stream->num_rings; ++i) {
        struct ring *ring = &stream->rings[i];
        if (ring->record == NULL || ring->time_ns > until_ns)
            continue;
        if (oldest == NULL || ring->time_ns < oldest->time_ns) {
            if (oldest != NULL)
                *next_ns = oldest->time_ns;
            oldest = ring;
        } else if (ring->time_ns < *next_ns) {
            *next_ns = ring->time_ns;
        }
    }
    return oldest;
}

/* Whether nothing is left, after a round that began when `counted` losses were known. */
static bool is_empty(const struct stream *stream)
{
    for (size_t i = 0; i != stream->num_rings; ++i) {
        if (stream->rings[i].record != NULL)
            return false;
    }
    return true;
}

size_t stream_drain(struct stream *stream, uint64_t until_ns, uint64_t counted,
                    const struct stream_sink *sink)
{
    size_t num_events = 0;
    uint64_t next_ns;
    struct ring *ring;

    for (size_t i = 0; i != stream->num_rings; ++i) {
        ring = &stream->rings[i];
        ring->head = __atomic_load_n(&ring->control->data_head, __ATOMIC_ACQUIRE);
        peek(stream, ring);
    }
    while ((ring = find_oldest(stream, until_ns, &next_ns)) != NULL) {
        do {
            uint64_t lost;
            switch (ring->record->type) {
            case PERF_RECORD_SAMPLE:
                give_sample(stream, ring, sink);
                ++num_events;
                break;
            case PERF_RECORD_LOST: /* header, u64 id, u64 lost */
                memcpy(&lost, (const uint8_t *)ring->record + 16, sizeof(lost));
                give_lost(stream, ring->time_ns, lost, sink);
                break;
            default:
                break;
            }
            consume(stream, ring);
        } while (ring->record != NULL && ring->time_ns <= next_ns);
    }
    for (size_t i = 0; i != stream->num_rings; ++i)
        release(&stream->rings[i]);
    if (counted > stream->announced && is_empty(stream)) {
        uint64_t count = counted - stream->announced;
        stream->announced += count;
        stream->ahead += count;
        sink->lost(sink->context, until_ns, count);
    }
    return num_events;
}
