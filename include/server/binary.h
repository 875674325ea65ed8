/*
 * Reads an ELF file: its segments, whether it has notes and semaphores of probes, and its version
 * of h2o. The file is not trusted.
 */
#ifndef H2OLOG_SERVER_BINARY_H
#define H2OLOG_SERVER_BINARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A load segment. */
struct binary_segment {
    /* In memory, before relocation. Does not include the part that is not in the file. */
    uint64_t address, size;
    uint64_t offset; /* in the file */
    bool executable, writable;
};

struct binary {
    struct binary_segment *segments;
    size_t num_segments;
    bool has_sections;   /* it has a section table, which is needed to find the notes */
    bool has_notes;      /* it has the section .note.stapsdt */
    bool has_semaphores; /* it has the section .probes */
};

/*
 * Reads the tables of the file. Returns 0, or -1 if it is not a 64-bit ELF file in native byte
 * order. Call binary_close in either case.
 */
int binary_open(struct binary *binary, int fd);

void binary_close(struct binary *binary);

/* Finds the file offset of an instruction. Returns 0, or -1 if it is in no executable segment. */
int binary_find_code(const struct binary *binary, uint64_t address, uint64_t *offset);

/*
 * Finds the file offset of a probe's semaphore. Returns 0, or -1 if the kernel cannot use it: it is
 * not aligned, or not in a writable segment.
 */
int binary_find_semaphore(const struct binary *binary, uint64_t address, uint64_t *offset);

/*
 * Finds the version of h2o ("2.2.5") in the first 64 MiB of a file. Returns 0, or -1 if there is
 * none.
 */
int binary_find_version(int fd, char *version, size_t size);

/* Whether a version is older than h2o's first probes. */
bool binary_predates_probes(const char *version);

#endif
