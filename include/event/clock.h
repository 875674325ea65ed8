/*
 * The clock of the events. The kernel stamps them with CLOCK_MONOTONIC; lines say the time of day.
 */
#ifndef H2OLOG_EVENT_CLOCK_H
#define H2OLOG_EVENT_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t now_ns; /* CLOCK_MONOTONIC of this process at the latest clock_read */
    int64_t wall_ns; /* adding it to an event's time makes nanoseconds since the epoch */
    int64_t
        offset_ns; /* this process's CLOCK_MONOTONIC minus the kernel's: 0 but in a time namespace */
};

/* Nanoseconds of this process's CLOCK_MONOTONIC, for durations. */
uint64_t clock_now_ns(void);

/* Reads offset_ns. It opens a file of /proc. */
void clock_open(struct clock *clock);

/* Sets now_ns and wall_ns. */
void clock_read(struct clock *clock);

/* Nanoseconds since the epoch of the time of an event. */
static inline uint64_t clock_wall(const struct clock *clock, uint64_t time_ns)
{
    return time_ns + (uint64_t)clock->wall_ns;
}

#endif
