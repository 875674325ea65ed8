#include "tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bcc/bcc_common.h>
#include <bcc/bcc_version.h>
#include <bcc/libbpf.h>

#include "event.h"
#include "headers.h"
#include "memory.h"
#include "privilege.h"

#define KERNEL(major, minor) (uint32_t)((major) << 16 | (minor) << 8)

/*
 * Since when one link can hold uprobes at all places of a process. It came with 6.6, but until 6.10
 * it saw the events of one thread only. Closing a link takes one wait for the kernel's readers, 0.1
 * s; closing an event for each of a hundred places takes as many.
 */
#ifndef TRACER_MULTI_SINCE
#define TRACER_MULTI_SINCE KERNEL(6, 10)
#endif

/* linux/bpf.h has these since 6.6; Debian 12's headers are older than its backported kernels. */
#define ATTACH_TRACE_UPROBE_MULTI 48 /* BPF_TRACE_UPROBE_MULTI */
#define MAP_MMAPABLE              (1 << 10)

/* What bpf(2) takes to make such a link: union bpf_attr's link_create. */
struct link_create {
    uint32_t program;
    uint32_t target;
    uint32_t attach_type;
    uint32_t flags;
    uint64_t path; /* pointers, as integers */
    uint64_t offsets;
    uint64_t ref_ctr_offsets;
    uint64_t cookies;
    uint32_t count;
    uint32_t multi_flags;
    uint32_t pid;
    uint32_t reserved;
};

/*
 * h2o's connections that are HTTP/3 at a time; of more, the ones that are longest silent are
 * forgotten.
 */
#define TIES_MAX 65536

/* Functions of a program: one for each probe and set of operands, 150 in a server of 2026. */
#define ENTRIES_MAX 4096

static uint64_t pointer(const void *memory)
{
    return (uint64_t)(uintptr_t)memory;
}

uint32_t tracer_kernel_version(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0, patch = 0;

    uname(&name);
    sscanf(name.release, "%u.%u.%u", &major, &minor, &patch);
    return KERNEL(major, minor) | (patch > 255 ? 255 : patch);
}

const char *tracer_library_version(void)
{
    return LIBBCC_VERSION;
}

static int explain_refusal(const char *what, char *error, size_t error_size)
{
    privilege_explain_refusal(what, errno, error, error_size);
    return -1;
}

static int create_map(enum bpf_map_type type, const char *name, size_t key, size_t value,
                      size_t entries, int flags)
{
    return bcc_create_map(type, name, (int)key, (int)value, (int)entries, flags);
}

/* Counters that are read without a system call. */
static int create_lost_map(struct tracer *tracer)
{
    const size_t size = (tracer->num_probes + 1) * sizeof(uint64_t);
    void *mapped;

    tracer->maps.lost = create_map(BPF_MAP_TYPE_ARRAY, "lost", 4, size, 1, MAP_MMAPABLE);
    if (tracer->maps.lost < 0)
        return -1;
    mapped = mmap(NULL, size, PROT_READ, MAP_SHARED, tracer->maps.lost, 0);
    if (mapped == MAP_FAILED)
        return -1;
    tracer->lost = mapped;
    return 0;
}

static int explain_ring(size_t ring_size, char *error, size_t error_size)
{
    if (errno == EPERM || errno == EACCES || errno == ENOSYS || errno == EMFILE)
        return explain_refusal("BPF maps", error, error_size);
    if (tracer_kernel_version() < KERNEL(5, 8))
        snprintf(error, error_size, "this kernel has no BPF ring buffers; h2olog needs Linux 5.8");
    else
        snprintf(
            error, error_size,
            "the kernel refuses a ring of %zu KiB (%s): it takes what memory there is for it, in "
            "all at most 2 GiB; give -b a smaller SIZE",
            ring_size >> 10, strerror(errno));
    return -1;
}

/* A descriptor a function, and on kernels before 6.10 one a location. */
static void raise_files_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int tracer_open(struct tracer *tracer, size_t num_probes, size_t ring_size, char *error,
                size_t error_size)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    *tracer = (struct tracer){
        .maps = {-1, -1, -1, -1, -1},
        .kernel_version = tracer_kernel_version(),
        .num_probes = num_probes,
        .dispatch = -1,
        .interrupt = -1,
    };
    raise_files_limit();
    setrlimit(RLIMIT_MEMLOCK, &unlimited); /* until 5.11, maps count as locked memory */
    tracer->maps.ring = create_map(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, ring_size, 0);
    if (tracer->maps.ring < 0)
        return explain_ring(ring_size, error, error_size);
    tracer->maps.scratch = create_map(BPF_MAP_TYPE_PERCPU_ARRAY, "scratch", 4, 8 + EVENT_MAX, 2, 0);
    tracer->maps.ties =
        create_map(BPF_MAP_TYPE_LRU_HASH, "ties", 8, sizeof(struct tie), TIES_MAX, 0);
    tracer->maps.entries = create_map(BPF_MAP_TYPE_PROG_ARRAY, "entries", 4, 4, ENTRIES_MAX, 0);
    if (create_lost_map(tracer) < 0 || tracer->maps.scratch < 0 || tracer->maps.ties < 0 ||
        tracer->maps.entries < 0)
        return explain_refusal("BPF maps", error, error_size);
    return 0;
}

/*
 * libbcc and clang print to descriptors 1 and 2, whatever they have to say. It is kept back, and
 * shown on stderr when something failed or somebody asked.
 */
struct hushed {
    int memory;
    int copies[2]; /* of what 1 and 2 were; -1: that one goes on as it is */
};

static void hush(struct hushed *hushed)
{
    hushed->memory = memfd_create("h2olog", MFD_CLOEXEC);
    fflush(NULL);
    for (int i = 0; i != 2; ++i) {
        hushed->copies[i] = hushed->memory < 0 ? -1 : fcntl(STDOUT_FILENO + i, F_DUPFD_CLOEXEC, 3);
        if (hushed->copies[i] >= 0)
            dup2(hushed->memory, STDOUT_FILENO + i);
    }
}

static void unhush(const struct hushed *hushed, bool show)
{
    char chunk[4096];
    ssize_t got;

    fflush(NULL);
    for (int i = 0; i != 2; ++i) {
        if (hushed->copies[i] < 0)
            continue;
        dup2(hushed->copies[i], STDOUT_FILENO + i);
        close(hushed->copies[i]);
    }
    if (hushed->memory < 0)
        return;
    lseek(hushed->memory, 0, SEEK_SET);
    while (show && (got = read(hushed->memory, chunk, sizeof(chunk))) > 0)
        fwrite(chunk, 1, (size_t)got, stderr);
    close(hushed->memory);
}

static int compile(struct tracer *tracer, const struct program *program, int verbose, char *error,
                   size_t error_size)
{
    /*
     * Debug information, which libbcc asks for by default, is a sixth of the time; and libbcc
     * optimises by itself what clang has optimised before.
     */
    const char *flags[] = {"-w", "-g0", "-Xclang", "-disable-llvm-passes"};
    struct headers headers;
    struct hushed hushed;
    int left;

    if (headers_open(&headers, tracer->kernel_version, error, error_size) != 0) {
        headers_close(&headers);
        return -1;
    }
    headers_enter(&headers);
    setenv("BCC_KERNEL_SOURCE", headers.seen_as, 1);
    hush(&hushed);
    tracer->module = bpf_module_create_c_from_string(program->text, 0, flags,
                                                     sizeof(flags) / sizeof(flags[0]), true, NULL);
    unhush(&hushed, tracer->module == NULL || verbose);
    left = headers_leave(&headers);
    headers_close(&headers);
    if (left != 0) {
        snprintf(error, error_size, "the root folder cannot be entered again: %s", strerror(errno));
        return -1;
    }
    if (tracer->module == NULL) {
        snprintf(error, error_size,
                 "libbcc %s cannot compile the BPF program; its messages are above, the program is "
                 "shown by -dd",
                 tracer_library_version());
        return -1;
    }
    return 0;
}

static int load_function(struct tracer *tracer, const char *name, bool multi, char *log,
                         size_t log_size)
{
    union bpf_attr attr = {0};

    attr.prog_type = BPF_PROG_TYPE_KPROBE;
    attr.insns = pointer(bpf_function_start(tracer->module, name));
    attr.insn_cnt = (uint32_t)(bpf_function_size(tracer->module, name) / sizeof(struct bpf_insn));
    attr.license = pointer("GPL");
    attr.kern_version = tracer->kernel_version; /* kernels before 5.0 compare it */
    attr.expected_attach_type = multi ? ATTACH_TRACE_UPROBE_MULTI : 0;
    snprintf(attr.prog_name, sizeof(attr.prog_name), "%s", name);
    if (log != NULL) {
        attr.log_buf = pointer(log);
        attr.log_size = (uint32_t)log_size;
        attr.log_level = 1;
    }
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* Loads a function; if the kernel refuses, once more for the verifier's reasons. */
static int load(struct tracer *tracer, const char *name, bool multi, char *error, size_t error_size)
{
    static char log[1 << 20];
    int fd = load_function(tracer, name, multi, NULL, 0);

    if (fd >= 0)
        return fd;
    if (errno == EPERM || errno == ENOSYS || errno == EMFILE)
        return explain_refusal("BPF programs", error, error_size);
    load_function(tracer, name, multi, log, sizeof(log));
    fputs(log, stderr);
    snprintf(
        error, error_size,
        "the kernel does not accept the BPF program %s: %s; its reasons are above, please report "
        "them with the output of -dd",
        name, strerror(errno));
    return -1;
}

/* Whether a signal has come that is to end it all. */
static bool is_interrupted(const struct tracer *tracer)
{
    struct pollfd signals = {.fd = tracer->interrupt, .events = POLLIN};

    return poll(&signals, 1, 0) > 0;
}

static int load_all(struct tracer *tracer, const struct program *program, bool multi, char *error,
                    size_t error_size)
{
    tracer->programs = memory_grow(NULL, program->num_functions, sizeof(tracer->programs[0]));
    for (size_t i = 0; i != program->num_functions; ++i) {
        int fd = is_interrupted(tracer)
                     ? -1
                     : load(tracer, program->functions[i].name, multi, error, error_size);
        uint32_t key = (uint32_t)i;
        if (fd < 0)
            return -1;
        tracer->programs[tracer->num_programs++] = fd;
        if (multi && bpf_update_elem(tracer->maps.entries, &key, &fd, 0) != 0)
            return explain_refusal("the table of BPF programs", error, error_size);
    }
    if (multi)
        tracer->dispatch = load(tracer, PROGRAM_DISPATCH, multi, error, error_size);
    return multi && tracer->dispatch < 0 ? -1 : 0;
}

int tracer_load(struct tracer *tracer, const struct program *program, int verbose, char *error,
                size_t error_size)
{
    int result;

    /* else, where huge pages are on, what the compiler leaves here and there grows to whole ones */
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (compile(tracer, program, verbose, error, error_size) != 0)
        return -1;
    result =
        load_all(tracer, program, tracer->kernel_version >= TRACER_MULTI_SINCE, error, error_size);
    bpf_module_destroy(tracer->module);
    tracer->module = NULL;
    malloc_trim(0); /* what the compiler took, 20 MiB of it */
    return result;
}

static void add_link(struct tracer *tracer, int fd)
{
    tracer->links = memory_grow(tracer->links, tracer->num_links + 1, sizeof(tracer->links[0]));
    tracer->links[tracer->num_links++] = fd;
}

static int explain_attach(const char *what, char *error, size_t error_size)
{
    if (errno == ESRCH) {
        snprintf(error, error_size, "the server ended before it could be traced");
        return -1;
    }
    return explain_refusal(what, error, error_size);
}

/*
 * bpf(BPF_LINK_CREATE), in a process of its own that shares the descriptors. If this one were killed
 * amid it, the kernel could take back none of the probes ("failed to unregister, leaking uprobe"):
 * with SIGKILL pending, it does not touch the server's memory. That process goes on to the end, and
 * takes the link with it if nobody has it by then. Returns the link, or -1 with errno.
 */
static int create_link(const struct link_create *attr)
{
    struct {
        int fd, code;
    } *made = mmap(NULL, sizeof(*made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;
    int fd, code;

    if (made == MAP_FAILED)
        return -1;
    made->fd = -1;
    made->code = EINTR; /* if it is killed */
    child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child <= 0) {
        if (child == 0)
            setsid(); /* what kills a group does not find it */
        made->fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, attr, sizeof(*attr));
        made->code = errno;
        if (child == 0)
            _exit(0);
    }
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    fd = made->fd;
    code = made->code;
    munmap(made, sizeof(*made));
    errno = code;
    return fd;
}

/* One link for all locations that lie in one file. */
static int attach_module(struct tracer *tracer, const struct program *program, const char *module,
                         pid_t pid, char *error, size_t error_size)
{
    uint64_t *offsets = NULL, *semaphores = NULL, *cookies = NULL;
    struct link_create attr = {.program = (uint32_t)tracer->dispatch,
                               .attach_type = ATTACH_TRACE_UPROBE_MULTI,
                               .path = pointer(module),
                               .pid = (uint32_t)pid};
    int fd;

    for (size_t i = 0; i != program->num_functions; ++i) {
        const struct program_function *function = &program->functions[i];
        for (size_t j = 0; j != function->num_locations; ++j) {
            const struct location *location = function->locations[j];
            if (strcmp(location->module, module) != 0)
                continue;
            offsets = memory_grow(offsets, attr.count + 1, sizeof(offsets[0]));
            semaphores = memory_grow(semaphores, attr.count + 1, sizeof(semaphores[0]));
            cookies = memory_grow(cookies, attr.count + 1, sizeof(cookies[0]));
            offsets[attr.count] = location->offset;
            semaphores[attr.count] = location->semaphore_offset;
            cookies[attr.count] = i;
            ++attr.count;
        }
    }
    attr.offsets = pointer(offsets);
    attr.ref_ctr_offsets = pointer(semaphores);
    attr.cookies = pointer(cookies);
    fd = create_link(&attr);
    free(offsets);
    free(semaphores);
    free(cookies);
    if (fd < 0)
        return explain_attach("uprobes", error, error_size);
    add_link(tracer, fd);
    return 0;
}

/* Whether a module has come up in the locations before this one. */
static bool is_first_of_module(const struct program *program, size_t function, size_t nth)
{
    const char *module = program->functions[function].locations[nth]->module;

    for (size_t i = 0; i <= function; ++i) {
        size_t count = i == function ? nth : program->functions[i].num_locations;
        for (size_t j = 0; j != count; ++j) {
            if (strcmp(program->functions[i].locations[j]->module, module) == 0)
                return false;
        }
    }
    return true;
}

/* The kernel's number of uprobes among the kinds of perf events; -1, with errno, if there is none. */
static int uprobe_type(void)
{
    FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
    int type = -1;

    if (file == NULL) {
        errno = errno == ENOENT ? ENOSYS : errno;
        return -1;
    }
    if (fscanf(file, "%d", &type) != 1)
        type = -1;
    fclose(file);
    if (type < 0)
        errno = ENOSYS;
    return type;
}

/*
 * An event for a location, for the kernels that have no such links. Not by libbcc, which sets a
 * uprobe for all processes where this is refused, and leaves it behind when it is killed.
 */
static int attach_location(struct tracer *tracer, const struct location *location, size_t function,
                           pid_t pid, char *error, size_t error_size)
{
    struct perf_event_attr attr = {
        .size = sizeof(attr),
        .type = (uint32_t)uprobe_type(),
        .config = location->semaphore_offset << 32, /* format/ref_ctr_offset: config:32-63 */
        .config1 = pointer(location->module),
        .config2 = location->offset,
    };
    int fd;

    if (attr.type == UINT32_MAX)
        return explain_attach("uprobes", error, error_size);
    fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return explain_attach("uprobes", error, error_size);
    add_link(tracer, fd);
    if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, tracer->programs[function]) != 0 ||
        ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) != 0)
        return explain_attach("uprobes", error, error_size);
    return 0;
}

int tracer_attach(struct tracer *tracer, const struct program *program, pid_t pid, char *error,
                  size_t error_size)
{
    for (size_t i = 0; i != program->num_functions; ++i) {
        const struct program_function *function = &program->functions[i];
        for (size_t j = 0; j != function->num_locations; ++j) {
            const struct location *location = function->locations[j];
            int result = is_interrupted(tracer) ? -1 : 0;
            if (result == 0 && tracer->dispatch < 0)
                result = attach_location(tracer, location, i, pid, error, error_size);
            else if (result == 0 && is_first_of_module(program, i, j))
                result = attach_module(tracer, program, location->module, pid, error, error_size);
            if (result != 0)
                return -1;
        }
    }
    return 0;
}

uint64_t tracer_lost(const struct tracer *tracer, size_t id)
{
    return __atomic_load_n(&tracer->lost[id], __ATOMIC_RELAXED);
}

uint64_t tracer_lost_total(const struct tracer *tracer)
{
    return tracer_lost(tracer, tracer->num_probes);
}

void tracer_detach(struct tracer *tracer)
{
    for (size_t i = 0; i != tracer->num_links; ++i)
        close(tracer->links[i]);
    tracer->num_links = 0;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

void tracer_close(struct tracer *tracer)
{
    tracer_detach(tracer);
    if (tracer->module != NULL)
        bpf_module_destroy(tracer->module);
    for (size_t i = 0; i != tracer->num_programs; ++i)
        close(tracer->programs[i]);
    close_if_open(tracer->dispatch);
    if (tracer->lost != NULL)
        munmap(tracer->lost, (tracer->num_probes + 1) * sizeof(uint64_t));
    close_if_open(tracer->maps.ring);
    close_if_open(tracer->maps.lost);
    close_if_open(tracer->maps.scratch);
    close_if_open(tracer->maps.ties);
    close_if_open(tracer->maps.entries);
    free(tracer->programs);
    free(tracer->links);
}
