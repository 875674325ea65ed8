/*
 * Output to standard output or a file. Lines are buffered, and written by output_flush or when the
 * buffer is full.
 */
#ifndef H2OLOG_PRINT_OUTPUT_H
#define H2OLOG_PRINT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "root/caller.h"

struct output {
    int fd;
    int folder;       /* folder of a new file, until output_begin; else -1 */
    int interrupt;    /* when it is readable, writes do not wait any more; -1: never */
    const char *name; /* name of the file, for messages; NULL: standard output */
    struct caller caller;
    bool is_descriptor; /* it was open before: standard output, /dev/fd/3 */
    bool created;       /* this run created the file, and output_begin was not called yet */
    bool waits;         /* a write can wait for a reader: it is not a regular file */
    char *buffer;
    size_t allocated; /* size of the buffer; it grows for a long line */
    size_t used;      /* bytes in the buffer */
    size_t line;      /* start of the current line in the buffer */
    int refusals;     /* writes that took nothing since the interrupt */
    int error;        /* errno of the first failed write; nothing is written after it */
    uint64_t lines;   /* complete lines */
    uint64_t dropped; /* complete lines that were not written */
};

/*
 * Opens standard output (name NULL), or a file for appending, with the rights of `caller`. Does not
 * change the content. /dev/stdout, /dev/stderr, /dev/fd/N and /proc/self/fd/N are the descriptor
 * itself. Refuses a file, FIFO or link of another user in a folder like /tmp. Waits until
 * a FIFO has a reader, unless `interrupt` is readable (-1: never): then the reason is that of ECANCELED.
 * Returns NULL, or the reason of the failure.
 */
const char *output_open(struct output *output, const char *name, const struct caller *caller,
                        int interrupt);

/* Opens standard error, for output_say. */
void output_open_messages(struct output *output);

/*
 * Empties the file. Call it when tracing is certain: output_close removes a new file for which it
 * was not called. Returns 0, or -1 with errno.
 */
int output_begin(struct output *output);

/*
 * Reserves `size` bytes (at most OUTPUT_RESERVE_MAX). Call output_advance with the bytes that were
 * used.
 */
#define OUTPUT_RESERVE_MAX (size_t)(32 * 1024)
char *output_reserve(struct output *output, size_t size);
void output_advance(struct output *output, size_t size);

void output_bytes(struct output *output, const void *bytes, size_t size);
void output_string(struct output *output, const char *text);
void output_unsigned(struct output *output, uint64_t value);
void output_signed(struct output *output, int64_t value);

/* Lower-case hex. */
void output_hex(struct output *output, const uint8_t *bytes, size_t size);

/* Ends a line. */
void output_end_line(struct output *output);

/* Formats one line as printf does, and writes it at once, as output_flush does. */
__attribute__((format(printf, 2, 3))) void output_say(struct output *output, const char *format,
                                                      ...);

/* Discards the current line. */
void output_drop_line(struct output *output);

/*
 * Writes the complete lines, and waits for the reader. If `interrupt` is readable and the reader
 * takes nothing, the error is ECANCELED. Returns 0, or -1 if this or an earlier write failed.
 */
int output_flush(struct output *output);

/*
 * Call it if poll(2) reports POLLERR or POLLHUP for `fd`. Sets `error` to what a write would
 * return, or to EPIPE.
 */
void output_hung_up(struct output *output);

/* Returns 0, or -1 with errno if close(2) reports that data was not stored. */
int output_close(struct output *output);

#endif
