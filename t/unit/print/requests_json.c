#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "memory.h"
#include "print/requests_json.h"

static void line_of_a_request(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_json_open);
    request_printer_pseudo(&printer, "/a?b=\"c\"");
    request_printer_header(&printer, REQUEST_SIDE, "cookie", "a=1");
    request_printer_header(&printer, REQUEST_SIDE, "cookie", "b=2");
    request_printer_header(&printer, RESPONSE_SIDE, "content-type", "text/html");
    request_printer_header(&printer, RESPONSE_SIDE, "x-empty", "");
    printer.request.version = 0x300;
    printer.request.connection = 3;
    printer.request.ended_ns = printer.request.received_ns + 600999999;
    printer.request.has_bytes = true;
    printer.request.bytes = 1234;
    request_printer_check(
        &printer,
        "{\"time\":1795775374120.318,\"connection\":3,\"conn\":1292,\"req\":39,\"protocol\":"
        "\"HTTP/3\",\"method\":\"GET\",\"scheme\":\"https\",\"authority\":\"example.com\","
        "\"path\":\"/a?b=\\\"c\\\"\",\"status\":200,\"ttfb-us\":501200,\"duration-us\":600999,"
        "\"bytes\":1234,\"request-headers\":[[\"cookie\",\"a=1\"],[\"cookie\",\"b=2\"]],"
        "\"response-headers\":[[\"content-type\",\"text/html\"],[\"x-empty\",\"\"]],"
        "\"state\":\"complete\"}\n");
    request_printer_close(&printer);
}

/* What is not known is absent. */
static void unknown_values_are_absent(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_json_open);
    request_printer_check(&printer, "{\"time\":1795775374120.318,\"conn\":1292,\"req\":39,"
                                    "\"protocol\":\"HTTP/2\",\"status\":200,\"ttfb-us\":501200,"
                                    "\"request-headers\":[],\"response-headers\":[],"
                                    "\"state\":\"complete\"}\n");
    printer.request = (struct request){.state = REQUEST_UNFINISHED, .version = 0x101};
    request_printer_check(&printer, "{\"conn\":0,\"req\":0,\"protocol\":\"HTTP/1.1\","
                                    "\"request-headers\":[],\"state\":\"unfinished\"}\n");
    printer.request = (struct request){.state = REQUEST_BEGUN,
                                       .conn = UINT64_MAX,
                                       .req = UINT64_MAX,
                                       .responded_ns = REQUEST_CLOCK_NS,
                                       .status = -1};
    request_printer_check(&printer, "{\"time\":1795775374000.000,\"conn\":18446744073709551615,"
                                    "\"req\":18446744073709551615,\"status\":-1,"
                                    "\"response-headers\":[],\"state\":\"begun-before-trace\"}\n");
    request_printer_close(&printer);
}

/* Events were lost, so that there are headers without the event before them. */
static void headers_without_a_begin(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_json_open);
    printer.request = (struct request){.state = REQUEST_INCOMPLETE};
    request_printer_header(&printer, RESPONSE_SIDE, ":path", "a");
    request_printer_header(&printer, REQUEST_SIDE, ":other", "b");
    request_printer_header(&printer, REQUEST_SIDE, ":paths", "c");
    request_printer_check(&printer, "{\"conn\":0,\"req\":0,\"request-headers\":[[\":other\",\"b\"],"
                                    "[\":paths\",\"c\"]],\"response-headers\":[[\":path\",\"a\"]],"
                                    "\"state\":\"incomplete\"}\n");
    request_printer_close(&printer);
}

static void times_have_three_decimals(void **state)
{
    static const struct {
        uint64_t ns;
        const char *expected;
    } cases[] = {{0, "000.000,"}, {999, "000.000,"}, {1000, "000.001,"}, {99999999, "099.999,"}};
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_json_open);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        const char *begin = "{\"time\":1795775374";
        char *line;
        printer.request.received_ns = REQUEST_CLOCK_NS + cases[i].ns;
        line = request_printer_take(&printer);
        assert_memory_equal(line, begin, strlen(begin));
        line[strlen(begin) + 8] = '\0';
        check_string("the time", line + strlen(begin), cases[i].expected);
        free(line);
    }
    request_printer_close(&printer);
}

static void cut_unreadable_and_redacted(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, requests_json_open);
    printer.request = (struct request){.conn = 1, .req = 2};
    request_printer_header(&printer, REQUEST_SIDE, "cookie", "secret");
    request_redact_header(&printer.request, 0);
    request_printer_bytes(&printer, REQUEST_SIDE, "a", "b\xc3", 2, 9);
    request_printer_bytes(&printer, REQUEST_SIDE, "a", NULL, 2, 2);
    request_printer_bytes(&printer, REQUEST_SIDE, ":path", NULL, 2, 2);
    request_printer_check(&printer,
                          "{\"conn\":1,\"req\":2,\"path\":null,\"request-headers\":[[\"cookie\","
                          "\"[redacted, 6 bytes]\"],[\"a\",\"b\"],[\"a\",null]],"
                          "\"state\":\"complete\",\"truncated\":true}\n");
    request_printer_close(&printer);
}

static void losses(void **state)
{
    struct request_printer printer;
    char *line;

    (void)state;
    request_printer_open(&printer, requests_json_open);
    printer.sink.lost(printer.sink.state, 12);
    line = printed_take(&printer.output);
    check_string("the loss", line,
                 "{\"type\":\"h2olog-event-lost\",\"time\":1795775374000,\"lost\":12}\n");
    free(line);
    request_printer_close(&printer);
}

/* A request with the most and longest headers, all of whose bytes are escaped. */
static void longest_line(void **state)
{
    static const char begin[] = "{\"conn\":0,\"req\":0,\"request-headers\":[[\"\\u0002";
    struct request_printer printer;
    char value[EVENT_TEXT_MAX], name[EVENT_NAME_MAX + 1] = "";
    char *line;
    size_t count = 0;

    (void)state;
    memset(value, 1, sizeof(value));
    memset(name, 2, EVENT_NAME_MAX);
    request_printer_open(&printer, requests_json_open);
    printer.request = (struct request){0};
    for (size_t i = 0; i != 200; ++i)
        request_printer_bytes(&printer, (enum request_side)(i / 100), name, value, sizeof(value),
                              sizeof(value));
    line = request_printer_take(&printer);
    assert_int_equal(strncmp(line, begin, strlen(begin)), 0);
    for (const char *at = line; (at = strchr(at, '\\')) != NULL; at += 6)
        ++count;
    assert_int_equal(count, 200 * (sizeof(value) + EVENT_NAME_MAX));
    free(line);
    request_printer_close(&printer);
}

/*
 * Whether a line is a JSON object, as far as strings are concerned: quotes come in pairs, and every
 * byte outside of strings is one that the printer makes.
 */
static bool is_well_formed(const char *line)
{
    bool in_string = false;

    for (; *line != '\0' && *line != '\n'; ++line) {
        if (in_string && *line == '\\') {
            if (strchr("\"\\u", *++line) == NULL || *line == '\0')
                return false;
        } else if (*line == '"') {
            in_string = !in_string;
        } else if (!in_string && strchr("{}[],:.-0123456789nultre", *line) == NULL) {
            return false;
        }
    }
    return !in_string && line[0] == '\n' && line[1] == '\0';
}

static void random_requests_are_tame(void **state)
{
    struct request_printer printer;
    uint32_t seed = random_seed();

    (void)state;
    request_printer_open(&printer, requests_json_open);
    for (size_t i = 0; i != 20000; ++i) {
        char *line;
        request_printer_random(&printer, &seed);
        line = request_printer_take(&printer);
        if (!is_well_formed(line) || !is_tame(line, true) || strchr(line, '\t') != NULL)
            fail_msg("request %zu is printed as %s", i, line);
        free(line);
    }
    request_printer_close(&printer);
}

static void needs(void **state)
{
    struct needs needs = {0};

    (void)state;
    requests_json_add_needs(&needs);
    assert_true(needs.times && needs.connections && needs.request.all && needs.response.all);
    needs_dispose(&needs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_of_a_request),
        cmocka_unit_test(unknown_values_are_absent),
        cmocka_unit_test(headers_without_a_begin),
        cmocka_unit_test(times_have_three_decimals),
        cmocka_unit_test(cut_unreadable_and_redacted),
        cmocka_unit_test(losses),
        cmocka_unit_test(longest_line),
        cmocka_unit_test(random_requests_are_tame),
        cmocka_unit_test(needs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
