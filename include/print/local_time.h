/*
 * Local time of day. The latest second is kept, because converting it costs more than the rest of a
 * line.
 */
#ifndef H2OLOG_PRINT_LOCAL_TIME_H
#define H2OLOG_PRINT_LOCAL_TIME_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "print/output.h"

/* "10:29:34.120318" */
#define LOCAL_TIME_WIDTH 15

struct local_time {
    uint64_t second; /* since the epoch */
    struct tm tm;    /* of `second` */
    char clock[9];   /* "10:29:34" */
};

/*
 * Reads the time zone. Call it while its file can still be read; the other functions open no file.
 */
void local_time_open(struct local_time *local);

/*
 * Converts nanoseconds since the epoch, and sets the members. Returns whether it is another second
 * than at the call before.
 */
bool local_time_set(struct local_time *local, uint64_t wall_ns);

/* Prints "10:29:34.120318" of nanoseconds since the epoch. */
void local_time_print(struct local_time *local, struct output *output, uint64_t wall_ns);

#endif
