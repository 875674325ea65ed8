#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel/bpf.h"
#include "kernel/load.h"

#define NUM_FUNCTIONS 2

#define BEGIN                                                                                      \
    "#include <uapi/linux/ptrace.h>\n"                                                             \
    "int dispatch(struct pt_regs *ctx) { return 0; }\n"                                            \
    "int probe_0(struct pt_regs *ctx) { return 0; }\n"
#define GOOD BEGIN "int probe_1(struct pt_regs *ctx) { return 1; }\n"
/* The verifier refuses to read behind the registers. */
#define BAD BEGIN "int probe_1(struct pt_regs *ctx) { return ((volatile int *)ctx)[250]; }\n"

/* A program of two functions, and what loading it gave. */
struct bench {
    struct program_function functions[NUM_FUNCTIONS];
    struct program program;
    struct maps maps;
    struct loaded loaded;
    struct error error;
};

/* The answers to BPF_PROG_LOAD: how many of them are EAGAIN. */
static struct {
    int num_refusals;
    int num_calls;
} kernel;

/* The linker replaces the bpf_call that load.c calls (--wrap). */
int __real_bpf_call(enum bpf_cmd command, const void *attributes, size_t size);
int __wrap_bpf_call(enum bpf_cmd command, const void *attributes, size_t size);

int __wrap_bpf_call(enum bpf_cmd command, const void *attributes, size_t size)
{
    if (command == BPF_PROG_LOAD && kernel.num_calls++ < kernel.num_refusals) {
        errno = EAGAIN;
        return -1;
    }
    return __real_bpf_call(command, attributes, size);
}

static void bench_open(struct bench *bench, const char *text)
{
    *bench = (struct bench){.functions = {{.name = "probe_0"}, {.name = "probe_1"}}};
    bench->program = (struct program){
        .text = (char *)text, .functions = bench->functions, .num_functions = NUM_FUNCTIONS};
    kernel.num_calls = 0;
    kernel.num_refusals = 0;
    if (maps_open(&bench->maps, NUM_FUNCTIONS, (size_t)64 << 10, &bench->error) != 0)
        fail_msg("%s", bench->error.text);
}

static int load(struct bench *bench, int signals)
{
    return load_program(&bench->loaded, &bench->program, &bench->maps, false, signals,
                        &bench->error);
}

static void bench_close(struct bench *bench)
{
    load_close(&bench->loaded);
    maps_close(&bench->maps);
}

static size_t count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        ++count;
    closedir(folder);
    return count;
}

/* Returns what the kernel says about a program. */
static struct bpf_prog_info info_of(int fd)
{
    struct bpf_prog_info info = {0};
    union bpf_attr attributes = {0};

    attributes.info.bpf_fd = (uint32_t)fd;
    attributes.info.info_len = sizeof(info);
    attributes.info.info = bpf_pointer(&info);
    assert_int_equal(bpf_call(BPF_OBJ_GET_INFO_BY_FD, &attributes, sizeof(attributes)), 0);
    return info;
}

/* Returns the id of the program in an entry of the table of functions, 0 if it is empty. */
static uint32_t entry(const struct maps *maps, uint32_t index)
{
    union bpf_attr attributes = {0};
    uint32_t id = 0;

    attributes.map_fd = (uint32_t)maps->fds.entries;
    attributes.key = bpf_pointer(&index);
    attributes.value = bpf_pointer(&id);
    return bpf_call(BPF_MAP_LOOKUP_ELEM, &attributes, sizeof(attributes)) == 0 ? id : 0;
}

/* With one link, `dispatch` is loaded, too, and the table has the functions by their index. */
static void loads_each_function(void **state)
{
    struct bench bench;
    size_t before;

    (void)state;
    child_needs_root();
    bench_open(&bench, GOOD);
    before = count_descriptors();
    if (load(&bench, -1) != 0)
        fail_msg("%s", bench.error.text);
    assert_int_equal(bench.loaded.num_functions, NUM_FUNCTIONS);
    for (uint32_t i = 0; i != NUM_FUNCTIONS; ++i) {
        const struct bpf_prog_info info = info_of(bench.loaded.functions[i]);
        assert_int_equal(info.type, BPF_PROG_TYPE_KPROBE);
        check_string("name", info.name, bench.functions[i].name);
        assert_int_equal(entry(&bench.maps, i), load_uses_one_link() ? info.id : 0);
    }
    if (load_uses_one_link())
        check_string("name", info_of(bench.loaded.dispatch).name, PROGRAM_DISPATCH);
    else
        assert_int_equal(bench.loaded.dispatch, -1);
    load_close(&bench.loaded);
    assert_int_equal(bench.loaded.num_functions, 0);
    assert_int_equal(count_descriptors(), before);
    load_close(&bench.loaded); /* does nothing */
    maps_close(&bench.maps);
}

static int load_with_output(const void *argument)
{
    struct bench bench;
    int result;

    if (dup2(*(const int *)argument, STDERR_FILENO) < 0)
        return 3;
    bench_open(&bench, BAD);
    result = load(&bench, -1);
    *child_error = bench.error;
    bench_close(&bench);
    fflush(NULL);
    return result == -1 ? 0 : 1;
}

/* The reasons of the verifier go to standard error. */
static void shows_why_the_verifier_refuses(void **state)
{
    static char said[1 << 20];
    int output = memfd_create("output", MFD_CLOEXEC);

    (void)state;
    child_needs_root();
    child_check("load", child_run(load_with_output, &output));
    assert_true(pread(output, said, sizeof(said) - 1, 0) > 0);
    close(output);
    assert_int_equal(child_error->status, ERROR_FAILED);
    check_string("error", child_error->text,
                 "the kernel does not accept the BPF program probe_1: Permission denied; its "
                 "reasons are above, please report them with the output of -dd");
    assert_non_null(strstr(said, "invalid bpf_context access off=1000"));
}

/* A signal that interrupts the call does not prevent loading. */
static void tries_again_after_a_signal(void **state)
{
    struct bench bench;

    (void)state;
    child_needs_root();
    bench_open(&bench, GOOD);
    kernel.num_refusals = 19;
    if (load(&bench, -1) != 0)
        fail_msg("%s", bench.error.text);
    assert_int_equal(kernel.num_calls, 19 + NUM_FUNCTIONS + load_uses_one_link());
    check_string("name", info_of(bench.loaded.functions[0]).name, "probe_0");
    bench_close(&bench);
}

static void gives_up_after_many_signals(void **state)
{
    struct bench bench;

    (void)state;
    child_needs_root();
    bench_open(&bench, GOOD);
    kernel.num_refusals = 1000;
    assert_int_equal(load(&bench, -1), -1);
    assert_int_equal(kernel.num_calls, 40);
    assert_int_equal(bench.error.status, ERROR_FAILED);
    check_string("error", bench.error.text,
                 "signals kept the kernel from loading the BPF programs, 40 times in a row; start "
                 "again when nothing stops and resumes this process");
    bench_close(&bench);
}

/* A signal that ends the run also ends loading. */
static void ends_early(void **state)
{
    struct bench bench;
    int ends[2];

    (void)state;
    child_needs_root();
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    bench_open(&bench, GOOD);
    assert_int_equal(load(&bench, ends[0]), -1);
    assert_int_equal(bench.error.status, ERROR_INTERRUPTED);
    assert_int_equal(kernel.num_calls, 0);
    bench_close(&bench);
    close(ends[0]);
    close(ends[1]);
}

static int load_without_capabilities(const void *argument)
{
    struct bench bench;
    int result;

    (void)argument;
    bench_open(&bench, GOOD);
    if (child_drop_capabilities(UINT64_MAX) != 0)
        return 2;
    result = load(&bench, -1);
    *child_error = bench.error;
    return result == -1 ? 0 : 1;
}

static void names_the_missing_right(void **state)
{
    static const char begin[] = "the kernel refuses BPF programs: Operation not permitted; ";

    (void)state;
    child_needs_root();
    child_check("load", child_run(load_without_capabilities, NULL));
    if (strncmp(child_error->text, begin, strlen(begin)) != 0)
        fail_msg("\"%s\"", child_error->text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_each_function),
        cmocka_unit_test(shows_why_the_verifier_refuses),
        cmocka_unit_test(tries_again_after_a_signal),
        cmocka_unit_test(gives_up_after_many_signals),
        cmocka_unit_test(ends_early),
        cmocka_unit_test(names_the_missing_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
