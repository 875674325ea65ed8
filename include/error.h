/*
 * An error: the exit status and a sentence for the user. Functions that can fail get a pointer to
 * it.
 */
#ifndef H2OLOG_ERROR_H
#define H2OLOG_ERROR_H

#include <stdbool.h>

/* The values are exit statuses of h2olog, except ERROR_INTERRUPTED. */
enum error_status {
    ERROR_NONE = 0,
    ERROR_FAILED = 1,     /* tracing or writing failed */
    ERROR_USAGE = 2,      /* the command line is wrong */
    ERROR_INTERRUPTED = 3 /* a signal arrived before tracing began; there is no message */
};

struct error {
    enum error_status status;
    char text[1024]; /* one sentence without a newline; "" for ERROR_NONE and ERROR_INTERRUPTED */
};

/*
 * Sets the status and the text. Returns -1, so that callers can write `return error_set(...)`. Long
 * text is truncated at a character boundary. The arguments must be escaped already
 * (print/escape.h).
 */
__attribute__((format(printf, 3, 4))) int error_set(struct error *error, enum error_status status,
                                                    const char *format, ...);

/* Sets ERROR_INTERRUPTED. Returns -1. */
int error_interrupt(struct error *error);

#endif
