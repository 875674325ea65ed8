/*
 * Files of bpf/ that are embedded into h2olog at build time, by their path below bpf/.
 */
#ifndef H2OLOG_TEXTS_H
#define H2OLOG_TEXTS_H

struct text_file {
    const char *path;
    const char *content;
};

/* Ends with a row of NULLs. */
extern const struct text_file text_files[];

/* The content of one of them; it has to be there. */
const char *texts_get(const char *path);

#endif
