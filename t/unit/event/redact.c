#include "event/redact.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "print/escape.h"
#include "support.h"

static const struct redact_headers all = {.all = true};

/* --- records --- */

/* A sink that prints the value of a header, and the bytes that it has in all. */
static int print_record(void *state, const struct record *record)
{
    const struct value *value = record_value(record, ROLE_VALUE);
    struct output *output = state;

    if (value == NULL)
        output_string(output, "no header");
    else if (value->bytes == NULL)
        output_string(output, "unreadable");
    else
        escape_print(output, value->bytes, value->size);
    if (value != NULL && value->full_size != value->size) {
        output_string(output, " of ");
        output_unsigned(output, value->full_size);
    }
    output_end_line(output);
    return 0;
}

static void ignore_lost(void *state, uint64_t count)
{
    (void)state;
    (void)count;
}

static void ignore_close(void *state)
{
    (void)state;
}

static void check_record(const struct redaction *redaction, const char *probe, uint16_t flags,
                         const char *name, const char *value, uint64_t full_size,
                         const char *expected)
{
    const struct server_probe server_probe = {.signature = signature_on(probe, 20260629)};
    struct decoder decoder;
    struct draft draft;
    struct event event;
    struct record record;
    struct output output;
    struct sink sink;
    char *text;

    printed_open(&output);
    decoder_open(&decoder, &server_probe, 1, 1, false);
    draft_open(&draft, server_probe.signature, 0);
    draft_head(&draft, flags, 0);
    if (name != NULL) {
        draft_string(&draft, "name", name);
        draft_append(&draft, "value", value, strlen(value), full_size);
    }
    event = draft_event(&draft);
    assert_int_equal(decoder_decode(&decoder, &event, &record), 0);
    sink = redact_open(redaction, (struct sink){.state = &output,
                                                .record = print_record,
                                                .lost = ignore_lost,
                                                .close = ignore_close});
    assert_null(sink.request);
    assert_null(sink.tick);
    assert_null(sink.finish);
    assert_int_equal(sink.record(sink.state, &record), 0);
    if (name != NULL && record_value(&record, ROLE_VALUE)->bytes != NULL) /* it has a copy */
        assert_memory_equal(record_value(&record, ROLE_VALUE)->bytes, value, strlen(value));
    sink.close(sink.state);
    text = printed_take(&output);
    check_string(name != NULL ? name : probe, text, expected);
    free(text);
    decoder_close(&decoder);
    printed_close(&output);
}

static void values_of_records(void **state)
{
    const struct redaction redaction = {.names = redact_default_names,
                                        .num_names = redact_num_default_names,
                                        .request = all,
                                        .response = all};
    static const struct {
        const char *probe, *name, *value, *expected;
        uint16_t flags;
    } rows[] = {
        {"h2o:receive_request_header", "cookie", "a=secret", "[redacted, 8 bytes]\n", 0},
        {"h2o:receive_request_header", "Cookie", "a=secret", "[redacted, 8 bytes]\n", 0},
        {"h2o:receive_request_header", "authorization", "Basic x", "[redacted, 7 bytes]\n", 0},
        {"h2o:receive_request_header", "PROXY-AUTHORIZATION", "x", "[redacted, 1 bytes]\n", 0},
        {"h2o:send_response_header", "set-cookie", "", "[redacted, 0 bytes]\n", 0},
        {"h2o:send_response_header", "cookie", "x", "[redacted, 1 bytes]\n", 0},
        {"h2o:receive_request_header", "cookies", "a=b", "a=b\n", 0},
        {"h2o:receive_request_header", "cooki", "a=b", "a=b\n", 0},
        {"h2o:receive_request_header", "", "a=b", "a=b\n", 0},
        {"h2o:receive_request_header", ":path", "/?a=b", "/?a=b\n", 0},
        {"h2o:receive_request_header", "cookie", "", "unreadable\n", 1 << 1},
        /* a header whose name is unreadable can be any header */
        {"h2o:receive_request_header", "cookie", "a=b", "[redacted, 3 bytes]\n", 1 << 0},
        {"h2o:send_response", NULL, NULL, "no header\n", 0},
    };
    char cut[4097], *expected;

    (void)state;
    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i)
        check_record(&redaction, rows[i].probe, rows[i].flags, rows[i].name, rows[i].value,
                     rows[i].value != NULL ? strlen(rows[i].value) : 0, rows[i].expected);
    memset(cut, 's', 4096);
    cut[4096] = '\0';
    check_record(&redaction, "h2o:receive_request_header", 0, "cookie", cut, UINT64_MAX,
                 "[redacted, 18446744073709551615 bytes]\n");
    expected = memory_format("%s of 5000\n", cut);
    check_record(&redaction, "h2o:receive_request_header", 0, "x", cut, 5000, expected);
    free(expected);
}

static void paths_of_records(void **state)
{
    static const char *const names[] = {":path"};
    struct redaction redaction = {.strips_query = true, .request = all, .response = all};
    char cut[4097], *expected;

    (void)state;
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", "/a?b?c", 6, "/a\n");
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", "/a?", 3, "/a\n");
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", "/a", 2, "/a\n");
    check_record(&redaction, "h2o:receive_request_header", 0, "referer", "/a?b", 4, "/a?b\n");
    check_record(&redaction, "h2o:send_response_header", 0, ":path", "/a?b", 4, "/a?b\n");
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", "", 0, "\n");
    /* a path that was cut is whole if its '?' was captured */
    memset(cut, 'p', 4096);
    cut[4096] = '\0';
    expected = memory_format("%s of 5000\n", cut);
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", cut, 5000, expected);
    free(expected);
    cut[1] = '?';
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", cut, 5000, "p\n");
    /* both */
    redaction.names = names;
    redaction.num_names = 1;
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", "/a?b", 4,
                 "[redacted, 4 bytes]\n");
}

static void shown_headers_of_records(void **state)
{
    static const char *const asked[] = {"X-Asked"}, *const responses[] = {"server"};
    struct redaction redaction = {.request = {false, asked, 1}, .response = {false, responses, 1}};

    (void)state;
    check_record(&redaction, "h2o:receive_request_header", 0, "x-asked", "v", 1, "v\n");
    check_record(&redaction, "h2o:receive_request_header", 0, "server", "v", 1, "");
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", "/", 1, "");
    check_record(&redaction, "h2o:send_response_header", 0, "Server", "v", 1, "v\n");
    check_record(&redaction, "h2o:send_response_header", 0, "x-asked", "v", 1, "");
    check_record(&redaction, "h2o:send_response", 0, NULL, NULL, 0, "no header\n");
    redaction.keeps_pseudo = true;
    check_record(&redaction, "h2o:receive_request_header", 0, ":path", "/", 1, "/\n");
    check_record(&redaction, "h2o:receive_request_header", 0, "path", "/", 1, "");
    check_record(&redaction, "h2o:send_response_header", 0, ":path", "v", 1, "");
}

/* --- requests --- */

static void print_request(void *state, struct request *request)
{
    struct output *output = state;
    struct request_header header;

    for (size_t at = 0; request_next_header(request, &at, &header);) {
        output_string(output, header.side == REQUEST_SIDE ? "> " : "< ");
        escape_print(output, header.name.bytes, header.name.size);
        output_string(output, " ");
        escape_print(output, header.value.bytes, header.value.size);
        assert_true(header.value.size == header.value.full_size);
        output_end_line(output);
    }
}

static void add(struct request *request, enum request_side side, const char *name,
                const char *value)
{
    struct value values[2] = {{.number = 0}, {.number = 0}};

    values[0].bytes = (const uint8_t *)name;
    values[0].size = values[0].full_size = strlen(name);
    values[1].bytes = (const uint8_t *)value;
    values[1].size = values[1].full_size = strlen(value);
    request_add_header(request, side, &values[0], &values[1]);
}

static void check_request(const struct redaction *redaction, const char *expected)
{
    struct request request = {.status = 200};
    struct output output;
    struct sink sink;
    char *text;

    add(&request, REQUEST_SIDE, ":path", "/a?b=c");
    add(&request, REQUEST_SIDE, "cookie", "one=1");
    add(&request, REQUEST_SIDE, "x-a", "?");
    add(&request, REQUEST_SIDE, "cookie", "two=22");
    add(&request, RESPONSE_SIDE, "set-cookie", "");
    add(&request, RESPONSE_SIDE, "x-a", "b");
    printed_open(&output);
    sink = redact_open(redaction, (struct sink){.state = &output,
                                                .request = print_request,
                                                .lost = ignore_lost,
                                                .close = ignore_close});
    assert_null(sink.record);
    sink.request(sink.state, &request);
    sink.close(sink.state);
    text = printed_take(&output);
    check_string("request", text, expected);
    free(text);
    printed_close(&output);
    request_dispose(&request);
}

static void requests(void **state)
{
    static const char *const x_a[] = {"x-a"}, *const cookie[] = {"cookie"};
    struct redaction redaction = {.names = redact_default_names,
                                  .num_names = redact_num_default_names,
                                  .strips_query = true,
                                  .request = all,
                                  .response = all};

    (void)state;
    check_request(&redaction, "> :path /a\n"
                              "> cookie [redacted, 5 bytes]\n"
                              "> x-a ?\n"
                              "> cookie [redacted, 6 bytes]\n"
                              "< set-cookie [redacted, 0 bytes]\n"
                              "< x-a b\n");
    redaction = (struct redaction){.names = x_a, .num_names = 1, .request = all, .response = all};
    check_request(&redaction, "> :path /a?b=c\n"
                              "> cookie one=1\n"
                              "> x-a [redacted, 1 bytes]\n"
                              "> cookie two=22\n"
                              "< set-cookie \n"
                              "< x-a [redacted, 1 bytes]\n");
    redaction = (struct redaction){.strips_query = true,
                                   .request = {false, cookie, 1},
                                   .response = {false, x_a, 1},
                                   .keeps_pseudo = true};
    check_request(&redaction, "> :path /a\n"
                              "> cookie one=1\n"
                              "> cookie two=22\n"
                              "< x-a b\n");
    redaction.keeps_pseudo = false;
    redaction.response.count = 0;
    check_request(&redaction, "> cookie one=1\n"
                              "> cookie two=22\n");
}

/* --- the stage --- */

struct calls {
    uint64_t lost, now_ns;
    size_t finishes, closes;
};

static void keep_lost(void *state, uint64_t count)
{
    struct calls *calls = state;

    calls->lost = count;
}

static void keep_tick(void *state, uint64_t now_ns)
{
    struct calls *calls = state;

    calls->now_ns = now_ns;
}

static void keep_finish(void *state)
{
    struct calls *calls = state;

    ++calls->finishes;
}

static void keep_close(void *state)
{
    struct calls *calls = state;

    ++calls->closes;
}

static void other_calls_pass(void **state)
{
    const struct redaction redaction = {.request = all, .response = all};
    struct calls calls = {0};
    struct sink sink = redact_open(&redaction, (struct sink){.state = &calls,
                                                             .lost = keep_lost,
                                                             .tick = keep_tick,
                                                             .finish = keep_finish,
                                                             .close = keep_close});

    (void)state;
    sink.lost(sink.state, 7);
    sink.tick(sink.state, 8);
    sink.finish(sink.state);
    sink.close(sink.state);
    assert_true(calls.lost == 7 && calls.now_ns == 8 && calls.finishes == 1 && calls.closes == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_records),        cmocka_unit_test(paths_of_records),
        cmocka_unit_test(shown_headers_of_records), cmocka_unit_test(requests),
        cmocka_unit_test(other_calls_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
