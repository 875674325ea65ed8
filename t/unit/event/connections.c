#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "event/connections.h"

/* Typical addresses of malloc. */
#define A UINT64_C(0x55e4c0a01000)
#define B UINT64_C(0x55e4c0a01e40)
#define C UINT64_C(0x7f31d8001000)

#define GOES_ON    CONNECTIONS_GOES_ON
#define FIRST_PATH CONNECTIONS_FIRST_PATH
#define BEGINS     CONNECTIONS_BEGINS
#define ENDS       CONNECTIONS_ENDS

/* `conn` of an event in which it could not be read. */
#define UNREAD -1

/* An event, and the expected number of its connection. */
struct step {
    enum connections_step step;
    uint64_t address;
    int64_t conn;
    uint64_t number;
};

static uint64_t number_of(struct connections *connections, enum connections_step step,
                          uint64_t address, int64_t conn)
{
    uint32_t conn32 = (uint32_t)conn;
    struct connection *connection =
        connections_follow(connections, step, address, conn == UNREAD ? NULL : &conn32);

    assert_int_equal(connection->address, address);
    return connections_number(connections, connection);
}

static void check_steps(const struct step *steps, size_t count)
{
    struct connections connections;

    connections_open(&connections);
    for (size_t i = 0; i != count; ++i) {
        uint64_t number = number_of(&connections, steps[i].step, steps[i].address, steps[i].conn);
        if (number != steps[i].number)
            fail_msg("event %zu has number %llu instead of %llu", i, (unsigned long long)number,
                     (unsigned long long)steps[i].number);
    }
    connections_close(&connections);
}

#define check(...)                                                                                 \
    do {                                                                                           \
        static const struct step steps[] = {__VA_ARGS__};                                          \
        check_steps(steps, sizeof(steps) / sizeof(steps[0]));                                      \
    } while (0)

/* Two threads use the same numbers for different addresses. */
static void same_number_of_quicly(void **state)
{
    (void)state;
    check({BEGINS, A, 0, 1}, {BEGINS, B, 0, 2}, {GOES_ON, A, 0, 1}, {GOES_ON, B, 0, 2},
          {ENDS, A, 0, 1}, {GOES_ON, B, 0, 2}, {ENDS, B, 0, 2});
}

/* In the event of the first path, quicly's number is 0. accept follows. */
static void first_path(void **state)
{
    (void)state;
    check({FIRST_PATH, A, 0, 1}, {FIRST_PATH, B, 0, 2}, {BEGINS, B, 7, 2}, {BEGINS, A, 7, 1},
          {GOES_ON, A, 7, 1}, {GOES_ON, B, 7, 2});
    /* events between them may already have quicly's number */
    check({FIRST_PATH, A, 0, 1}, {GOES_ON, A, 0, 1}, {GOES_ON, A, 7, 1}, {BEGINS, A, 7, 1},
          {GOES_ON, A, 7, 1});
    /* 0 is a valid number, too */
    check({FIRST_PATH, A, 0, 1}, {BEGINS, A, 0, 1}, {GOES_ON, A, 0, 1}, {ENDS, A, 0, 1},
          {FIRST_PATH, A, 0, 2});
    check({FIRST_PATH, A, 0, 1}, {BEGINS, A, 0, 1}, {GOES_ON, A, 5, 2});
    /* it always means a new object: the end, the accept, or both were lost */
    check({BEGINS, A, 3, 1}, {FIRST_PATH, A, 0, 2}, {BEGINS, A, 4, 2}, {GOES_ON, A, 4, 2});
    check({FIRST_PATH, A, 0, 1}, {GOES_ON, A, 3, 1}, {FIRST_PATH, A, 0, 2}, {GOES_ON, A, 3, 2});
    /* an object without accept */
    check({FIRST_PATH, A, 0, 1}, {FIRST_PATH, A, 0, 2}, {BEGINS, A, 3, 2});
}

/* The address is used again. */
static void address_is_used_again(void **state)
{
    (void)state;
    check({BEGINS, A, 1, 1}, {ENDS, A, 1, 1}, {BEGINS, A, 2, 2}, {ENDS, A, 2, 2},
          {FIRST_PATH, A, 0, 3}, {BEGINS, A, 3, 3});
    /* by a connection of another thread with the same number */
    check({BEGINS, A, 1, 1}, {ENDS, A, 1, 1}, {BEGINS, A, 1, 2}, {GOES_ON, A, 1, 2});
    check({BEGINS, A, 0, 1}, {ENDS, A, 0, 1}, {FIRST_PATH, A, 0, 2}, {BEGINS, A, 0, 2});
}

/* free is not the last event: statistics and ends of streams follow. */
static void events_after_the_end(void **state)
{
    (void)state;
    check({BEGINS, A, 5, 1}, {ENDS, A, 5, 1}, {GOES_ON, A, 5, 1}, {BEGINS, B, 6, 2},
          {GOES_ON, A, 5, 1}, {FIRST_PATH, A, 0, 3}, {BEGINS, A, 7, 3}, {GOES_ON, A, 7, 3});
    /* a second end belongs to another connection */
    check({ENDS, A, 5, 1}, {ENDS, A, 5, 2}, {GOES_ON, A, 5, 2});
}

/* Losses of single events. */
static void lost_events(void **state)
{
    (void)state;
    /* the end */
    check({BEGINS, A, 5, 1}, {GOES_ON, A, 5, 1}, {BEGINS, A, 5, 2}, {GOES_ON, A, 5, 2});
    check({BEGINS, A, 5, 1}, {BEGINS, A, 6, 2});
    /* the end and the begin: quicly's number shows it */
    check({BEGINS, A, 5, 1}, {GOES_ON, A, 6, 2}, {GOES_ON, A, 6, 2}, {ENDS, A, 6, 2});
    check({BEGINS, A, 5, 1}, {ENDS, A, 6, 2});
    /* the begin */
    check({BEGINS, A, 5, 1}, {ENDS, A, 5, 1}, {GOES_ON, A, 6, 2}, {BEGINS, A, 7, 3});
    /* all but one event */
    check({FIRST_PATH, A, 0, 1}, {GOES_ON, A, 5, 1}, {GOES_ON, A, 6, 2});
}

/* A connection that is older than the trace. */
static void older_than_the_trace(void **state)
{
    (void)state;
    check({GOES_ON, A, 9, 1}, {GOES_ON, B, 9, 2}, {GOES_ON, A, 9, 1}, {ENDS, A, 9, 1},
          {BEGINS, A, 12, 3}, {GOES_ON, B, 9, 2});
    /* its end was lost */
    check({GOES_ON, A, 9, 1}, {BEGINS, A, 12, 2});
    check({GOES_ON, A, 9, 1}, {FIRST_PATH, A, 0, 2}, {BEGINS, A, 12, 2});
    /* an event before accept is of the same connection */
    check({GOES_ON, A, 9, 1}, {BEGINS, A, 9, 1}, {GOES_ON, A, 9, 1});
}

/* An unreadable number is ignored. */
static void unread(void **state)
{
    (void)state;
    check({GOES_ON, A, UNREAD, 1}, {GOES_ON, A, 4, 1}, {GOES_ON, A, UNREAD, 1},
          {ENDS, A, UNREAD, 1}, {BEGINS, A, UNREAD, 2}, {GOES_ON, A, 5, 2}, {BEGINS, A, UNREAD, 3});
    check({FIRST_PATH, A, UNREAD, 1}, {BEGINS, A, 5, 1}, {GOES_ON, A, 5, 1});
}

/* Connections get numbers at the first request, without gaps. */
static void numbers_have_no_gaps(void **state)
{
    struct connections connections;
    uint32_t conn = 0;

    (void)state;
    connections_open(&connections);
    connections_follow(&connections, BEGINS, A, &conn);
    connections_follow(&connections, BEGINS, B, &conn);
    assert_int_equal(number_of(&connections, BEGINS, C, 0), 1);
    assert_int_equal(number_of(&connections, GOES_ON, A, 0), 2);
    assert_int_equal(number_of(&connections, GOES_ON, C, 0), 1);
    assert_int_equal(number_of(&connections, GOES_ON, B, 0), 3);
    connections_close(&connections);
}

static uint64_t address_of(size_t nth)
{
    return A + nth * 3648;
}

/* Live connections keep their numbers while others begin and end. */
static void table_grows_and_shrinks(void **state)
{
    enum { LIVE = 20000 };
    struct connections connections;
    size_t num_slots;

    (void)state;
    connections_open(&connections);
    num_slots = connections.num_slots;
    for (size_t i = 0; i != LIVE; ++i)
        assert_int_equal(number_of(&connections, BEGINS, address_of(i), 1), i + 1);
    assert_true(connections.num_slots > LIVE && connections.num_slots < 4 * LIVE);
    for (size_t i = 0; i != LIVE; ++i)
        assert_int_equal(number_of(&connections, GOES_ON, address_of(i), 1), i + 1);
    for (size_t i = 0; i != LIVE; ++i) {
        assert_int_equal(number_of(&connections, ENDS, address_of(i), 1), i + 1);
        for (size_t j = i; j < LIVE; j += 997)
            assert_int_equal(number_of(&connections, GOES_ON, address_of(j), 1), j + 1);
    }
    assert_true(connections.count <= CONNECTIONS_FREED);
    for (size_t i = 0; i != 3 * LIVE; ++i) { /* a long trace of short connections */
        uint64_t address = address_of(i % 7919);
        assert_int_equal(number_of(&connections, BEGINS, address, 2), LIVE + 1 + i);
        assert_int_equal(number_of(&connections, ENDS, address, 2), LIVE + 1 + i);
        assert_int_equal(number_of(&connections, GOES_ON, address, 2), LIVE + 1 + i);
        assert_true(connections.count <= CONNECTIONS_FREED + 1);
    }
    assert_true(connections.num_slots <= 8 * num_slots);
    connections_close(&connections);
}

/* A new connection at an address is not forgotten together with the previous one. */
static void successors_stay(void **state)
{
    struct connections connections;

    (void)state;
    connections_open(&connections);
    number_of(&connections, BEGINS, A, 1);
    number_of(&connections, ENDS, A, 1);
    assert_int_equal(number_of(&connections, BEGINS, A, 2), 2);
    number_of(&connections, BEGINS, B, 1);
    number_of(&connections, ENDS, B, 1);
    number_of(&connections, BEGINS, B, 2);
    number_of(&connections, ENDS, B, 2); /* ended again: it is kept from here on */
    for (size_t i = 0; i != CONNECTIONS_FREED - 1; ++i)
        number_of(&connections, ENDS, C + 64 * i, 1);
    assert_int_equal(number_of(&connections, GOES_ON, A, 2), 2);
    assert_int_equal(number_of(&connections, GOES_ON, B, 2), 4);
    number_of(&connections, ENDS, C - 64, 1);
    assert_int_equal(number_of(&connections, GOES_ON, A, 2), 2);
    assert_int_equal(number_of(&connections, GOES_ON, B, 2), 4 + CONNECTIONS_FREED + 1);
    connections_close(&connections);
}

/* If ends are lost, the table does not grow without limit. Connections with events stay. */
static void lost_ends_are_forgotten(void **state)
{
    struct connections connections;

    (void)state;
    connections_open(&connections);
    for (size_t i = 0; i != 3 * CONNECTIONS_MAX; ++i) {
        assert_int_equal(number_of(&connections, BEGINS, address_of(i), 1), i + 1);
        if (i % 1000 == 0) {
            for (size_t j = 0; j < 100 && j <= i; ++j)
                assert_int_equal(number_of(&connections, GOES_ON, address_of(j), 1), j + 1);
        }
        assert_true(connections.count <= CONNECTIONS_MAX);
    }
    assert_true(connections.count > CONNECTIONS_MAX / 2);
    assert_true(connections.num_slots * sizeof(struct connection) <= (size_t)24 << 20);
    /* the one without events for the longest time is a new one now */
    assert_int_equal(number_of(&connections, GOES_ON, address_of(100), 1), 3 * CONNECTIONS_MAX + 1);
    connections_close(&connections);
}

/* Compares with a linear table, also for addresses with the same hash. */
static void agrees_with_a_simple_table(void **state)
{
    enum { OBJECTS = 3000, EVENTS = 200000 };
    static uint64_t addresses[OBJECTS], numbers[OBJECTS];
    struct connections connections;
    uint64_t numbered = 0;

    (void)state;
    srandom(random_seed());
    connections_open(&connections);
    for (size_t i = 0; i != OBJECTS; ++i) { /* a third differ in high bits only, or in low ones */
        addresses[i] = i % 3 == 0 ? (uint64_t)(i + 1) << 48
                       : i % 3 == 1
                           ? i + 1
                           : ((uint64_t)random() << 31 | (uint64_t)random()) << 4 | 1 << 12;
        numbers[i] = 0;
    }
    for (size_t n = 0; n != EVENTS; ++n) {
        size_t nth = (size_t)random() % OBJECTS;
        enum connections_step step = numbers[nth] == 0     ? BEGINS
                                     : random() % 100 < 45 ? ENDS
                                                           : GOES_ON;
        if (numbers[nth] == 0)
            numbers[nth] = ++numbered;
        assert_int_equal(number_of(&connections, step, addresses[nth], 7), numbers[nth]);
        if (step == ENDS)
            numbers[nth] = 0;
    }
    connections_close(&connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_number_of_quicly),
        cmocka_unit_test(first_path),
        cmocka_unit_test(address_is_used_again),
        cmocka_unit_test(events_after_the_end),
        cmocka_unit_test(lost_events),
        cmocka_unit_test(older_than_the_trace),
        cmocka_unit_test(unread),
        cmocka_unit_test(numbers_have_no_gaps),
        cmocka_unit_test(table_grows_and_shrinks),
        cmocka_unit_test(successors_stay),
        cmocka_unit_test(lost_ends_are_forgotten),
        cmocka_unit_test(agrees_with_a_simple_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
