/*
 * A uprobe as a perf event: one BPF program attached to a process at one location. For kernels that
 * have no uprobe_multi links.
 */
#ifndef H2OLOG_KERNEL_PERF_H
#define H2OLOG_KERNEL_PERF_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Creates an event for an instruction at an offset of a file; `counter` is the offset of its
 * semaphore, 0: none. Returns the event, which detaches when it is closed, or -1 with errno.
 * EINVAL: the kernel refuses the location.
 */
int perf_create(const char *path, uint64_t offset, uint64_t counter, pid_t pid);

/* Runs a program at each such event from now on. Returns 0, or -1 with errno. */
int perf_enable(int event, int program);

#endif
