#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "memory.h"
#include "print/access_log.h"

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "<-07>7", 1);
    return 0;
}

/* A request with all that is known of one. */
static void fill(struct request_printer *printer)
{
    request_printer_restart(printer);
    request_printer_pseudo(printer, "/a/b?c=d?e");
    request_printer_header(printer, REQUEST_SIDE, "Referer", "http://r/");
    request_printer_header(printer, REQUEST_SIDE, "referer", "http://second/");
    request_printer_header(printer, REQUEST_SIDE, "user-agent", "curl/7.88.1");
    request_printer_header(printer, REQUEST_SIDE, "set-cookie", "of the request");
    request_printer_header(printer, RESPONSE_SIDE, "set-cookie", "a=1");
    request_printer_header(printer, RESPONSE_SIDE, "Set-Cookie", "b=2; Path=/");
    request_printer_header(printer, RESPONSE_SIDE, "vary", "first");
    request_printer_header(printer, RESPONSE_SIDE, "vary", "second");
    request_printer_header(printer, RESPONSE_SIDE, "x-empty", "");
    printer->request.ended_ns = printer->request.received_ns + 700000999;
    printer->request.has_bytes = true;
    printer->request.bytes = 1234;
}

/* Checks what the request is in a format, without the newline. */
static void check_format(const char *format, void (*make)(struct request_printer *printer),
                         const char *expected)
{
    struct request_printer printer;
    char *line;

    request_printer_open_format(&printer, format);
    make(&printer);
    line = request_printer_take(&printer);
    assert_int_equal(line[strlen(line) - 1], '\n');
    line[strlen(line) - 1] = '\0';
    check_string(format, line, expected);
    free(line);
    request_printer_close(&printer);
}

struct format_case {
    const char *format, *expected;
};

static void check_formats(const struct format_case *cases, size_t count,
                          void (*make)(struct request_printer *printer))
{
    for (size_t i = 0; i != count; ++i)
        check_format(cases[i].format, make, cases[i].expected);
}

#define CHECK_FORMATS(cases, make) check_formats(cases, sizeof(cases) / sizeof((cases)[0]), make)

static void specifiers(void **state)
{
    static const struct format_case cases[] = {
        {"", ""},
        {"text only", "text only"},
        {"%%", "%"},
        {"%%m%%%m", "%m%GET"},
        {"%A %h %l %p %u %v %e", "- - - - - - -"},
        {"%{local}p %{remote}p %{NAME}e", "- - -"},
        {"%b", "1234"},
        {"%D", "700000"},
        {"%H", "HTTP/2"},
        {"%m", "GET"},
        {"%q", "?c=d?e"},
        {"%r", "GET /a/b?c=d?e HTTP/2"},
        {"%s", "200"},
        {"%<s %>s %<>s %><<s", "200 200 200 200"},
        {"%t", "[27/Nov/2026:03:29:34 -0700]"},
        {"%{%Y/%m/%d:%H:%M:%S}t.%{msec_frac}t", "2026/11/27:03:29:34.120"},
        {"%{}t", ""},
        {"%{sec}t", "1795775374"},
        {"%{msec}t", "1795775374120"},
        {"%{usec}t", "1795775374120318"},
        {"%{usec_frac}t", "120318"},
        {"%{SEC}t", "SEC"},
        {"%U", "/a/b"},
        {"%U%q", "/a/b?c=d?e"},
        {"%V", "example.com"},
        {"%{referer}i", "http://r/"},
        {"%{REFERER}i", "http://r/"},
        {"%<{referer}i", "http://r/"},
        {"%{none}i %{vary}i", "- -"},
        {"%{vary}o", "first"},
        {"%{set-cookie}o", "a=1, b=2; Path=/"},
        {"%{Set-Cookie}o", "a=1, b=2; Path=/"},
        {"%{set-cookie}i", "of the request"},
        {"%{x-empty}o|%{none}o|%{referer}o", "|-|-"},
        {"%{connection-id}x %{request-id}x %{Request-ID}x", "1292 39 39"},
        {"%{http1.request-index}x %{http2.stream-id}x %{http3.stream-id}x", "- 39 -"},
        {"%{duration}x %{ssl.cipher}x %{anything}x", "- - -"},
        {"common", "- - - [27/Nov/2026:03:29:34 -0700] \"GET /a/b?c=d?e HTTP/2\" 200 1234"},
        {"combined", "- - - [27/Nov/2026:03:29:34 -0700] \"GET /a/b?c=d?e HTTP/2\" 200 1234 "
                     "\"http://r/\" \"curl/7.88.1\""},
        {"a\xc3\xa9\n%m\t", "a\xc3\xa9\nGET\t"},
    };

    (void)state;
    CHECK_FORMATS(cases, fill);
}

static void make_unknown(struct request_printer *printer)
{
    request_printer_restart(printer);
    printer->request = (struct request){.state = REQUEST_UNFINISHED};
}

static void unknown_values(void **state)
{
    static const struct format_case cases[] = {
        {"%b %D %H %m %r %s %t %U %V", "- - - - - - - - -"},
        {"%q", ""},
        {"%{sec}t %{msec}t %{usec}t %{msec_frac}t %{usec_frac}t %{%H}t", "- - - - - -"},
        {"%{referer}i %{set-cookie}o %{vary}o", "- - -"},
        {"%{http1.request-index}x", "-"},
        {"combined", "- - - - \"-\" - - \"-\" \"-\""},
    };

    (void)state;
    CHECK_FORMATS(cases, make_unknown);
}

static void make_begun(struct request_printer *printer)
{
    request_printer_restart(printer);
    printer->request.state = REQUEST_BEGUN;
    printer->request.received_ns = 0;
    printer->request.version = 0;
}

static void make_connect(struct request_printer *printer)
{
    request_printer_restart(printer);
    request_printer_header(printer, REQUEST_SIDE, ":authority", "");
    request_printer_header(printer, REQUEST_SIDE, ":method", "CONNECT");
    printer->request.version = 0x101;
}

static void make_cut(struct request_printer *printer)
{
    request_printer_restart(printer);
    request_printer_bytes(printer, REQUEST_SIDE, ":method", NULL, 3, 3);
    request_printer_bytes(printer, REQUEST_SIDE, ":path", "/a?b", 4, 10);
    request_printer_bytes(printer, REQUEST_SIDE, "referer", "abc", 3, 4);
    request_printer_header(printer, REQUEST_SIDE, "cookie", "secret");
    for (size_t at = 0, next = 0;; at = next) {
        struct request_header header;
        if (!request_next_header(&printer->request, &next, &header))
            break;
        if (memcmp(header.name.bytes, "cookie", 6) == 0)
            request_redact_header(&printer->request, at);
    }
}

static void incomplete_requests(void **state)
{
    static const struct format_case begun[] = {
        {"common", "- - - [27/Nov/2026:03:29:34 -0700] \"-\" 200 -"},
        {"%{usec_frac}t", "621518"},
    };
    static const struct format_case connect[] = {
        {"%r|%U|%q|%V", "CONNECT  HTTP/1.1|-||"},
        {"%{http1.request-index}x", "39"},
    };
    static const struct format_case cut[] = {
        {"%m|%U|%q", "-|/a|?b [+6 bytes]"},
        {"%{referer}i|%{cookie}i", "abc [+1 bytes]|[redacted, 6 bytes]"},
    };

    (void)state;
    CHECK_FORMATS(begun, make_begun);
    CHECK_FORMATS(connect, make_connect);
    CHECK_FORMATS(cut, make_cut);
}

/* strftime's result is kept for a second. */
static void times_follow_the_request(void **state)
{
    static const struct {
        int64_t add_ns;
        const char *expected;
    } cases[] = {
        {0, "03:29:34 [27/Nov/2026:03:29:34 -0700] 120\n"},
        {1, "03:29:34 [27/Nov/2026:03:29:34 -0700] 120\n"},
        {880000000, "03:29:35 [27/Nov/2026:03:29:35 -0700] 000\n"},
        {-121000000, "03:29:33 [27/Nov/2026:03:29:33 -0700] 999\n"},
        {0, "03:29:34 [27/Nov/2026:03:29:34 -0700] 120\n"},
    };
    struct request_printer printer;

    (void)state;
    request_printer_open_format(&printer, "%{%H:%M:%S}t %t %{msec_frac}t");
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        request_printer_restart(&printer);
        printer.request.received_ns += (uint64_t)cases[i].add_ns;
        request_printer_check(&printer, cases[i].expected);
    }
    request_printer_close(&printer);
}

/* Each byte, as h2o prints it, except the backslash at the end. */
static void bytes_are_escaped(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open_format(&printer, "%U|%{referer}i|%{x}o");
    for (unsigned byte = 0; byte != 256; ++byte) {
        const char bytes[] = {(char)byte, 'z', (char)byte};
        char escaped[8], expected[64];
        if (byte == '?')
            continue;
        snprintf(escaped, sizeof(escaped),
                 byte >= 0x20 && byte <= 0x7c && byte != '"' ? "%c" : "\\x%02x", byte);
        snprintf(expected, sizeof(expected), "%sz%s|%sz%s|%sz%s\n", escaped,
                 byte == '\\' ? "\\x5c" : escaped, escaped, byte == '\\' ? "\\x5c" : escaped,
                 escaped, byte == '\\' ? "\\x5c" : escaped);
        request_printer_restart(&printer);
        request_printer_bytes(&printer, REQUEST_SIDE, ":path", bytes, 3, 3);
        request_printer_bytes(&printer, REQUEST_SIDE, "referer", bytes, 3, 3);
        request_printer_bytes(&printer, RESPONSE_SIDE, "x", bytes, 3, 3);
        request_printer_check(&printer, expected);
    }
    request_printer_close(&printer);
}

/* A line with the longest values, which is longer than the buffer of the output. */
static void longest_line(void **state)
{
    const size_t count = 40;
    char value[EVENT_TEXT_MAX], format[1024] = "";
    struct request_printer printer;
    char *line;

    (void)state;
    memset(value, '"', sizeof(value));
    for (size_t i = 0; i != count; ++i)
        strcat(format, "%{x}i");
    request_printer_open_format(&printer, format);
    request_printer_bytes(&printer, REQUEST_SIDE, "x", value, sizeof(value), sizeof(value));
    line = request_printer_take(&printer);
    assert_int_equal(strlen(line), count * sizeof(value) * 4 + 1);
    for (size_t i = 0; i != count * sizeof(value); ++i)
        assert_memory_equal(line + 4 * i, "\\x22", 4);
    free(line);
    request_printer_close(&printer);
}

static void wrong_formats_are_refused(void **state)
{
    static const struct {
        const char *format, *expected;
    } cases[] = {
        {"%Z", "an unknown specifier at character 1: '%Z'"},
        {"%m %Z!", "an unknown specifier at character 4: '%Z!' after '%m '"},
        {"%", "an unknown specifier at character 1: '%'"},
        {"%m%", "an unknown specifier at character 3: '%' after '%m'"},
        {"%i", "an unknown specifier"},
        {"%{x}z", "an unknown specifier"},
        {"%{x}m", "an unknown specifier"},
        {"%{x}", "an unknown specifier"},
        {"%{other}p", "an unknown specifier"},
        {"%<%", "an unknown specifier"},
        {"%{x", "a '{' without a '}' at character 1: '%{x'"},
        {"%{", "a '{' without a '}'"},
        {"%{%1000d}t", "a time that is too long"},
        {"\x1b[m%\xff", "character 4: '%\\xff' after '\\x1b[m'"},
        {"Combined %d", "an unknown specifier"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct error error = {0};
        assert_null(access_log_compile(cases[i].format, &error));
        assert_int_equal(error.status, ERROR_USAGE);
        if (strstr(error.text, cases[i].expected) == NULL || !is_tame(error.text, false) ||
            strstr(error.text, "%{usec_frac}t") == NULL)
            fail_msg("'%s' is refused with: %s", cases[i].format, error.text);
    }
}

static void check_needs(const char *format, const char *request, const char *response, bool times)
{
    struct error error = {0};
    struct access_log *access_log = access_log_compile(format, &error);
    struct needs needs = {0};
    char *names[2];

    assert_non_null(access_log);
    access_log_add_needs(access_log, &needs);
    for (size_t side = 0; side != 2; ++side) {
        const struct needs_headers *headers = side == 0 ? &needs.request : &needs.response;
        names[side] = memory_format("%s", "");
        assert_false(headers->all);
        for (size_t i = 0; i != headers->count; ++i) {
            char *longer =
                memory_format("%s%s%s", names[side], i != 0 ? " " : "", headers->names[i]);
            free(names[side]);
            names[side] = longer;
        }
    }
    check_string(format, names[0], request);
    check_string(format, names[1], response);
    assert_int_equal(needs.times, times);
    free(names[0]);
    free(names[1]);
    needs_dispose(&needs);
    access_log_close(access_log);
}

/* Only what the format needs. */
static void needs(void **state)
{
    (void)state;
    check_needs("%s %b %H %% %h %{connection-id}x", "", "", false);
    check_needs("%m", ":method", "", false);
    check_needs("%U%q", ":path", "", false);
    check_needs("%r", ":method :path", "", false);
    check_needs("%V", ":authority", "", false);
    check_needs("%{Cookie}i%{X-A}o%{cookie}i", "cookie", "x-a", false);
    check_needs("%t", "", "", true);
    check_needs("%{sec}t", "", "", true);
    check_needs("%{%H}t", "", "", true);
    check_needs("%D", "", "", true);
    check_needs("combined", ":method :path referer user-agent", "", true);
}

/* The values of `combined` are between quotes, and no value has one. */
static void random_requests_are_tame(void **state)
{
    struct request_printer printer;
    uint32_t seed = random_seed();

    (void)state;
    request_printer_open_format(&printer, "combined");
    for (size_t i = 0; i != 20000; ++i) {
        size_t quotes = 0;
        char *line;
        request_printer_random(&printer, &seed);
        line = request_printer_take(&printer);
        for (const char *at = line; *at != '\0'; ++at) {
            quotes += *at == '"';
            if (at != line && *at == '"' && at[-1] == '\\')
                fail_msg("a quote of request %zu is escaped: %s", i, line);
        }
        if (quotes != 6 || strchr(line, '\n') != line + strlen(line) - 1 || !is_tame(line, true))
            fail_msg("request %zu is printed as %s", i, line);
        free(line);
    }
    request_printer_close(&printer);
}

/* Random formats are refused or printed; nothing is read or written outside. */
static void random_formats(void **state)
{
    static const char letters[] = "%%%%{}{}<>AbDHhlmpqrstUuVveiox -.secml";
    uint32_t seed = random_seed();
    size_t accepted = 0;

    (void)state;
    for (size_t i = 0; i != 50000; ++i) {
        char format[12] = "";
        const size_t size = random_next(&seed) % sizeof(format);
        struct error error = {0};
        struct access_log *access_log;
        char *exact;
        for (size_t j = 0; j != size; ++j)
            format[j] = letters[random_next(&seed) % (sizeof(letters) - 1)];
        exact = memory_format("%s", format);
        access_log = access_log_compile(exact, &error);
        free(exact);
        assert_int_equal(error.status, access_log == NULL ? ERROR_USAGE : ERROR_NONE);
        access_log_close(access_log);
        if (access_log == NULL)
            continue;
        if (++accepted % 16 == 0) {
            struct request_printer printer;
            request_printer_open_format(&printer, format);
            request_printer_random(&printer, &seed);
            free(request_printer_take(&printer));
            request_printer_close(&printer);
        }
    }
    assert_true(accepted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specifiers),
        cmocka_unit_test(unknown_values),
        cmocka_unit_test(incomplete_requests),
        cmocka_unit_test(times_follow_the_request),
        cmocka_unit_test(bytes_are_escaped),
        cmocka_unit_test(longest_line),
        cmocka_unit_test(wrong_formats_are_refused),
        cmocka_unit_test(needs),
        cmocka_unit_test(random_requests_are_tame),
        cmocka_unit_test(random_formats),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
