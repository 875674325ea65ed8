#include "event/filter.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

/* A sink that counts what it gets. */
struct counts {
    size_t records, requests, ticks, finishes, closes;
    uint64_t lost;
};

static int count_record(void *state, const struct record *record)
{
    struct counts *counts = state;

    (void)record;
    ++counts->records;
    return 0;
}

static int refuse_record(void *state, const struct record *record)
{
    count_record(state, record);
    return -1;
}

static void count_request(void *state, struct request *request)
{
    struct counts *counts = state;

    (void)request;
    ++counts->requests;
}

static void count_lost(void *state, uint64_t count)
{
    struct counts *counts = state;

    counts->lost += count;
}

static void count_tick(void *state, uint64_t now_ns)
{
    struct counts *counts = state;

    assert_true(now_ns == 5);
    ++counts->ticks;
}

static void count_finish(void *state)
{
    struct counts *counts = state;

    ++counts->finishes;
}

static void count_close(void *state)
{
    struct counts *counts = state;

    ++counts->closes;
}

static const struct clock epoch;

struct bench {
    struct output output;
    struct sink_settings settings;
    struct counts counts;
    struct query *query;
    struct sink next, filter;
};

static void bench_open(struct bench *bench, const char *text, enum query_subject subject)
{
    struct error error;

    *bench = (struct bench){.next = {.state = &bench->counts,
                                     .record = count_record,
                                     .request = count_request,
                                     .lost = count_lost,
                                     .tick = count_tick,
                                     .finish = count_finish,
                                     .close = count_close}};
    printed_open(&bench->output);
    bench->settings = (struct sink_settings){
        .output = &bench->output, .messages = &bench->output, .clock = &epoch};
    bench->query = query_open(text, subject, &error);
    assert_non_null(bench->query);
    bench->filter = filter_open(&bench->settings, bench->query, bench->next);
}

/* Checks what was printed. */
static void bench_close(struct bench *bench, const char *expected)
{
    char *text;

    bench->filter.finish(bench->filter.state);
    assert_int_equal(bench->counts.finishes, 1);
    bench->filter.close(bench->filter.state);
    assert_int_equal(bench->counts.closes, 1);
    query_close(bench->query);
    text = printed_take(&bench->output);
    check_string("messages", text, expected);
    free(text);
    printed_close(&bench->output);
}

static void requests_pass_if_the_query_holds(void **state)
{
    struct request request = {.status = 500};
    struct bench bench;

    (void)state;
    bench_open(&bench, "status >= 500", QUERY_REQUESTS);
    bench.filter.request(bench.filter.state, &request);
    assert_int_equal(bench.counts.requests, 1);
    request.status = 499;
    bench.filter.request(bench.filter.state, &request);
    assert_int_equal(bench.counts.requests, 1);
    bench_close(&bench, "");
}

static void records_pass_if_the_query_holds(void **state)
{
    const struct signature *signature = signature_on("h2o:send_response", 20260629);
    const struct server_probe probe = {.signature = signature};
    struct decoder decoder;
    struct draft draft;
    struct event event;
    struct record record;
    struct bench bench;

    (void)state;
    bench_open(&bench, "status >= 500", QUERY_EVENTS);
    decoder_open(&decoder, &probe, 1, 1, false);
    draft_open(&draft, signature, 0);
    draft_number(&draft, "status", 500);
    event = draft_event(&draft);
    assert_int_equal(decoder_decode(&decoder, &event, &record), 0);
    assert_int_equal(bench.filter.record(bench.filter.state, &record), 0);
    assert_int_equal(bench.counts.records, 1);
    draft_number(&draft, "status", 499);
    assert_int_equal(decoder_decode(&decoder, &event, &record), 0);
    assert_int_equal(bench.filter.record(bench.filter.state, &record), 0);
    assert_int_equal(bench.counts.records, 1);
    record.is_printed = false; /* the next stage needs it */
    assert_int_equal(bench.filter.record(bench.filter.state, &record), 0);
    assert_int_equal(bench.counts.records, 2);
    decoder_close(&decoder);
    bench_close(&bench, "");
}

static void the_result_of_the_next_sink_is_passed_back(void **state)
{
    struct record record = {.is_printed = false};
    struct bench bench;

    (void)state;
    bench_open(&bench, "status >= 500", QUERY_EVENTS);
    bench.filter.close(bench.filter.state);
    bench.counts.closes = 0;
    bench.next.record = refuse_record;
    bench.filter = filter_open(&bench.settings, bench.query, bench.next);
    assert_int_equal(bench.filter.record(bench.filter.state, &record), -1);
    bench_close(&bench, "");
}

static void losses_and_ticks_pass(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "not conn", QUERY_REQUESTS);
    bench.filter.lost(bench.filter.state, 7);
    bench.filter.tick(bench.filter.state, 5);
    assert_true(bench.counts.lost == 7 && bench.counts.ticks == 1);
    bench_close(&bench, "");
}

static void what_the_next_sink_does_not_take_is_null(void **state)
{
    const struct sink bare = {.lost = count_lost, .close = count_close};
    struct counts counts = {0};
    struct sink next = bare;
    struct bench bench;
    struct sink filter;

    (void)state;
    bench_open(&bench, "conn", QUERY_REQUESTS);
    next.state = &counts;
    filter = filter_open(&bench.settings, bench.query, next);
    assert_null(filter.record);
    assert_null(filter.request);
    assert_null(filter.tick);
    filter.finish(filter.state);
    filter.close(filter.state);
    assert_int_equal(counts.closes, 1);
    bench_close(&bench, "");
}

static void giving_up_is_said_once(void **state)
{
    static const char name[] = "x";
    static char bytes[4096];
    struct value name_value = {.number = 0}, value = {.number = 0};
    struct request request = {0};
    struct bench bench;

    (void)state;
    memset(bytes, 'a', sizeof(bytes));
    bytes[sizeof(bytes) - 1] = '!';
    name_value.bytes = (const uint8_t *)name;
    name_value.size = name_value.full_size = 1;
    value.bytes = (const uint8_t *)bytes;
    value.size = value.full_size = sizeof(bytes);
    request_add_header(&request, REQUEST_SIDE, &name_value, &value);
    bench_open(&bench, "rx.x ~ '(a+)+$'", QUERY_REQUESTS);
    for (size_t i = 0; i != 3; ++i)
        bench.filter.request(bench.filter.state, &request);
    assert_int_equal(bench.counts.requests, 0);
    bench_close(&bench, "h2olog: a regular expression of -q takes too long for a value, which "
                        "counts as no match; this is said once\n"
                        "h2olog: regular expressions of -q took too long for 3 values in all\n");
    request_dispose(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_pass_if_the_query_holds),
        cmocka_unit_test(records_pass_if_the_query_holds),
        cmocka_unit_test(the_result_of_the_next_sink_is_passed_back),
        cmocka_unit_test(losses_and_ticks_pass),
        cmocka_unit_test(what_the_next_sink_does_not_take_is_null),
        cmocka_unit_test(giving_up_is_said_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
