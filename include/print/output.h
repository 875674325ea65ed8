/*
 * Where lines go: standard output, or a file. Lines are gathered and written in batches; what is
 * gathered is written when output_flush says so, or when there is no room for more.
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
    int folder;       /* that the new file is in, until it is begun; -1: none */
    int interrupt;    /* readable when nobody is to be waited for any more; -1: never */
    const char *name; /* of the file, for messages; NULL: standard output */
    struct caller caller;
    bool is_descriptor; /* it was open already: standard output, /dev/fd/3 */
    bool created;       /* there was no file of that name, and it is not begun */
    bool waits;         /* a write can wait for a reader: it is no plain file */
    char *buffer;
    size_t used;      /* bytes gathered */
    size_t line;      /* where the line that is being written begins */
    int refusals;     /* how often it took nothing since the interrupt */
    int error;        /* errno of the first write that failed, after which nothing is written */
    uint64_t lines;   /* complete ones, in all */
    uint64_t dropped; /* of these, lost to a failed write */
};

/*
 * Opens standard output (NULL), or a file, append-only, as the user who called; what is in it stays
 * until output_begin. /dev/stdout, /dev/stderr, /dev/fd/N and /proc/self/fd/N are the descriptor
 * itself. Refuses a file, FIFO or link that another user has put into a folder like /tmp. Waits until
 * a FIFO has a reader, but not when `interrupt` is readable (-1: never): then the error is ECANCELED.
 * Returns NULL, or the reason of the failure as words for a message.
 */
const char *output_open(struct output *output, const char *name, const struct caller *caller,
                        int interrupt);

/* Standard error, for output_say. */
void output_open_messages(struct output *output);

/*
 * Empties the file, now that there will be something to write. Returns 0, or -1 with errno. A new
 * file that it never comes to is removed by output_close.
 */
int output_begin(struct output *output);

/* Room for `size` bytes (at most OUTPUT_RESERVE_MAX); to be followed by output_advance. */
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

/* Writes a line, of printf's format, at once, as output_flush does. */
__attribute__((format(printf, 2, 3))) void output_say(struct output *output, const char *format,
                                                      ...);

/* Takes back what has been written of a line. */
void output_drop_line(struct output *output);

/*
 * Writes the complete lines that are gathered, and waits for who reads them, but not when `interrupt`
 * is readable: then the error is ECANCELED. Returns 0, or -1 once a write has failed.
 */
int output_flush(struct output *output);

/*
 * To be called if poll(2) tells POLLERR or POLLHUP of `fd`: notes the error that a write would give,
 * EPIPE if it gives none.
 */
void output_hung_up(struct output *output);

/* Returns 0, or -1 with errno if close(2) tells that what was written is not stored. */
int output_close(struct output *output);

#endif
