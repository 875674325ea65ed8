/*
 * What is read of an ELF file itself: where its bytes go in memory, whether it says that it has
 * probes, and which version of h2o it is. Nothing in the file is trusted.
 */
#ifndef H2OLOG_SERVER_BINARY_H
#define H2OLOG_SERVER_BINARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of the file that a process maps. */
struct binary_segment {
    uint64_t address, size; /* in memory, before relocation; only what the file has of it */
    uint64_t offset;        /* in the file */
    bool executable, writable;
};

struct binary {
    struct binary_segment *segments;
    size_t num_segments;
    bool has_sections;   /* it has the table of sections by which the notes of probes are found */
    bool has_notes;      /* it has a section of such notes */
    bool has_semaphores; /* it has the section of their semaphores */
};

/*
 * Reads the tables of the file. Returns 0, or -1 if it is no ELF file of 64 bits in this machine's
 * byte order. binary_close is due in either case.
 */
int binary_open(struct binary *binary, int fd);

void binary_close(struct binary *binary);

/* Finds where an instruction is in the file. Returns 0, or -1 if it is in no executable segment. */
int binary_find_code(const struct binary *binary, uint64_t address, uint64_t *offset);

/*
 * Finds where a probe's semaphore is in the file. Returns 0, or -1 if the kernel cannot count it:
 * it is not aligned, or not in a writable segment.
 */
int binary_find_semaphore(const struct binary *binary, uint64_t address, uint64_t *offset);

/*
 * Finds the version that an h2o calls itself ("2.2.5") in the first 64 MiB of a file. Returns 0, or
 * -1 if there is none.
 */
int binary_find_version(int fd, char *version, size_t size);

/* Whether a release of that name is older than h2o's first probes. */
bool binary_predates_probes(const char *version);

#endif
