#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "print/text.h"

/* A printer for events of one probe, and a draft of an event. */
struct bench {
    struct server_probe server_probe;
    struct output output;
    struct printer http;
    struct draft draft;
};

static void bench_open(struct bench *bench, const char *probe, uint32_t date)
{
    *bench = (struct bench){.server_probe = {.signature = signature_on(probe, date)}};
    printed_open(&bench->output);
    printer_open(&bench->http, text_open, &bench->output, &bench->server_probe, 1, 0);
    draft_open(&bench->draft, bench->server_probe.signature, 0);
}

static void bench_close(struct bench *bench)
{
    printer_close(&bench->http);
    printed_close(&bench->output);
}

/* Checks the line of the event. */
static void check_line(struct bench *bench, const char *expected)
{
    struct event event = draft_event(&bench->draft);
    char *text;

    event = fenced(&event, event.size);
    if (printer_print(&bench->http, &event) != 0)
        fail_msg("a valid event is refused; expected line: %s", expected);
    text = printed_take(&bench->output);
    check_string(bench->server_probe.signature->declaration, text, expected);
    free(text);
}

static void new_event(struct bench *bench, uint64_t connection, uint64_t request)
{
    draft_open(&bench->draft, bench->server_probe.signature, 0);
    draft_number(&bench->draft, "conn-id", connection);
    draft_number(&bench->draft, "req-id", request);
}

/* A header with this many captured bytes of a longer one. */
static void cut_header(struct bench *bench, const void *name, size_t name_size, uint64_t name_full,
                       const void *value, size_t value_size, uint64_t value_full)
{
    new_event(bench, 11, 0);
    draft_append(&bench->draft, "name", name, name_size, name_full);
    draft_append(&bench->draft, "value", value, value_size, value_full);
}

static void header(struct bench *bench, const char *name, const char *value)
{
    cut_header(bench, name, strlen(name), strlen(name), value, strlen(value), strlen(value));
}

/* Lines of a real server of 2026-06. */
static void lines_of_a_request(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request", 20260629);
    new_event(&bench, 4, 0);
    draft_number(&bench.draft, "http-version", 0x300);
    check_line(&bench, "4 0 RxProtocol HTTP/3.0\n");
    new_event(&bench, 3, 1);
    draft_number(&bench.draft, "http-version", 257);
    check_line(&bench, "3 1 RxProtocol HTTP/1.1\n");
    new_event(&bench, UINT64_MAX, 10000000000000000000u);
    draft_number(&bench.draft, "http-version", 0x100);
    check_line(&bench, "18446744073709551615 10000000000000000000 RxProtocol HTTP/1.0\n");
    bench_close(&bench);

    bench_open(&bench, "h2o:receive_request_header", 20260629);
    header(&bench, ":authority", "127.0.0.1:46427");
    check_line(&bench, "11 0 RxHeader   :authority 127.0.0.1:46427\n");
    header(&bench, "user-agent", "curl/7.88.1");
    check_line(&bench, "11 0 RxHeader   user-agent curl/7.88.1\n");
    header(&bench, "accept", "*/*");
    check_line(&bench, "11 0 RxHeader   accept */*\n");
    bench_close(&bench);

    bench_open(&bench, "h2o:send_response", 20260629);
    new_event(&bench, 11, 0);
    draft_number(&bench.draft, "status", 200);
    check_line(&bench, "11 0 TxStatus   200\n");
    bench_close(&bench);

    bench_open(&bench, "h2o:send_response_header", 20260629);
    header(&bench, "etag", "\"6b02dea1-d\"");
    check_line(&bench, "11 0 TxHeader   etag \"6b02dea1-d\"\n");
    header(&bench, "date", "Sun, 22 Nov 2026 12:23:01 GMT");
    check_line(&bench, "11 0 TxHeader   date Sun, 22 Nov 2026 12:23:01 GMT\n");
    bench_close(&bench);
}

/* The same for servers with other declarations. */
static void lines_of_older_servers(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request", 20190827); /* req_id was signed */
    new_event(&bench, 1, 2);
    draft_number(&bench.draft, "http-version", 0x200);
    check_line(&bench, "1 2 RxProtocol HTTP/2.0\n");
    bench_close(&bench);
    bench_open(&bench, "h2o:send_response_status", 20191126);
    new_event(&bench, 1, 2);
    draft_number(&bench.draft, "status", 404);
    check_line(&bench, "1 2 TxStatus   404\n");
    bench_close(&bench);
    bench_open(&bench, "h2o:send_response", 20210301); /* with a fourth argument */
    new_event(&bench, 1, 2);
    draft_number(&bench.draft, "status", 101);
    draft_number(&bench.draft, "tunnel", 0x7f0000001000);
    check_line(&bench, "1 2 TxStatus   101\n");
    bench_close(&bench);
}

static void empty_names_and_values(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    header(&bench, "x-empty", "");
    check_line(&bench, "11 0 RxHeader   x-empty \n");
    header(&bench, "", "value");
    check_line(&bench, "11 0 RxHeader    value\n");
    header(&bench, "", "");
    check_line(&bench, "11 0 RxHeader    \n");
    bench_close(&bench);
}

static void hostile_bytes(void **state)
{
    static const char *const probes[] = {"h2o:receive_request_header", "h2o:send_response_header"};
    static const char *const tags[] = {"RxHeader  ", "TxHeader  "};
    struct bench bench;
    char expected[256];

    (void)state;
    for (size_t i = 0; i != 2; ++i) {
        bench_open(&bench, probes[i], 20260629);
        header(&bench, "x\n9 9 TxStatus   200", "v");
        snprintf(expected, sizeof(expected), "11 0 %s x\\x0a9 9 TxStatus   200 v\n", tags[i]);
        check_line(&bench, expected);
        header(&bench, "x", "v\r\n9 9 TxStatus   200\n");
        snprintf(expected, sizeof(expected), "11 0 %s x v\\x0d\\x0a9 9 TxStatus   200\\x0a\n",
                 tags[i]);
        check_line(&bench, expected);
        header(&bench, "\x1b[1A", "\x1b[2J\x1b]0;title\x07\x7f");
        snprintf(expected, sizeof(expected), "11 0 %s \\x1b[1A \\x1b[2J\\x1b]0;title\\x07\\x7f\n",
                 tags[i]);
        check_line(&bench, expected);
        header(&bench, "a\tb",
               "\xc2\x9b"
               "2J \xff\xfe \xc3\xa9 \xe2\x82\xac \xed\xa0\x80");
        snprintf(expected, sizeof(expected),
                 "11 0 %s a\tb \\xc2\\x9b2J \\xff\\xfe \xc3\xa9 \xe2\x82\xac \\xed\\xa0\\x80\n",
                 tags[i]);
        check_line(&bench, expected);
        cut_header(&bench, "a\0b", 3, 3, "\0", 1, 1);
        snprintf(expected, sizeof(expected), "11 0 %s a\\x00b \\x00\n", tags[i]);
        check_line(&bench, expected);
        bench_close(&bench);
    }
}

/* An invalid sequence at the end was not truncated. */
static void whole_values_keep_their_last_bytes(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    header(&bench, "x\xe2\x82", "y\xf0\x9f\x98");
    check_line(&bench, "11 0 RxHeader   x\\xe2\\x82 y\\xf0\\x9f\\x98\n");
    bench_close(&bench);
}

/* A line with a name of 'n' and a value of 'v', and the text after each. */
static void check_cut(struct bench *bench, size_t name_printed, const char *behind_name,
                      size_t value_printed, const char *behind_value)
{
    static char expected[EVENT_NAME_MAX + EVENT_TEXT_MAX + 256];
    char *at = expected + sprintf(expected, "11 0 RxHeader   ");

    memset(at, 'n', name_printed);
    at += name_printed;
    at += sprintf(at, "%s ", behind_name);
    memset(at, 'v', value_printed);
    at += value_printed;
    sprintf(at, "%s\n", behind_value);
    check_line(bench, expected);
}

static void long_headers_are_truncated(void **state)
{
    struct bench bench;
    char name[EVENT_NAME_MAX], value[EVENT_TEXT_MAX];

    (void)state;
    memset(name, 'n', sizeof(name));
    memset(value, 'v', sizeof(value));
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    /* names are truncated to 256 bytes, values to 4 KiB */
    cut_header(&bench, name, 256, 256, value, 4096, 4096);
    check_cut(&bench, 256, "", 4096, "");
    cut_header(&bench, name, 255, 255, value, 4095, 4095);
    check_cut(&bench, 255, "", 4095, "");
    cut_header(&bench, name, 256, 257, value, 1, 1);
    check_cut(&bench, 256, " [+1 bytes]", 1, "");
    cut_header(&bench, name, 1, 1, value, 4096, 4097);
    check_cut(&bench, 1, "", 4096, " [+1 bytes]");
    cut_header(&bench, name, 256, 1256, value, 4096, 10000);
    check_cut(&bench, 256, " [+1000 bytes]", 4096, " [+5904 bytes]");
    cut_header(&bench, name, 256, UINT64_MAX, value, 4096, UINT64_MAX);
    check_cut(&bench, 256, " [+18446744073709551359 bytes]", 4096,
              " [+18446744073709547519 bytes]");
    bench_close(&bench);
}

/* A truncated sequence is left out, and counted as missing. */
static void cuts_between_characters(void **state)
{
    static const struct {
        const char *end; /* the last captured bytes */
        size_t kept;
        const char *behind;
    } cases[] = {
        {"\xc3\xa9", 2, " [+100 bytes]"},      {"v\xc3", 1, " [+101 bytes]"},
        {"\xe2\x82\xac", 3, " [+100 bytes]"},  {"v\xe2\x82", 1, " [+102 bytes]"},
        {"v\xe2", 1, " [+101 bytes]"},         {"\xf0\x9f\x98\x80", 4, " [+100 bytes]"},
        {"v\xf0\x9f\x98", 1, " [+103 bytes]"}, {"v\xf0\x9f", 1, " [+102 bytes]"},
        {"v\xf0", 1, " [+101 bytes]"},
    };
    struct bench bench;
    char value[EVENT_TEXT_MAX], expected[EVENT_TEXT_MAX + 256];

    (void)state;
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        size_t length = strlen(cases[i].end), before = sizeof(value) - length;
        memset(value, 'v', before);
        memcpy(value + before, cases[i].end, length);
        cut_header(&bench, "x", 1, 1, value, sizeof(value), sizeof(value) + 100);
        snprintf(expected, sizeof(expected), "11 0 RxHeader   x %.*s%s\n",
                 (int)(before + cases[i].kept), value, cases[i].behind);
        check_line(&bench, expected);
    }
    /* other invalid bytes are part of the value */
    memset(value, 'v', sizeof(value));
    value[sizeof(value) - 1] = '\xff';
    cut_header(&bench, "x", 1, 1, value, sizeof(value), sizeof(value) + 100);
    snprintf(expected, sizeof(expected), "11 0 RxHeader   x %.*s\\xff [+100 bytes]\n",
             (int)sizeof(value) - 1, value);
    check_line(&bench, expected);
    bench_close(&bench);
}

/* The longest line: a truncated value, with only bytes that are escaped. */
static void longest_line(void **state)
{
    static char expected[4 * (EVENT_NAME_MAX + EVENT_TEXT_MAX) + 256];
    struct bench bench;
    char name[EVENT_NAME_MAX], value[EVENT_TEXT_MAX], *at;

    (void)state;
    memset(name, 1, sizeof(name));
    memset(value, 2, sizeof(value));
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    cut_header(&bench, name, sizeof(name), sizeof(name), value, sizeof(value), sizeof(value));
    at = expected + sprintf(expected, "11 0 RxHeader   ");
    for (size_t i = 0; i != sizeof(name); ++i)
        at += sprintf(at, "\\x01");
    at += sprintf(at, " ");
    for (size_t i = 0; i != sizeof(value); ++i)
        at += sprintf(at, "\\x02");
    sprintf(at, "\n");
    check_line(&bench, expected);
    bench_close(&bench);
}

/* An unreadable value differs from an empty one. */
static void unreadable_values(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    header(&bench, "name", "secret");
    draft_head(&bench.draft, 1u << 1, 0);
    check_line(&bench, "11 0 RxHeader   name [unreadable]\n");
    header(&bench, "name", "value");
    draft_head(&bench.draft, 1u << 0, 0);
    check_line(&bench, "11 0 RxHeader   [unreadable] value\n");
    bench_close(&bench);
}

static void check_refused(struct bench *bench, const struct event *event)
{
    char *text;

    assert_int_equal(printer_print(&bench->http, event), -1);
    output_string(&bench->output, "next");
    output_end_line(&bench->output);
    text = printed_take(&bench->output);
    check_string("output for a malformed event", text, "next\n");
    free(text);
}

static void malformed_events_are_refused(void **state)
{
    static const char *const probes[] = {"h2o:receive_request", "h2o:receive_request_header",
                                         "h2o:send_response", "h2o:send_response_header"};
    struct bench bench;

    (void)state;
    for (size_t i = 0; i != 4; ++i) {
        bench_open(&bench, probes[i], 20260629);
        if (i % 2 == 1)
            header(&bench, "name", "value");
        for (size_t size = 0; size <= bench.draft.size + 16; ++size) {
            struct event event = draft_event(&bench.draft);
            event = fenced(&event, size);
            if (size != bench.draft.size)
                check_refused(&bench, &event);
        }
        bench_close(&bench);
    }
}

static void wrong_counters_are_refused(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    for (size_t i = 0; i != 64; ++i) {
        struct event event;
        header(&bench, "name", "value");
        draft_number(&bench.draft, i % 2 == 0 ? "name-len" : "value-len", (uint64_t)1 << i | 0x20);
        event = draft_event(&bench.draft);
        event = fenced(&event, event.size);
        check_refused(&bench, &event);
    }
    bench_close(&bench);
}

/* An id after the printed probes: a probe that only ties, or no probe. */
static void unknown_ids_are_refused(void **state)
{
    static const uint16_t ids[] = {1, 2, 100, 0x7fff, 0x8000, 0xffff};
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:send_response", 20260629);
    for (size_t i = 0; i != sizeof(ids) / sizeof(ids[0]); ++i) {
        struct event event;
        draft_open(&bench.draft, bench.server_probe.signature, ids[i]);
        event = draft_event(&bench.draft);
        check_refused(&bench, &event);
    }
    bench_close(&bench);
}

/* The id of an event selects its probe. */
static void ids_choose_the_probe(void **state)
{
    const struct server_probe probes[] = {
        {.signature = signature_on("h2o:send_response_header", 20260629)},
        {.signature = signature_on("h2o:receive_request", 20260629)},
        {.signature = signature_on("h2o:send_response", 20260629)},
    };
    struct output output;
    struct printer http;
    char *text;

    (void)state;
    printed_open(&output);
    printer_open(&http, text_open, &output, probes, 3, 0);
    for (uint16_t id = 3; id-- != 0;) {
        struct draft draft;
        struct event event;
        draft_open(&draft, probes[id].signature, id);
        draft_number(&draft, "conn-id", 7);
        if (id == 0) {
            draft_string(&draft, "name", "a");
            draft_string(&draft, "value", "b");
        }
        event = draft_event(&draft);
        assert_int_equal(printer_print(&http, &event), 0);
    }
    text = printed_take(&output);
    check_string("three lines", text,
                 "7 0 TxStatus   0\n7 0 RxProtocol HTTP/0.0\n7 0 TxHeader   a b\n");
    free(text);
    printer_close(&http);
    printed_close(&output);
}

/* There is no line for the end of a connection. */
static void other_kinds_are_refused(void **state)
{
    struct bench bench;
    struct event event;

    (void)state;
    bench_open(&bench, "h2o:h1_close", 20260629);
    event = draft_event(&bench.draft);
    check_refused(&bench, &event);
    bench_close(&bench);
}

/*
 * A probe with the same name but other fields is not printed, not even partly.
 */
static void guesses_are_refused(void **state)
{
    static const char *const probes[] = {"receive_request", "receive_request_header",
                                         "send_response", "send_response_header"};
    const struct field fields[] = {
        {.key = "arg1", .kind = FIELD_UNSIGNED, .width = 8, .place = 16},
        {.key = "arg2", .kind = FIELD_UNSIGNED, .width = 8, .place = 24},
        {.key = "arg3", .kind = FIELD_UNSIGNED, .width = 8, .place = 32},
    };

    (void)state;
    for (size_t i = 0; i != 4; ++i) {
        const struct signature signature = {.provider = "h2o",
                                            .probe = probes[i],
                                            .declaration = "",
                                            .fields = fields,
                                            .num_fields = 3,
                                            .size = 40};
        struct bench bench = {.server_probe = {.signature = &signature}};
        struct event event;
        printed_open(&bench.output);
        printer_open(&bench.http, text_open, &bench.output, &bench.server_probe, 1, 0);
        draft_open(&bench.draft, &signature, 0);
        event = draft_event(&bench.draft);
        check_refused(&bench, &event);
        bench_close(&bench);
    }
}

/* A request of the stand-in, with headers that cannot be read or were cut. */
static void grouped_request(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, text_open);
    request_printer_pseudo(&printer, "/a b");
    request_printer_header(&printer, REQUEST_SIDE, "x\n", "v\t\x1b");
    request_printer_bytes(&printer, RESPONSE_SIDE, "etag", "abc", 3, 15);
    request_printer_bytes(&printer, RESPONSE_SIDE, "vary", NULL, 3, 3);
    request_printer_check(&printer, "1292 39 RxProtocol HTTP/2.0\n"
                                    "1292 39 RxHeader   :authority example.com\n"
                                    "1292 39 RxHeader   :method GET\n"
                                    "1292 39 RxHeader   :path /a b\n"
                                    "1292 39 RxHeader   :scheme https\n"
                                    "1292 39 RxHeader   x\\x0a v\t\\x1b\n"
                                    "1292 39 TxStatus   200\n"
                                    "1292 39 TxHeader   etag abc [+12 bytes]\n"
                                    "1292 39 TxHeader   vary [unreadable]\n"
                                    "\n");
    request_printer_close(&printer);
}

/* A state that is not complete has the last line. What is not known has none. */
static void states_of_requests(void **state)
{
    struct request_printer printer;

    (void)state;
    request_printer_open(&printer, text_open);
    printer.request = (struct request){.conn = 1, .req = 2, .version = 0x101};
    request_printer_check(&printer, "1 2 RxProtocol HTTP/1.1\n\n");
    printer.request.state = REQUEST_UNFINISHED;
    request_printer_check(&printer, "1 2 RxProtocol HTTP/1.1\n1 2 State      unfinished\n\n");
    printer.request.state = REQUEST_INCOMPLETE;
    printer.request.version = 0;
    request_printer_check(&printer, "1 2 State      incomplete\n\n");
    printer.request.state = REQUEST_BEGUN;
    printer.request.status = 404;
    request_printer_check(&printer, "1 2 TxStatus   404\n1 2 State      begun-before-trace\n\n");
    request_printer_close(&printer);
}

/* Rx lines have the time of the request, Tx lines that of the response, a state the latest. */
static void times_of_requests(void **state)
{
    struct request_printer printer;

    (void)state;
    setenv("TZ", "UTC0", 1);
    request_printer_open(&printer, text_open);
    printer.settings.timestamps = true;
    request_printer_header(&printer, REQUEST_SIDE, "a", "b");
    request_printer_header(&printer, RESPONSE_SIDE, "c", "d");
    printer.request.state = REQUEST_INCOMPLETE;
    request_printer_check(&printer, "10:29:34.120318 1292 39 RxProtocol HTTP/2.0\n"
                                    "10:29:34.120318 1292 39 RxHeader   a b\n"
                                    "10:29:34.621518 1292 39 TxStatus   200\n"
                                    "10:29:34.621518 1292 39 TxHeader   c d\n"
                                    "10:29:34.621518 1292 39 State      incomplete\n"
                                    "\n");
    request_printer_restart(&printer);
    printer.request.state = REQUEST_INCOMPLETE;
    printer.request.responded_ns = 0;
    printer.request.ended_ns = REQUEST_CLOCK_NS + 999999999;
    request_printer_check(&printer, "10:29:34.120318 1292 39 RxProtocol HTTP/2.0\n"
                                    "-               1292 39 TxStatus   200\n"
                                    "10:29:34.999999 1292 39 State      incomplete\n"
                                    "\n");
    printer.request.ended_ns = 0;
    printer.request.status = 0;
    request_printer_check(&printer, "10:29:34.120318 1292 39 RxProtocol HTTP/2.0\n"
                                    "10:29:34.120318 1292 39 State      incomplete\n"
                                    "\n");
    request_printer_close(&printer);
}

static bool has_tag(const char *line)
{
    static const char *const tags[] = {"RxProtocol ", "RxHeader   ", "TxStatus   ", "TxHeader   ",
                                       "State      "};

    for (size_t i = 0; i != sizeof(tags) / sizeof(tags[0]); ++i) {
        if (strncmp(line, tags[i], strlen(tags[i])) == 0)
            return true;
    }
    return false;
}

/* Whatever a client sends, each line begins with the numbers and a tag. */
static void random_requests_are_tame(void **state)
{
    struct request_printer printer;
    uint32_t seed = random_seed();

    (void)state;
    request_printer_open(&printer, text_open);
    for (size_t i = 0; i != 20000; ++i) {
        char *text, *rest, *line;
        request_printer_random(&printer, &seed);
        text = rest = request_printer_take(&printer);
        if (!is_tame(text, true))
            fail_msg("request %zu is printed as %s", i, text);
        while ((line = strsep(&rest, "\n"))[0] != '\0') {
            if (strncmp(line, "1292 39 ", 8) != 0 || !has_tag(line + 8))
                fail_msg("a line of request %zu is %s", i, line);
        }
        check_string("the end", rest, "");
        free(text);
    }
    request_printer_close(&printer);
}

/* The lines of events have the time of their event, if the capture has added it. */
static void times_of_events(void **state)
{
    const struct signature *plain = signature_on("h2o:send_response", 20260629);
    struct field fields[RECORD_FIELDS_MAX];
    struct signature timed = *plain;
    struct bench bench = {.server_probe = {.signature = &timed}};

    (void)state;
    setenv("TZ", "UTC0", 1);
    memcpy(fields, plain->fields, plain->num_fields * sizeof(fields[0]));
    fields[plain->num_fields] =
        (struct field){.key = "time", .kind = FIELD_STAMP, .width = 8, .place = plain->size};
    timed.fields = fields;
    timed.num_fields = plain->num_fields + 1;
    timed.size = (uint16_t)(plain->size + 8);
    printed_open(&bench.output);
    printer_open(&bench.http, text_open, &bench.output, &bench.server_probe, 1, 0);
    bench.http.clock.wall_ns = (int64_t)(REQUEST_WALL_NS - REQUEST_CLOCK_NS);
    new_event(&bench, 11, 0);
    draft_number(&bench.draft, "status", 200);
    draft_number(&bench.draft, "time", REQUEST_CLOCK_NS + 120318999);
    check_line(&bench, "11 0 TxStatus   200\n");
    bench.http.settings.timestamps = true;
    check_line(&bench, "10:29:34.120318 11 0 TxStatus   200\n");
    bench_close(&bench);
    bench_open(&bench, "h2o:send_response", 20260629);
    bench.http.settings.timestamps = true;
    check_line(&bench, "-               0 0 TxStatus   0\n");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_a_request),
        cmocka_unit_test(lines_of_older_servers),
        cmocka_unit_test(empty_names_and_values),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(whole_values_keep_their_last_bytes),
        cmocka_unit_test(long_headers_are_truncated),
        cmocka_unit_test(cuts_between_characters),
        cmocka_unit_test(longest_line),
        cmocka_unit_test(unreadable_values),
        cmocka_unit_test(malformed_events_are_refused),
        cmocka_unit_test(wrong_counters_are_refused),
        cmocka_unit_test(unknown_ids_are_refused),
        cmocka_unit_test(ids_choose_the_probe),
        cmocka_unit_test(guesses_are_refused),
        cmocka_unit_test(grouped_request),
        cmocka_unit_test(states_of_requests),
        cmocka_unit_test(times_of_requests),
        cmocka_unit_test(random_requests_are_tame),
        cmocka_unit_test(times_of_events),
        cmocka_unit_test(other_kinds_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
