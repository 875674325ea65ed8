/*
 * The floor that the benchmark compares h2olog with: attaches a BPF program that does nothing to a
 * probe of a process, at all its locations, the way h2olog attaches its own, until SIGTERM.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/version.h"
#include "memory.h"
#include "server/process.h"
#include "kernel/tracer.h"

/* As in src/tracer.c: since when there is that kind of link, and what linux/bpf.h calls it. */
#define MULTI_SINCE        (uint32_t)(6 << 16 | 10 << 8)
#define TRACE_UPROBE_MULTI 48

/* mov r0, 0; exit */
static int load_empty_program(int multi)
{
    const struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr attr = {0};

    attr.prog_type = BPF_PROG_TYPE_KPROBE;
    attr.insns = (uintptr_t)program;
    attr.insn_cnt = sizeof(program) / sizeof(program[0]);
    attr.license = (uintptr_t) "GPL";
    attr.expected_attach_type = multi ? TRACE_UPROBE_MULTI : 0;
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* The locations of the probe, all as one function's; none if the process has no such probe. */
static struct program_function find_locations(const struct process *process, const char *name)
{
    struct program_function function = {.name = "empty"};

    for (size_t i = 0; i != process->num_probes; ++i) {
        const struct probe *probe = &process->probes[i];
        if (!version_matches(name, probe->provider, probe->name))
            continue;
        for (size_t j = 0; j != probe->num_locations; ++j) {
            function.locations = memory_grow(function.locations, function.num_locations + 1,
                                             sizeof(function.locations[0]));
            function.locations[function.num_locations++] = &probe->locations[j];
        }
    }
    return function;
}

static void say_refused(const struct server_probe *traced, const struct location *location, bool held)
{
    (void)traced;
    fprintf(stderr, "empty_uprobe: the place at 0x%llx is %s\n",
            (unsigned long long)location->offset, held ? "another tracer's" : "refused");
}

static int attach(const struct process *process, const char *name, struct error *error)
{
    const int multi = tracer_kernel_version() >= MULTI_SINCE;
    struct program_function function = find_locations(process, name);
    const struct program program = {.functions = &function, .num_functions = 1};
    int fd = load_empty_program(multi);
    struct tracer tracer = {.programs = &fd,
                            .num_programs = 1,
                            .one_link = multi != 0,
                            .dispatch = multi ? fd : -1,
                            .interrupt = -1};

    if (function.num_locations == 0) {
        error_set(error, ERROR_FAILED, "the process has no probe %s", name);
        return -1;
    }
    if (fd < 0) {
        error_set(error, ERROR_FAILED, "the kernel refuses a BPF program: %s", strerror(errno));
        return -1;
    }
    /* the links are the process's: they go when it does */
    return tracer_attach(&tracer, &program, process->pid, say_refused, error);
}

int main(int argc, char **argv)
{
    struct process process;
    struct error error;
    char *end = NULL;
    pid_t pid = argc == 3 ? (pid_t)strtol(argv[1], &end, 10) : 0;
    sigset_t set;
    int number;

    if (pid <= 0 || *end != '\0') {
        fputs("Usage: empty_uprobe PID PROVIDER:PROBE\n", stderr);
        return 2;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (process_open(&process, pid, &error) != 0 ||
        process_read_probes(&process, &error) != 0 ||
        attach(&process, argv[2], &error) != 0) {
        fprintf(stderr, "empty_uprobe: %s\n", error.text);
        return 1;
    }
    puts("attached");
    fflush(stdout);
    sigwait(&set, &number);
    return 0;
}
