#include "event/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

void clock_open(struct clock *clock)
{
    FILE *file = fopen("/proc/self/timens_offsets", "re"); /* since Linux 5.5 */
    long long seconds = 0, nanoseconds = 0;

    *clock = (struct clock){0};
    if (file == NULL)
        return;
    if (fscanf(file, "monotonic %lld %lld", &seconds, &nanoseconds) == 2)
        clock->offset_ns = (int64_t)(seconds * 1000000000 + nanoseconds);
    fclose(file);
}

/*
 * Reads both clocks three times and uses the fastest reading, because the thread can be preempted
 * between the two clocks.
 */
void clock_read(struct clock *clock)
{
    uint64_t fastest = UINT64_MAX;

    for (int i = 0; i != 3; ++i) {
        uint64_t before = clock_now_ns(), wall = read_ns(CLOCK_REALTIME), after = clock_now_ns();
        if (after - before < fastest) {
            fastest = after - before;
            clock->wall_ns = (int64_t)(wall - before - fastest / 2) + clock->offset_ns;
        }
        clock->now_ns = after - (uint64_t)clock->offset_ns;
    }
}
