/*
 * Files of bpf/ that are embedded into h2olog at build time, by their path below bpf/.
 */
#ifndef H2OLOG_KERNEL_EMBEDDED_H
#define H2OLOG_KERNEL_EMBEDDED_H

struct embedded_file {
    const char *path;
    const char *content;
};

/* Ends with a row of NULLs. */
extern const struct embedded_file embedded_files[];

/* The content of one of them; it has to be there. */
const char *embedded_get(const char *path);

#endif
