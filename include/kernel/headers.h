/*
 * The small header tree that libbcc compiles against, in a private place for the time of a
 * compilation: a file system in memory that nobody else can see and that ends with this process,
 * or, where the kernel has no such thing, a private folder.
 */
#ifndef H2OLOG_KERNEL_HEADERS_H
#define H2OLOG_KERNEL_HEADERS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct headers {
    char path[PATH_MAX]; /* of the tree */
    const char *seen_as; /* the same, for who has entered it: what BCC_KERNEL_SOURCE is to be */
    int root;            /* descriptor of it */
    int is_folder;       /* it is a folder on disk, to be removed */
    int outer_root, outer_folder; /* where headers_leave goes back to; -1: nowhere */
};

/*
 * Writes the tree for a kernel of `kernel_version` (as LINUX_VERSION_CODE). Returns 0, or -1 with a
 * sentence in `error`; headers_close is due in either case.
 */
int headers_open(struct headers *headers, uint32_t kernel_version, struct error *error);

/*
 * Makes the tree all that this process sees of files, if it may. What libbcc cannot find it does
 * not read: /proc/kallsyms takes it 0.14 s, for a name that nobody uses here. And a compiler that
 * runs as root has no business with what lies about on the disk.
 */
void headers_enter(struct headers *headers);

/* Returns 0, or -1 with errno. */
int headers_leave(struct headers *headers);

void headers_close(struct headers *headers);

#endif
