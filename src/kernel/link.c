#include "kernel/link.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/bpf.h"

/* The member link_create of union bpf_attr, for headers older than Linux 6.6. */
struct attributes {
    uint32_t program;
    uint32_t process;
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
 * Calls bpf(BPF_LINK_CREATE) in a child process that shares our descriptors. If h2olog were killed
 * during the call, the kernel could not remove the uprobes ("failed to unregister, leaking
 * uprobe"), because it does not write the server's memory while SIGKILL is pending. The child
 * completes the call. The link is closed when no process has its descriptor.
 */
static int create_in_child(const struct attributes *attributes)
{
    struct {
        int fd, code;
    } *made = mmap(NULL, sizeof(*made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;
    int fd, code;

    if (made == MAP_FAILED)
        return -1;
    made->fd = -1;
    made->code = EINTR; /* if the child is killed */
    child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child <= 0) { /* the child; or h2olog itself, if fork failed */
        if (child == 0)
            setsid(); /* signals to h2olog's process group do not reach the child */
        made->fd = bpf_call(BPF_LINK_CREATE, attributes, sizeof(*attributes));
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

int link_create(int program, pid_t pid, const struct link_locations *locations)
{
    const struct attributes attributes = {
        .program = (uint32_t)program,
        .attach_type = LINK_TYPE,
        .path = bpf_pointer(locations->path),
        .offsets = bpf_pointer(locations->offsets),
        .ref_ctr_offsets = bpf_pointer(locations->counters),
        .cookies = bpf_pointer(locations->cookies),
        .count = (uint32_t)locations->count,
        .pid = (uint32_t)pid,
    };

    return create_in_child(&attributes);
}
