#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "plan.h"

/* A command line, its plan, and the stages and the sink with an output. */
struct bench {
    struct options options;
    struct plan plan;
    struct output output;
    struct clock clock;
    struct server_probe probes[5];
    struct decoder decoder;
    struct sink_settings settings;
    struct sink sink;
};

enum { REQUEST, REQUEST_HEADER, STATUS, RESPONSE_HEADER, CLOSE };

static const char *const probe_names[] = {"h2o:receive_request", "h2o:receive_request_header",
                                          "h2o:send_response", "h2o:send_response_header",
                                          "h2o:h1_close"};

static void parse(struct options *options, const char *line, char **copy)
{
    char *argv[32] = {(char *)"h2olog"}, *rest = *copy = memory_format("%s", line), *word;
    struct error error;
    int argc = 1;

    while ((word = strsep(&rest, "|")) != NULL)
        argv[argc++] = word;
    if (options_parse(options, argc, argv, &error) != 0)
        fail_msg("%s: %s", line, error.text);
}

/* `line` has the words of the command line, separated by '|'. */
static void bench_open(struct bench *bench, const char *line, char **copy)
{
    struct error error;

    *bench = (struct bench){.clock = {.now_ns = 1}};
    parse(&bench->options, line, copy);
    if (plan_open(&bench->plan, &bench->options, &error) != 0)
        fail_msg("%s: %s", line, error.text);
    for (size_t i = 0; i != 5; ++i)
        bench->probes[i].signature = signature_on(probe_names[i], 20260629);
    printed_open(&bench->output);
    decoder_open(&bench->decoder, bench->probes, 5, 5, false);
    bench->settings = (struct sink_settings){.output = &bench->output,
                                             .messages = &bench->output,
                                             .probes = bench->probes,
                                             .num_probes = 5,
                                             .clock = &bench->clock,
                                             .timestamps = bench->options.timestamps,
                                             .access_log = bench->plan.access_log};
    bench->sink = plan_sink(&bench->plan, &bench->settings);
}

static void bench_close(struct bench *bench, char *copy)
{
    bench->sink.close(bench->sink.state);
    decoder_close(&bench->decoder);
    printed_close(&bench->output);
    plan_close(&bench->plan);
    options_dispose(&bench->options);
    free(copy);
}

static void feed(struct bench *bench, struct draft *draft)
{
    struct event event = draft_event(draft);
    struct record record;

    assert_int_equal(decoder_decode(&bench->decoder, &event, &record), 0);
    assert_int_equal(bench->sink.record(bench->sink.state, &record), 0);
}

static void begin(struct bench *bench, struct draft *draft, uint16_t id, uint64_t request)
{
    draft_open(draft, bench->probes[id].signature, id);
    draft_number(draft, "conn-id", 7);
    if (id == CLOSE)
        return;
    draft_number(draft, "req-id", request);
}

static void feed_header(struct bench *bench, uint16_t id, uint64_t request, const char *name,
                        const char *value)
{
    struct draft draft;

    begin(bench, &draft, id, request);
    draft_string(&draft, "name", name);
    draft_string(&draft, "value", value);
    feed(bench, &draft);
}

/* A request with its response. */
static void feed_request(struct bench *bench, uint64_t request, const char *path, unsigned status)
{
    struct draft draft;

    begin(bench, &draft, REQUEST, request);
    draft_number(&draft, "http-version", 257);
    draft_number(&draft, "time", 1000000000);
    feed(bench, &draft);
    feed_header(bench, REQUEST_HEADER, request, ":method", "GET");
    feed_header(bench, REQUEST_HEADER, request, ":path", path);
    feed_header(bench, REQUEST_HEADER, request, "cookie", "secret");
    begin(bench, &draft, STATUS, request);
    draft_number(&draft, "status", status);
    draft_number(&draft, "time", 1002000000);
    feed(bench, &draft);
    feed_header(bench, RESPONSE_HEADER, request, "server", "h2o");
    feed_header(bench, RESPONSE_HEADER, request, "etag", "x");
}

/* Two requests, and the end of their connection. Returns what is printed. */
static char *print_two(struct bench *bench)
{
    struct draft draft;
    char *text;

    feed_request(bench, 1, "/a?q=1", 200);
    feed_request(bench, 2, "/b", 503);
    begin(bench, &draft, CLOSE, 0);
    if (bench->plan.assembles)
        feed(bench, &draft);
    if (bench->sink.finish != NULL)
        bench->sink.finish(bench->sink.state);
    text = printed_take(&bench->output);
    return text;
}

static void check_printed(const char *line, const char *expected)
{
    struct bench bench;
    char *copy, *text;

    bench_open(&bench, line, &copy);
    text = print_two(&bench);
    check_string(line, text, expected);
    free(text);
    bench_close(&bench, copy);
}

static void stages_in_their_order(void **state)
{
    (void)state;
    check_printed("http|-n|2", "7 1 RxProtocol HTTP/1.1\n"
                               "7 1 RxHeader   :method GET\n");
    check_printed("http|-q|status == 503", "7 2 RxProtocol HTTP/1.1\n"
                                           "7 2 RxHeader   :method GET\n"
                                           "7 2 RxHeader   :path /b\n"
                                           "7 2 RxHeader   cookie secret\n"
                                           "7 2 TxStatus   503\n"
                                           "7 2 TxHeader   server h2o\n"
                                           "7 2 TxHeader   etag x\n"
                                           "\n");
    /* -n counts what the query lets pass; the query sees what is not printed */
    check_printed("http|-q|rx.cookie == 'secret' and tx.etag == 'x'|-n|1|--redact|--strip-query|-s|"
                  "server",
                  "7 1 RxProtocol HTTP/1.1\n"
                  "7 1 RxHeader   :method GET\n"
                  "7 1 RxHeader   :path /a\n"
                  "7 1 RxHeader   cookie [redacted, 6 bytes]\n"
                  "7 1 TxStatus   200\n"
                  "7 1 TxHeader   server h2o\n"
                  "\n");
    check_printed("http|-g|-n|1|-R|cookie|-s|etag", "7 1 RxProtocol HTTP/1.1\n"
                                                    "7 1 RxHeader   cookie secret\n"
                                                    "7 1 TxStatus   200\n"
                                                    "7 1 TxHeader   etag x\n"
                                                    "\n");
    check_printed("requests|-F|%m %U%q %s %{cookie}i", "GET /a?q=1 200 secret\n"
                                                       "GET /b 503 secret\n");
    check_printed("requests|-F|%m %U%q %s %{cookie}i|--redact|--strip-query|-q|status < 300",
                  "GET /a 200 [redacted, 6 bytes]\n");
    /* the columns do not depend on -R */
    check_printed("requests|-F|%m %{cookie}i|-R|host|-n|1", "GET -\n");
}

static void check_needs(const char *line, const char *request, const char *response)
{
    struct bench bench;
    char *copy;
    const struct needs_headers *headers[2];
    const char *expected[] = {request, response};

    bench_open(&bench, line, &copy);
    headers[0] = &bench.plan.needs.request;
    headers[1] = &bench.plan.needs.response;
    for (size_t i = 0; i != 2; ++i) {
        char *list = memory_format("%s", headers[i]->all ? "*" : "");
        for (size_t j = 0; !headers[i]->all && j != headers[i]->count; ++j) {
            char *longer = memory_format("%s%s%s", list, j != 0 ? " " : "", headers[i]->names[j]);
            free(list);
            list = longer;
        }
        check_string(line, list, expected[i]);
        free(list);
    }
    bench_close(&bench, copy);
}

/* The capture copies only the headers that the output or the query needs. */
static void needs_of_command_lines(void **state)
{
    (void)state;
    check_needs("http", "*", "*");
    check_needs("quic", "*", "*");
    check_needs("http|-s|Server|-R|host", "host", "server");
    check_needs("http|-s|server|-q|tx.etag == 'x'", "*", "server etag");
    check_needs("requests|-j", "*", "*");
    check_needs("requests|-F|%s", "", "");
    check_needs("requests|-F|%s %{Referer}i %{set-cookie}o", "referer", "set-cookie");
    check_needs("requests|-F|%s|-q|rx.host ~ 'a'", "host", "");
    check_needs("requests|-j|-R|host", "host :authority :method :path :scheme", "*");
}

static void additions(void **state)
{
    static const struct {
        const char *line;
        bool assembles, times, connections;
        enum program_threads threads;
    } cases[] = {
        {"http", false, false, false, THREADS_NONE},
        {"http|-T", false, true, false, THREADS_NONE},
        {"http|-g", true, true, false, THREADS_KEY},
        {"http|-q|status == 1", true, true, false, THREADS_KEY},
        {"requests", true, true, false, THREADS_KEY},
        {"requests|-q|connection == 1", true, true, true, THREADS_KEY},
        {"quic|-q|type == 'x'", false, true, true, THREADS_NONE},
        {"all|-q|type == 'x'", false, true, true, THREADS_SERVER},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct bench bench;
        char *copy;
        bench_open(&bench, cases[i].line, &copy);
        assert_int_equal(bench.plan.assembles, cases[i].assembles);
        assert_int_equal(bench.plan.needs.requests, cases[i].assembles);
        assert_int_equal(bench.plan.additions.times, cases[i].times);
        assert_int_equal(bench.plan.additions.connections, cases[i].connections);
        assert_int_equal(bench.plan.additions.threads, cases[i].threads);
        bench_close(&bench, copy);
    }
}

static void wrong_queries_and_formats(void **state)
{
    static const char *const lines[] = {"http|-q|status >", "requests|-F|%Z", "quic|-q|ttfb > 1ms",
                                        "http|-q|len == 1"};

    (void)state;
    for (size_t i = 0; i != sizeof(lines) / sizeof(lines[0]); ++i) {
        struct options options;
        struct plan plan;
        struct error error = {0};
        char *copy;
        parse(&options, lines[i], &copy);
        if (plan_open(&plan, &options, &error) != -1)
            fail_msg("%s is accepted", lines[i]);
        assert_int_equal(error.status, ERROR_USAGE);
        assert_true(error.text[0] != '\0' && is_tame(error.text, false));
        plan_close(&plan);
        options_dispose(&options);
        free(copy);
    }
}

static void done(void **state)
{
    struct bench bench;
    char *copy;

    (void)state;
    bench_open(&bench, "http|-n|3", &copy);
    assert_false(plan_is_done(&bench.plan));
    feed_header(&bench, REQUEST_HEADER, 1, "a", "b");
    feed_header(&bench, REQUEST_HEADER, 1, "c", "d");
    assert_false(plan_is_done(&bench.plan));
    feed_header(&bench, REQUEST_HEADER, 1, "e", "f");
    assert_true(plan_is_done(&bench.plan));
    bench_close(&bench, copy);
    bench_open(&bench, "http", &copy);
    feed_header(&bench, REQUEST_HEADER, 1, "a", "b");
    assert_false(plan_is_done(&bench.plan));
    bench_close(&bench, copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_in_their_order),
        cmocka_unit_test(needs_of_command_lines),
        cmocka_unit_test(additions),
        cmocka_unit_test(wrong_queries_and_formats),
        cmocka_unit_test(done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
