#include "tracer.h"

#include <dlfcn.h>
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

/* Its functions do not tell, but the name of its file does: libbcc.so.0.26.0. */
void tracer_library_version(char *text, size_t size)
{
    static const char begin[] = "libbcc.so.";
    void *function = dlsym(RTLD_DEFAULT, "bpf_module_create_c_from_string");
    Dl_info library;
    char *path = function != NULL && dladdr(function, &library) != 0
                     ? realpath(library.dli_fname, NULL)
                     : NULL;
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;

    if (slash != NULL && strncmp(slash + 1, begin, strlen(begin)) == 0)
        snprintf(text, size, "%s", slash + 1 + strlen(begin));
    else /* linked into this program, say */
        snprintf(text, size, "%s", LIBBCC_VERSION);
    free(path);
}

const char *tracer_built_with(void)
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

/* The gate is opened and closed without a system call: there is none any more for it by then. */
static int create_gate_map(struct tracer *tracer)
{
    void *mapped;

    tracer->maps.gate =
        create_map(BPF_MAP_TYPE_ARRAY, "gate", 4, sizeof(struct gate), 1, MAP_MMAPABLE);
    if (tracer->maps.gate < 0)
        return -1;
    mapped =
        mmap(NULL, sizeof(struct gate), PROT_READ | PROT_WRITE, MAP_SHARED, tracer->maps.gate, 0);
    if (mapped == MAP_FAILED)
        return -1;
    tracer->gate = mapped;
    return 0;
}

static int explain_ring(size_t ring_size, char *error, size_t error_size)
{
    if (errno == EPERM || errno == EACCES || errno == ENOSYS || errno == EMFILE)
        return explain_refusal("BPF maps", error, error_size);
    if (tracer_kernel_version() < KERNEL(5, 8))
        snprintf(error, error_size, "this kernel has no BPF ring buffers; h2olog needs Linux 5.8");
    else
        snprintf(error, error_size,
                 "the kernel refuses a ring of %zu KiB: %s; give -b a smaller SIZE",
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

/* clang 14 takes 80 KiB for a large program, and ends in SIGSEGV where there is less. */
#define STACK_MIN ((rlim_t)256 << 10)
#define STACK     ((rlim_t)8 << 20)

/* The stack of a running process grows up to the limit that is in force at the time. */
static int raise_stack_limit(char *error, size_t error_size)
{
    struct rlimit stack;

    if (getrlimit(RLIMIT_STACK, &stack) != 0 || stack.rlim_cur >= STACK)
        return 0;
    stack.rlim_cur = STACK;
    if (stack.rlim_max < STACK)
        stack.rlim_max = STACK; /* which takes CAP_SYS_RESOURCE */
    if (setrlimit(RLIMIT_STACK, &stack) == 0)
        return 0;
    if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_max < STACK_MIN) {
        snprintf(
            error, error_size,
            "the stack is limited to %llu KiB, which is too little for the compiler; raise the "
            "limit (ulimit -s) to %u KiB",
            (unsigned long long)stack.rlim_max >> 10, (unsigned)(STACK >> 10));
        return -1;
    }
    stack.rlim_cur = stack.rlim_max;
    (void)setrlimit(RLIMIT_STACK, &stack);
    return 0;
}

int tracer_open(struct tracer *tracer, size_t num_probes, size_t ring_size, char *error,
                size_t error_size)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    *tracer = (struct tracer){
        .maps = {-1, -1, -1, -1, -1, -1},
        .kernel_version = tracer_kernel_version(),
        .one_link = tracer_kernel_version() >= TRACER_MULTI_SINCE,
        .num_probes = num_probes,
        .dispatch = -1,
        .interrupt = tracer->interrupt,
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
    if (create_lost_map(tracer) < 0 || create_gate_map(tracer) < 0 || tracer->maps.scratch < 0 ||
        tracer->maps.ties < 0 || tracer->maps.entries < 0)
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
        char version[64];
        tracer_library_version(version, sizeof(version));
        snprintf(error, error_size,
                 "libbcc %s cannot compile the BPF program; its messages are above, the program is "
                 "shown by -dd",
                 version);
        return -1;
    }
    return 0;
}

/*
 * How often a call is made that a signal can end, such as SIGSTOP or what docker pause sends; libbpf
 * loads so often, too.
 */
#define ATTEMPTS 5

static int load_function(struct tracer *tracer, const char *name, bool multi, char *log,
                         size_t log_size)
{
    union bpf_attr attr = {0};
    int fd = -1;

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
    for (int i = 0; i != ATTEMPTS && fd < 0 && (i == 0 || errno == EAGAIN); ++i)
        fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    return fd;
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
    fd = load_function(tracer, name, multi, log, sizeof(log));
    if (fd >= 0)
        return fd;
    if (errno == EAGAIN) {
        snprintf(error, error_size,
                 "signals kept the kernel from loading the BPF programs, %d times in a row; start "
                 "again when nothing stops and resumes this process",
                 2 * ATTEMPTS);
        return -1;
    }
    fputs(log, stderr);
    snprintf(
        error, error_size,
        "the kernel does not accept the BPF program %s: %s; its reasons are above, please report "
        "them with the output of -dd",
        name, strerror(errno));
    return -1;
}

bool tracer_is_interrupted(const struct tracer *tracer)
{
    struct pollfd signals = {.fd = tracer->interrupt, .events = POLLIN};

    return poll(&signals, 1, 0) > 0;
}

static int load_all(struct tracer *tracer, const struct program *program, bool multi, char *error,
                    size_t error_size)
{
    tracer->programs = memory_grow(NULL, program->num_functions, sizeof(tracer->programs[0]));
    for (size_t i = 0; i != program->num_functions; ++i) {
        int fd = tracer_is_interrupted(tracer)
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
    if (raise_stack_limit(error, error_size) != 0 ||
        compile(tracer, program, verbose, error, error_size) != 0)
        return -1;
    result = load_all(tracer, program, tracer->one_link, error, error_size);
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

static void explain_attach(char *error, size_t error_size)
{
    if (errno == ESRCH)
        snprintf(error, error_size, "the server ended before it could be traced");
    else
        explain_refusal("uprobes", error, error_size);
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

/* Locations, as bpf(2) takes them for a link. */
struct places {
    uint64_t *offsets, *semaphores;
    uint64_t *functions; /* index in the program: the cookie */
    const struct location **locations;
    size_t count;
};

static void add_place(struct places *places, size_t function, const struct location *location)
{
    const size_t count = places->count + 1;

    places->offsets = memory_grow(places->offsets, count, sizeof(places->offsets[0]));
    places->semaphores = memory_grow(places->semaphores, count, sizeof(places->semaphores[0]));
    places->functions = memory_grow(places->functions, count, sizeof(places->functions[0]));
    places->locations = memory_grow(places->locations, count, sizeof(places->locations[0]));
    places->offsets[places->count] = location->offset;
    places->semaphores[places->count] = location->semaphore_offset;
    places->functions[places->count] = function;
    places->locations[places->count] = location;
    places->count = count;
}

/*
 * Where the kernel answers EINVAL: at a place, it takes uprobes with one and the same reference
 * counter only, and those of many tracers have none.
 */
struct refusals {
    struct refusal {
        size_t function;
        const struct location *location;
    } * list;
    size_t count;
};

static void add_refusal(struct refusals *refusals, size_t function, const struct location *location)
{
    refusals->list = memory_grow(refusals->list, refusals->count + 1, sizeof(refusals->list[0]));
    refusals->list[refusals->count++] = (struct refusal){function, location};
}

/*
 * Attaches these of the places by one link. If the kernel refuses it for what one place has
 * (EINVAL), halves of them, so that the others are traced. Returns 0, or -1 with errno.
 */
static int attach_places(struct tracer *tracer, const struct places *places, size_t first,
                         size_t count, pid_t pid, struct refusals *refusals)
{
    const struct link_create attr = {.program = (uint32_t)tracer->dispatch,
                                     .attach_type = ATTACH_TRACE_UPROBE_MULTI,
                                     .path = pointer(places->locations[first]->module),
                                     .offsets = pointer(places->offsets + first),
                                     .ref_ctr_offsets = pointer(places->semaphores + first),
                                     .cookies = pointer(places->functions + first),
                                     .count = (uint32_t)count,
                                     .pid = (uint32_t)pid};
    int fd = create_link(&attr);

    if (fd >= 0) {
        add_link(tracer, fd);
        return 0;
    }
    if (errno != EINVAL || tracer_is_interrupted(tracer))
        return -1;
    if (count == 1) {
        add_refusal(refusals, places->functions[first], places->locations[first]);
        return 0;
    }
    if (attach_places(tracer, places, first, count / 2, pid, refusals) != 0)
        return -1;
    return attach_places(tracer, places, first + count / 2, count - count / 2, pid, refusals);
}

/* One link for all locations that lie in one file. Returns 0, or -1 with errno. */
static int attach_module(struct tracer *tracer, const struct program *program, const char *module,
                         pid_t pid, struct refusals *refusals)
{
    struct places places = {0};
    int result;

    for (size_t i = 0; i != program->num_functions; ++i) {
        const struct program_function *function = &program->functions[i];
        for (size_t j = 0; j != function->num_locations; ++j) {
            if (strcmp(function->locations[j]->module, module) == 0)
                add_place(&places, i, function->locations[j]);
        }
    }
    result = attach_places(tracer, &places, 0, places.count, pid, refusals);
    free(places.offsets);
    free(places.semaphores);
    free(places.functions);
    free(places.locations);
    return result;
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
 * uprobe for all processes where this is refused, and leaves it behind when it is killed. Returns
 * the event, or -1 with errno.
 */
static int create_event(const struct location *location, uint64_t semaphore, pid_t pid)
{
    struct perf_event_attr attr = {
        .size = sizeof(attr),
        .type = (uint32_t)uprobe_type(),
        .config = semaphore << 32, /* format/ref_ctr_offset: config:32-63 */
        .config1 = pointer(location->module),
        .config2 = location->offset,
    };
    int fd = -1;

    if (attr.type == UINT32_MAX)
        return -1;
    for (int i = 0; i != ATTEMPTS && fd < 0 && (i == 0 || errno == EINTR); ++i)
        fd = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    return fd;
}

/* Returns 0, or -1 with errno. */
static int attach_location(struct tracer *tracer, const struct location *location, size_t function,
                           pid_t pid, struct refusals *refusals)
{
    int fd = create_event(location, location->semaphore_offset, pid);

    if (fd < 0 && errno == EINVAL) {
        add_refusal(refusals, function, location);
        return 0;
    }
    if (fd < 0)
        return -1;
    add_link(tracer, fd);
    return ioctl(fd, PERF_EVENT_IOC_SET_BPF, tracer->programs[function]) != 0 ||
                   ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) != 0
               ? -1
               : 0;
}

/* Returns 0, or -1 with errno; EINTR if a signal has come that is to end it all. */
static int attach_all(struct tracer *tracer, const struct program *program, pid_t pid,
                      struct refusals *refusals)
{
    for (size_t i = 0; i != program->num_functions; ++i) {
        const struct program_function *function = &program->functions[i];
        for (size_t j = 0; j != function->num_locations; ++j) {
            const struct location *location = function->locations[j];
            int result = 0;
            if (tracer_is_interrupted(tracer)) {
                errno = EINTR;
                return -1;
            }
            if (!tracer->one_link)
                result = attach_location(tracer, location, i, pid, refusals);
            else if (is_first_of_module(program, i, j))
                result = attach_module(tracer, program, location->module, pid, refusals);
            if (result != 0)
                return -1;
        }
    }
    return 0;
}

/* Whether the reference counter is the reason: without one, a uprobe can be set there. */
static bool is_held(const struct tracer *tracer, const struct location *location, pid_t pid)
{
    const uint64_t none = 0;
    const struct link_create attr = {.program = (uint32_t)tracer->dispatch,
                                     .attach_type = ATTACH_TRACE_UPROBE_MULTI,
                                     .path = pointer(location->module),
                                     .offsets = pointer(&location->offset),
                                     .cookies = pointer(&none),
                                     .count = 1,
                                     .pid = (uint32_t)pid};
    int fd = tracer->one_link ? create_link(&attr) : create_event(location, 0, pid);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Whether nothing of what is attached is printed. */
static bool is_all(const struct program *program, const struct refusals *refusals)
{
    size_t left = 0;

    for (size_t i = 0; i != program->num_functions; ++i)
        left += program->functions[i].printed ? program->functions[i].num_locations : 0;
    for (size_t i = 0; i != refusals->count; ++i)
        left -= program->functions[refusals->list[i].function].printed ? 1 : 0;
    return left == 0;
}

/* Says of what is refused why, in part or, if it is all, as the error. */
static int explain_refusals(const struct tracer *tracer, const struct program *program, pid_t pid,
                            const struct refusals *refusals, tracer_refused *refused, char *error,
                            size_t error_size)
{
    /* one is enough to know: a link takes 0.02 s, an event 0.1 s to go */
    const bool held = is_held(tracer, refusals->list[0].location, pid);

    if (!is_all(program, refusals)) {
        for (size_t i = 0; i != refusals->count; ++i)
            refused(program->functions[refusals->list[i].function].traced,
                    refusals->list[i].location, held);
        return 0;
    }
    if (!held) {
        errno = EINVAL;
        return explain_refusal("uprobes", error, error_size);
    }
    snprintf(error, error_size,
             "another tracer holds all probes that were to be traced, by uprobes without a "
             "reference counter; end that tracer and start again");
    return -1;
}

int tracer_attach(struct tracer *tracer, const struct program *program, pid_t pid,
                  tracer_refused *refused, char *error, size_t error_size)
{
    struct refusals refusals = {0};
    int result = attach_all(tracer, program, pid, &refusals);

    if (result != 0 && !tracer_is_interrupted(tracer))
        explain_attach(error, error_size);
    else if (result == 0 && refusals.count != 0)
        result = explain_refusals(tracer, program, pid, &refusals, refused, error, error_size);
    free(refusals.list);
    return result;
}

void tracer_open_gate(struct tracer *tracer)
{
    __atomic_store_n(&tracer->gate->is_open, 1, __ATOMIC_RELEASE);
}

void tracer_set_waiting(struct tracer *tracer, bool waiting)
{
    __atomic_store_n(&tracer->gate->reader_waits, waiting, __ATOMIC_SEQ_CST);
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
    if (tracer->gate != NULL)
        __atomic_store_n(&tracer->gate->is_open, 0, __ATOMIC_RELEASE);
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
    if (tracer->gate != NULL)
        munmap(tracer->gate, sizeof(*tracer->gate));
    close_if_open(tracer->maps.ring);
    close_if_open(tracer->maps.lost);
    close_if_open(tracer->maps.scratch);
    close_if_open(tracer->maps.ties);
    close_if_open(tracer->maps.entries);
    close_if_open(tracer->maps.gate);
    free(tracer->programs);
    free(tracer->links);
}
