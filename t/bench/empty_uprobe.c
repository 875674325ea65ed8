/*
 * The baseline of the benchmark: attaches an empty BPF program to all locations of a probe, in the
 * same way as h2olog, until SIGTERM.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel/attach.h"
#include "kernel/bpf.h"
#include "kernel/link.h"
#include "kernel/load.h"
#include "memory.h"
#include "server/notes.h"
#include "server/process.h"
#include "server/version.h"

/* mov r0, 0; exit */
static int load_empty_program(bool one_link)
{
    const struct bpf_insn program[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr attr = {0};

    attr.prog_type = BPF_PROG_TYPE_KPROBE;
    attr.insns = bpf_pointer(program);
    attr.insn_cnt = sizeof(program) / sizeof(program[0]);
    attr.license = bpf_pointer("GPL");
    attr.expected_attach_type = one_link ? LINK_TYPE : 0;
    return bpf_call(BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* The locations of the probe, as one function. Empty if the process lacks the probe. */
static struct program_function find_locations(const struct notes *notes, const char *name)
{
    struct program_function function = {.name = "empty"};

    for (size_t i = 0; i != notes->num_probes; ++i) {
        const struct probe *probe = &notes->probes[i];
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

static void say_refused(const struct server_probe *server_probe, const struct location *location,
                        bool held)
{
    (void)server_probe;
    fprintf(stderr, "empty_uprobe: the place at 0x%llx is %s\n",
            (unsigned long long)location->offset, held ? "another tracer's" : "refused");
}

static int attach(const struct process *process, const struct notes *notes, const char *name,
                  struct error *error)
{
    const bool one_link = load_uses_one_link();
    struct program_function function = find_locations(notes, name);
    const struct program program = {.functions = &function, .num_functions = 1};
    int fd = load_empty_program(one_link);
    const struct loaded loaded = {
        .functions = &fd, .num_functions = 1, .dispatch = one_link ? fd : -1};
    const struct attach_request request = {
        .program = &program, .loaded = &loaded, .notes = notes, .pid = process->pid, .signals = -1};
    struct attached attached; /* not closed, so that it lasts until this process ends */

    if (function.num_locations == 0)
        return error_set(error, ERROR_FAILED, "the process has no probe %s", name);
    if (fd < 0)
        return error_set(error, ERROR_FAILED, "the kernel refuses a BPF program: %s",
                         strerror(errno));
    return attach_all(&attached, &request, say_refused, error);
}

int main(int argc, char **argv)
{
    struct process process;
    struct notes notes;
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
    if (process_open(&process, pid, &error) != 0 || notes_read(&notes, &process, &error) != 0 ||
        attach(&process, &notes, argv[2], &error) != 0) {
        fprintf(stderr, "empty_uprobe: %s\n", error.text);
        return 1;
    }
    puts("attached");
    fflush(stdout);
    sigwait(&set, &number);
    return 0;
}
