#include "kernel/bpf.h"

#include <sys/syscall.h>
#include <unistd.h>

int bpf_call(enum bpf_cmd command, const void *attributes, size_t size)
{
    return (int)syscall(SYS_bpf, command, attributes, size);
}

uint64_t bpf_pointer(const void *memory)
{
    return (uint64_t)(uintptr_t)memory;
}
