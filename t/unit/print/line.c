#include "support.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "print/escape.h"
#include "print/line.h"

/* Prints a value in both forms, and checks them. */
static void check_value(const void *bytes, size_t size, uint64_t full_size, const char *text,
                        const char *json)
{
    struct value value = {0};
    struct output output;
    char *printed;

    value.bytes = bytes;
    value.size = size;
    value.full_size = full_size;
    printed_open(&output);
    line_text(&output, escape_print, &value);
    output_end_line(&output);
    line_json(&output, &value);
    output_end_line(&output);
    printed = printed_take(&output);
    assert_int_equal(strncmp(printed, text, strlen(text)), 0);
    check_string("JSON", printed + strlen(text), json);
    free(printed);
    printed_close(&output);
}

static void prints_values(void **state)
{
    (void)state;
    check_value("", 0, 0, "\n", "\"\"\n");
    check_value("a\"\n", 3, 3, "a\"\\x0a\n", "\"a\\\"\\u000a\"\n");
    check_value(NULL, 5, 5, "[unreadable]\n", "null\n");
    check_value("abc", 3, 15, "abc [+12 bytes]\n", "\"abc\"\n");
    /* a character that was cut in the middle is missing; a byte that is none is not */
    check_value("a\xc3", 2, 3, "a [+2 bytes]\n", "\"a\"\n");
    check_value("a\xc3", 2, 2, "a\\xc3\n", "\"a\xef\xbf\xbd\"\n");
    check_value("\xc3", 1, 3, "[+3 bytes]\n", "\"\"\n");
    check_value("", 0, 3, "[+3 bytes]\n", "\"\"\n");
    check_value("a\xff", 2, 3, "a\\xff [+1 bytes]\n", "\"a\xef\xbf\xbd\"\n");
}

static void prints_protocols(void **state)
{
    static const struct {
        int32_t version;
        const char *expected;
    } cases[] = {{0x100, "HTTP/1.0\n"}, {0x101, "HTTP/1.1\n"},  {0x200, "HTTP/2\n"},
                 {0x300, "HTTP/3\n"},   {0x1400, "HTTP/20\n"},  {0x009, "HTTP/0.9\n"},
                 {0x201, "HTTP/2\n"},   {-257, "HTTP/-1.-1\n"}, {INT32_MIN, "HTTP/-8388608.0\n"}};
    struct output output;

    (void)state;
    printed_open(&output);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        char *text;
        line_protocol(&output, cases[i].version);
        output_end_line(&output);
        text = printed_take(&output);
        check_string("the protocol", text, cases[i].expected);
        free(text);
    }
    printed_close(&output);
}

static void finds_times(void **state)
{
    struct request request = {0};
    uint64_t time_ns;

    (void)state;
    assert_false(line_request_time(&request, &time_ns));
    request.responded_ns = 7;
    assert_true(line_request_time(&request, &time_ns));
    assert_int_equal(time_ns, 7);
    request.received_ns = 5;
    assert_true(line_request_time(&request, &time_ns));
    assert_int_equal(time_ns, 5);
}

/* What was printed before a loss is written before its message. */
static void says_losses(void **state)
{
    struct output output, messages;
    struct sink_settings settings = {.output = &output, .messages = &messages};
    char *text;

    (void)state;
    printed_open(&output);
    printed_open(&messages);
    output_string(&output, "a line");
    output_end_line(&output);
    line_lost(&settings, 12);
    assert_int_equal(lseek(output.fd, 0, SEEK_END), strlen("a line\n"));
    text = printed_take(&messages);
    check_string("the message", text, "h2olog: 12 events are lost here; use a larger ring (-b)\n");
    free(text);
    printed_close(&messages);
    printed_close(&output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_values),
        cmocka_unit_test(prints_protocols),
        cmocka_unit_test(finds_times),
        cmocka_unit_test(says_losses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
