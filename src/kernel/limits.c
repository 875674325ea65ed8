#include "kernel/limits.h"

#include <sys/resource.h>

void limits_raise(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit files;

    /* one descriptor per BPF program, and before Linux 6.10 one per location */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setrlimit(RLIMIT_MEMLOCK, &unlimited); /* BPF maps count as locked memory before Linux 5.11 */
}

/* clang 14 needs 80 KiB for a large program. With less, it ends in SIGSEGV. */
#define STACK_MIN ((rlim_t)256 << 10)
#define STACK     ((rlim_t)8 << 20)

/* The stack of a running process can grow up to the current limit. */
int limits_raise_stack(struct error *error)
{
    struct rlimit stack;

    if (getrlimit(RLIMIT_STACK, &stack) != 0 || stack.rlim_cur >= STACK)
        return 0;
    stack.rlim_cur = STACK;
    if (stack.rlim_max < STACK)
        stack.rlim_max = STACK; /* this needs CAP_SYS_RESOURCE */
    if (setrlimit(RLIMIT_STACK, &stack) == 0)
        return 0;
    if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_max < STACK_MIN)
        return error_set(
            error, ERROR_FAILED,
            "the stack is limited to %llu KiB, which is too little for the compiler; raise the "
            "limit (ulimit -s) to %u KiB",
            (unsigned long long)stack.rlim_max >> 10, (unsigned)(STACK >> 10));
    stack.rlim_cur = stack.rlim_max;
    (void)setrlimit(RLIMIT_STACK, &stack);
    return 0;
}
