#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel/attach.h"
#include "kernel/load.h"
#include "kernel/perf.h"
#include "memory.h"
#include "server/binary.h"

/* The traced code: functions of this test, each with a semaphore. */
#define NUM_FUNCTIONS 4
#define TRACED(nth)                                                                                \
    __attribute__((noinline, noclone)) static void fire_##nth(void)                                \
    {                                                                                              \
        __asm__ volatile("" ::"i"(nth) : "memory"); /* keeps the functions apart */                \
    }
TRACED(0)
TRACED(1)
TRACED(2)
TRACED(3)
static void (*const fire[NUM_FUNCTIONS])(void) = {fire_0, fire_1, fire_2, fire_3};
static volatile uint16_t semaphores[NUM_FUNCTIONS];

/* Each function of the program counts its calls, as `lost` events. */
static const char program_text[] =
    "#include <uapi/linux/ptrace.h>\n"
    "static long (*tail_call)(void *ctx, const void *map, unsigned index) = (void *)12;\n"
    "static unsigned long long (*get_attach_cookie)(void *ctx) = (void *)174;\n"
    "#define COUNT(nth)                                                         \\\n"
    "    int probe_##nth(struct pt_regs *ctx)                                   \\\n"
    "    {                                                                      \\\n"
    "        unsigned long long *lost = (void *)bpf_pseudo_fd(2, %d);           \\\n"
    "        __sync_fetch_and_add(&lost[nth], 1);                               \\\n"
    "        return 0;                                                          \\\n"
    "    }\n"
    "COUNT(0)\nCOUNT(1)\nCOUNT(2)\nCOUNT(3)\n";
static const char dispatch_text[] =
    "int dispatch(struct pt_regs *ctx)\n{\n"
    "    tail_call(ctx, (void *)bpf_pseudo_fd(1, %d), get_attach_cookie(ctx));\n    return 0;\n}\n";

/* This process as a server with one probe for each function, and a loaded program. */
struct bench {
    struct module module;
    struct probe probes[NUM_FUNCTIONS];
    struct server_probe server_probes[NUM_FUNCTIONS];
    struct location locations[NUM_FUNCTIONS];
    const struct location *lists[NUM_FUNCTIONS];
    struct program_function functions[NUM_FUNCTIONS];
    struct notes notes;
    struct program program;
    struct maps maps;
    struct loaded loaded;
    struct attach_request request;
    struct attached attached;
    struct error error;
};

/* Gets the address at which the program is loaded. */
static int note_base(struct dl_phdr_info *info, size_t size, void *base)
{
    (void)size;
    *(uint64_t *)base = info->dlpi_addr;
    return 1; /* the first one is the program */
}

static void find_locations(struct bench *bench)
{
    struct binary binary;
    uint64_t base;

    bench->module.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    bench->module.path = memory_format("/proc/self/fd/%d", bench->module.fd);
    bench->module.file = "unit-attach";
    assert_int_equal(binary_open(&binary, bench->module.fd), 0);
    assert_int_equal(dl_iterate_phdr(note_base, &base), 1);
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i) {
        bench->locations[i].file = bench->module.file;
        assert_int_equal(binary_find_code(&binary, (uint64_t)(uintptr_t)fire[i] - base,
                                          &bench->locations[i].offset),
                         0);
        assert_int_equal(binary_find_semaphore(&binary, (uint64_t)(uintptr_t)&semaphores[i] - base,
                                               &bench->locations[i].semaphore_offset),
                         0);
    }
    binary_close(&binary);
}

static void load(struct bench *bench)
{
    char *functions, *dispatch;

    if (maps_open(&bench->maps, NUM_FUNCTIONS, (size_t)64 << 10, &bench->error) != 0)
        fail_msg("%s", bench->error.text);
    functions = memory_format(program_text, bench->maps.fds.lost);
    dispatch = memory_format(dispatch_text, bench->maps.fds.entries);
    bench->program = (struct program){
        .text = memory_format("%s%s", functions, load_uses_one_link() ? dispatch : ""),
        .functions = bench->functions,
        .num_functions = NUM_FUNCTIONS,
    };
    free(functions);
    free(dispatch);
    if (load_program(&bench->loaded, &bench->program, &bench->maps, false, -1, &bench->error) != 0)
        fail_msg("%s", bench->error.text);
}

static int bench_open(void **state)
{
    struct bench *bench = memory_grow(NULL, 1, sizeof(*bench));

    *state = bench;
    *bench = (struct bench){.maps = MAPS_NONE, .loaded = LOADED_NONE};
    if (geteuid() != 0)
        return 0;
    find_locations(bench);
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i) {
        struct program_function *function = &bench->functions[i];
        bench->server_probes[i].probe = &bench->probes[i];
        bench->lists[i] = &bench->locations[i];
        *function = (struct program_function){.traced = &bench->server_probes[i],
                                              .printed = true,
                                              .locations = &bench->lists[i],
                                              .num_locations = 1};
        snprintf(function->name, sizeof(function->name), "probe_%zu", i);
    }
    bench->notes = (struct notes){.modules = &bench->module, .num_modules = 1};
    load(bench);
    bench->request =
        (struct attach_request){&bench->program, &bench->loaded, &bench->notes, getpid(), -1};
    return 0;
}

static int bench_close(void **state)
{
    struct bench *bench = *state;

    load_close(&bench->loaded);
    maps_close(&bench->maps);
    if (bench->module.path != NULL)
        close(bench->module.fd);
    free(bench->module.path);
    free(bench->program.text);
    free(bench);
    return 0;
}

/* Refused locations, in order. */
static struct {
    const struct server_probe *server_probes[NUM_FUNCTIONS];
    const struct location *locations[NUM_FUNCTIONS];
    bool held;
    size_t count;
} refused;

static void note_refused(const struct server_probe *server_probe, const struct location *location,
                         bool held)
{
    assert_true(refused.count < NUM_FUNCTIONS);
    refused.server_probes[refused.count] = server_probe;
    refused.locations[refused.count++] = location;
    refused.held = held;
}

static int attach(struct bench *bench)
{
    refused.count = 0;
    return attach_all(&bench->attached, &bench->request, note_refused, &bench->error);
}

static void attach_some(struct bench *bench)
{
    if (attach(bench) != 0)
        fail_msg("%s", bench->error.text);
}

/*
 * Calls function i i + 1 times. Checks which calls were counted: "1 2 0 4" for functions 0, 1, 3.
 */
static void check_fired(struct bench *bench, const char *expected)
{
    char text[64];
    uint64_t before[NUM_FUNCTIONS], counts[NUM_FUNCTIONS];

    for (size_t i = 0; i != NUM_FUNCTIONS; ++i) {
        before[i] = maps_lost(&bench->maps, i);
        for (size_t j = 0; j != i + 1; ++j)
            fire[i]();
    }
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i)
        counts[i] = maps_lost(&bench->maps, i) - before[i];
    snprintf(text, sizeof(text), "%d %d %d %d", (int)counts[0], (int)counts[1], (int)counts[2],
             (int)counts[3]);
    check_string("counted", text, expected);
}

static void check_semaphores(const char *expected)
{
    char text[64];

    snprintf(text, sizeof(text), "%d %d %d %d", semaphores[0], semaphores[1], semaphores[2],
             semaphores[3]);
    check_string("semaphores", text, expected);
}

/* The right function runs at each location, and only while it is attached. */
static void attaches_and_detaches(void **state)
{
    struct bench *bench = *state;

    child_needs_root();
    check_fired(bench, "0 0 0 0");
    attach_some(bench);
    assert_int_equal(bench->attached.num_probes, NUM_FUNCTIONS);
    assert_int_equal(bench->attached.count, load_uses_one_link() ? 1 : NUM_FUNCTIONS);
    assert_int_equal(refused.count, 0);
    check_semaphores("1 1 1 1");
    check_fired(bench, "1 2 3 4");
    attach_close(&bench->attached);
    check_semaphores("0 0 0 0");
    check_fired(bench, "0 0 0 0");
}

/* A function can have several locations, and is one probe. */
static void functions_have_several_locations(void **state)
{
    struct bench *bench = *state;

    child_needs_root();
    bench->functions[1].num_locations = 3; /* locations 1, 2 and 3 */
    bench->functions[2].num_locations = bench->functions[3].num_locations = 0;
    bench->functions[1].locations = &bench->lists[1];
    attach_some(bench);
    assert_int_equal(bench->attached.num_probes, 2);
    check_fired(bench, "1 9 0 0");
    attach_close(&bench->attached);
}

/* Functions of one probe are one probe. Probes that are not printed do not count. */
static void counts_printed_probes(void **state)
{
    struct bench *bench = *state;

    child_needs_root();
    bench->functions[1].traced = &bench->server_probes[0];
    bench->functions[3].printed = false;
    attach_some(bench);
    assert_int_equal(bench->attached.num_probes, 2);
    check_fired(bench, "1 2 3 4");
    attach_close(&bench->attached);
}

/* Locations of other modules are attached to their own file. */
static void attaches_each_module(void **state)
{
    struct bench *bench = *state;
    struct module modules[2] = {bench->module, bench->module};

    child_needs_root();
    modules[0].path = "/bin/sh"; /* it has no location */
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i)
        bench->locations[i].module = 1;
    bench->notes = (struct notes){.modules = modules, .num_modules = 2};
    attach_some(bench);
    check_fired(bench, "1 2 3 4");
    attach_close(&bench->attached);
}

/* Sets a uprobe at a location as other tracers do, without a reference counter. */
static int hold(const struct bench *bench, size_t nth)
{
    int fd = perf_create(bench->module.path, bench->locations[nth].offset, 0, getpid());

    assert_true(fd >= 0);
    return fd;
}

/* The other locations are traced, wherever the refused one is. */
static void names_a_location_of_another_tracer(void **state)
{
    static const char *const expected[] = {"0 2 3 4", "1 0 3 4", "1 2 0 4", "1 2 3 0"};
    struct bench *bench = *state;

    child_needs_root();
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i) {
        int other = hold(bench, i);
        attach_some(bench);
        assert_int_equal(refused.count, 1);
        assert_ptr_equal(refused.server_probes[0], &bench->server_probes[i]);
        assert_ptr_equal(refused.locations[0], &bench->locations[i]);
        assert_true(refused.held);
        assert_int_equal(bench->attached.num_probes, NUM_FUNCTIONS - 1);
        check_fired(bench, expected[i]);
        attach_close(&bench->attached);
        close(other);
    }
}

static void another_tracer_can_hold_everything(void **state)
{
    struct bench *bench = *state;
    int others[NUM_FUNCTIONS];

    child_needs_root();
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i)
        others[i] = hold(bench, i);
    assert_int_equal(attach(bench), -1);
    check_string("error", bench->error.text,
                 "another tracer holds all chosen probes: its uprobes have no reference counter; "
                 "end that tracer and start again");
    assert_int_equal(refused.count, 0);
    attach_close(&bench->attached);
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i)
        close(others[i]);
}

/* The kernel refuses a location after the end of the file for another reason. */
static void names_a_location_that_the_kernel_refuses(void **state)
{
    struct bench *bench = *state;

    child_needs_root();
    bench->locations[2].offset = UINT64_C(1) << 40;
    attach_some(bench);
    assert_int_equal(refused.count, 1);
    assert_ptr_equal(refused.locations[0], &bench->locations[2]);
    assert_false(refused.held);
    check_fired(bench, "1 2 0 4");
    attach_close(&bench->attached);
    for (size_t i = 0; i != NUM_FUNCTIONS; ++i)
        bench->locations[i].offset = UINT64_C(1) << 40;
    assert_int_equal(attach(bench), -1);
    assert_non_null(strstr(bench->error.text, "the kernel refuses uprobes: Invalid argument"));
    attach_close(&bench->attached);
}

static int end_at_once(const void *argument)
{
    (void)argument;
    return 0;
}

static void server_can_end(void **state)
{
    struct bench *bench = *state;

    child_needs_root();
    bench->request.pid = child_start(end_at_once, NULL);
    child_wait(bench->request.pid);
    assert_int_equal(attach(bench), -1);
    assert_int_equal(bench->error.status, ERROR_FAILED);
    check_string("error", bench->error.text, "the server ended before it could be traced");
    attach_close(&bench->attached);
}

static void ends_early(void **state)
{
    struct bench *bench = *state;
    int ends[2];

    child_needs_root();
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    bench->request.signals = ends[0];
    assert_int_equal(attach(bench), -1);
    assert_int_equal(bench->error.status, ERROR_INTERRUPTED);
    check_semaphores("0 0 0 0");
    attach_close(&bench->attached);
    close(ends[0]);
    close(ends[1]);
}

#define test(name) cmocka_unit_test_setup_teardown(name, bench_open, bench_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(attaches_and_detaches),
        test(functions_have_several_locations),
        test(counts_printed_probes),
        test(attaches_each_module),
        test(names_a_location_of_another_tracer),
        test(another_tracer_can_hold_everything),
        test(names_a_location_that_the_kernel_refuses),
        test(server_can_end),
        test(ends_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
