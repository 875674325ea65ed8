#include "support.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "event.h"
#include "event/ring.h"

/* The size of the smallest event. */
#define HEAD sizeof(struct event_head)

/*
 * A ring in the format of the kernel: two pages with the positions, and the data, mapped twice in a
 * row.
 */
struct kernel {
    int fd;
    uint8_t *memory;
    size_t page, size;
    uint64_t produced;
    uint64_t lost; /* count of all losses */
};

static uint64_t *position(const struct kernel *kernel, size_t nth)
{
    return (uint64_t *)(void *)(kernel->memory + nth * kernel->page);
}

static uint64_t consumed(const struct kernel *kernel)
{
    return *position(kernel, 0);
}

static void kernel_open(struct kernel *kernel, size_t size)
{
    *kernel = (struct kernel){.page = (size_t)sysconf(_SC_PAGESIZE), .size = size};
    kernel->fd = memfd_create("ring", MFD_CLOEXEC);
    assert_true(kernel->fd >= 0);
    assert_int_equal(ftruncate(kernel->fd, (off_t)(2 * kernel->page + 2 * size)), 0);
    kernel->memory =
        mmap(NULL, 2 * kernel->page + 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, kernel->fd, 0);
    assert_true(kernel->memory != MAP_FAILED);
}

static void kernel_close(struct kernel *kernel)
{
    munmap(kernel->memory, 2 * kernel->page + 2 * kernel->size);
    close(kernel->fd);
}

/* Writes at a position, in both mappings. */
static void write_data(struct kernel *kernel, uint64_t at, const void *bytes, size_t size)
{
    uint8_t *data = kernel->memory + 2 * kernel->page;

    for (size_t i = 0; i != size; ++i) {
        size_t place = (size_t)((at + i) % kernel->size);
        data[place] = data[kernel->size + place] = ((const uint8_t *)bytes)[i];
    }
}

static void set_flags(struct kernel *kernel, uint64_t at, size_t size, uint32_t flags)
{
    uint32_t head[2] = {(uint32_t)size | flags, 0x12345678};

    write_data(kernel, at, head, sizeof(head));
}

/*
 * Writes a record. Returns its position, or UINT64_MAX if there is no room.
 */
static uint64_t put_record(struct kernel *kernel, const void *bytes, size_t size, uint32_t flags)
{
    uint64_t at = kernel->produced, end = at + (8 + size + 7) / 8 * 8;

    if (end - consumed(kernel) > kernel->size)
        return UINT64_MAX;
    write_data(kernel, at + 8, bytes, size);
    set_flags(kernel, at, size, flags);
    kernel->produced = end;
    __atomic_store_n(position(kernel, 1), end, __ATOMIC_RELEASE);
    return at;
}

/* Writes an event with a number; `size` includes the head. */
static uint64_t put_event(struct kernel *kernel, uint32_t number, size_t size, uint32_t flags)
{
    uint8_t bytes[8192];
    struct event_head head = {.conn = number, .lost = (uint32_t)kernel->lost};
    uint64_t at;

    assert_true(size >= sizeof(head) && size <= sizeof(bytes));
    memset(bytes, (int)(number & 0xff), size);
    memcpy(bytes, &head, sizeof(head));
    at = put_record(kernel, bytes, size, flags);
    if (at == UINT64_MAX)
        ++kernel->lost;
    return at;
}

/* The results of a drain, in order. */
struct given {
    struct item {
        bool is_loss;
        uint64_t value; /* number of the event, or count of losses */
        size_t size;
    } items[4096];
    size_t count;
    uint64_t lost;
    struct kernel *kernel;
    size_t put_more; /* events to write during the drain */
    uint64_t consumed_before_end;
};

static void note_event(void *context, const struct event *event)
{
    struct given *given = context;
    struct event_head head = {.conn = UINT32_MAX};

    assert_true(given->count < sizeof(given->items) / sizeof(given->items[0]));
    if (event->size >= sizeof(head)) {
        memcpy(&head, event->bytes, sizeof(head));
        for (size_t i = sizeof(head); i != event->size; ++i)
            assert_int_equal(event->bytes[i], head.conn & 0xff);
    }
    given->items[given->count++] = (struct item){false, head.conn, event->size};
    if (given->put_more != 0) {
        --given->put_more;
        assert_true(put_event(given->kernel, 1000, 32, 0) != UINT64_MAX);
    }
    if (given->kernel != NULL)
        given->consumed_before_end = consumed(given->kernel);
}

static void note_loss(void *context, uint64_t count)
{
    struct given *given = context;

    assert_true(given->count < sizeof(given->items) / sizeof(given->items[0]));
    assert_true(count != 0);
    given->items[given->count++] = (struct item){true, count, 0};
    given->lost += count;
}

static size_t drain(struct ring *stream, uint64_t counted, struct given *given)
{
    const struct source_reader reader = {note_event, note_loss, NULL, given};

    given->count = 0;
    return ring_drain(stream, counted, &reader);
}

/* "1 2 L3 4": events by their number, losses by their count. */
static void check_given(const struct given *given, const char *expected)
{
    char text[1024] = "";
    size_t used = 0;

    for (size_t i = 0; i != given->count; ++i)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s%llu", i != 0 ? " " : "",
                                 given->items[i].is_loss ? "L" : "",
                                 (unsigned long long)given->items[i].value);
    check_string("given out", text, expected);
}

struct bench {
    struct kernel kernel;
    struct ring stream;
    struct given given;
};

static struct bench bench;

static int bench_open(void **state)
{
    (void)state;
    memset(&bench, 0, sizeof(bench));
    kernel_open(&bench.kernel, 16384);
    return ring_open(&bench.stream, bench.kernel.fd, bench.kernel.size);
}

static int bench_close(void **state)
{
    (void)state;
    ring_close(&bench.stream);
    kernel_close(&bench.kernel);
    return 0;
}

static void empty_ring(void **state)
{
    (void)state;
    assert_int_equal(drain(&bench.stream, 0, &bench.given), 0);
    check_given(&bench.given, "");
    assert_int_equal(consumed(&bench.kernel), 0);
}

static void events_in_their_order(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 5; ++i)
        put_event(&bench.kernel, i, HEAD - 1 + i, 0);
    assert_int_equal(drain(&bench.stream, 0, &bench.given), bench.kernel.produced);
    check_given(&bench.given, "1 2 3 4 5");
    for (size_t i = 0; i != 5; ++i) /* exact sizes, without padding */
        assert_int_equal(bench.given.items[i].size, HEAD + i);
    assert_int_equal(consumed(&bench.kernel), bench.kernel.produced);
    put_event(&bench.kernel, 6, 100, 0);
    assert_int_equal(drain(&bench.stream, 0, &bench.given), 112);
    check_given(&bench.given, "6");
    assert_int_equal(drain(&bench.stream, 0, &bench.given), 0);
    check_given(&bench.given, "");
}

/* Wraps around, with records across the end of the ring, or ending exactly there. */
static void records_wrap_around(void **state)
{
    uint32_t put = 0, got = 0;

    (void)state;
    while (bench.kernel.produced < 20 * bench.kernel.size) {
        for (size_t i = 0; i != 3; ++i) {
            ++put;
            assert_true(put_event(&bench.kernel, put, HEAD + put * 37 % 3000, 0) != UINT64_MAX);
        }
        drain(&bench.stream, 0, &bench.given);
        assert_int_equal(bench.given.count, 3);
        for (size_t i = 0; i != 3; ++i) {
            assert_int_equal(bench.given.items[i].value, ++got);
            assert_int_equal(bench.given.items[i].size, HEAD + got * 37 % 3000);
        }
        assert_int_equal(consumed(&bench.kernel), bench.kernel.produced);
    }
    while (bench.kernel.produced % bench.kernel.size != bench.kernel.size - 1024) {
        put_event(&bench.kernel, 1, HEAD, 0);
        drain(&bench.stream, 0, &bench.given);
        assert_int_equal(bench.given.count, 1);
    }
    put_event(&bench.kernel, 2, 1016, 0);
    put_event(&bench.kernel, 3, HEAD, 0);
    drain(&bench.stream, 0, &bench.given);
    check_given(&bench.given, "2 3");
}

static void full_ring(void **state)
{
    uint32_t put = 0;

    (void)state;
    while (put_event(&bench.kernel, ++put, 120, 0) != UINT64_MAX)
        ;
    assert_int_equal(put, 16384 / 128 + 1);
    drain(&bench.stream, bench.kernel.lost, &bench.given);
    assert_int_equal(bench.given.count, put);
    for (size_t i = 0; i != put - 1; ++i)
        assert_int_equal(bench.given.items[i].value, i + 1);
    assert_true(bench.given.items[put - 1].is_loss);
    assert_int_equal(bench.given.items[put - 1].value, 1);
}

/* Events after a busy record wait until it is complete. */
static void busy_record_holds_back(void **state)
{
    uint64_t busy;

    (void)state;
    put_event(&bench.kernel, 1, 32, 0);
    busy = put_event(&bench.kernel, 2, 48, BPF_RINGBUF_BUSY_BIT);
    put_event(&bench.kernel, 3, 32, 0);
    assert_int_equal(drain(&bench.stream, 0, &bench.given), busy);
    check_given(&bench.given, "1");
    assert_int_equal(consumed(&bench.kernel), busy);
    assert_int_equal(drain(&bench.stream, 0, &bench.given), 0);
    check_given(&bench.given, "");
    set_flags(&bench.kernel, busy, 48, 0);
    drain(&bench.stream, 0, &bench.given);
    check_given(&bench.given, "2 3");
    assert_int_equal(consumed(&bench.kernel), bench.kernel.produced);
}

static void discarded_record_is_passed_over(void **state)
{
    uint64_t at;

    (void)state;
    put_event(&bench.kernel, 1, 32, 0);
    bench.kernel.lost = 9; /* discarded, so its count is ignored */
    put_event(&bench.kernel, 2, 4000, BPF_RINGBUF_DISCARD_BIT);
    bench.kernel.lost = 0;
    put_event(&bench.kernel, 3, 32, 0);
    drain(&bench.stream, 0, &bench.given);
    check_given(&bench.given, "1 3");
    assert_int_equal(consumed(&bench.kernel), bench.kernel.produced);
    /* before it is discarded, it is busy */
    at = put_event(&bench.kernel, 4, 100, BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    drain(&bench.stream, 0, &bench.given);
    check_given(&bench.given, "");
    assert_int_equal(consumed(&bench.kernel), at);
}

/* A drain ends although the server writes more events. */
static void events_during_a_drain_wait(void **state)
{
    (void)state;
    put_event(&bench.kernel, 1, 32, 0);
    put_event(&bench.kernel, 2, 32, 0);
    bench.given.kernel = &bench.kernel;
    bench.given.put_more = 2;
    drain(&bench.stream, 0, &bench.given);
    check_given(&bench.given, "1 2");
    drain(&bench.stream, 0, &bench.given);
    check_given(&bench.given, "1000 1000");
}

/* Space is released during a long drain. */
static void space_is_released_during_a_drain(void **state)
{
    struct kernel kernel;
    struct ring stream;
    uint32_t put = 0;

    (void)state;
    kernel_open(&kernel, 1 << 20);
    assert_int_equal(ring_open(&stream, kernel.fd, kernel.size), 0);
    while (put_event(&kernel, ++put, 4000, 0) != UINT64_MAX)
        ;
    bench.given.kernel = &kernel;
    drain(&stream, 0, &bench.given);
    assert_true(bench.given.consumed_before_end > kernel.size / 2);
    assert_true(bench.given.consumed_before_end < kernel.produced);
    assert_int_equal(consumed(&kernel), kernel.produced);
    ring_close(&stream);
    kernel_close(&kernel);
}

/* An event has the count of losses before it. */
static void losses_are_reported_in_place(void **state)
{
    (void)state;
    put_event(&bench.kernel, 1, 32, 0);
    bench.kernel.lost = 3;
    put_event(&bench.kernel, 2, 32, 0);
    put_event(&bench.kernel, 3, 32, 0);
    bench.kernel.lost = 5;
    put_event(&bench.kernel, 4, 32, 0);
    drain(&bench.stream, 5, &bench.given);
    check_given(&bench.given, "1 L3 2 3 L2 4");
    drain(&bench.stream, 5, &bench.given);
    check_given(&bench.given, "");
}

/* Another CPU can read the count early and write its event late. */
static void counts_can_be_out_of_order(void **state)
{
    (void)state;
    bench.kernel.lost = 3;
    put_event(&bench.kernel, 1, 32, 0);
    bench.kernel.lost = 1;
    put_event(&bench.kernel, 2, 32, 0);
    bench.kernel.lost = 0;
    put_event(&bench.kernel, 3, 32, 0);
    bench.kernel.lost = 4;
    put_event(&bench.kernel, 4, 32, 0);
    drain(&bench.stream, 4, &bench.given);
    check_given(&bench.given, "L3 1 2 3 L1 4");
}

/* Losses after the last event are reported when the ring is empty, and only once. */
static void last_losses_are_reported(void **state)
{
    (void)state;
    put_event(&bench.kernel, 1, 32, 0);
    drain(&bench.stream, 7, &bench.given);
    check_given(&bench.given, "1 L7");
    drain(&bench.stream, 7, &bench.given);
    check_given(&bench.given, "");
    drain(&bench.stream, 9, &bench.given);
    check_given(&bench.given, "L2");
    bench.kernel.lost = 9;
    put_event(&bench.kernel, 2, 32, 0);
    drain(&bench.stream, 9, &bench.given);
    check_given(&bench.given, "2");
    bench.kernel.lost = 10;
    put_event(&bench.kernel, 3, 32, 0);
    drain(&bench.stream, 10, &bench.given);
    check_given(&bench.given, "L1 3");
}

/* They come after the events in the ring, so they wait until it is empty. */
static void last_losses_wait_for_the_ring(void **state)
{
    uint64_t busy;

    (void)state;
    put_event(&bench.kernel, 1, 32, 0);
    busy = put_event(&bench.kernel, 2, 32, BPF_RINGBUF_BUSY_BIT);
    drain(&bench.stream, 7, &bench.given);
    check_given(&bench.given, "1");
    set_flags(&bench.kernel, busy, 32, 0);
    drain(&bench.stream, 7, &bench.given);
    check_given(&bench.given, "2 L7");
}

/* The count before the drain can be less than the count in an event. */
static void counts_in_events_can_be_newer(void **state)
{
    (void)state;
    bench.kernel.lost = 5;
    put_event(&bench.kernel, 1, 32, 0);
    drain(&bench.stream, 2, &bench.given);
    check_given(&bench.given, "L5 1");
    drain(&bench.stream, 4, &bench.given);
    check_given(&bench.given, "");
    drain(&bench.stream, 6, &bench.given);
    check_given(&bench.given, "L1");
}

/* The count in an event has 32 bits. */
static void counts_wrap(void **state)
{
    const uint64_t before = 0xfffffffe;

    (void)state;
    drain(&bench.stream, before, &bench.given);
    check_given(&bench.given, "L4294967294");
    bench.kernel.lost = before;
    put_event(&bench.kernel, 1, 32, 0);
    bench.kernel.lost = before + 1;
    put_event(&bench.kernel, 2, 32, 0);
    bench.kernel.lost = before + 5;
    put_event(&bench.kernel, 3, 32, 0);
    bench.kernel.lost = before + 4; /* out of order at the wrap */
    put_event(&bench.kernel, 4, 32, 0);
    bench.kernel.lost = before + 6;
    put_event(&bench.kernel, 5, 32, 0);
    drain(&bench.stream, before + 6, &bench.given);
    check_given(&bench.given, "1 L1 2 L4 3 4 L1 5");
}

/* A record that is too short is passed on; the decoder refuses it. */
static void short_records(void **state)
{
    uint8_t bytes[sizeof(struct event_head)];

    (void)state;
    memset(bytes, 0xff, sizeof(bytes));
    for (size_t size = 0; size != sizeof(bytes); ++size)
        put_record(&bench.kernel, bytes, size, 0);
    put_event(&bench.kernel, 1, 32, 0);
    drain(&bench.stream, 0, &bench.given);
    assert_int_equal(bench.given.count, sizeof(bytes) + 1);
    for (size_t size = 0; size != sizeof(bytes); ++size) {
        assert_false(bench.given.items[size].is_loss);
        assert_int_equal(bench.given.items[size].size, size);
    }
    assert_int_equal(bench.given.lost, 0);
}

/*
 * A server that is too fast: each event is passed on or reported as lost, once, at its place.
 */
static void every_loss_is_reported(void **state)
{
    uint32_t seed = random_seed(), put = 0;
    uint64_t events = 0, lost = 0;

    (void)state;
    for (size_t round = 0; round != 2000; ++round) {
        uint64_t counted;
        for (uint32_t i = random_next(&seed) % 200; i != 0; --i) {
            ++put;
            put_event(&bench.kernel, put, HEAD + (put * 29 + seed % 7) % 300, 0);
        }
        counted =
            bench.kernel.lost - (bench.kernel.lost != 0 && seed % 3 == 0); /* can be slightly old */
        drain(&bench.stream, counted, &bench.given);
        for (size_t i = 0; i != bench.given.count; ++i) {
            if (bench.given.items[i].is_loss) {
                lost += bench.given.items[i].value;
                continue;
            }
            /* earlier events were passed on or reported as lost before it */
            assert_int_equal(bench.given.items[i].value, events + lost + 1);
            ++events;
        }
    }
    drain(&bench.stream, bench.kernel.lost, &bench.given);
    assert_true(bench.given.lost > 1000 && events > 1000);
    assert_int_equal(bench.given.lost, bench.kernel.lost);
    assert_int_equal(events + bench.given.lost, put);
}

static void ring_sizes(void **state)
{
    static const size_t sizes[] = {1, 4095, 4096, 4097, 5000, 512 << 10, 4 << 20, (4 << 20) + 1};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    for (size_t i = 0; i != sizeof(sizes) / sizeof(sizes[0]); ++i) {
        size_t size = ring_round_size(sizes[i]);
        assert_int_equal(size & (size - 1), 0);
        assert_int_equal(size % page, 0);
        assert_true(size >= sizes[i]);
        assert_true(size == page || size / 2 < sizes[i]); /* not larger than needed */
        assert_true(ring_watermark(size) > 0 && ring_watermark(size) <= size / 2);
    }
    /* 500,000 events per second of 136 bytes for 0.1 s */
    assert_true(ring_round_size(0) >= 50000 * 136);
    assert_int_equal(ring_round_size(0) & (ring_round_size(0) - 1), 0);
    assert_true(ring_watermark(ring_round_size(0)) <= ring_round_size(0) / 2);
}

static void unmappable_files_are_an_error(void **state)
{
    struct ring stream;
    int ends[2];

    (void)state;
    errno = 0;
    assert_int_equal(ring_open(&stream, -1, 4096), -1);
    assert_int_equal(errno, EBADF);
    ring_close(&stream);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(ring_open(&stream, ends[0], 4096), -1);
    ring_close(&stream);
    close(ends[0]);
    close(ends[1]);
}

#define test(name) cmocka_unit_test_setup_teardown(name, bench_open, bench_close)

/*
 * As a source, the ring tells programs when its reader waits, sets the clock, and reports losses.
 */
static void ring_is_a_source(void **state)
{
    const struct source_reader reader = {note_event, note_loss, NULL, &bench.given};
    struct gate gate = {1, 0};
    struct source source;
    uint64_t lost = 3;

    (void)state;
    ring_source(&bench.stream, bench.kernel.fd, &lost, &gate, &source);
    assert_int_equal(source.fd, bench.kernel.fd);
    source.set_waiting(&source, true);
    assert_int_equal(gate.reader_waits, 1);
    assert_int_equal(gate.is_open, 1);
    source.set_waiting(&source, false);
    assert_int_equal(gate.reader_waits, 0);
    source.clock.now_ns = 0;
    source.drain(&source, &reader);
    check_given(&bench.given, "L3");
    assert_true(source.clock.now_ns != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(empty_ring),
        test(events_in_their_order),
        test(records_wrap_around),
        test(full_ring),
        test(busy_record_holds_back),
        test(discarded_record_is_passed_over),
        test(events_during_a_drain_wait),
        test(space_is_released_during_a_drain),
        test(losses_are_reported_in_place),
        test(counts_can_be_out_of_order),
        test(last_losses_are_reported),
        test(last_losses_wait_for_the_ring),
        test(counts_in_events_can_be_newer),
        test(counts_wrap),
        test(short_records),
        test(every_loss_is_reported),
        test(ring_is_a_source),
        cmocka_unit_test(ring_sizes),
        cmocka_unit_test(unmappable_files_are_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
