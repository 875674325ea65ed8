#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "event.h"
#include "event/query.h"
#include "memory.h"

/* A time of the wall clock, and the same time of the events' clock. */
#define WALL_NS      UINT64_C(1795347456218123456)
#define MONOTONIC_NS UINT64_C(5000000000123)

static const struct clock wall = {.wall_ns = (int64_t)(WALL_NS - MONOTONIC_NS)};

/* An expression, and whether it holds. */
struct row {
    const char *text;
    bool holds;
};

static struct query *compile(const char *text, enum query_subject subject)
{
    struct error error = {.status = ERROR_NONE};
    struct query *query = query_open(text, subject, &error);

    if (query == NULL)
        fail_msg("%s\n  %s", text, error.text);
    return query;
}

/* --- requests --- */

static struct value value_of(const void *bytes, size_t size, uint64_t full_size)
{
    struct value value = {.number = 0};

    value.bytes = bytes;
    value.size = size;
    value.full_size = full_size;
    return value;
}

static void add_sized(struct request *request, enum request_side side, const char *name,
                      const void *bytes, size_t size, uint64_t full_size)
{
    const struct value name_value = value_of(name, strlen(name), strlen(name));
    const struct value value = value_of(bytes, size, full_size);

    request_add_header(request, side, &name_value, &value);
}

static void add(struct request *request, enum request_side side, const char *name,
                const char *value)
{
    add_sized(request, side, name, value, strlen(value), strlen(value));
}

static void open_request(struct request *request)
{
    *request = (struct request){
        .conn = 1292,
        .req = UINT64_MAX,
        .connection = 7,
        .received_ns = MONOTONIC_NS,
        .responded_ns = MONOTONIC_NS + 501234567,
        .version = 0x200,
        .status = 503,
    };
    add(request, REQUEST_SIDE, ":authority", "example.com");
    add(request, REQUEST_SIDE, ":method", "GET");
    add(request, REQUEST_SIDE, ":path", "/api/orders?id=7");
    add(request, REQUEST_SIDE, ":scheme", "https");
    add(request, REQUEST_SIDE, "Accept", "text/html");
    add(request, REQUEST_SIDE, "x-count", "1500");
    add(request, REQUEST_SIDE, "x-empty", "");
    add(request, REQUEST_SIDE, "x-id", "one");
    add(request, REQUEST_SIDE, "x-id", "two");
    add(request, REQUEST_SIDE, "x-mixed", "5");
    add(request, REQUEST_SIDE, "x-mixed", "many");
    add(request, REQUEST_SIDE, "x~odd", "yes");
    add_sized(request, REQUEST_SIDE, "x-unreadable", NULL, 0, 12);
    add_sized(request, REQUEST_SIDE, "x-bytes", "a\0b\xff\n", 5, 5);
    add_sized(request, REQUEST_SIDE, "x-cut", "begin", 5, 100);
    add(request, RESPONSE_SIDE, "content-type", "text/plain");
    add(request, RESPONSE_SIDE, "x-huge", "123456789012345678901234567890123456789012345678901");
    add(request, RESPONSE_SIDE, "x-ratio", "-0.25");
}

static bool holds_for(const char *text, const struct request *request)
{
    struct query *query = compile(text, QUERY_REQUESTS);
    const bool holds = query_holds_for_request(query, request, &wall);

    assert_true(query_holds_for_request(query, request, &wall) == holds);
    query_close(query);
    return holds;
}

static void check_rows(const struct row *rows, size_t count, const struct request *request)
{
    for (size_t i = 0; i != count; ++i) {
        if (holds_for(rows[i].text, request) != rows[i].holds)
            fail_msg("%s is to be %s", rows[i].text, rows[i].holds ? "true" : "false");
    }
}

#define CHECK_ROWS(rows, request) check_rows(rows, sizeof(rows) / sizeof((rows)[0]), request)

static void values_of_requests(void **state)
{
    static const struct row rows[] = {
        {"conn == 1292", true},
        {"conn != 1292", false},
        {"connection == 7", true},
        {"req == 18446744073709551615", true},
        {"req > 18446744073709551614", true},
        {"req == 18446744073709551614", false},
        {"time == 1795347456218.123", true},
        {"time > 1795347456218", true},
        {"time < 1795347456219", true},
        {"time ~ '^1795347456218[.]123$'", true},
        {"status == 503", true},
        {"status == 503.0", true},
        {"status != 503", false},
        {"status >= 503", true},
        {"status <= 503", true},
        {"status > 503", false},
        {"status < 503", false},
        {"status > 502.999999999", true},
        {"status < 503.000000001", true},
        {"status > -1", true},
        {"status < 1k", true},
        {"status ~ '^5'", true},
        {"status ~ '^50$'", false},
        {"status !~ '^4'", true},
        {"ttfb-us == 501234", true},
        {"ttfb-us == 501.234ms", true},
        {"ttfb == 501234us", true},
        {"ttfb > 501ms", true},
        {"ttfb < 0.502s", true},
        {"ttfb-us > 500k", true},
        {"ttfb-us ~ '4$'", true},
        {"ttfb", true},
        {"duration", false},
        {"duration < 5s", false},
        {"not duration > 5s", true},
        {"duration-us != 0", false},
        {"bytes", false},
        {"bytes >= 0", false},
        {"protocol == 'HTTP/2'", true},
        {"protocol != 'HTTP/2'", false},
        {"protocol ~ '[12]$'", true},
        {"method == 'GET'", true},
        {"method == 'get'", false},
        {"method < 'POST'", true},
        {"method > 'GE'", true},
        {"method <= 'GET' and method >= 'GET'", true},
        {"method < 'GET' or method > 'GET'", false},
        {"scheme == \"https\"", true},
        {"authority ~ 'example[.]com'", true},
        {"path ~ \"^/api/\"", true},
        {"path ~ '^/api/orders\\?id=\\d$'", true},
        {"path !~ '^/api/'", false},
        {"path != '/'", true},
        {"state == 'complete'", true},
        {"state != 'complete'", false},
        {"state ~ 'comp'", true},
        {"truncated", false},
        {"not truncated", true},
    };
    struct request request;

    (void)state;
    open_request(&request);
    request.is_truncated = false;
    CHECK_ROWS(rows, &request);
    request_dispose(&request);
}

static void headers_of_requests(void **state)
{
    static const struct row rows[] = {
        {"rx.accept == 'text/html'", true},
        {"rx.Accept == 'text/html'", true},
        {"tx.accept", false},
        {"tx.content-type == 'text/plain'", true},
        {"rx.content-type", false},
        {"rx.:path == '/api/orders?id=7'", true},
        {"rx.'x~odd' == 'yes'", true},
        {"rx.\"X~ODD\" == 'yes'", true},
        /* not there */
        {"rx.x-none", false},
        {"rx.x-none == ''", false},
        {"rx.x-none != 'x'", false},
        {"rx.x-none ~ ''", false},
        {"rx.x-none !~ 'x'", false},
        {"rx.x-none < 'x'", false},
        {"not rx.x-none", true},
        {"rx.x-empty", true},
        {"rx.x-empty == ''", true},
        {"rx.x-empty ~ '^$'", true},
        {"rx.x-unreadable", false},
        {"rx.x-unreadable != 'x'", false},
        {"rx.x-unreadable !~ 'x'", false},
        /* several with one name */
        {"rx.x-id == 'one'", true},
        {"rx.x-id == 'two'", true},
        {"rx.x-id == 'three'", false},
        {"rx.x-id != 'one'", false},
        {"rx.x-id != 'two'", false},
        {"rx.x-id != 'three'", true},
        {"rx.x-id ~ '^t'", true},
        {"rx.x-id !~ '^t'", false},
        {"rx.x-id !~ '^o'", false},
        {"rx.x-id !~ '^z'", true},
        {"rx.x-id < 'p'", true},
        {"rx.x-id > 'p'", true},
        {"rx.x-id >= 'two' and rx.x-id <= 'one'", true},
        {"rx.x-mixed == 5", true},
        {"rx.x-mixed != 5", false},
        {"rx.x-mixed != 6", true},
        /* text as a number */
        {"rx.x-count == 1500", true},
        {"rx.x-count == 1.5k", true},
        {"rx.x-count > 1k", true},
        {"rx.x-count < 1M", true},
        {"rx.x-count == '1500'", true},
        {"rx.x-count > '2'", false},
        {"rx.accept == 5", false},
        {"rx.accept != 5", false},
        {"rx.x-empty < 5", false},
        {"tx.x-ratio == -0.25", true},
        {"tx.x-ratio < -0.2", true},
        {"tx.x-ratio > -1", true},
        {"tx.x-huge > 18446744073709551615", true},
        {"tx.x-huge != 0", true},
        /* hostile bytes */
        {"rx.x-bytes == \"a\\x00b\\xff\\n\"", true},
        {"rx.x-bytes == \"a\"", false},
        {"rx.x-bytes > \"a\"", true},
        {"rx.x-bytes ~ '\\x00b\\xff\\n$'", true},
        {"rx.x-bytes ~ '^a.b..$'", false},
        {"rx.x-bytes ~ '(?s)^a.b..$'", true},
        /* truncated */
        {"rx.x-cut == 'begin'", true},
        {"rx.x-cut ~ 'begin'", true},
        {"rx.x-cut != 'begin and more'", true},
        {"truncated", true},
    };
    struct request request;

    (void)state;
    open_request(&request);
    CHECK_ROWS(rows, &request);
    request_dispose(&request);
}

/* A name that was cut is not the name that it begins with. */
static void cut_names_are_not_compared(void **state)
{
    struct request request = {0};
    char name[EVENT_NAME_MAX + 1], text[EVENT_NAME_MAX + 16];
    struct value name_value, value = value_of("v", 1, 1);

    (void)state;
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(text, sizeof(text), "rx.%s", name);
    name_value = value_of(name, EVENT_NAME_MAX, EVENT_NAME_MAX + 1);
    request_add_header(&request, REQUEST_SIDE, &name_value, &value);
    assert_false(holds_for(text, &request));
    name_value = value_of(name, EVENT_NAME_MAX, EVENT_NAME_MAX);
    request_add_header(&request, REQUEST_SIDE, &name_value, &value);
    assert_true(holds_for(text, &request));
    request_dispose(&request);
}

static void unknown_values_of_requests(void **state)
{
    static const struct row rows[] = {
        {"conn == 0 and req == 0", true},
        {"connection", false},
        {"time", true}, /* of the response */
        {"status", false},
        {"status == 0", false},
        {"status != 0", false},
        {"status !~ '5'", false},
        {"protocol", false},
        {"method", false},
        {"ttfb", false},
        {"ttfb-us >= 0", false},
        {"duration-us == 2000001", true},
        {"duration == 2.000001s", true},
        {"bytes == 0", true},
        {"state == 'begun-before-trace'", true},
        {"truncated", true},
    };
    struct request request = {.responded_ns = 5, .state = REQUEST_BEGUN, .is_truncated = true};

    (void)state;
    request.has_bytes = true;
    check_rows(rows, 11, &request);
    request.received_ns = MONOTONIC_NS;
    request.responded_ns = 0;
    request.ended_ns = MONOTONIC_NS + UINT64_C(2000001999);
    check_rows(rows + 9, 7, &request);
}

static void protocols(void **state)
{
    static const struct {
        int32_t version;
        const char *text;
    } rows[] = {
        {0x100, "protocol == 'HTTP/1.0'"},
        {0x101, "protocol == 'HTTP/1.1'"},
        {0x200, "protocol == 'HTTP/2'"},
        {0x300, "protocol == 'HTTP/3'"},
    };

    (void)state;
    for (size_t i = 0; i != 4; ++i) {
        const struct request request = {.version = rows[i].version};
        for (size_t j = 0; j != 4; ++j)
            assert_true(holds_for(rows[j].text, &request) == (i == j));
    }
}

/* T and F stand for comparisons that hold and do not hold. */
static void precedence(void **state)
{
    static const struct row rows[] = {
        {"T", true},
        {"F", false},
        {"not F", true},
        {"not not F", false},
        {"T and F", false},
        {"T and T", true},
        {"F or T", true},
        {"F or F", false},
        {"T or T and F", true},
        {"(T or T) and F", false},
        {"F and T or T", true},
        {"F and (T or T)", false},
        {"not F and F", false},
        {"not (F and F)", true},
        {"not T or T", true},
        {"not (T or T)", false},
        {"F or F or F or T", true},
        {"T and T and T and F", false},
        {"F or T and not F", true},
        {"((((T))))", true},
        {"not(F)and(T)or(F)", true},
    };
    const struct request request = {.status = 200};

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        char text[256] = "";
        for (const char *at = rows[i].text; *at != '\0'; ++at) {
            const char letter[] = {*at, '\0'};
            strcat(text, *at == 'T' ? "status==200" : *at == 'F' ? "status==201" : letter);
        }
        if (holds_for(text, &request) != rows[i].holds)
            fail_msg("%s is to be %s", rows[i].text, rows[i].holds ? "true" : "false");
    }
}

static void escapes(void **state)
{
    static const struct {
        const char *text, *path;
        bool holds;
    } rows[] = {
        {"path == \"a\\\"b\"", "a\"b", true},
        {"path == 'a\"b'", "a\"b", true},
        {"path == 'a\\'b'", "a'b", true},
        {"path == \"a'b\"", "a'b", true},
        {"path == 'a\\\\b'", "a\\b", true},
        {"path == 'a\\tb\\n'", "a\tb\n", true},
        {"path == '\\x41\\x6a\\x6B'", "Ajk", true},
        {"path == '\\d\\x4\\xzz'", "\\d\\x4\\xzz", true},
        {"path == 'it''s'", "its", false},
        {"path ~ '^a\\.b$'", "a.b", true},
        {"path ~ '^a\\.b$'", "axb", false},
        {"path ~ '^a\\\\.b$'", "a.b", true}, /* as in C and JSON */
        {"path ~ '^a\\\\.b$'", "axb", false},
        {"path ~ '^a\\x2eb$'", "a.b", true},
        {"path ~ '^a\\x2eb$'", "axb", false}, /* a dot, not any character */
        {"path ~ '^a\\tb\\n$'", "a\tb\n", true},
        {"path ~ '^a\\'b$'", "a'b", true},
        {"path ~ \"^\\d+\\\"$\"", "12\"", true},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        struct request request = {0};
        struct query *query;
        struct error error;
        add(&request, REQUEST_SIDE, ":path", rows[i].path);
        query = query_open(rows[i].text, QUERY_REQUESTS, &error);
        if (query == NULL)
            assert_string_equal(rows[i].text, "path == 'it''s'");
        else if (query_holds_for_request(query, &request, &wall) != rows[i].holds)
            fail_msg("%s is to be %s for %s", rows[i].text, rows[i].holds ? "true" : "false",
                     rows[i].path);
        query_close(query);
        request_dispose(&request);
    }
}

/* --- errors --- */

static void check_error(const char *text, enum query_subject subject, const char *expected)
{
    struct error error = {.status = ERROR_NONE};

    if (query_open(text, subject, &error) != NULL)
        fail_msg("%s is accepted", text);
    assert_int_equal(error.status, ERROR_USAGE);
    check_string(text, error.text, expected);
}

static void errors(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"", "-q, at the end: a comparison is expected, such as status >= 500"},
        {"  ", "-q, at the end: a comparison is expected, such as status >= 500"},
        {"status >= and path", "-q, column 11, at 'and path': a value is expected after '>='"},
        {"status >=", "-q, at the end: a value is expected after '>='"},
        {"status >= 500 and", "-q, at the end: a comparison is expected, such as status >= 500"},
        {"and status", "-q, column 1, at 'and status': a comparison is expected, such as status >= "
                       "500"},
        {"500 <= status",
         "-q, column 1, at '500 <= status': a comparison is expected, such as status >= 500"},
        {"status == 1 && bytes", "-q, column 13, at '&& bytes': write 'and'"},
        {"status == 1 || bytes", "-q, column 13, at '|| bytes': write 'or'"},
        {"!bytes", "-q, column 1, at '!bytes': write 'not'"},
        {"status = 1", "-q, column 8, at '= 1': write '=='"},
        {"path =~ '^/'", "-q, column 6, at '=~ '^/'': write '~'"},
        {"bytes AND status", "-q, column 7, at 'AND status': write 'and' in lower case"},
        {"bytes status", "-q, column 7, at 'status': 'and' or 'or' is expected"},
        {"bytes < 5 < 6", "-q, column 11, at '< 6': 'and' or 'or' is expected"},
        {"bytes)", "-q, column 6, at ')': no parenthesis is open here"},
        {"bytes or (status",
         "-q, at the end: 'and', 'or' or ')' is expected; a parenthesis is open "
         "since column 10"},
        {"()", "-q, column 2, at ')': a comparison is expected, such as status >= 500"},
        {"bytes ; status", "-q, column 7, at '; status': this character has no meaning here; write "
                           "text in quotes"},
        {"method == GET",
         "-q, column 11, at 'GET': a value is expected after '=='; write text in quotes"},
        {"method == 'GET", "-q, column 11, at ''GET': the string has no end; it ends with '"},
        {"method == \"GET'", "-q, column 11, at '\"GET'': the string has no end; it ends with \""},
        {"rx.'x", "-q, column 4, at ''x': the string has no end; it ends with '"},
        {"stauts >= 500",
         "-q, column 1, at 'stauts >= 500': requests have no such name; did you mean 'status' or "
         "'state'?"},
        {"Status >= 500",
         "-q, column 1, at 'Status >= 500': requests have no such name; did you mean 'status'?"},
        {"user-agent ~ 'x'",
         "-q, column 1, at 'user-agent ~ 'x'': requests have no such name; names are the keys of "
         "the JSON output, rx.NAME (request headers) and tx.NAME (response headers)"},
        {"rx. == 'x'", "-q, column 4, at ' == 'x'': the name of a header is expected after 'rx.'"},
        {"tx.'' == 'x'", "-q, column 4, at ''' == 'x'': the name of a header is expected after "
                         "'tx.'"},
        {"rx.'a\\x00b'",
         "-q, column 4, at ''a\\x00b'': the name of a header is expected after 'rx.'"},
        {"status == '500'",
         "-q, column 11, at ''500'': status is a number; write it without quotes"},
        {"status ~ 5", "-q, column 10, at '5': a regular expression is expected after '~'; write "
                       "it in quotes"},
        {"status > 5ms", "-q, column 10, at '5ms': status is not a duration; write the number "
                         "without a unit of time"},
        {"ttfb > 300", "-q, column 8, at '300': ttfb needs a unit; write 300ms or 300us"},
        {"ttfb > 300k", "-q, column 8, at '300k': ttfb needs a unit; write 300ms or 300us"},
        {"duration == '5ms'", "-q, column 13, at ''5ms'': duration is a duration; write it without "
                              "quotes, such as 300ms"},
        {"ttfb ~ '5'", "-q, column 6, at '~ '5'': ttfb is a duration; compare it with one, such as "
                       "300ms"},
        {"ttfb-us > '5'", "-q, column 11, at ''5'': ttfb-us is a number; write it without quotes"},
        {"ttfb > 5min", "-q, column 9, at 'min': this is not a unit; the units are us, ms, s, k, M "
                        "and G"},
        {"authority == 1.2.3.4",
         "-q, column 14, at '1.2.3.4': this is not a number; write text in quotes"},
        {"bytes > 18446744073709551616", "-q, column 9, at '18446744073709551616': the number is "
                                         "larger than 18446744073709551615"},
        {"bytes > 99999999999999999999999999999999999999999999999999G",
         "-q, column 9, at '9999999999999999999999999999999999999999...': the number is larger "
         "than "
         "18446744073709551615"},
        {"bytes > 200000000000000000000G", /* the product would not fit into 128 bits */
         "-q, column 9, at '200000000000000000000G': the number is larger than "
         "18446744073709551615"},
        {"truncated == 'x'",
         "-q, column 11, at '== 'x'': truncated has no value; write 'truncated' "
         "or 'not truncated'"},
        {"state == 'done'", "-q, column 10, at ''done'': state is complete, unfinished, incomplete "
                            "or begun-before-trace"},
        {"state == 5", "-q, column 10, at '5': state is text; write it in quotes"},
        {"protocol == 'HTTP/2.0'",
         "-q, column 13, at ''HTTP/2.0'': protocol is HTTP/1.0, HTTP/1.1, HTTP/2 or HTTP/3"},
        {"path ~ '^/(api'", "-q, column 15, at ''': this regular expression is wrong: missing "
                            "closing parenthesis"},
        {"path ~ 'a\\'b\\'c)d'", "-q, column 16, at ')d'': this regular expression is wrong: "
                                 "unmatched closing parenthesis"},
        {"path ~ '(*UTF)x'",
         "-q, column 15, at 'x'': this regular expression is wrong: using UTF is disabled by the "
         "application"},
        {"path == 'ä' status", "-q, column 13, at 'status': 'and' or 'or' is expected"},
        {"path == 'x' \x1b[31m", "-q, column 13, at '\\x1b[31m': this character has no meaning "
                                 "here; write text in quotes"},
        {"type == 'x'", "-q, column 1, at 'type == 'x'': requests have no such name; did you mean "
                        "'time'?"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i)
        check_error(rows[i].text, QUERY_REQUESTS, rows[i].expected);
}

static void errors_of_events(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"packet-typ == 1", "-q, column 1, at 'packet-typ == 1': events have no such name; did you "
                            "mean 'packet-type'?"},
        {"cc.cwmd > 1", "-q, column 1, at 'cc.cwmd > 1': events have no such name; did you mean "
                        "'cc.cwnd'?"},
        {"stats", "-q, column 1, at 'stats': events have no such name; did you mean 'state' or "
                  "'status'?"},
        {"ttfb > 5ms",
         "-q, column 1, at 'ttfb > 5ms': events have no such name; names are the keys "
         "of the JSON output, rx.NAME (request headers) and tx.NAME (response "
         "headers)"},
        {"latest-rtt > 5ms", "-q, column 14, at '5ms': latest-rtt is not a duration; write the "
                             "number without a unit of time"},
        {"dest == 'here'", "-q, column 9, at ''here'': dest is an address, such as 1.2.3.4, "
                           "1.2.3.4:443, [::1]:443 or 10.0.0.0/8"},
        {"dest == 5", "-q, column 9, at '5': dest is not a number; write text in quotes"},
        {"dest < '10.0.0.0/8'", "-q, column 8, at ''10.0.0.0/8'': a prefix is compared with == or "
                                "!="},
        {"token == 'xy'", "-q, column 10, at ''xy'': token is bytes, which are written as pairs of "
                          "hex digits"},
        {"token > 5", "-q, column 9, at '5': token is not a number; write text in quotes"},
        {"pn == '5'", "-q, column 7, at ''5'': pn is a number; write it without quotes"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i)
        check_error(rows[i].text, QUERY_EVENTS, rows[i].expected);
}

static char *repeat(const char *begin, const char *text, size_t count, const char *end)
{
    const size_t length = strlen(text);
    char *whole = memory_grow(NULL, strlen(begin) + length * count + strlen(end) + 1, 1), *at;

    at = stpcpy(whole, begin);
    for (size_t i = 0; i != count; ++i)
        at = stpcpy(at, text);
    strcpy(at, end);
    return whole;
}

static void sizes_are_limited(void **state)
{
    static const char *const openings[] = {"(", "not ", "not("};
    const struct request request = {.status = 200};
    struct error error;
    char *text;

    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        const size_t most = QUERY_DEPTH_MAX / (i == 2 ? 2 : 1);
        char *closed = repeat("", i == 1 ? "" : ")", most, "");
        text = repeat("", openings[i], most, "status == 200");
        text = memory_grow(text, strlen(text) + strlen(closed) + 1, 1);
        strcat(text, closed);
        assert_true(holds_for(text, &request));
        free(closed);
        free(text);
        text = repeat("", openings[i], most + 1, "status");
        assert_null(query_open(text, QUERY_REQUESTS, &error));
        assert_non_null(strstr(error.text, ": at most 100 parentheses and nots can be open at a "
                                           "time"));
        free(text);
    }
    text = repeat("conn", " or conn", 511, "    ");
    assert_int_equal(strlen(text), QUERY_SIZE_MAX);
    assert_true(holds_for(text, &request));
    free(text);
    text = repeat("conn", " or conn", 511, "     ");
    check_error(text, QUERY_REQUESTS, "-q takes a query of at most 4096 bytes; this one has 4097");
    free(text);
    text = repeat("rx.", "n", EVENT_NAME_MAX + 1, "");
    assert_null(query_open(text, QUERY_REQUESTS, &error));
    assert_non_null(strstr(error.text, ": the name of a header has at most 256 bytes here"));
    free(text);
}

/* --- events --- */

/* A decoder for two probes; the tests draft events of the second one. */
struct bench {
    struct server_probe probes[2];
    struct decoder decoder;
    struct draft draft;
    struct record record;
};

static void bench_open(struct bench *bench, const char *probe)
{
    *bench = (struct bench){.probes = {{.signature = signature_on("h2o:h3s_accept", 20260629)},
                                       {.signature = signature_on(probe, 20260629)}}};
    decoder_open(&bench->decoder, bench->probes, 2, 2, false);
    draft_open(&bench->draft, bench->probes[1].signature, 1);
}

static void bench_decode(struct bench *bench)
{
    struct event event = draft_event(&bench->draft);

    event = fenced(&event, event.size);
    assert_int_equal(decoder_decode(&bench->decoder, &event, &bench->record), 0);
}

static void bench_close(struct bench *bench)
{
    decoder_close(&bench->decoder);
}

static void check_events(const struct row *rows, size_t count, struct bench *bench)
{
    bench_decode(bench);
    for (size_t i = 0; i != count; ++i) {
        struct query *query = compile(rows[i].text, QUERY_EVENTS);
        for (size_t j = 0; j != 2; ++j) { /* the second time, the place of the field is known */
            if (query_holds_for_record(query, &bench->record, &wall) != rows[i].holds)
                fail_msg("%s is to be %s", rows[i].text, rows[i].holds ? "true" : "false");
        }
        query_close(query);
    }
}

#define CHECK_EVENTS(rows, bench) check_events(rows, sizeof(rows) / sizeof((rows)[0]), bench)

static void numbers_of_events(void **state)
{
    static const struct row rows[] = {
        {"type == 'packet-sent'", true},
        {"type == 'packet_sent'", true},
        {"type != 'packet-sent'", false},
        {"type ~ '^packet-'", true},
        {"type ~ '_'", false},
        {"type == 'packet-received'", false},
        {"not (type == 'packet-sent') and len > 1k", false},
        {"provider == 'quicly'", true},
        {"provider == 'h2o'", false},
        {"conn == 4000000000", true},
        {"connection == 1", true},
        {"connection > 1", false},
        {"tid", false},
        {"time == 1795347456218", true},
        {"pn == 18446744073709551615", true},
        {"pn == 18446744073709551614", false},
        {"pn > 18446744073709551614", true},
        {"pn ~ '^18446744073709551615$'", true},
        {"len == 1200", true},
        {"len >= 1.2k and len < 1.201k", true},
        {"packet-type == 3", true},
        {"ack-only == -1", true},
        {"ack-only < 0", true},
        {"ack-only ~ '^-1$'", true},
        {"off", false},
        {"off == 0", false},
        {"off != 0", false},
        {"req-id", false},
        {"rx.accept", false},
    };
    struct bench bench;

    (void)state;
    bench_open(&bench, "quicly:packet_sent");
    draft_head(&bench.draft, 0, 4000000000u);
    draft_connection(&bench.draft, 0x1000);
    draft_number(&bench.draft, "time", 1795347456218);
    draft_number(&bench.draft, "pn", UINT64_MAX);
    draft_number(&bench.draft, "len", 1200);
    draft_number(&bench.draft, "packet-type", 3);
    draft_number(&bench.draft, "ack-only", UINT64_MAX);
    CHECK_EVENTS(rows, &bench);
    bench_close(&bench);
}

static void unreadable_and_tied_fields(void **state)
{
    static const struct row unknown[] = {
        {"conn", false},
        {"conn != 9", false},
        {"conn-id == 5", true},
        {"conn-uuid", false},
        {"conn-uuid != 'x'", false},
        {"time == 1795347456218", true},
        {"type == 'h3s-accept'", true},
    };
    static const struct row known[] = {{"conn == 9", true},
                                       {"conn-uuid == 'uuid'", true},
                                       {"conn-uuid == 5", false},
                                       {"conn-uuid > 'u'", true}};
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:h3s_accept");
    draft_number(&bench.draft, "conn-id", 5);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_string(&bench.draft, "conn-uuid", "uuid");
    draft_head(&bench.draft, 1, 9);
    CHECK_EVENTS(unknown, &bench);
    draft_head(&bench.draft, EVENT_TIED, 9);
    CHECK_EVENTS(known, &bench);
    bench_close(&bench);
}

static void headers_of_events(void **state)
{
    static const struct row rows[] = {
        {"rx.x-name == 'value'", true},
        {"rx.x-name != 'value'", false},
        {"rx.x-name !~ '^v'", false},
        {"rx.x-name", true},
        {"rx.X-NAME ~ 'LUE'", false},
        {"tx.x-name", false},
        {"rx.x-nam", false},
        {"rx.x-other != 'x'", false},
        {"name == 'X-Name'", true},
        {"name == 'x-name'", false},
        {"value-len == 5", true},
    };
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request_header");
    draft_string(&bench.draft, "name", "X-Name");
    draft_string(&bench.draft, "value", "value");
    CHECK_EVENTS(rows, &bench);
    bench_close(&bench);
}

static void put_v6(struct draft *draft, const char *key, const char *host, uint16_t port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    assert_int_equal(inet_pton(AF_INET6, host, &address.sin6_addr), 1);
    draft_address(draft, key, &address, sizeof(address));
}

static void addresses(void **state)
{
    static const struct row rows[] = {
        {"src == '10.1.2.3:443'", true},
        {"src == '10.1.2.3'", true},
        {"src == '10.1.2.3:44'", false},
        {"src != '10.1.2.3:44'", true},
        {"src == '10.1.2.30'", false},
        {"src == '10.0.0.0/8'", true},
        {"src != '10.0.0.0/8'", false},
        {"src == '10.1.2.0/30'", true},
        {"src == '10.1.2.4/30'", false},
        {"src == '10.1.2.2/31'", true},
        {"src == '0.0.0.0/0'", true},
        {"src == '::/0'", false},
        {"src == '10.1.2.3/32'", true},
        {"src ~ '^10[.]1[.]2[.]3:443$'", true},
        {"src > '10.1.2.20'", false},
        {"src < '10.1.2.20'", true},
        {"src == '0a010203'", false},
        {"dest == '[2001:db8::1]:4433'", true},
        {"dest == '[2001:db8:0::0001]:4433'", true},
        {"dest == '2001:db8::1'", true},
        {"dest == '[2001:db8::1]'", true},
        {"dest == '[2001:db8::1]:443'", false},
        {"dest == '2001:db8::/33'", true},
        {"dest == '2001:db8:8000::/33'", false},
        {"dest ~ '^[[]2001:db8::1[]]:4433$'", true},
        {"dest", true},
    };
    static const struct row unreadable[] = {{"src", false}, {"src != '1.2.3.4'", false}};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(443)};
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:h3_packet_receive");
    inet_pton(AF_INET, "10.1.2.3", &v4.sin_addr);
    draft_address(&bench.draft, "src", &v4, sizeof(v4));
    put_v6(&bench.draft, "dest", "2001:db8::1", 4433);
    CHECK_EVENTS(rows, &bench);
    draft_head(&bench.draft, draft_field(&bench.draft, "src")->unread, 0);
    CHECK_EVENTS(unreadable, &bench);
    bench_close(&bench);
}

static void malformed_addresses(void **state)
{
    static const char *const rows[] = {
        "",           "1.2.3",         "1.2.3.4:",   "1.2.3.4:65536",  "1.2.3.4:x",
        "1.2.3.4/33", "1.2.3.4/",      "1.2.3.4/-1", "[1.2.3.4]",      "[::1",
        "[::1]4",     "[::1]:",        "::1/129",    "[::1]/64",       "1.2.3.4 ",
        "::1::",      "1.2.3.4:443/8", "\\x00",      "1.2.3.4:000443",
    };

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        char *text = memory_format("dest == '%s'", rows[i]);
        struct error error;
        if (query_open(text, QUERY_EVENTS, &error) != NULL)
            fail_msg("%s is accepted", text);
        assert_non_null(strstr(error.text, "dest is an address"));
        free(text);
    }
}

/* Without -a, application data is not captured, and so not there. */
static void bytes(void **state)
{
    static const struct row rows[] = {
        {"token == '00ff'", true},  {"token == '00FF'", true}, {"token != '00ff'", false},
        {"token == '00'", false},   {"token > '00'", true},    {"token ~ '^00ff$'", true},
        {"token ~ '\\xff'", false}, {"token-len == 2", true},
    };
    static const struct row application_data[] = {
        {"decrypted", false}, {"decrypted != '00'", false}, {"decrypted-len == 7", true}};
    struct bench bench;

    (void)state;
    bench_open(&bench, "quicly:new_token_send");
    draft_append(&bench.draft, "token", "\x00\xff", 2, 2);
    CHECK_EVENTS(rows, &bench);
    bench_close(&bench);
    bench_open(&bench, "quicly:packet_received");
    memset(bench.record.values, 0x5a, sizeof(bench.record.values));
    draft_number(&bench.draft, "decrypted-len", 7);
    CHECK_EVENTS(application_data, &bench);
    bench_close(&bench);
}

/* The layout of the largest size, with some number in every field. */
static void statistics(void **state)
{
    const struct stats_layout *layout = &stats_layouts[0];
    uint8_t content[2048];
    struct bench bench;

    (void)state;
    for (size_t i = 1; i != num_stats_layouts; ++i) {
        if (stats_layouts[i].size > layout->size)
            layout = &stats_layouts[i];
    }
    memset(content, 1, sizeof(content));
    if (layout->zero != 0)
        memset(content + layout->zero, 0, 4);
    bench_open(&bench, "quicly:conn_stats");
    draft_append(&bench.draft, "stats", content, layout->size, layout->size);
    {
        static const struct row rows[] = {
            {"num-packets.sent == 72340172838076673", true}, /* 0x0101010101010101 */
            {"num-packets.sent > 72340172838076673", false},
            {"cc.cwnd == 16843009", true},
            {"size > 100", true},
            {"len", false},
        };
        CHECK_EVENTS(rows, &bench);
    }
    draft_head(&bench.draft, 1, 0); /* unreadable */
    {
        static const struct row rows[] = {{"num-packets.sent", false},
                                          {"num-packets.sent != 5", false}};
        CHECK_EVENTS(rows, &bench);
    }
    bench_close(&bench);
}

/* The id of a record does not say which fields it has; its signature does. */
static void places_follow_the_signature(void **state)
{
    struct query *query = compile("err == 7 or err == 'text'", QUERY_EVENTS);
    struct bench first, second;

    (void)state;
    bench_open(&first, "quicly:stream_on_receive_reset");
    draft_number(&first.draft, "err", 7);
    bench_decode(&first);
    bench_open(&second, "quicly:packet_sent");
    bench_decode(&second);
    for (size_t i = 0; i != 2; ++i) {
        assert_true(query_holds_for_record(query, &first.record, &wall));
        assert_false(query_holds_for_record(query, &second.record, &wall));
    }
    bench_close(&first);
    bench_close(&second);
    query_close(query);
}

/* Every key of every probe is a name. */
static void all_keys_are_names(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        for (size_t j = 0; j != signatures[i].num_fields; ++j) {
            if (signatures[i].fields[j].kind != FIELD_STATS)
                query_close(compile(signatures[i].fields[j].key, QUERY_EVENTS));
        }
    }
    for (size_t i = 0; i != num_stats_layouts; ++i) {
        for (size_t j = 0; j != stats_layouts[i].num_fields; ++j)
            query_close(compile(stats_layouts[i].fields[j].key, QUERY_EVENTS));
    }
    query_close(compile("arg16 == 1", QUERY_EVENTS));
}

/* --- needs --- */

static void check_needs(const char *text, enum query_subject subject, const char *request,
                        const char *response, bool times, bool connections)
{
    struct query *query = compile(text, subject);
    struct needs needs = {{false, NULL, 0}, {false, NULL, 0}, .times = false};
    char got[2][128] = {"", ""};

    query_add_needs(query, &needs);
    for (size_t i = 0; i != needs.request.count; ++i)
        strcat(strcat(got[0], needs.request.names[i]), " ");
    for (size_t i = 0; i != needs.response.count; ++i)
        strcat(strcat(got[1], needs.response.names[i]), " ");
    check_string(text, got[0], request);
    check_string(text, got[1], response);
    assert_true(needs.times == times && needs.connections == connections);
    assert_false(needs.request.all || needs.response.all);
    needs_dispose(&needs);
    query_close(query);
}

static void needs(void **state)
{
    (void)state;
    check_needs("status == 5 or conn", QUERY_REQUESTS, "", "", false, false);
    check_needs("rx.A and (tx.b == 'x' or not tx.c) and rx.a", QUERY_REQUESTS, "a ", "b c ", false,
                false);
    check_needs("method == 'x' and path == 'x' and scheme == 'x' and authority == 'x'",
                QUERY_REQUESTS, ":method :path :scheme :authority ", "", false, false);
    check_needs("time > 5", QUERY_REQUESTS, "", "", true, false);
    check_needs("ttfb-us > 5", QUERY_REQUESTS, "", "", true, false);
    check_needs("duration > 5ms", QUERY_REQUESTS, "", "", true, false);
    check_needs("not connection", QUERY_REQUESTS, "", "", false, true);
    check_needs("time > 5 and rx.x", QUERY_EVENTS, "x ", "", true, false);
    check_needs("connection == 5", QUERY_EVENTS, "", "", false, true);
    check_needs("type == 'x' or conn", QUERY_EVENTS, "", "", false, false);
}

/* Whether a name or a value is truncated is only known if it is captured. */
static void truncated_needs_all(void **state)
{
    struct query *query = compile("truncated", QUERY_REQUESTS);
    struct needs needs = {.times = false};

    (void)state;
    query_add_needs(query, &needs);
    assert_true(needs.request.all && needs.response.all);
    needs_dispose(&needs);
    query_close(query);
}

/* --- limits of regular expressions --- */

static double thread_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/*
 * Patterns that take seconds or years without a limit, or with PCRE2's limit of steps alone. All
 * are to give up within milliseconds: here in 50, because sanitizers and emulators are slow.
 */
static void hostile_values(void **state)
{
    static const struct {
        const char *pattern;
        char fill;
        size_t space; /* distance of spaces */
        const char *end;
    } rows[] = {
        {"(a+)+$", 'a', 5000, "!"},          {"(x+x+)+[yz]", 'x', 5000, ""},
        {"a.*a.*a.*[bc]", 'a', 5000, ""},    {"(?:a|b)*[cd]", 'a', 5000, ""},
        {"\\w+\\s*\\w+@", 'a', 5000, " @"},  {"\\w+\\s*\\w+@", 'a', 1000, " @"},
        {"\\w+\\w{2000}@", 'a', 5000, " @"}, {"(?=(\\w+))\\w{3000}@", 'a', 5000, " @"},
    };
    char value[EVENT_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        char *text = memory_format("rx.x ~ '%s'", rows[i].pattern);
        char *negated = memory_format("rx.x !~ '%s'", rows[i].pattern);
        struct query *query = compile(text, QUERY_REQUESTS);
        struct query *not_query = compile(negated, QUERY_REQUESTS);
        struct request request = {0};
        double begin;
        for (size_t j = 0; j != sizeof(value); ++j)
            value[j] = j % rows[i].space == rows[i].space - 1 ? ' ' : rows[i].fill;
        memcpy(value + sizeof(value) - strlen(rows[i].end), rows[i].end, strlen(rows[i].end));
        add_sized(&request, REQUEST_SIDE, "x", value, sizeof(value), sizeof(value));
        begin = thread_ms();
        assert_false(query_holds_for_request(query, &request, &wall));
        print_message("%s: %.1f ms\n", rows[i].pattern, thread_ms() - begin);
        assert_true(thread_ms() - begin < 50);
        assert_false(query_holds_for_request(not_query, &request, &wall));
        if (i != 7)
            assert_true(query_num_given_up(query) == 1 && query_num_given_up(not_query) == 1);
        /* the next value is compared as ever */
        request.used = 0;
        add(&request, REQUEST_SIDE, "x", "?");
        assert_false(query_holds_for_request(query, &request, &wall));
        assert_true(query_holds_for_request(not_query, &request, &wall));
        query_close(query);
        query_close(not_query);
        request_dispose(&request);
        free(text);
        free(negated);
    }
}

/* Many hostile values cost a fifth of the time at most, and the next second begins anew. */
static void many_hostile_values(void **state)
{
    struct query *query = compile("rx.x ~ '\\w+\\w{2000}@'", QUERY_REQUESTS);
    struct request hostile = {0}, good = {0};
    char value[EVENT_TEXT_MAX];
    const double begin = thread_ms();

    (void)state;
    memset(value, 'a', sizeof(value));
    memcpy(value + sizeof(value) - 2, " @", 2);
    add_sized(&hostile, REQUEST_SIDE, "x", value, sizeof(value), sizeof(value));
    memcpy(value + sizeof(value) - 2, "a@", 2);
    add_sized(&good, REQUEST_SIDE, "x", value + 1000, 3096, 3096);
    for (int i = 0; i != 1000; ++i) /* without a budget: 3 s */
        assert_false(query_holds_for_request(query, &hostile, &wall));
    assert_int_equal(query_num_given_up(query), 1000);
    assert_true(thread_ms() - begin < 600);
    sleep(2);
    assert_false(query_holds_for_request(query, &hostile, &wall)); /* a new budget */
    query_close(query);
    query = compile("rx.x ~ '^a+@$'", QUERY_REQUESTS);
    assert_true(query_holds_for_request(query, &good, &wall));
    query_close(query);
    request_dispose(&hostile);
    request_dispose(&good);
}

/* Ordinary patterns match the largest values. */
static void large_values(void **state)
{
    static const char *const patterns[] = {"^a+$",       "a*b?$",       "(a{10})+",
                                           "^(?:a|b)*$", "(?i)A{4096}", "^.*$"};
    char value[EVENT_TEXT_MAX];

    (void)state;
    memset(value, 'a', sizeof(value));
    for (size_t i = 0; i != sizeof(patterns) / sizeof(patterns[0]); ++i) {
        char *text = memory_format("rx.x ~ '%s'", patterns[i]);
        struct request request = {0};
        add_sized(&request, REQUEST_SIDE, "x", value, sizeof(value), sizeof(value));
        if (!holds_for(text, &request))
            fail_msg("%s is to match", patterns[i]);
        request_dispose(&request);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_requests),
        cmocka_unit_test(headers_of_requests),
        cmocka_unit_test(cut_names_are_not_compared),
        cmocka_unit_test(unknown_values_of_requests),
        cmocka_unit_test(protocols),
        cmocka_unit_test(precedence),
        cmocka_unit_test(escapes),
        cmocka_unit_test(errors),
        cmocka_unit_test(errors_of_events),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(numbers_of_events),
        cmocka_unit_test(unreadable_and_tied_fields),
        cmocka_unit_test(headers_of_events),
        cmocka_unit_test(addresses),
        cmocka_unit_test(malformed_addresses),
        cmocka_unit_test(bytes),
        cmocka_unit_test(statistics),
        cmocka_unit_test(places_follow_the_signature),
        cmocka_unit_test(truncated_needs_all),
        cmocka_unit_test(many_hostile_values),
        cmocka_unit_test(all_keys_are_names),
        cmocka_unit_test(needs),
        cmocka_unit_test(hostile_values),
        cmocka_unit_test(large_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
