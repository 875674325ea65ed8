/*
 * The header tree that libbcc compiles against. During a compilation, it is in a file system in
 * memory that no other process can see and that ends with this process; or in a private folder, if
 * the kernel refuses such a file system.
 */
#ifndef H2OLOG_KERNEL_HEADERS_H
#define H2OLOG_KERNEL_HEADERS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct headers {
    char path[PATH_MAX]; /* path of the tree */
    const char *seen_as; /* its path for BCC_KERNEL_SOURCE: "/" between headers_enter and _leave */
    int root;            /* descriptor of the tree; -1: closed */
    int is_folder;       /* it is a folder on disk, which headers_close removes */
    int outer_root, outer_folder; /* what headers_leave returns to; -1: nothing was entered */
};

/*
 * Writes the tree for a kernel of `kernel_version` (as LINUX_VERSION_CODE), and removes folders that
 * killed runs have left. Returns 0, or -1 with `error` set. Call headers_close in either case.
 */
int headers_open(struct headers *headers, uint32_t kernel_version, struct error *error);

/*
 * Makes the tree the root folder of this process, if it may (CAP_SYS_CHROOT); otherwise does
 * nothing. libbcc then does not find /proc/kallsyms, which takes it 0.14 s to read and is not needed;
 * and the compiler, which runs as root, cannot read any other file.
 */
void headers_enter(struct headers *headers);

/* Returns to the previous root and working folder. Returns 0, or -1 with errno. */
int headers_leave(struct headers *headers);

void headers_close(struct headers *headers);

#endif
