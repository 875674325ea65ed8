/*
 * Time of an event -> time of day. The kernel stamps events with CLOCK_MONOTONIC; lines have the
 * time of day.
 */
#ifndef H2OLOG_EVENT_CLOCK_H
#define H2OLOG_EVENT_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t now_ns;   /* the kernel's CLOCK_MONOTONIC at the latest clock_read */
    int64_t wall_ns;   /* nanoseconds since the epoch minus the time of an event */
    int64_t offset_ns; /* this process's clock minus the kernel's; not 0 in a time namespace */
};

/* CLOCK_MONOTONIC of this process in nanoseconds, for durations. */
uint64_t clock_now_ns(void);

/* Sets offset_ns. Opens a file in /proc, so call it before root is given up. */
void clock_open(struct clock *clock);

/* Sets now_ns and wall_ns. */
void clock_read(struct clock *clock);

/* Converts the time of an event to nanoseconds since the epoch. */
static inline uint64_t clock_wall(const struct clock *clock, uint64_t time_ns)
{
    return time_ns + (uint64_t)clock->wall_ns;
}

#endif
