/*
 * bpf(2): the calls that are made directly, not by libbcc.
 */
#ifndef H2OLOG_KERNEL_BPF_H
#define H2OLOG_KERNEL_BPF_H

#include <stddef.h>
#include <stdint.h>

#include <linux/bpf.h>

/* Calls bpf(2). Returns what it returns: -1 with errno on failure. */
int bpf_call(enum bpf_cmd command, const void *attributes, size_t size);

/* A pointer, as bpf(2) takes it. */
uint64_t bpf_pointer(const void *memory);

#endif
