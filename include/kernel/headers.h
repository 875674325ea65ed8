/*
 * The header tree for libbcc's compiler. It is in a file system in memory that no other process can
 * see, and that disappears with this process. If the kernel refuses that, it is in a private
 * folder.
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
    int is_folder;       /* it is a folder on disk; headers_close removes it */
    /* Previous root and working folder; -1: headers_enter did nothing. */
    int outer_root, outer_folder;
};

/*
 * Writes the tree for a kernel of `kernel_version` (as LINUX_VERSION_CODE), and removes folders
 * that killed runs have left. Returns 0, or -1 with `error` set. Call headers_close in either case.
 */
int headers_open(struct headers *headers, uint32_t kernel_version, struct error *error);

/*
 * Makes the tree the root folder of this process. Does nothing without CAP_SYS_CHROOT. The
 * compiler, which runs as root, then cannot read any other file, and libbcc cannot read
 * /proc/kallsyms (0.14 s).
 */
void headers_enter(struct headers *headers);

/* Returns to the previous root and working folder. Returns 0, or -1 with errno. */
int headers_leave(struct headers *headers);

void headers_close(struct headers *headers);

#endif
