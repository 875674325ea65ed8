#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "print/requests.h"

/* Where the columns of a line begin. */
#define STATUS_AT 17
#define TTFB_AT   22
#define METHOD_AT 31
#define URL_AT    37
#define CONN_AT   109

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "UTC0", 1);
    return 0;
}

/* The lines of the issue; the URL's column has room for more. */
static void lines_of_requests(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_open);
    request_printer_pseudo(&printer, "/api/orders?id=7");
    printer.request.status = 503;
    request_printer_check(
        &printer, "10:29:34.120318  503  501.2ms  GET   https://example.com/api/orders?id=7 "
                  "                          HTTP/2    1292/39\n");
    request_printer_restart(&printer);
    request_printer_pseudo(&printer, "/");
    printer.request.conn = 1293;
    printer.request.req = 0;
    printer.request.version = 0x300;
    printer.request.received_ns += 689000;
    printer.request.responded_ns = printer.request.received_ns + 499999;
    request_printer_check(
        &printer, "10:29:34.121007  200    0.4ms  GET   https://example.com/                "
                  "                          HTTP/3    1293/0\n");
    printer.request.version = 0x101;
    printer.request.conn = 12345678;
    printer.request.req = 12;
    request_printer_check(
        &printer, "10:29:34.121007  200    0.4ms  GET   https://example.com/                "
                  "                          HTTP/1.1  12345678/12\n");
    request_printer_close(&printer);
}

/* Checks one column: the bytes at `at`. */
static void check_column(struct request_printer *printer, size_t at, const char *expected)
{
    char *line = request_printer_take(printer);

    assert_true(strlen(line) >= at + strlen(expected));
    line[at + strlen(expected)] = '\0';
    check_string("the column", line + at, expected);
    free(line);
}

static void times_to_first_byte(void **state)
{
    static const struct {
        uint64_t ns;
        const char *expected;
    } cases[] = {
        {0, "    0us  "},
        {999, "    0us  "},
        {1000, "    1us  "},
        {99999, "   99us  "},
        {100000, "  0.1ms  "},
        {199999, "  0.1ms  "},
        {501299999, "501.2ms  "},
        {999999999, "999.9ms  "},
        {1000000000, "  1.00s  "},
        {12349999999, " 12.34s  "},
        {999999999999, "999.99s  "},
        {1000000000000, "  1000s  "},
        {3600999999999, "  3600s  "},
        {999999999999999, "999999s  "},
    };
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_open);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        printer.request.responded_ns = printer.request.received_ns + cases[i].ns;
        check_column(&printer, TTFB_AT, cases[i].expected);
    }
    request_printer_close(&printer);
}

/* What is not known. */
static void unknown_values(void **state)
{
    struct request_printer printer;
    char expected[256];

    (void)state;
    request_printer_open(&printer, requests_open);
    printer.request = (struct request){.conn = 1, .req = 2};
    snprintf(expected, sizeof(expected), "%-15s  -    %7s  -     %-60s  -         1/2\n", "-", "-",
             "-");
    request_printer_check(&printer, expected);
    printer.request.responded_ns = REQUEST_CLOCK_NS;
    printer.request.status = 404;
    printer.request.state = REQUEST_BEGUN;
    snprintf(expected, sizeof(expected),
             "10:29:34.000000  404  %7s  -     %-60s  -         1/2  begun before the trace\n", "-",
             "-");
    request_printer_check(&printer, expected);
    request_printer_close(&printer);
}

static void states(void **state)
{
    static const struct {
        enum request_state state;
        const char *expected;
    } cases[] = {
        {REQUEST_COMPLETE, "1292/39\n"},
        {REQUEST_UNFINISHED, "1292/39  unfinished\n"},
        {REQUEST_INCOMPLETE, "1292/39  incomplete\n"},
        {REQUEST_BEGUN, "1292/39  begun before the trace\n"},
    };
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_open);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        char *line;
        printer.request.state = cases[i].state;
        line = request_printer_take(&printer);
        check_string("the end", line + CONN_AT, cases[i].expected);
        free(line);
    }
    request_printer_close(&printer);
}

static void colors_of_statuses(void **state)
{
    static const struct {
        int32_t status;
        const char *expected;
    } cases[] = {
        {100, "100  501"},
        {200, "\x1b[32m200\x1b[0m  501"},
        {299, "\x1b[32m299\x1b[0m  501"},
        {304, "\x1b[36m304\x1b[0m  501"},
        {404, "\x1b[33m404\x1b[0m  501"},
        {503, "\x1b[31m503\x1b[0m  501"},
        {600, "600  501"},
        {99, "99   501"},
        {0, "-    501"},
        {-200, "-200  501"},
        {20000, "20000  501"},
    };
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_open);
    printer.settings.colors = true;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        printer.request.status = cases[i].status;
        check_column(&printer, STATUS_AT, cases[i].expected);
    }
    printer.settings.colors = false;
    printer.request.status = 503;
    check_column(&printer, STATUS_AT, "503  ");
    request_printer_close(&printer);
}

/* A request with these pseudo-headers, NULL if it has none, and its URL. */
struct url_case {
    const char *method, *scheme, *authority, *path, *expected;
};

static void check_url(struct request_printer *printer, const struct url_case *url)
{
    char expected[256];
    const char *const names[] = {":authority", ":method", ":path", ":scheme"};
    const char *const values[] = {url->authority, url->method, url->path, url->scheme};

    request_printer_restart(printer);
    for (size_t i = 0; i != 4; ++i) {
        if (values[i] != NULL)
            request_printer_header(printer, REQUEST_SIDE, names[i], values[i]);
    }
    snprintf(expected, sizeof(expected), "%-4s  %-60s  HTTP/2",
             url->method != NULL ? url->method : "-", url->expected);
    check_column(printer, METHOD_AT, expected);
}

static void urls(void **state)
{
    static const struct url_case cases[] = {
        {"GET", "https", "example.com", "/a?b", "https://example.com/a?b"},
        {"POST", "http", "[::1]:80", "/", "http://[::1]:80/"},
        {"OPTIONS", "https", "example.com", "*", "https://example.com *"},
        {"CONNECT", "https", "example.com:443", NULL, "example.com:443"},
        {"CONNECT", NULL, "example.com:443", "", "example.com:443"},
        {"CONNECT", "https", "example.com", "/socket", "https://example.com/socket"},
        {"CONNECTS", "https", "example.com", NULL, "https://example.com -"},
        {"GET", "https", "example.com", NULL, "https://example.com -"},
        {"GET", "https", NULL, "/a", "/a"},
        {"GET", "https", "", "/a", "/a"},
        {"GET", NULL, "example.com", "/a", "//example.com/a"},
        {"GET", "https", NULL, NULL, "-"},
        {NULL, NULL, NULL, NULL, "-"},
        {"GET", "https", "example.com", "@evil.org/", "https://example.com @evil.org/"},
        {"GET", "https", "example.com", "/ \t\n\"\\\x7f",
         "https://example.com/\\x20\\x09\\x0a\"\\\\x7f"},
        {"GET", "https", "a  b", "/\xc3\xa9\xe2\x80\x83x",
         "https://a\\x20\\x20b/\\xc3\\xa9\\xe2\\x80\\x83x"},
    };
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_open);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i)
        check_url(&printer, &cases[i]);
    request_printer_close(&printer);
}

/* A URL that is longer than its column is whole; what is behind it moves. */
static void long_urls(void **state)
{
    char path[EVENT_TEXT_MAX], expected[EVENT_TEXT_MAX + 256];
    struct request_printer printer;

    (void)state;
    memset(path, 'p', sizeof(path));
    path[0] = '/';
    request_printer_open(&printer, requests_open);
    request_printer_header(&printer, REQUEST_SIDE, ":authority", "a");
    request_printer_header(&printer, REQUEST_SIDE, ":method", "PROPFIND");
    request_printer_bytes(&printer, REQUEST_SIDE, ":path", path, sizeof(path), sizeof(path) + 12);
    request_printer_header(&printer, REQUEST_SIDE, ":scheme", "http");
    snprintf(expected, sizeof(expected), "PROPFIND  http://a%.*s [+12 bytes]  HTTP/2    1292/39\n",
             (int)sizeof(path), path);
    check_column(&printer, METHOD_AT, expected);
    request_printer_close(&printer);
}

static void unreadable_values(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_open);
    request_printer_header(&printer, REQUEST_SIDE, ":authority", "a");
    request_printer_bytes(&printer, REQUEST_SIDE, ":method", NULL, 3, 3);
    request_printer_bytes(&printer, REQUEST_SIDE, ":path", NULL, 3, 3);
    request_printer_header(&printer, REQUEST_SIDE, ":scheme", "http");
    check_column(&printer, METHOD_AT, "[unreadable]  http://a [unreadable]   ");
    request_printer_close(&printer);
}

static void redacted_values(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_open);
    request_printer_header(&printer, REQUEST_SIDE, ":path", "/secret");
    request_redact_header(&printer.request, 0);
    check_column(&printer, URL_AT, "[redacted, 7 bytes]   ");
    request_printer_close(&printer);
}

/* Counts places where a column ends: runs of two and more spaces. */
static size_t count_columns(const char *line)
{
    size_t count = 1;

    for (; *line != '\0'; ++line)
        count += line[0] == ' ' && line[1] == ' ' && line[2] != ' ';
    return count;
}

/* Whatever a client sends, a line stays one line with eight columns, or nine with a state. */
static void random_requests_are_tame(void **state)
{
    struct request_printer printer;
    uint32_t seed = random_seed();

    (void)state;
    request_printer_open(&printer, requests_open);
    for (size_t i = 0; i != 20000; ++i) {
        char *line;
        size_t columns;
        request_printer_random(&printer, &seed);
        columns = printer.request.state == REQUEST_COMPLETE ? 7 : 8;
        line = request_printer_take(&printer);
        if (strchr(line, '\n') != line + strlen(line) - 1 || !is_tame(line, true) ||
            strchr(line, '\t') != NULL || count_columns(line) != columns)
            fail_msg("request %zu is printed as %s", i, line);
        free(line);
    }
    request_printer_close(&printer);
}

static void needs(void **state)
{
    struct needs needs = {0};

    (void)state;
    requests_add_needs(&needs);
    assert_true(needs.times);
    assert_false(needs.request.all || needs.response.all);
    assert_int_equal(needs.request.count, 4);
    assert_int_equal(needs.response.count, 0);
    needs_dispose(&needs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_requests),
        cmocka_unit_test(times_to_first_byte),
        cmocka_unit_test(unknown_values),
        cmocka_unit_test(states),
        cmocka_unit_test(colors_of_statuses),
        cmocka_unit_test(urls),
        cmocka_unit_test(long_urls),
        cmocka_unit_test(unreadable_values),
        cmocka_unit_test(redacted_values),
        cmocka_unit_test(random_requests_are_tame),
        cmocka_unit_test(needs),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
