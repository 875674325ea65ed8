/*
 * Where lines go: standard output, or a file. Lines are gathered and written in batches; what is
 * gathered is written when output_flush says so, or when there is no room for more.
 */
#ifndef H2OLOG_OUTPUT_H
#define H2OLOG_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct output {
    int fd;
    int folder;       /* that the file is in, until it is begun; -1: none */
    int interrupt;    /* readable when nobody is to be waited for any more; -1: never */
    const char *name; /* of the file, for messages; NULL: standard output */
    bool created;     /* there was no file of that name, and it is not begun */
    bool waits;       /* a write can wait for a reader: it is no plain file */
    char *buffer;
    size_t used;      /* bytes gathered */
    size_t line;      /* where the line that is being written begins */
    int refusals;     /* how often it took nothing since the interrupt */
    int error;        /* errno of the first write that failed, after which nothing is written */
    uint64_t lines;   /* complete ones, in all */
    uint64_t dropped; /* of these, lost to a failed write */
};

/*
 * Opens standard output (NULL), or a file, append-only; what is in it stays until output_begin. In a
 * folder where anyone can put something (/tmp), no link of another user's is followed, and no file
 * of another user's opened but `caller`'s. Returns 0, or -1 with errno: ELOOP for such a link, EPERM
 * for such a file, EMLINK for one that has another name.
 */
int output_open(struct output *output, const char *name, uid_t caller);

/* Standard error, for output_say. */
void output_open_messages(struct output *output);

/*
 * Empties the file, now that there will be something to write, and gives it to a user if it is new.
 * Returns 0, or -1 with errno. A new file that it never comes to is removed by output_close.
 */
int output_begin(struct output *output, uid_t uid, gid_t gid);

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

void output_close(struct output *output);

#endif
