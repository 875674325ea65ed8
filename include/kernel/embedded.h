/*
 * Files of bpf/ that the build embeds into h2olog. `path` is relative to bpf/.
 */
#ifndef H2OLOG_KERNEL_EMBEDDED_H
#define H2OLOG_KERNEL_EMBEDDED_H

struct embedded_file {
    const char *path;
    const char *content;
};

/* The last row has NULLs. */
extern const struct embedded_file embedded_files[];

/* Returns the content of a file. Aborts if it is not embedded. */
const char *embedded_get(const char *path);

#endif
