/*
 * A uprobe_multi link: one BPF program attached to a process at many locations of a file.
 */
#ifndef H2OLOG_KERNEL_LINK_H
#define H2OLOG_KERNEL_LINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* BPF_TRACE_UPROBE_MULTI: in linux/bpf.h since 6.6, which is newer than Debian 12's headers. */
#define LINK_TYPE 48

struct link_locations {
    const char *path;         /* of the file */
    const uint64_t *offsets;  /* of the instructions in the file */
    const uint64_t *counters; /* offsets of the semaphores, 0: none; NULL: none at all */
    const uint64_t *cookies;  /* tell the program at which location it runs */
    size_t count;
};

/*
 * Attaches a program. Returns the link, which detaches when it is closed, or -1 with errno. EINVAL:
 * the kernel refuses one of the locations; nothing is attached.
 */
int link_create(int program, pid_t pid, const struct link_locations *locations);

#endif
