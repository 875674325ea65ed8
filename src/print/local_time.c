#include "print/local_time.h"

#include <string.h>

/* Writes two decimal digits. */
static char *put_pair(char *to, int value)
{
    *to++ = (char)('0' + value / 10 % 10);
    *to++ = (char)('0' + value % 10);
    return to;
}

static void convert(struct local_time *local, uint64_t second)
{
    const time_t time = (time_t)second;
    char *to = local->clock;

    local->second = second;
    localtime_r(&time, &local->tm); /* it reads no file after tzset */
    to = put_pair(to, local->tm.tm_hour);
    *to++ = ':';
    to = put_pair(to, local->tm.tm_min);
    *to++ = ':';
    put_pair(to, local->tm.tm_sec);
}

void local_time_open(struct local_time *local)
{
    tzset();
    *local = (struct local_time){.second = 0};
    convert(local, 0);
}

bool local_time_set(struct local_time *local, uint64_t wall_ns)
{
    const uint64_t second = wall_ns / 1000000000;

    if (second == local->second)
        return false;
    convert(local, second);
    return true;
}

void local_time_print(struct local_time *local, struct output *output, uint64_t wall_ns)
{
    uint64_t microseconds = wall_ns % 1000000000 / 1000;
    char *text = output_reserve(output, LOCAL_TIME_WIDTH);

    local_time_set(local, wall_ns);
    memcpy(text, local->clock, 8);
    text[8] = '.';
    for (int i = LOCAL_TIME_WIDTH - 1; i != 8; --i) {
        text[i] = (char)('0' + microseconds % 10);
        microseconds /= 10;
    }
    output_advance(output, LOCAL_TIME_WIDTH);
}
