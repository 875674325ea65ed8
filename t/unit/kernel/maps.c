#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "event.h"
#include "kernel/bpf.h"
#include "kernel/maps.h"

#define NUM_PROBES 3
#define RING_SIZE  ((size_t)64 << 10)

static void open_maps(struct maps *maps)
{
    struct error error = {0};

    if (maps_open(maps, NUM_PROBES, RING_SIZE, &error) != 0)
        fail_msg("%s", error.text);
    check_string("error", error.text, "");
}

/* Reads the only entry of an array, as the BPF programs do. */
static int access_entry(enum bpf_cmd command, int fd, void *value)
{
    const uint32_t key = 0;
    union bpf_attr attributes = {0};

    attributes.map_fd = (uint32_t)fd;
    attributes.key = bpf_pointer(&key);
    attributes.value = bpf_pointer(value);
    return bpf_call(command, &attributes, sizeof(attributes));
}

static struct gate gate_of(const struct maps *maps)
{
    struct gate gate = {7, 7};

    assert_int_equal(access_entry(BPF_MAP_LOOKUP_ELEM, maps->fds.gate, &gate), 0);
    return gate;
}

static void gate_opens_and_closes(void **state)
{
    struct maps maps;

    (void)state;
    child_needs_root();
    open_maps(&maps);
    assert_int_equal(gate_of(&maps).is_open, 0); /* closed at first */
    maps_open_gate(&maps);
    assert_int_equal(gate_of(&maps).is_open, 1);
    maps_close_gate(&maps);
    assert_int_equal(gate_of(&maps).is_open, 0);
    maps_close(&maps);
}

/* The reader and the programs write to the gate at the same time, each to a word of its own. */
static void gate_is_shared_with_the_kernel(void **state)
{
    struct gate gate = {1, 0};
    struct maps maps;

    (void)state;
    child_needs_root();
    open_maps(&maps);
    maps.gate->reader_waits = 1;
    assert_int_equal(gate_of(&maps).reader_waits, 1);
    assert_int_equal(access_entry(BPF_MAP_UPDATE_ELEM, maps.fds.gate, &gate), 0);
    assert_int_equal(maps.gate->reader_waits, 0);
    assert_int_equal(maps.gate->is_open, 1);
    maps_close(&maps);
}

static void counters_are_shared_with_the_kernel(void **state)
{
    uint64_t counters[NUM_PROBES + 1] = {5, 0, UINT64_C(1) << 40, UINT64_MAX};
    struct maps maps;

    (void)state;
    child_needs_root();
    open_maps(&maps);
    for (size_t i = 0; i != NUM_PROBES; ++i)
        assert_int_equal(maps_lost(&maps, i), 0);
    assert_int_equal(maps.lost[NUM_PROBES], 0);
    assert_int_equal(access_entry(BPF_MAP_UPDATE_ELEM, maps.fds.lost, counters), 0);
    for (size_t i = 0; i != NUM_PROBES; ++i)
        assert_int_equal(maps_lost(&maps, i), counters[i]);
    assert_true(maps.lost[NUM_PROBES] == UINT64_MAX);
    maps_close(&maps);
}

static void closes_every_descriptor(void **state)
{
    struct maps maps;
    int fds[6];

    (void)state;
    child_needs_root();
    open_maps(&maps);
    assert_int_equal(sizeof(maps.fds), sizeof(fds));
    memcpy(fds, &maps.fds, sizeof(fds));
    for (size_t i = 0; i != 6; ++i)
        assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
    maps_close(&maps);
    for (size_t i = 0; i != 6; ++i)
        assert_int_equal(fcntl(fds[i], F_GETFD), -1);
    maps_close(&maps); /* nothing is left to close */
}

static void closes_unopened_maps(void **state)
{
    struct maps maps = MAPS_NONE;

    (void)state;
    maps_close(&maps);
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0 || errno == EBADF);
    assert_int_equal(maps.fds.ring, -1);
}

/* A ring is a power of two of pages. */
static void names_the_size_of_a_refused_ring(void **state)
{
    struct error error = {0};
    struct maps maps;

    (void)state;
    child_needs_root();
    assert_int_equal(maps_open(&maps, NUM_PROBES, 12345, &error), -1);
    assert_int_equal(error.status, ERROR_FAILED);
    check_string("error", error.text,
                 "the kernel refuses a ring of 12 KiB: Invalid argument; give -b a smaller SIZE");
    maps_close(&maps);
}

static int open_without_capabilities(const void *argument)
{
    struct maps maps;
    int result;

    (void)argument;
    if (child_drop_capabilities(UINT64_MAX) != 0)
        return 2;
    result = maps_open(&maps, NUM_PROBES, RING_SIZE, child_error);
    maps_close(&maps);
    return result == -1 ? 0 : 3;
}

static void reports_missing_capabilities(void **state)
{
    static const char begin[] = "the kernel refuses BPF maps: Operation not permitted; ";

    (void)state;
    child_needs_root();
    child_check("maps_open", child_run(open_without_capabilities, NULL));
    if (strncmp(child_error->text, begin, strlen(begin)) != 0)
        fail_msg("\"%s\"", child_error->text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_opens_and_closes),
        cmocka_unit_test(gate_is_shared_with_the_kernel),
        cmocka_unit_test(counters_are_shared_with_the_kernel),
        cmocka_unit_test(closes_every_descriptor),
        cmocka_unit_test(closes_unopened_maps),
        cmocka_unit_test(names_the_size_of_a_refused_ring),
        cmocka_unit_test(reports_missing_capabilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
