#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "print/local_time.h"

#define SECOND UINT64_C(1000000000)

static void set_zone(const char *zone, struct local_time *local)
{
    setenv("TZ", zone, 1);
    local_time_open(local);
}

static void check_time(struct local_time *local, uint64_t wall_ns, const char *expected)
{
    struct output output;
    char *text;

    printed_open(&output);
    local_time_print(local, &output, wall_ns);
    output_end_line(&output);
    text = printed_take(&output);
    text[strlen(text) - 1] = '\0';
    check_string("the time", text, expected);
    assert_int_equal(strlen(text), LOCAL_TIME_WIDTH);
    free(text);
    printed_close(&output);
}

/* Each time, also when the second goes back, or is that of the call before. */
static void prints_microseconds(void **state)
{
    struct local_time local;

    (void)state;
    set_zone("UTC0", &local);
    check_time(&local, 0, "00:00:00.000000");
    check_time(&local, 1795775374 * SECOND + 120318999, "10:29:34.120318");
    check_time(&local, 1795775374 * SECOND + 999999999, "10:29:34.999999");
    check_time(&local, 1795775375 * SECOND, "10:29:35.000000");
    check_time(&local, 1795775373 * SECOND + 1000, "10:29:33.000001");
    check_time(&local, 999, "00:00:00.000000");
    set_zone("<+0545>-5:45", &local);
    check_time(&local, 1795775374 * SECOND, "16:14:34.000000");
    set_zone("<-03>3", &local);
    check_time(&local, 1795775374 * SECOND, "07:29:34.000000");
    check_time(&local, UINT64_MAX, "20:34:33.709551");
}

/* Compares with localtime, across the changes of daylight saving time. */
static void follows_the_zone(void **state)
{
    struct local_time local;
    uint32_t seed = random_seed();

    (void)state;
    set_zone("CET-1CEST,M3.5.0,M10.5.0/3", &local);
    for (size_t i = 0; i != 100000; ++i) {
        const time_t second = (time_t)(random_next(&seed) * 40000 + random_next(&seed));
        char expected[32];
        strftime(expected, sizeof(expected), "%H:%M:%S", localtime(&second));
        local_time_set(&local, (uint64_t)second * SECOND);
        check_string("the time", local.clock, expected);
    }
}

static void tells_other_seconds(void **state)
{
    struct local_time local;

    (void)state;
    set_zone("UTC0", &local);
    assert_true(local_time_set(&local, 5 * SECOND));
    assert_false(local_time_set(&local, 5 * SECOND + 999999999));
    assert_true(local_time_set(&local, 6 * SECOND));
    assert_int_equal(local.tm.tm_sec, 6);
    assert_true(local_time_set(&local, 5 * SECOND));
    assert_int_equal(local.tm.tm_sec, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_microseconds),
        cmocka_unit_test(follows_the_zone),
        cmocka_unit_test(tells_other_seconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
