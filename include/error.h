/*
 * What went wrong, as one struct that is passed to whatever can fail.
 */
#ifndef H2OLOG_ERROR_H
#define H2OLOG_ERROR_H

#include <stdbool.h>

/* What a run ended with. The values are h2olog's exit status, but for ERROR_INTERRUPTED. */
enum error_status {
    ERROR_NONE = 0,
    ERROR_FAILED = 1,     /* it could not trace, or could not write */
    ERROR_USAGE = 2,      /* the command line is wrong */
    ERROR_INTERRUPTED = 3 /* a signal ended it before tracing began; there is nothing to say */
};

struct error {
    enum error_status status;
    char text[1024]; /* one sentence without a newline; "" for ERROR_NONE and ERROR_INTERRUPTED */
};

/*
 * Sets the status and the text. Returns -1, so that a function can return what this returns. A text
 * that is too long is cut at a character. The arguments have to be escaped (print/escape.h).
 */
__attribute__((format(printf, 3, 4))) int error_set(struct error *error, enum error_status status,
                                                    const char *format, ...);

/* Says that a signal ended it. Returns -1. */
int error_interrupt(struct error *error);

#endif
