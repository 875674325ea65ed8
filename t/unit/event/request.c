#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "event/request.h"
#include "memory.h"

static struct value text(const char *bytes)
{
    struct value value;

    value.bytes = (const uint8_t *)bytes;
    value.size = strlen(bytes);
    value.full_size = strlen(bytes);
    return value;
}

static struct value sized(const char *bytes, size_t size, uint64_t full_size)
{
    struct value value;

    value.bytes = (const uint8_t *)bytes;
    value.size = size;
    value.full_size = full_size;
    return value;
}

static void add(struct request *request, enum request_side side, const char *name,
                const char *value)
{
    const struct value name_value = text(name), value_value = text(value);

    request_add_header(request, side, &name_value, &value_value);
}

static void check_value(const char *what, const struct value *value, const char *expected)
{
    if (value->bytes == NULL || value->size != strlen(expected) ||
        memcmp(value->bytes, expected, value->size) != 0)
        fail_msg("%s is not %s", what, expected);
    assert_true(value->full_size == value->size);
}

/* Checks the next header. Returns its `at`. */
static size_t check_next(const struct request *request, size_t *at, enum request_side side,
                         const char *name, const char *value)
{
    const size_t begin = *at;
    struct request_header header;

    assert_true(request_next_header(request, at, &header));
    assert_int_equal(header.side, side);
    check_value(name, &header.name, name);
    check_value(name, &header.value, value);
    assert_false(header.is_redacted);
    return begin;
}

/* Headers of both sides come in the order in which they were added, duplicates and empty ones. */
static void headers_in_order(void **state)
{
    struct request request = {0};
    struct request_header header;
    size_t at = 0;

    (void)state;
    assert_false(request_next_header(&request, &at, &header));
    add(&request, REQUEST_SIDE, ":path", "/");
    add(&request, REQUEST_SIDE, "cookie", "a=1");
    add(&request, RESPONSE_SIDE, "x", "");
    add(&request, REQUEST_SIDE, "cookie", "b=22");
    add(&request, RESPONSE_SIDE, "", "");
    check_next(&request, &at, REQUEST_SIDE, ":path", "/");
    check_next(&request, &at, REQUEST_SIDE, "cookie", "a=1");
    check_next(&request, &at, RESPONSE_SIDE, "x", "");
    check_next(&request, &at, REQUEST_SIDE, "cookie", "b=22");
    check_next(&request, &at, RESPONSE_SIDE, "", "");
    assert_false(request_next_header(&request, &at, &header));
    assert_false(request.is_truncated);
    request_dispose(&request);
    assert_null(request.headers);
    assert_int_equal(request.used + request.allocated, 0);
}

/* Entries of any size, at any address: the buffer moves when it grows. */
static void any_sizes(void **state)
{
    enum { COUNT = 300 };
    struct request request = {0};
    uint32_t seed = random_seed();
    static char bytes[EVENT_TEXT_MAX];
    static size_t names[COUNT], values[COUNT];
    struct request_header header;
    size_t at = 0;

    (void)state;
    for (size_t i = 0; i != sizeof(bytes); ++i)
        bytes[i] = (char)random_next(&seed);
    for (size_t i = 0; i != COUNT; ++i) {
        struct value name, value;
        names[i] = random_next(&seed) % (EVENT_NAME_MAX + 1);
        values[i] = random_next(&seed) % (i % 10 == 0 ? EVENT_TEXT_MAX + 1 : 70);
        name = sized(bytes + i, names[i], names[i]);
        value = sized(bytes, values[i], values[i]);
        request_add_header(&request, REQUEST_SIDE, &name, &value);
        assert_true(request.used <= request.allocated);
        assert_true(request.allocated < request.used + request.used / 4 + 1024);
    }
    for (size_t i = 0; i != COUNT; ++i) {
        assert_true(request_next_header(&request, &at, &header));
        assert_int_equal(header.name.size, names[i]);
        assert_int_equal(header.value.size, values[i]);
        assert_memory_equal(header.name.bytes, bytes + i, names[i]);
        assert_memory_equal(header.value.bytes, bytes, values[i]);
    }
    assert_false(request_next_header(&request, &at, &header));
    request_dispose(&request);
}

/* Sizes in the server are kept, and texts are cut at the limits of an event. */
static void cut_values(void **state)
{
    static char bytes[2 * EVENT_TEXT_MAX];
    struct value name = text("n"), value = sized("abcdef", 3, 6);
    struct request request = {0};
    struct request_header header;
    size_t at = 0;

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    request_add_header(&request, REQUEST_SIDE, &name, &value);
    assert_true(request.is_truncated);
    assert_true(request_next_header(&request, &at, &header));
    check_value("name", &header.name, "n");
    assert_int_equal(header.value.size, 3);
    assert_int_equal(header.value.full_size, 6);
    assert_memory_equal(header.value.bytes, "abc", 3);
    name = sized(bytes, EVENT_NAME_MAX + 1, UINT64_MAX);
    value = sized(bytes, sizeof(bytes), sizeof(bytes));
    request_add_header(&request, REQUEST_SIDE, &name, &value);
    assert_true(request_next_header(&request, &at, &header));
    assert_int_equal(header.name.size, EVENT_NAME_MAX);
    assert_true(header.name.full_size == UINT64_MAX);
    assert_int_equal(header.value.size, EVENT_TEXT_MAX);
    assert_int_equal(header.value.full_size, sizeof(bytes));
    request_dispose(&request);

    request = (struct request){0}; /* a cut name alone */
    name = sized("cookie", 6, 7);
    value = text("v");
    request_add_header(&request, REQUEST_SIDE, &name, &value);
    assert_true(request.is_truncated);
    assert_false(request_find_header(&request, REQUEST_SIDE, "cookie", &header));
    request_dispose(&request);
}

/* What could not be read is neither empty nor cut. */
static void unreadable(void **state)
{
    const struct value name = text("n"), none = sized(NULL, 5, 9);
    struct request request = {0};
    struct request_header header;
    size_t at = 0;

    (void)state;
    request_add_header(&request, REQUEST_SIDE, &name, &none);
    request_add_header(&request, REQUEST_SIDE, &none, &name);
    assert_false(request.is_truncated);
    assert_true(request_next_header(&request, &at, &header));
    check_value("name", &header.name, "n");
    assert_null(header.value.bytes);
    assert_int_equal(header.value.full_size, 9);
    assert_true(request_next_header(&request, &at, &header));
    assert_null(header.name.bytes);
    check_value("value", &header.value, "n");
    assert_false(request_find_header(&request, REQUEST_SIDE, "", &header));
    request_dispose(&request);
}

/* The first header of the side with the name, in any case. */
static void find(void **state)
{
    struct request request = {0};
    struct request_header header;

    (void)state;
    assert_false(request_find_header(&request, REQUEST_SIDE, "x", &header));
    add(&request, RESPONSE_SIDE, "x-Name", "of the response");
    add(&request, REQUEST_SIDE, "x-nam", "shorter");
    add(&request, REQUEST_SIDE, "x-namee", "longer");
    add(&request, REQUEST_SIDE, "x-Name", "first");
    add(&request, REQUEST_SIDE, "x-name", "second");
    assert_true(request_find_header(&request, REQUEST_SIDE, "x-name", &header));
    check_value("name", &header.name, "x-Name");
    check_value("value", &header.value, "first");
    assert_true(request_find_header(&request, RESPONSE_SIDE, "x-name", &header));
    check_value("value", &header.value, "of the response");
    assert_false(request_find_header(&request, RESPONSE_SIDE, "x-nam", &header));
    assert_false(request_find_header(&request, REQUEST_SIDE, "", &header));
    request_dispose(&request);
}

/* A redacted value shows the size that it has in the server. Others stay. */
static void redact(void **state)
{
    const struct value name = text("set-cookie"), cut = sized("abc", 3, 5000);
    struct request request = {0};
    struct request_header header;
    size_t at = 0, cookie, set_cookie;

    (void)state;
    add(&request, REQUEST_SIDE, "host", "h");
    add(&request, REQUEST_SIDE, "cookie", "012345678901234567890");
    request_add_header(&request, RESPONSE_SIDE, &name, &cut);
    check_next(&request, &at, REQUEST_SIDE, "host", "h");
    cookie = check_next(&request, &at, REQUEST_SIDE, "cookie", "012345678901234567890");
    set_cookie = at;
    request_redact_header(&request, cookie);
    request_redact_header(&request, cookie);
    request_redact_header(&request, set_cookie);
    at = 0;
    check_next(&request, &at, REQUEST_SIDE, "host", "h");
    assert_true(request_next_header(&request, &at, &header));
    assert_true(header.is_redacted);
    check_value("name", &header.name, "cookie");
    check_value("value", &header.value, "[redacted, 21 bytes]");
    assert_true(request_find_header(&request, RESPONSE_SIDE, "set-cookie", &header));
    assert_true(header.is_redacted);
    check_value("value", &header.value, "[redacted, 5000 bytes]");
    request_dispose(&request);
}

/* The largest size fits. */
static void redact_the_largest(void **state)
{
    const struct value name = text("cookie"), lie = sized(NULL, 0, UINT64_MAX);
    struct request request = {0};
    struct request_header header;

    (void)state;
    request_add_header(&request, REQUEST_SIDE, &name, &lie);
    request_redact_header(&request, 0);
    assert_true(request_find_header(&request, REQUEST_SIDE, "cookie", &header));
    check_value("value", &header.value, "[redacted, 18446744073709551615 bytes]");
    request_dispose(&request);
}

/* A shortened value counts as complete, also if it had been cut. */
static void shorten(void **state)
{
    const struct value name = text(":path"), cut = sized("/a?long", 7, 9000);
    struct request request = {0};
    size_t at = 0, path;

    (void)state;
    request_add_header(&request, REQUEST_SIDE, &name, &cut);
    add(&request, REQUEST_SIDE, "referer", "/b?c");
    assert_true(request.is_truncated);
    request_shorten_header(&request, 0, 2);
    assert_false(request.is_truncated);
    check_next(&request, &at, REQUEST_SIDE, ":path", "/a");
    path = check_next(&request, &at, REQUEST_SIDE, "referer", "/b?c");
    request_shorten_header(&request, path, 100); /* it is not made longer */
    request_shorten_header(&request, path, 0);
    request_shorten_header(&request, path, 3);
    at = path;
    check_next(&request, &at, REQUEST_SIDE, "referer", "");
    request_dispose(&request);

    request = (struct request){0}; /* another one is cut, too */
    request_add_header(&request, REQUEST_SIDE, &name, &cut);
    request_add_header(&request, REQUEST_SIDE, &name, &cut);
    request_shorten_header(&request, 0, 2);
    assert_true(request.is_truncated);
    request_dispose(&request);
}

/* A request does not grow without limit. */
/* A truncated value that is hidden does not count. */
static void hide(void **state)
{
    const struct value name = {.bytes = (const uint8_t *)"x", .size = 1, .full_size = 1};
    const struct value value = {.bytes = (const uint8_t *)"v", .size = 1, .full_size = 5000};
    struct request_header header;
    struct request request = {0};
    size_t at = 0;

    (void)state;
    request_add_header(&request, REQUEST_SIDE, &name, &value);
    add(&request, REQUEST_SIDE, "y", "whole");
    assert_true(request.is_truncated);
    request_hide_header(&request, 0);
    assert_false(request.is_truncated);
    assert_true(request_next_header(&request, &at, &header));
    assert_memory_equal(header.name.bytes, "y", 1);
    assert_false(request_next_header(&request, &at, &header));
    request_dispose(&request);
}

static void too_many_headers(void **state)
{
    static char bytes[EVENT_TEXT_MAX];
    const struct value name = text("n"), value = sized(bytes, sizeof(bytes), sizeof(bytes));
    struct request request = {0};
    struct request_header header;
    size_t at = 0, count = 0;

    (void)state;
    for (size_t i = 0; i != 2000; ++i)
        request_add_header(&request, REQUEST_SIDE, &name, &value);
    assert_true(request.is_truncated);
    assert_true(request.allocated < 6 << 20);
    while (request_next_header(&request, &at, &header))
        ++count;
    assert_true(count > 1000 && count < 1100);
    request_dispose(&request);
}

static void times(void **state)
{
    struct request request = {.received_ns = 10, .responded_ns = 25, .ended_ns = 100};
    uint64_t ns;

    (void)state;
    assert_true(request_ttfb(&request, &ns));
    assert_int_equal(ns, 15);
    assert_true(request_duration(&request, &ns));
    assert_int_equal(ns, 90);
    request.received_ns = 0;
    assert_false(request_ttfb(&request, &ns));
    assert_false(request_duration(&request, &ns));
    request = (struct request){.received_ns = 10};
    assert_false(request_ttfb(&request, &ns));
    assert_false(request_duration(&request, &ns));
}

static void names_of_states(void **state)
{
    (void)state;
    check_string("complete", request_state_name(REQUEST_COMPLETE), "complete");
    check_string("unfinished", request_state_name(REQUEST_UNFINISHED), "unfinished");
    check_string("incomplete", request_state_name(REQUEST_INCOMPLETE), "incomplete");
    check_string("begun", request_state_name(REQUEST_BEGUN), "begun-before-trace");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_in_order),
        cmocka_unit_test(any_sizes),
        cmocka_unit_test(cut_values),
        cmocka_unit_test(unreadable),
        cmocka_unit_test(find),
        cmocka_unit_test(redact),
        cmocka_unit_test(redact_the_largest),
        cmocka_unit_test(shorten),
        cmocka_unit_test(hide),
        cmocka_unit_test(too_many_headers),
        cmocka_unit_test(times),
        cmocka_unit_test(names_of_states),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
