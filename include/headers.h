/*
 * The small header tree that libbcc compiles against, in a private place for the time of a
 * compilation: a file system in memory that nobody else can see and that ends with this process,
 * or, where the kernel has no such thing, a private folder.
 */
#ifndef H2OLOG_HEADERS_H
#define H2OLOG_HEADERS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

struct headers {
    char path[PATH_MAX]; /* of the tree: what BCC_KERNEL_SOURCE is to be */
    int root;            /* descriptor of it */
    int is_folder;       /* it is a folder on disk, to be removed */
};

/*
 * Writes the tree for a kernel of `kernel_version` (as LINUX_VERSION_CODE). Returns 0, or -1 with a
 * sentence in `error`; headers_close is due in either case.
 */
int headers_open(struct headers *headers, uint32_t kernel_version, char *error, size_t error_size);

void headers_close(struct headers *headers);

#endif
