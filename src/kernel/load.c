#include "kernel/load.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "kernel/bpf.h"
#include "kernel/compile.h"
#include "kernel/link.h"
#include "kernel/linux_version.h"
#include "memory.h"
#include "root/diagnose.h"

/*
 * Linux has these links since 6.6, but before 6.10 they fire for one thread only. The alternative
 * is one event per location. Closing a link waits for the kernel's readers once (0.02 s); closing
 * events waits for each event (0.1 s).
 */
#ifndef H2OLOG_ONE_LINK_SINCE
#define H2OLOG_ONE_LINK_SINCE LINUX_VERSION(6, 10)
#endif

bool load_uses_one_link(void)
{
    return linux_version() >= H2OLOG_ONE_LINK_SINCE;
}

/*
 * How often loading is tried. Every signal ends the call, even one that only stops and resumes the
 * process (SIGSTOP, docker pause). libbpf tries 5 times, which is too few on a busy machine where a
 * signal comes every millisecond.
 */
#define ATTEMPTS 20

static bool is_put_call(const struct bpf_insn *instruction)
{
    return instruction->code == (BPF_JMP | BPF_CALL) && instruction->src_reg == 0 &&
           instruction->imm == PROGRAM_PUT_CALL;
}

/*
 * Returns the instructions of a function, followed by those of PROGRAM_PUT, with the calls of it
 * resolved. libbcc cannot do that: it compiles each function into its own section. Free `start`.
 */
static struct instructions link_put(const struct compiled *compiled, const char *name)
{
    const struct instructions caller = compile_find(compiled, name);
    const struct instructions put = compile_find(compiled, PROGRAM_PUT);
    struct bpf_insn *linked = memory_grow(NULL, caller.count + put.count, sizeof(linked[0]));
    size_t calls = 0;

    memcpy(linked, caller.start, caller.count * sizeof(linked[0]));
    for (size_t i = 0; i != caller.count; ++i) {
        if (!is_put_call(&linked[i]))
            continue;
        linked[i].src_reg = BPF_PSEUDO_CALL;
        linked[i].imm = (int32_t)(caller.count - i - 1); /* from the next instruction */
        ++calls;
    }
    if (calls != 0) /* the kernel refuses functions that nothing calls */
        memcpy(linked + caller.count, put.start, put.count * sizeof(linked[0]));
    return (struct instructions){linked, caller.count + (calls != 0 ? put.count : 0)};
}

/* Returns a descriptor, or -1 with errno. `log`, unless NULL, gets the verifier's reasons. */
static int load(const struct instructions *instructions, const char *name, bool one_link, char *log,
                size_t log_size)
{
    union bpf_attr attributes = {0};
    int fd = -1;

    attributes.prog_type = BPF_PROG_TYPE_KPROBE;
    attributes.insns = bpf_pointer(instructions->start);
    attributes.insn_cnt = (uint32_t)instructions->count;
    attributes.license = bpf_pointer("GPL");
    attributes.kern_version = linux_version(); /* kernels before 5.0 compare it */
    attributes.expected_attach_type = one_link ? LINK_TYPE : 0;
    snprintf(attributes.prog_name, sizeof(attributes.prog_name), "%s", name);
    if (log != NULL) {
        attributes.log_buf = bpf_pointer(log);
        attributes.log_size = (uint32_t)log_size;
        attributes.log_level = 1;
    }
    for (int i = 0; i != ATTEMPTS && fd < 0 && (i == 0 || errno == EAGAIN); ++i)
        fd = bpf_call(BPF_PROG_LOAD, &attributes, sizeof(attributes));
    return fd;
}

/*
 * Loads instructions; if the kernel refuses them, tries again to get the verifier's reasons. Returns
 * a descriptor, or -1 with `error` set.
 */
static int load_verbosely(const struct instructions *instructions, const char *name, bool one_link,
                          struct error *error)
{
    static char log[1 << 20];
    int fd = load(instructions, name, one_link, NULL, 0);

    if (fd >= 0)
        return fd;
    if (errno == EPERM || errno == ENOSYS || errno == EMFILE)
        return diagnose_refusal("BPF programs", errno, error);
    fd = load(instructions, name, one_link, log, sizeof(log));
    if (fd >= 0)
        return fd;
    if (errno == EAGAIN)
        return error_set(
            error, ERROR_FAILED,
            "signals kept the kernel from loading the BPF programs, %d times in a row; start "
            "again when nothing stops and resumes this process",
            2 * ATTEMPTS);
    error_set(error, ERROR_FAILED,
              "the kernel does not accept the BPF program %s: %s; its reasons are above, please "
              "report them with the output of -dd",
              name, strerror(errno));
    fputs(log, stderr);
    return -1;
}

/* Loads a function. Returns a descriptor, or -1 with `error` set. */
static int load_function(const struct compiled *compiled, const char *name, bool one_link,
                         struct error *error)
{
    const struct instructions linked = link_put(compiled, name);
    int fd = load_verbosely(&linked, name, one_link, error);

    free((void *)linked.start);
    return fd;
}

static int add_entry(const struct maps *maps, size_t index, int fd)
{
    const uint32_t key = (uint32_t)index;
    union bpf_attr attributes = {0};

    attributes.map_fd = (uint32_t)maps->fds.entries;
    attributes.key = bpf_pointer(&key);
    attributes.value = bpf_pointer(&fd);
    return bpf_call(BPF_MAP_UPDATE_ELEM, &attributes, sizeof(attributes));
}

static int load_functions(struct loaded *loaded, const struct compiled *compiled,
                          const struct program *program, const struct maps *maps, int signals,
                          struct error *error)
{
    const bool one_link = load_uses_one_link();

    loaded->functions = memory_grow(NULL, program->num_functions, sizeof(loaded->functions[0]));
    for (size_t i = 0; i != program->num_functions; ++i) {
        int fd;
        if (interrupt_is_due(signals))
            return error_interrupt(error);
        fd = load_function(compiled, program->functions[i].name, one_link, error);
        if (fd < 0)
            return -1;
        loaded->functions[loaded->num_functions++] = fd;
        if (one_link && add_entry(maps, i, fd) != 0)
            return diagnose_refusal("the table of BPF programs", errno, error);
    }
    if (one_link)
        loaded->dispatch = load_function(compiled, PROGRAM_DISPATCH, one_link, error);
    return one_link && loaded->dispatch < 0 ? -1 : 0;
}

int load_program(struct loaded *loaded, const struct program *program, const struct maps *maps,
                 bool verbose, int signals, struct error *error)
{
    struct compiled compiled;
    int result;

    *loaded = (struct loaded)LOADED_NONE;
    result = compile_program(&compiled, program->text, verbose, error);
    if (result == 0)
        result = load_functions(loaded, &compiled, program, maps, signals, error);
    compile_dispose(&compiled);
    return result;
}

void load_close(struct loaded *loaded)
{
    for (size_t i = 0; i != loaded->num_functions; ++i)
        close(loaded->functions[i]);
    if (loaded->dispatch >= 0)
        close(loaded->dispatch);
    free(loaded->functions);
    *loaded = (struct loaded)LOADED_NONE;
}
