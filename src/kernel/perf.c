#include "kernel/perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/bpf.h"

/*
 * How often creating an event is tried. Every signal ends the call, even one that only stops
 * h2olog.
 */
#define ATTEMPTS 5

/* Returns the kernel's number for uprobes among the types of events, or -1 with errno. */
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
 * libbcc's function is not used: if the kernel refuses the event, it sets a uprobe for all
 * processes, and leaves it behind when h2olog is killed.
 */
int perf_create(const char *path, uint64_t offset, uint64_t counter, pid_t pid)
{
    const int type = uprobe_type();
    struct perf_event_attr attributes = {
        .size = sizeof(attributes),
        .type = (uint32_t)type,
        .config = counter << 32, /* format/ref_ctr_offset: config:32-63 */
        .config1 = bpf_pointer(path),
        .config2 = offset,
    };
    int fd = -1;

    if (type < 0)
        return -1;
    for (int i = 0; i != ATTEMPTS && fd < 0 && (i == 0 || errno == EINTR); ++i)
        fd = (int)syscall(SYS_perf_event_open, &attributes, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    return fd;
}

int perf_enable(int event, int program)
{
    if (ioctl(event, PERF_EVENT_IOC_SET_BPF, program) != 0)
        return -1;
    return ioctl(event, PERF_EVENT_IOC_ENABLE, 0);
}
