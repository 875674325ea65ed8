#include "event/clock.h"

#include "support.h"

#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static uint64_t wall_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* An event of now gets the time of day of now. */
static void test_time_of_day(void **state)
{
    uint64_t before, after, wall;
    struct clock clock;

    (void)state;
    clock_open(&clock);
    before = wall_now_ns();
    clock_read(&clock);
    wall = clock_wall(&clock, clock_now_ns() - (uint64_t)clock.offset_ns);
    after = wall_now_ns();
    /* tolerates 1 ms, for an interrupted reading */
    assert_true(wall + 1000000 >= before);
    assert_true(wall <= after + 1000000);
}

static void test_now(void **state)
{
    struct clock clock = {.offset_ns = 1000};
    uint64_t before = clock_now_ns();

    (void)state;
    clock_read(&clock);
    assert_true(clock.now_ns >= before - 1000);
    assert_true(clock.now_ns <= clock_now_ns() - 1000);
}

/* In a time namespace, CLOCK_MONOTONIC of the process differs from that of the events. */
static int read_offset_in_namespace(void)
{
    struct clock clock;
    FILE *offsets;

    if (unshare(CLONE_NEWTIME) != 0)
        return 2;
    offsets = fopen("/proc/self/timens_offsets", "w");
    if (offsets == NULL || fputs("monotonic 1000 5\n", offsets) < 0 || fclose(offsets) != 0)
        return 3;
    clock_open(&clock); /* the file has the offsets of child processes */
    return clock.offset_ns == 1000000000005 ? 0 : 1;
}

static void test_time_namespace(void **state)
{
    int status;
    pid_t child;

    (void)state;
    if (geteuid() != 0 || access("/proc/self/timens_offsets", R_OK) != 0)
        skip(); /* not root, or Linux before 5.5 */
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(read_offset_in_namespace());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_of_day),
        cmocka_unit_test(test_now),
        cmocka_unit_test(test_time_namespace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
