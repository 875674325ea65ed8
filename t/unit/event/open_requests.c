#include "support.h"

#include <string.h>

#include "event/open_requests.h"

static struct open_request *add(struct open_requests *table, uint64_t conn, uint64_t req)
{
    const struct request_key key = {conn, req};

    return open_requests_add(table, &key);
}

static struct open_request *find(const struct open_requests *table, uint64_t conn, uint64_t req)
{
    const struct request_key key = {conn, req};

    return open_requests_find(table, &key);
}

static void add_header(struct open_requests *table, struct open_request *open, size_t size)
{
    static uint8_t bytes[4096];
    struct value name, value;

    name.bytes = value.bytes = bytes;
    name.size = name.full_size = 4;
    value.size = value.full_size = size;
    open_requests_add_header(table, open, REQUEST_SIDE, &name, &value);
}

/* Requests are found while the table grows and shrinks, and listed by age and by connection. */
static void requests_are_found(void **state)
{
    enum { CONNS = 300, REQS = 30 };
    struct open_requests table;
    struct open_request *open;
    size_t count = 0;

    (void)state;
    open_requests_open(&table);
    for (uint64_t req = 0; req != REQS; ++req) {
        for (uint64_t conn = 0; conn != CONNS; ++conn) {
            open = add(&table, conn << 20, req << 40);
            assert_ptr_equal(open, find(&table, conn << 20, req << 40));
        }
    }
    assert_int_equal(table.count, CONNS * REQS);
    TAILQ_FOREACH(open, &table.by_age, by_age)
    {
        assert_int_equal(open->request.conn, count % CONNS << 20);
        assert_int_equal(open->request.req, (uint64_t)(count / CONNS) << 40);
        ++count;
    }
    assert_int_equal(count, CONNS * REQS);
    for (uint64_t conn = 0; conn != CONNS; ++conn) {
        struct open_connection *connection = open_requests_find_connection(&table, conn << 20);
        for (uint64_t req = 0; req != REQS; ++req) {
            open = TAILQ_FIRST(&connection->requests);
            assert_ptr_equal(open, find(&table, conn << 20, req << 40));
            open_requests_remove(&table, open);
            assert_null(find(&table, conn << 20, req << 40));
        }
        assert_null(open_requests_find_connection(&table, conn << 20));
    }
    assert_int_equal(table.count, 0);
    assert_int_equal(table.bytes, 0);
    assert_true(TAILQ_EMPTY(&table.by_age));
    open_requests_close(&table);
}

/* The bytes are those of the requests and their headers. */
static void bytes_are_counted(void **state)
{
    struct open_requests table;
    struct open_request *first, *second;

    (void)state;
    open_requests_open(&table);
    first = add(&table, 1, 1);
    second = add(&table, 1, 2);
    assert_true(table.bytes >= 2 * sizeof(*first) && table.bytes < 4 * sizeof(*first));
    add_header(&table, first, 4000);
    add_header(&table, second, 4000);
    add_header(&table, second, 4000);
    assert_true(table.bytes > 12000 && table.bytes < 16000);
    open_requests_remove(&table, second);
    assert_true(table.bytes > 4000 && table.bytes < 6000);
    open_requests_remove(&table, first);
    assert_int_equal(table.bytes, 0);
    open_requests_close(&table);
}

/* Freed requests and their small buffers are used again, but not kept without limit. */
static void memory_is_reused(void **state)
{
    enum { COUNT = 5000 };
    struct open_requests table;
    struct open_request *open;
    const uint8_t *headers;

    (void)state;
    open_requests_open(&table);
    open = add(&table, 1, 1);
    add_header(&table, open, 100);
    open->request.status = 200;
    open->has_response = true;
    headers = open->request.headers;
    open_requests_remove(&table, open);
    assert_ptr_equal(add(&table, 2, 2), open);
    assert_ptr_equal(open->request.headers, headers);
    assert_int_equal(open->request.used + (uint32_t)open->request.status + open->has_response, 0);
    assert_true(table.bytes >= open->request.allocated);
    for (size_t i = 0; i != 10; ++i)
        add_header(&table, open, 4000);
    open_requests_remove(&table, open);
    assert_ptr_equal(add(&table, 3, 3), open);
    assert_null(open->request.headers); /* it was large */
    for (size_t i = 0; i != COUNT; ++i)
        add(&table, 4 + i, 0);
    for (size_t i = 0; i != COUNT; ++i)
        open_requests_remove(&table, find(&table, 4 + i, 0));
    assert_true(table.num_unused < COUNT / 2 && table.num_unused_connections < COUNT / 2);
    open_requests_close(&table);
}

/* Many dropped keys are remembered, the latest ones in any case. */
static void dropped_keys(void **state)
{
    enum { COUNT = 20000 };
    struct open_requests table;
    struct request_key key = {1, 1};
    size_t forgotten = 0;

    (void)state;
    open_requests_open(&table);
    assert_false(open_requests_is_remembered(&table, &key));
    for (key.conn = 0; key.conn != COUNT; ++key.conn) {
        open_requests_remember(&table, &key);
        assert_true(open_requests_is_remembered(&table, &key));
    }
    for (key.conn = 0; key.conn != COUNT; ++key.conn) {
        forgotten += !open_requests_is_remembered(&table, &key);
        key.req = 2;
        assert_false(open_requests_is_remembered(&table, &key));
        key.req = 1;
    }
    assert_true(forgotten < COUNT / 1000);
    key = (struct request_key){0, 0}; /* the content of an empty place */
    assert_false(open_requests_is_remembered(&table, &key));
    open_requests_close(&table);
}

/* Keys as a client can choose them do not meet in few slots. */
static void keys_are_spread(void **state)
{
    enum { COUNT = 4096 };
    static const uint64_t steps[] = {1, 2, 4, 1 << 10, 1 << 16, UINT64_C(1) << 32};
    struct open_requests table;

    (void)state;
    for (size_t i = 0; i != 2 * sizeof(steps) / sizeof(steps[0]); ++i) {
        const uint64_t step = steps[i / 2];
        size_t longest = 0;
        open_requests_open(&table);
        for (uint64_t nth = 0; nth != COUNT; ++nth)
            add(&table, i % 2 == 0 ? 7 : nth * step, i % 2 == 0 ? nth * step : 7);
        for (size_t slot = 0; slot != (size_t)1 << table.slot_bits; ++slot) {
            size_t length = 0;
            for (const struct open_request *open = table.requests[slot]; open != NULL;
                 open = open->next_in_slot)
                ++length;
            if (length > longest)
                longest = length;
        }
        assert_true(longest < 20);
        open_requests_close(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_found), cmocka_unit_test(bytes_are_counted),
        cmocka_unit_test(memory_is_reused),   cmocka_unit_test(dropped_keys),
        cmocka_unit_test(keys_are_spread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
