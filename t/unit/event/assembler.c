#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event/assembler.h"
#include "memory.h"

#define MS    UINT64_C(1000000)
#define START (1000 * MS)

/* The probes of the server. The last ones are about the end of HTTP/3 streams. */
enum {
    RECEIVE_REQUEST,
    REQUEST_HEADER,
    SEND_RESPONSE,
    RESPONSE_HEADER,
    H1_ACCEPT,
    H1_CLOSE,
    H3_DESTROY,
    WITHOUT_ENDS,
    SET_STATE = WITHOUT_ENDS,
    WITH_STATES,
    STREAM_STATS = WITH_STATES,
    WITH_STATS,
};

static const char *const probe_names[WITH_STATS] = {
    [RECEIVE_REQUEST] = "h2o:receive_request",
    [REQUEST_HEADER] = "h2o:receive_request_header",
    [SEND_RESPONSE] = "h2o:send_response",
    [RESPONSE_HEADER] = "h2o:send_response_header",
    [H1_ACCEPT] = "h2o:h1_accept",
    [H1_CLOSE] = "h2o:h1_close",
    [H3_DESTROY] = "h2o:h3s_destroy",
    [SET_STATE] = "h2o:h3s_stream_set_state",
    [STREAM_STATS] = "h2o:h3s_stream_stats",
};

/* An assembler, and the text of what it passes on, a line for each call. */
struct fixture {
    struct server_probe probes[WITH_STATS];
    struct decoder decoder;
    struct clock clock;
    struct sink_settings settings;
    struct output output, messages;
    struct sink sink;
    struct draft draft;
    uint64_t now_ns; /* time of the next event */
    bool has_times;
    bool closed; /* the next sink was closed */
    void (*passed)(const struct request *request);
};

static void print_side(struct output *output, const struct request *request, enum request_side side)
{
    struct request_header header;
    size_t at = 0;

    while (request_next_header(request, &at, &header)) {
        if (header.side != side)
            continue;
        output_string(output, " ");
        output_bytes(output, header.name.bytes, header.name.size);
        output_string(output, "=");
        if (header.value.bytes == NULL)
            output_string(output, "?");
        else
            output_bytes(output, header.value.bytes, header.value.size);
    }
}

/* "1/2 complete 101 :path=/ 200 server=h2o +5 -9 13 bytes": +5 ms until the response. */
static void take_request(void *state, struct request *request)
{
    struct fixture *fixture = state;
    struct output *output = &fixture->output;
    char text[80];
    uint64_t ns;

    if (fixture->passed != NULL) {
        fixture->passed(request);
        return;
    }
    snprintf(text, sizeof(text), "%" PRIu64 "/%" PRIu64 " %s %x", request->conn, request->req,
             request_state_name(request->state), (unsigned)request->version);
    output_string(output, text);
    print_side(output, request, REQUEST_SIDE);
    output_string(output, " ");
    output_signed(output, request->status);
    print_side(output, request, RESPONSE_SIDE);
    if (request_ttfb(request, &ns) && ns >= MS) {
        output_string(output, " +");
        output_unsigned(output, ns / MS);
    }
    if (request_duration(request, &ns)) {
        output_string(output, " -");
        output_unsigned(output, ns / MS);
    }
    if (request->has_bytes) {
        snprintf(text, sizeof(text), " %" PRIu64 " bytes", request->bytes);
        output_string(output, text);
    }
    output_end_line(output);
}

static void take_loss(void *state, uint64_t count)
{
    struct fixture *fixture = state;

    if (fixture->passed != NULL)
        return;
    output_string(&fixture->output, "lost ");
    output_unsigned(&fixture->output, count);
    output_end_line(&fixture->output);
}

static void take_finish(void *state)
{
    struct fixture *fixture = state;

    output_string(&fixture->output, "finish");
    output_end_line(&fixture->output);
}

static void take_close(void *state)
{
    ((struct fixture *)state)->closed = true;
}

static void open_limited(struct fixture *fixture, size_t num_probes,
                         const struct assembler_limits *limits)
{
    const struct sink next = {.state = fixture,
                              .request = take_request,
                              .lost = take_loss,
                              .finish = take_finish,
                              .close = take_close};

    memset(fixture, 0, sizeof(*fixture));
    for (size_t i = 0; i != WITH_STATS; ++i)
        fixture->probes[i].signature = signature_on(probe_names[i], 20260629);
    printed_open(&fixture->output);
    printed_open(&fixture->messages);
    fixture->settings = (struct sink_settings){.output = &fixture->output,
                                               .messages = &fixture->messages,
                                               .probes = fixture->probes,
                                               .num_probes = num_probes,
                                               .clock = &fixture->clock};
    decoder_open(&fixture->decoder, fixture->probes, num_probes, num_probes, false);
    fixture->has_times = true;
    fixture->now_ns = START;
    fixture->sink = assembler_open(&fixture->settings, limits, next);
}

static void open_with(struct fixture *fixture, size_t num_probes)
{
    static const struct assembler_limits limits = ASSEMBLER_LIMITS_DEFAULT;

    open_limited(fixture, num_probes, &limits);
}

static void close_fixture(struct fixture *fixture)
{
    fixture->sink.close(fixture->sink.state);
    assert_true(fixture->closed);
    decoder_close(&fixture->decoder);
    printed_close(&fixture->output);
    printed_close(&fixture->messages);
}

/* Checks what was passed on since the last call. */
#define check(fixture, expected) check_at(fixture, expected, __FILE__, __LINE__)
static void check_at(struct fixture *fixture, const char *expected, const char *file, int line)
{
    char *text = printed_take(&fixture->output);

    check_string_at("passed on", text, expected, file, line);
    free(text);
}

static void check_messages(struct fixture *fixture, const char *expected)
{
    char *text = printed_take(&fixture->messages);

    check_string("messages", text, expected);
    free(text);
}

/* --- events --- */

static void begin(struct fixture *fixture, uint16_t probe, uint64_t conn)
{
    draft_open(&fixture->draft, fixture->probes[probe].signature, probe);
    draft_number(&fixture->draft, "conn-id", conn);
    if (fixture->has_times)
        draft_number(&fixture->draft, "time", fixture->now_ns);
}

static void feed(struct fixture *fixture, uint32_t tid)
{
    struct event event;
    struct record record;

    memcpy(fixture->draft.bytes + offsetof(struct event_head, tid), &tid, sizeof(tid));
    event = draft_event(&fixture->draft);
    event = fenced(&event, event.size);
    assert_int_equal(decoder_decode(&fixture->decoder, &event, &record), 0);
    assert_int_equal(fixture->sink.record(fixture->sink.state, &record), 0);
    fixture->now_ns += 1000;
}

static void receive(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req, int version)
{
    begin(fixture, RECEIVE_REQUEST, conn);
    draft_number(&fixture->draft, "req-id", req);
    draft_number(&fixture->draft, "http-version", (uint64_t)version);
    if (version == 0x300)
        draft_connection(&fixture->draft, 0x1000 * (conn + 1));
    feed(fixture, tid);
}

static void header(struct fixture *fixture, uint16_t probe, uint32_t tid, uint64_t conn,
                   uint64_t req, const char *name, const char *value)
{
    begin(fixture, probe, conn);
    draft_number(&fixture->draft, "req-id", req);
    draft_string(&fixture->draft, "name", name);
    draft_string(&fixture->draft, "value", value);
    feed(fixture, tid);
}

static void rx(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req, const char *name,
               const char *value)
{
    header(fixture, REQUEST_HEADER, tid, conn, req, name, value);
}

static void tx(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req, const char *name,
               const char *value)
{
    header(fixture, RESPONSE_HEADER, tid, conn, req, name, value);
}

static void respond(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req, int status)
{
    begin(fixture, SEND_RESPONSE, conn);
    draft_number(&fixture->draft, "req-id", req);
    draft_number(&fixture->draft, "status", (uint64_t)status);
    feed(fixture, tid);
}

/* An event of no request. */
static void other(struct fixture *fixture, uint32_t tid)
{
    begin(fixture, H1_ACCEPT, 77);
    draft_string(&fixture->draft, "conn-uuid", "");
    feed(fixture, tid);
}

static void set_state(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req,
                      uint64_t number)
{
    begin(fixture, SET_STATE, conn);
    draft_number(&fixture->draft, "req-id", req);
    draft_number(&fixture->draft, "state", number);
    feed(fixture, tid);
}

static void stats(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req,
                  uint64_t bytes)
{
    begin(fixture, STREAM_STATS, conn);
    draft_number(&fixture->draft, "stream-id", req);
    draft_number(&fixture->draft, "response-body-bytes", bytes);
    feed(fixture, tid);
}

static void close_connection(struct fixture *fixture, uint16_t probe, uint32_t tid, uint64_t conn)
{
    begin(fixture, probe, conn);
    feed(fixture, tid);
}

static void lose(struct fixture *fixture)
{
    fixture->sink.lost(fixture->sink.state, 1);
}

static void tick_at(struct fixture *fixture, uint64_t now_ns)
{
    fixture->now_ns = fixture->clock.now_ns = now_ns;
    fixture->sink.tick(fixture->sink.state, now_ns);
}

static void finish(struct fixture *fixture)
{
    fixture->sink.finish(fixture->sink.state);
}

static void request(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req, int version)
{
    receive(fixture, tid, conn, req, version);
    rx(fixture, tid, conn, req, ":path", "/");
}

static void response(struct fixture *fixture, uint32_t tid, uint64_t conn, uint64_t req)
{
    respond(fixture, tid, conn, req, 200);
    tx(fixture, tid, conn, req, "server", "h2o");
}

/* --- tests --- */

/* A request is passed on at the next event of its thread, not before. */
static void complete_at_the_next_event(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    receive(&fixture, 1, 5, 3, 0x200);
    rx(&fixture, 1, 5, 3, ":method", "GET");
    rx(&fixture, 1, 5, 3, "cookie", "a");
    rx(&fixture, 1, 5, 3, "cookie", "b");
    other(&fixture, 1);
    fixture.now_ns += 4 * MS;
    respond(&fixture, 1, 5, 3, 404);
    tx(&fixture, 1, 5, 3, "server", "h2o");
    tx(&fixture, 1, 5, 3, "vary", "");
    check(&fixture, "");
    other(&fixture, 1);
    check(&fixture, "5/3 complete 200 :method=GET cookie=a cookie=b 404 server=h2o vary= +4\n");
    other(&fixture, 1);
    tick_at(&fixture, fixture.now_ns + 1000 * MS);
    finish(&fixture);
    check(&fixture, "finish\n");
    check_messages(&fixture, "");
    close_fixture(&fixture);
}

/* An event of another request than 1/1. */
static void do_anything(struct fixture *fixture, int kind, uint32_t tid)
{
    switch (kind) {
    case 0:
        receive(fixture, tid, 1, 3, 0x200);
        break;
    case 1:
        rx(fixture, tid, 2, 2, "a", "b");
        break;
    case 2:
        respond(fixture, tid, 2, 2, 200);
        break;
    case 3:
        tx(fixture, tid, 2, 2, "a", "b");
        break;
    case 4:
        set_state(fixture, tid, 2, 2, 7);
        break;
    case 5:
        stats(fixture, tid, 2, 2, 1);
        break;
    case 6:
        close_connection(fixture, H1_CLOSE, tid, 3);
        break;
    case 7:
        rx(fixture, tid, 1, 1, "of", "the same request");
        break;
    default:
        other(fixture, tid);
        break;
    }
}

/* Whether 1/1 was passed on since the last call. */
static bool is_passed(struct fixture *fixture)
{
    char *text = printed_take(&fixture->output);
    bool found = strstr(text, "1/1 complete 200 :path=/ 200 server=h2o\n") != NULL;

    free(text);
    return found;
}

/* Events of any kind end the response header of their thread, not that of another thread. */
static void what_ends_a_response(void **state)
{
    struct fixture fixture;

    (void)state;
    for (int kind = 0; kind != 9; ++kind) {
        open_with(&fixture, WITH_STATS);
        request(&fixture, 1, 2, 2, 0x200);
        request(&fixture, 9, 3, 2, 0x200);
        request(&fixture, 1, 1, 1, 0x200);
        response(&fixture, 1, 1, 1);
        if (kind != 7) {
            do_anything(&fixture, kind, 9);
            assert_false(is_passed(&fixture));
        }
        do_anything(&fixture, kind, 1);
        if (!is_passed(&fixture))
            fail_msg("an event of kind %d does not end a response", kind);
        close_fixture(&fixture);
    }
}

/* Without a further event, time ends it: 0.1 s after its last header. */
static void complete_when_quiet(void **state)
{
    struct fixture fixture;
    uint64_t last_ns;

    (void)state;
    for (int has_times = 0; has_times != 2; ++has_times) {
        open_with(&fixture, WITH_STATS);
        fixture.has_times = has_times;
        fixture.clock.now_ns = fixture.now_ns;
        request(&fixture, 1, 1, 1, 0x101);
        respond(&fixture, 1, 1, 1, 200);
        fixture.now_ns += 50 * MS;
        fixture.clock.now_ns = fixture.now_ns;
        last_ns = fixture.now_ns;
        tx(&fixture, 1, 1, 1, "server", "h2o");
        tick_at(&fixture, last_ns - MS); /* the event is later than the tick */
        tick_at(&fixture, last_ns + ASSEMBLER_QUIET_NS - 1);
        check(&fixture, "");
        tick_at(&fixture, last_ns + ASSEMBLER_QUIET_NS);
        check(&fixture, "1/1 complete 101 :path=/ 200 server=h2o\n");
        finish(&fixture);
        check(&fixture, "finish\n");
        close_fixture(&fixture);
    }
}

/* Headers that come after that are counted. Those of HTTP/3 still find their request. */
static void late_headers(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 1, 0x101);
    response(&fixture, 1, 1, 1);
    tick_at(&fixture, fixture.now_ns + 200 * MS);
    check(&fixture, "1/1 complete 101 :path=/ 200 server=h2o\n");
    tx(&fixture, 1, 1, 1, "too", "late");
    tx(&fixture, 1, 1, 1, "much", "too late");
    other(&fixture, 1);
    request(&fixture, 2, 2, 0, 0x300);
    response(&fixture, 2, 2, 0);
    tick_at(&fixture, fixture.now_ns + 200 * MS);
    tx(&fixture, 2, 2, 0, "a", "b");
    stats(&fixture, 2, 2, 0, 7);
    check(&fixture, "2/0 complete 300 :path=/ 200 server=h2o a=b -200 7 bytes\n");
    lose(&fixture); /* before the thread's latest event: it does not explain the header */
    other(&fixture, 1);
    tx(&fixture, 1, 1, 1, "late", "too");
    finish(&fixture);
    check(&fixture, "lost 1\nfinish\n");
    check_messages(&fixture,
                   "h2olog: 3 response headers came more than 0.1 s after the ones before, "
                   "and are missing in their requests; the machine is overloaded\n");
    close_fixture(&fixture);
}

/* Requests of a connection at once, and responses in another order, each with its own headers. */
static void requests_of_a_connection(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 1, 0x200);
    request(&fixture, 1, 1, 3, 0x200);
    request(&fixture, 1, 1, 5, 0x200);
    respond(&fixture, 1, 1, 5, 205);
    tx(&fixture, 1, 1, 5, "n", "5");
    respond(&fixture, 1, 1, 1, 201);
    respond(&fixture, 1, 1, 3, 203);
    tx(&fixture, 1, 1, 3, "n", "3");
    request(&fixture, 1, 1, 7, 0x200);
    check(&fixture, "1/5 complete 200 :path=/ 205 n=5\n"
                    "1/1 complete 200 :path=/ 201\n"
                    "1/3 complete 200 :path=/ 203 n=3\n");
    finish(&fixture);
    check(&fixture, "1/7 unfinished 200 :path=/ 0\nfinish\n");
    close_fixture(&fixture);
}

/* Several threads within their loops. */
static void several_threads(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    receive(&fixture, 1, 1, 1, 0x200);
    receive(&fixture, 2, 2, 1, 0x101);
    rx(&fixture, 1, 1, 1, "a", "1");
    rx(&fixture, 2, 2, 1, "a", "2");
    respond(&fixture, 1, 1, 1, 201);
    rx(&fixture, 2, 2, 1, "b", "2");
    tx(&fixture, 1, 1, 1, "c", "1");
    respond(&fixture, 2, 2, 1, 202);
    tx(&fixture, 1, 1, 1, "d", "1");
    tx(&fixture, 2, 2, 1, "c", "2");
    tx(&fixture, 1, 1, 1, "e", "1");
    check(&fixture, "");
    other(&fixture, 2);
    other(&fixture, 1);
    check(&fixture, "2/1 complete 101 a=2 b=2 202 c=2\n"
                    "1/1 complete 200 a=1 201 c=1 d=1 e=1\n");
    close_fixture(&fixture);
}

/* More threads than there is room for: none of their requests is missing. */
static void very_many_threads(void **state)
{
    enum { THREADS = 10000 };
    struct fixture fixture;
    size_t lines = 0;
    char *text;

    (void)state;
    open_with(&fixture, WITH_STATS);
    for (uint32_t tid = 0; tid != THREADS; ++tid) {
        request(&fixture, tid * 256, tid, 1, 0x200);
        response(&fixture, tid * 256, tid, 1);
    }
    tick_at(&fixture, fixture.now_ns + 200 * MS);
    text = printed_take(&fixture.output);
    for (const char *line = text; (line = strstr(line, " complete 200 :path=/ 200 server=h2o\n"));
         ++line)
        ++lines;
    assert_int_equal(lines, THREADS);
    free(text);
    close_fixture(&fixture);
}

/* A thread that was forgotten does not disturb the one that took its place. */
static void forgotten_thread(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    response(&fixture, 0, 1, 1);
    fixture.now_ns += 90 * MS;
    for (uint32_t tid = 256; tid != 8 * 256; tid += 256)
        other(&fixture, tid);
    response(&fixture, 8 * 256, 2, 1);
    check(&fixture, "");
    tick_at(&fixture, START + 110 * MS);
    check(&fixture, "1/1 begun-before-trace 0 200 server=h2o\n");
    other(&fixture, 8 * 256);
    check(&fixture, "2/1 begun-before-trace 0 200 server=h2o\n");
    close_fixture(&fixture);
}

/* HTTP/1: the next request of the connection, or its end, ends a request. */
static void http1(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 1, 0x101);
    response(&fixture, 1, 1, 1);
    request(&fixture, 2, 1, 2, 0x101); /* of another thread, which is no sign for the first one */
    check(&fixture, "1/1 complete 101 :path=/ 200 server=h2o\n");
    request(&fixture, 2, 1, 3, 0x100);
    check(&fixture, "1/2 unfinished 101 :path=/ 0\n");
    request(&fixture, 1, 2, 1, 0x101);
    close_connection(&fixture, H1_CLOSE, 1, 1);
    check(&fixture, "1/3 unfinished 100 :path=/ 0\n");
    response(&fixture, 1, 2, 1);
    close_connection(&fixture, H1_CLOSE, 2, 2);
    check(&fixture, "2/1 complete 101 :path=/ 200 server=h2o\n");
    close_connection(&fixture, H1_CLOSE, 2, 2);
    finish(&fixture);
    check(&fixture, "finish\n");
    close_fixture(&fixture);
}

/* HTTP/3 with statistics: they end the request, after state 7 or without it. */
static void http3_with_stats(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 0, 0x300);
    request(&fixture, 1, 1, 4, 0x300);
    set_state(&fixture, 1, 1, 0, 5);
    response(&fixture, 1, 1, 0);
    set_state(&fixture, 1, 1, 0, 6);
    response(&fixture, 1, 1, 4);
    other(&fixture, 1);
    tick_at(&fixture, START + 500 * MS);
    set_state(&fixture, 1, 1, 0, 7);
    check(&fixture, "");
    tick_at(&fixture, START + 900 * MS);
    stats(&fixture, 1, 1, 0, 1234);
    check(&fixture, "1/0 complete 300 :path=/ 200 server=h2o -500 1234 bytes\n");
    stats(&fixture, 1, 1, 4, 0);
    check(&fixture, "1/4 complete 300 :path=/ 200 server=h2o -899 0 bytes\n");
    set_state(&fixture, 1, 1, 4, 7); /* nobody knows them any more */
    stats(&fixture, 1, 1, 4, 0);
    request(&fixture, 1, 1, 8, 0x300); /* reset before the response */
    set_state(&fixture, 1, 1, 8, 7);
    stats(&fixture, 1, 1, 8, 0);
    check(&fixture, "1/8 unfinished 300 :path=/ 0 -0 0 bytes\n");
    finish(&fixture);
    check(&fixture, "finish\n");
    close_fixture(&fixture);
}

/* HTTP/3 of a server without statistics, and of one without both. */
static void http3_without_stats(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATES);
    request(&fixture, 1, 1, 0, 0x300);
    response(&fixture, 1, 1, 0);
    set_state(&fixture, 1, 1, 0, 6);
    tick_at(&fixture, START + 700 * MS);
    check(&fixture, "");
    set_state(&fixture, 1, 1, 0, 7);
    check(&fixture, "1/0 complete 300 :path=/ 200 server=h2o -700\n");
    request(&fixture, 1, 1, 4, 0x300);
    set_state(&fixture, 1, 1, 4, 7);
    check(&fixture, "1/4 unfinished 300 :path=/ 0 -0\n");
    close_fixture(&fixture);

    open_with(&fixture, WITHOUT_ENDS);
    request(&fixture, 1, 1, 0, 0x300);
    response(&fixture, 1, 1, 0);
    other(&fixture, 1);
    check(&fixture, "1/0 complete 300 :path=/ 200 server=h2o\n");
    close_fixture(&fixture);
}

/* HTTP/3 is known by the version, or by the QUIC connection if the request was not seen. */
static void what_is_http3(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 0, 0x300);
    begin(&fixture, SEND_RESPONSE, 2);
    draft_connection(&fixture.draft, 0x1000);
    draft_number(&fixture.draft, "status", 200);
    feed(&fixture, 1);
    begin(&fixture, RECEIVE_REQUEST, 3);
    draft_number(&fixture.draft, "http-version", 0x300);
    feed(&fixture, 1);
    response(&fixture, 1, 3, 0);
    other(&fixture, 1);
    check(&fixture, "");
    stats(&fixture, 1, 2, 0, 2);
    stats(&fixture, 1, 3, 0, 3);
    check(&fixture, "2/0 begun-before-trace 0 200 2 bytes\n"
                    "3/0 complete 300 200 server=h2o -0 3 bytes\n");
    close_fixture(&fixture);
}

/* The end of an HTTP/3 connection. The statistics of its streams follow, if there are any. */
static void http3_connection_closed(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATES);
    request(&fixture, 1, 1, 0, 0x300);
    request(&fixture, 1, 1, 4, 0x300);
    response(&fixture, 1, 1, 4);
    tick_at(&fixture, START + 80 * MS);
    close_connection(&fixture, H3_DESTROY, 1, 1);
    check(&fixture, "1/0 unfinished 300 :path=/ 0 -80\n"
                    "1/4 unfinished 300 :path=/ 200 server=h2o -79\n");
    close_fixture(&fixture);

    open_with(&fixture, WITH_STATS);
    for (uint64_t req = 0; req != 16; req += 4)
        request(&fixture, 1, 1, req, 0x300);
    request(&fixture, 1, 2, 0, 0x300);
    response(&fixture, 1, 1, 4);
    response(&fixture, 1, 1, 8);
    set_state(&fixture, 1, 1, 8, 7);
    tick_at(&fixture, START + 80 * MS);
    close_connection(&fixture, H3_DESTROY, 1, 1);
    close_connection(&fixture, H3_DESTROY, 1, 1);
    check(&fixture, "");
    fixture.now_ns += 7 * MS;
    stats(&fixture, 1, 1, 4, 44);
    stats(&fixture, 1, 1, 8, 88);
    check(&fixture, "1/4 unfinished 300 :path=/ 200 server=h2o -79 44 bytes\n"
                    "1/8 complete 300 :path=/ 200 server=h2o -0 88 bytes\n");
    other(&fixture, 1);
    check(&fixture, "");
    tick_at(&fixture, START + 180 * MS); /* they have none */
    check(&fixture, "1/0 unfinished 300 :path=/ 0 -80\n1/12 unfinished 300 :path=/ 0 -79\n");
    finish(&fixture);
    check(&fixture, "2/0 unfinished 300 :path=/ 0\nfinish\n");
    close_fixture(&fixture);
}

/* What began before the trace: the response, a part of the request's headers, or of the response's. */
static void begun_before_the_trace(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    response(&fixture, 1, 1, 9);
    rx(&fixture, 2, 2, 1, "b", "2"); /* the gate opened within the loop of thread 2, and of 3 */
    rx(&fixture, 2, 2, 1, "c", "3");
    tx(&fixture, 3, 3, 1, "y", "2");
    tx(&fixture, 3, 3, 1, "z", "3");
    other(&fixture, 1);
    check(&fixture, "1/9 begun-before-trace 0 200 server=h2o\n");
    response(&fixture, 2, 2, 1);
    other(&fixture, 3);
    other(&fixture, 2);
    check(&fixture, "3/1 begun-before-trace 0 0 y=2 z=3\n"
                    "2/1 begun-before-trace 0 b=2 c=3 200 server=h2o\n");
    rx(&fixture, 2, 2, 7, "d", "4"); /* not the first event of its thread */
    finish(&fixture);
    check(&fixture, "2/7 incomplete 0 d=4 0\nfinish\n");
    close_fixture(&fixture);
}

/* The same after a loss is incomplete. */
static void begun_after_a_loss(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    other(&fixture, 4);
    lose(&fixture);
    check(&fixture, "lost 1\n");
    response(&fixture, 1, 1, 9);
    rx(&fixture, 2, 2, 1, "b", "2");
    tx(&fixture, 3, 3, 1, "y", "2");
    tx(&fixture, 4, 4, 1, "z", "2");
    tx(&fixture, 4, 4, 1, "zz", "2");
    for (uint32_t tid = 1; tid != 5; ++tid)
        other(&fixture, tid);
    check(&fixture, "1/9 incomplete 0 200 server=h2o\n3/1 incomplete 0 0 y=2\n"
                    "4/1 incomplete 0 0 z=2 zz=2\n");
    finish(&fixture);
    check(&fixture, "2/1 incomplete 0 b=2 0\nfinish\n");
    check_messages(&fixture, "");
    close_fixture(&fixture);
}

/* A loss at each point of a request. */
static void losses(void **state)
{
    enum { STEPS = 9 };
    struct fixture fixture;

    (void)state;
    for (int lost = 0; lost != STEPS; ++lost) {
        char *text, *expected;
        open_with(&fixture, WITH_STATS);
        for (int step = 0; step != STEPS; ++step) {
            if (step == lost)
                lose(&fixture);
            switch (step) {
            case 0:
                receive(&fixture, 1, 1, 0, 0x300);
                break;
            case 1:
            case 2:
                rx(&fixture, 1, 1, 0, "a", "b");
                break;
            case 3:
                respond(&fixture, 1, 1, 0, 200);
                break;
            case 4:
            case 5:
                tx(&fixture, 1, 1, 0, "c", "d");
                break;
            case 6:
                set_state(&fixture, 1, 1, 0, 7);
                break;
            case 7:
                stats(&fixture, 1, 1, 0, 7);
                break;
            default:
                request(&fixture, 1, 1, 4, 0x300);
                stats(&fixture, 1, 1, 4, 0);
                break;
            }
        }
        text = printed_take(&fixture.output);
        expected = memory_format("%s1/0 %s 300 a=b a=b 200 c=d c=d -0 7 bytes\n%s1/4 unfinished "
                                 "300 :path=/ 0 -0 0 bytes\n",
                                 lost < 8 ? "lost 1\n" : "",
                                 lost == 0 || lost == 8 ? "complete" : "incomplete",
                                 lost < 8 ? "" : "lost 1\n");
        check_string("with a loss", text, expected);
        free(text);
        free(expected);
        close_fixture(&fixture);
    }
}

/* A loss while a response waits for its thread marks it, and so does one before a tick. */
static void losses_while_waiting(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 1, 0x101);
    response(&fixture, 1, 1, 1);
    lose(&fixture);
    other(&fixture, 1);
    check(&fixture, "lost 1\n1/1 incomplete 101 :path=/ 200 server=h2o\n");
    response(&fixture, 1, 1, 2);
    lose(&fixture);
    tick_at(&fixture, fixture.now_ns + 200 * MS);
    check(&fixture, "lost 1\n1/2 incomplete 0 200 server=h2o\n");
    receive(&fixture, 1, 1, 3, 0x101);
    tx(&fixture, 1, 1, 3, "a", "b"); /* without a status */
    other(&fixture, 1);
    check(&fixture, "1/3 incomplete 101 0 a=b\n");
    request(&fixture, 1, 1, 4, 0x101);
    lose(&fixture);
    close_connection(&fixture, H1_CLOSE, 1, 1);
    check(&fixture, "lost 1\n1/4 incomplete 101 :path=/ 0\n");
    close_fixture(&fixture);
}

/* The same numbers again, because the events between were lost. */
static void same_key_again(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 0, 0x200);
    request(&fixture, 1, 1, 0, 0x200);
    check(&fixture, "1/0 unfinished 200 :path=/ 0\n");
    response(&fixture, 1, 1, 0);
    request(&fixture, 1, 1, 0, 0x200);
    check(&fixture, "1/0 complete 200 :path=/ 200 server=h2o\n");
    request(&fixture, 1, 2, 0, 0x300);
    response(&fixture, 1, 2, 0);
    set_state(&fixture, 1, 2, 0, 7);
    request(&fixture, 1, 2, 0, 0x300);
    check(&fixture, "2/0 complete 300 :path=/ 200 server=h2o -0\n");
    close_fixture(&fixture);
}

/* The oldest requests fall out. Their later events make no second request. */
static void bound_of_requests(void **state)
{
    const struct assembler_limits limits = {.requests = 2, .bytes = SIZE_MAX, .age_ns = UINT64_MAX};
    struct fixture fixture;

    (void)state;
    open_limited(&fixture, WITH_STATS, &limits);
    request(&fixture, 1, 1, 1, 0x200);
    request(&fixture, 1, 1, 3, 0x200);
    check(&fixture, "");
    check_messages(&fixture, "");
    request(&fixture, 1, 2, 1, 0x200);
    check(&fixture, "1/1 unfinished 200 :path=/ 0\n");
    check_messages(&fixture, "h2olog: more than 2 requests are open; the oldest ones count as "
                             "unfinished from here on; keep more with --max-requests\n");
    response(&fixture, 1, 1, 1);
    rx(&fixture, 1, 1, 1, "a", "b");
    tx(&fixture, 1, 1, 1, "a", "b");
    other(&fixture, 1);
    check(&fixture, "");
    lose(&fixture);
    request(&fixture, 1, 2, 3, 0x200);
    check(&fixture, "lost 1\n1/3 incomplete 200 :path=/ 0\n");
    response(&fixture, 1, 2, 3);
    receive(&fixture, 2, 3, 1, 0x200);
    check(&fixture, "2/1 incomplete 200 :path=/ 0\n");
    receive(&fixture, 2, 3, 3, 0x200); /* a response is cut off */
    tx(&fixture, 1, 2, 3, "a", "b");
    other(&fixture, 1);
    check(&fixture, "2/3 unfinished 200 :path=/ 200 server=h2o\n");
    finish(&fixture);
    check(&fixture, "3/1 unfinished 200 0\n3/3 unfinished 200 0\nfinish\n");
    check_messages(&fixture,
                   "h2olog: 4 requests fell out of the table of open requests, and count as "
                   "unfinished: 4 for --max-requests; larger values keep more of them\n");
    close_fixture(&fixture);
}

static void bound_of_memory(void **state)
{
    const struct assembler_limits limits = {.requests = 99, .bytes = 20000, .age_ns = UINT64_MAX};
    static char value[4001];
    struct fixture fixture;

    (void)state;
    memset(value, 'x', sizeof(value) - 1);
    open_limited(&fixture, WITH_STATS, &limits);
    receive(&fixture, 1, 1, 1, 0x200);
    for (uint64_t req = 3; req != 15; req += 2) {
        receive(&fixture, 1, 1, req, 0x200);
        if (req < 9)
            rx(&fixture, 1, 1, req, "a", value);
    }
    check(&fixture, "");
    rx(&fixture, 1, 1, 13, "a", value);
    check(&fixture, "");
    rx(&fixture, 1, 1, 13, "a", value);
    {
        char *text = printed_take(&fixture.output);
        assert_memory_equal(text, "1/1 unfinished 200 0\n1/3 unfinished 200 a=xxx", 44);
        free(text);
    }
    check_messages(&fixture,
                   "h2olog: the open requests take more than 20000 bytes; the oldest ones "
                   "count as unfinished from here on; keep more with --max-memory\n");
    close_fixture(&fixture);

    /* a single request that is too large is passed on, too */
    open_limited(&fixture, WITH_STATS, &limits);
    for (int i = 0; i != 6; ++i)
        rx(&fixture, 1, 1, 1, "a", value);
    free(printed_take(&fixture.output));
    finish(&fixture);
    check(&fixture, "finish\n");
    close_fixture(&fixture);
}

static void bound_of_age(void **state)
{
    const struct assembler_limits limits = {.requests = 9, .bytes = SIZE_MAX, .age_ns = 1500 * MS};
    struct fixture fixture;

    (void)state;
    open_limited(&fixture, WITH_STATS, &limits);
    receive(&fixture, 1, 1, 1, 0x200);
    tick_at(&fixture, START + 1500 * MS);
    receive(&fixture, 1, 1, 3, 0x200);
    check(&fixture, "");
    tick_at(&fixture, START + 1500 * MS + 1);
    check(&fixture, "1/1 unfinished 200 0\n");
    check_messages(&fixture,
                   "h2olog: a request is open for more than 1.5 s; such requests count as "
                   "unfinished from here on; keep them longer with --max-age\n");
    tick_at(&fixture, START + 3000 * MS);
    check(&fixture, "");
    for (uint64_t req = 5; req != 25; req += 2)
        receive(&fixture, 1, 1, req, 0x200);
    check(&fixture, "1/3 unfinished 200 0\n1/5 unfinished 200 0\n");
    free(printed_take(&fixture.messages));
    finish(&fixture);
    check_messages(
        &fixture,
        "h2olog: 3 requests fell out of the table of open requests, and count as unfinished: 2 for "
        "--max-requests, 1 for --max-age; larger values keep more of them\n");
    close_fixture(&fixture);
}

/* The end of the trace can come within the loop of a response, unless its thread is quiet. */
static void end_of_the_trace(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 1, 0x101);
    response(&fixture, 1, 1, 1);
    request(&fixture, 2, 2, 1, 0x101);
    request(&fixture, 2, 3, 0, 0x300);
    response(&fixture, 2, 3, 0);
    request(&fixture, 2, 3, 4, 0x300);
    response(&fixture, 2, 3, 4);
    set_state(&fixture, 2, 3, 4, 7);
    tick_at(&fixture, fixture.now_ns + 99 * MS);
    finish(&fixture);
    check(&fixture, "1/1 unfinished 101 :path=/ 200 server=h2o\n"
                    "2/1 unfinished 101 :path=/ 0\n"
                    "3/0 unfinished 300 :path=/ 200 server=h2o\n"
                    "3/4 complete 300 :path=/ 200 server=h2o -0\n"
                    "finish\n");
    close_fixture(&fixture);

    open_with(&fixture, WITH_STATS); /* between the end of a connection and the statistics */
    request(&fixture, 1, 1, 0, 0x300);
    response(&fixture, 1, 1, 0);
    set_state(&fixture, 1, 1, 0, 7);
    close_connection(&fixture, H3_DESTROY, 1, 1);
    finish(&fixture);
    check(&fixture, "1/0 complete 300 :path=/ 200 server=h2o -0\nfinish\n");
    close_fixture(&fixture);

    open_with(&fixture, WITH_STATS);
    request(&fixture, 1, 1, 1, 0x101);
    response(&fixture, 1, 1, 1);
    tick_at(&fixture, fixture.now_ns + 100 * MS);
    finish(&fixture);
    check(&fixture, "1/1 complete 101 :path=/ 200 server=h2o\nfinish\n");
    close_fixture(&fixture);
}

/* Without times nothing is made up. */
static void without_times(void **state)
{
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    fixture.has_times = false;
    request(&fixture, 1, 1, 0, 0x300);
    fixture.clock.now_ns = START + 100 * MS;
    response(&fixture, 1, 1, 0);
    set_state(&fixture, 1, 1, 0, 7);
    stats(&fixture, 1, 1, 0, 3);
    check(&fixture, "1/0 complete 300 :path=/ 200 server=h2o 3 bytes\n");
    close_fixture(&fixture);
}

/* A record without a value that its kind needs. */
static void malformed(void **state)
{
    const int8_t roles[NUM_ROLES] = {0, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    struct fixture fixture;

    (void)state;
    open_with(&fixture, WITH_STATS);
    for (int kind = RECORD_OTHER; kind != NUM_RECORD_KINDS; ++kind) {
        const struct record record = {.kind = (enum record_kind)kind, .roles = roles};
        bool is_enough = kind == RECORD_OTHER || kind == RECORD_CONNECTION_CLOSED;
        assert_int_equal(fixture.sink.record(fixture.sink.state, &record), is_enough ? 0 : -1);
    }
    finish(&fixture);
    check(&fixture, "finish\n");
    close_fixture(&fixture);
}

/* --- a random server, and a model of what is to be passed on --- */

enum { MODEL_REQUESTS = 4000, MODEL_THREADS = 6, MODEL_CONNECTIONS = 24, MODEL_HEADERS = 5 };

/* A request of the model. Its number is its req. Its headers have its number in their values. */
struct model_request {
    uint64_t conn;
    int version;
    size_t num_request_headers, num_response_headers;
    bool is_responded, has_ended, is_over, has_stats;
    bool is_seen;    /* an event of it was fed */
    bool is_headed;  /* the first one was */
    int losses_seen; /* losses when the first one was fed */
    int num_passed;
};

/* A thread is in the loop of one request, or free. */
struct model_thread {
    size_t number;    /* of the request */
    int left;         /* events of the loop that are left */
    bool is_response; /* the loop is of its response */
};

static struct model {
    struct fixture fixture;
    uint32_t seed, lost_of_1000;
    size_t count;
    int losses;
    struct model_request requests[MODEL_REQUESTS];
    struct model_thread threads[MODEL_THREADS];
    size_t current[MODEL_CONNECTIONS]; /* HTTP/1: the latest request of the connection */
} model;

static void check_header(const struct request_header *header, const struct request *request,
                         size_t nth)
{
    char expected[40];
    int length =
        snprintf(expected, sizeof(expected), "%" PRIu64 ".%d.%zu", request->req, header->side, nth);

    assert_int_equal(header->value.size, length);
    assert_memory_equal(header->value.bytes, expected, (size_t)length);
}

static enum request_state expected_state(const struct model_request *expected)
{
    bool is_http3 = expected->version == 0x300;

    if (expected->losses_seen != model.losses || !expected->is_headed)
        return REQUEST_INCOMPLETE;
    return expected->is_responded && (!is_http3 || expected->has_ended) ? REQUEST_COMPLETE
                                                                        : REQUEST_UNFINISHED;
}

static void check_passed(const struct request *request)
{
    struct model_request *expected = &model.requests[request->req];
    struct request_header header;
    size_t at = 0, counts[2] = {0};

    assert_true(request->req < model.count);
    assert_int_equal(request->conn, expected->conn);
    assert_int_equal(expected->num_passed++, 0);
    if (request->state != expected_state(expected))
        fail_msg("request %" PRIu64 " is %s instead of %s", request->req,
                 request_state_name(request->state), request_state_name(expected_state(expected)));
    while (request_next_header(request, &at, &header)) {
        size_t nth = counts[header.side]++;
        if (request->state != REQUEST_INCOMPLETE)
            check_header(&header, request, nth);
        else
            assert_int_equal(strtoull((const char *)header.value.bytes, NULL, 10), request->req);
    }
    if (request->state == REQUEST_INCOMPLETE)
        return;
    assert_int_equal(request->version, expected->version);
    assert_int_equal(request->status, expected->is_responded ? 200 + request->req % 300 : 0);
    assert_int_equal(counts[REQUEST_SIDE], expected->num_request_headers);
    assert_int_equal(counts[RESPONSE_SIDE],
                     expected->is_responded ? expected->num_response_headers : 0);
    assert_int_equal(request->has_bytes, expected->has_stats);
    if (request->has_bytes)
        assert_int_equal(request->bytes, request->req * 3);
}

/* Whether the next event is lost. Then it is not fed. */
static bool is_lost(size_t number, bool is_first)
{
    struct model_request *request = &model.requests[number];

    if (random_next(&model.seed) % 1000 < model.lost_of_1000) {
        /* a loss is reported before the next event that is not lost: here, at once */
        ++model.losses;
        lose(&model.fixture);
        return true;
    }
    if (!request->is_seen) {
        request->is_seen = true;
        request->is_headed = is_first;
        request->losses_seen = model.losses;
    }
    return false;
}

static void model_header(const struct model_thread *thread, uint32_t tid, enum request_side side,
                         size_t nth)
{
    const struct model_request *request = &model.requests[thread->number];
    char name[16], value[40];

    snprintf(name, sizeof(name), "name-%zu", nth);
    snprintf(value, sizeof(value), "%zu.%d.%zu", thread->number, side, nth);
    begin(&model.fixture, side == REQUEST_SIDE ? REQUEST_HEADER : RESPONSE_HEADER, request->conn);
    if (request->version == 0x300)
        draft_connection(&model.fixture.draft, 0x1000 * (request->conn + 1));
    draft_number(&model.fixture.draft, "req-id", thread->number);
    draft_string(&model.fixture.draft, "name", name);
    draft_string(&model.fixture.draft, "value", value);
    feed(&model.fixture, tid);
}

/* The next event of the loop that the thread is in. */
static void model_go_on(struct model_thread *thread, uint32_t tid)
{
    const struct model_request *request = &model.requests[thread->number];
    enum request_side side = thread->is_response ? RESPONSE_SIDE : REQUEST_SIDE;
    size_t count =
        thread->is_response ? request->num_response_headers : request->num_request_headers;

    --thread->left;
    if (!is_lost(thread->number, false))
        model_header(thread, tid, side, count - 1 - (size_t)thread->left);
}

static void model_receive(struct model_thread *thread, uint32_t tid, uint64_t conn)
{
    static const int versions[] = {0x101, 0x200, 0x300};
    struct model_request *request = &model.requests[model.count];

    request->conn = conn;
    request->version = versions[conn % 3];
    request->num_request_headers = random_next(&model.seed) % MODEL_HEADERS;
    request->num_response_headers = random_next(&model.seed) % MODEL_HEADERS;
    *thread = (struct model_thread){model.count, (int)request->num_request_headers, false};
    model.current[conn] = model.count++;
    if (!is_lost(thread->number, true))
        receive(&model.fixture, tid, conn, thread->number, request->version);
}

static void model_respond(struct model_thread *thread, uint32_t tid, size_t number)
{
    struct model_request *request = &model.requests[number];

    *thread = (struct model_thread){number, (int)request->num_response_headers, true};
    if (!is_lost(number, false)) {
        begin(&model.fixture, SEND_RESPONSE, request->conn);
        if (request->version == 0x300)
            draft_connection(&model.fixture.draft, 0x1000 * (request->conn + 1));
        draft_number(&model.fixture.draft, "req-id", number);
        draft_number(&model.fixture.draft, "status", 200 + number % 300);
        feed(&model.fixture, tid);
    }
    request->is_responded = true;
}

/* State 7, or after it the statistics. They are events of the stream, but no first ones. */
static void model_end(uint32_t tid, size_t number)
{
    struct model_request *request = &model.requests[number];
    bool lost = random_next(&model.seed) % 1000 < model.lost_of_1000;

    if (lost) {
        ++model.losses;
        lose(&model.fixture);
    }
    if (!request->has_ended) {
        request->has_ended = true;
        if (!lost)
            set_state(&model.fixture, tid, request->conn, number, 7);
        return;
    }
    request->is_over = request->has_stats = true;
    if (!lost)
        stats(&model.fixture, tid, request->conn, number, number * 3);
}

/* Does something that a thread can do between two loops. Each connection belongs to a thread. */
static void model_act(struct model_thread *thread, uint32_t tid)
{
    const uint64_t conn =
        random_next(&model.seed) % (MODEL_CONNECTIONS / MODEL_THREADS) * MODEL_THREADS + tid;
    size_t number = model.count != 0 ? random_next(&model.seed) % model.count : 0;
    struct model_request *request = &model.requests[number];
    const struct model_request *former = &model.requests[model.current[conn]];

    if (model.count != 0 &&
        random_next(&model.seed) % 4 == 0) { /* a recent one is more likely to be open */
        number = model.count - 1;
        request = &model.requests[number];
    }
    if (random_next(&model.seed) % 8 == 0)
        other(&model.fixture, tid);
    else if (model.count != 0 && request->conn % MODEL_THREADS == tid && !request->is_responded &&
             !request->has_ended && !request->is_over)
        model_respond(thread, tid, number);
    else if (model.count != 0 && request->conn % MODEL_THREADS == tid &&
             request->version == 0x300 && !request->is_over)
        model_end(tid, number);
    else if (model.count != MODEL_REQUESTS &&
             (conn % 3 != 0 || former->conn != conn || former->is_responded))
        model_receive(thread, tid, conn);
}

static void run_model(uint32_t lost_of_1000)
{
    const uint32_t seed = model.seed;
    size_t steps = 0;

    memset(&model, 0, sizeof(model));
    model.seed = seed;
    model.lost_of_1000 = lost_of_1000;
    open_with(&model.fixture, WITH_STATS);
    model.fixture.passed = check_passed;
    for (steps = 0; model.count != MODEL_REQUESTS || steps % 50000 != 0; ++steps) {
        const uint32_t tid = random_next(&model.seed) % MODEL_THREADS;
        struct model_thread *thread = &model.threads[tid];
        if (thread->left != 0)
            model_go_on(thread, tid);
        else
            model_act(thread, tid);
        if (steps % 100 == 0) { /* not quiet: the clock of the ticks is that of the events */
            model.fixture.clock.now_ns = model.fixture.now_ns;
            model.fixture.sink.tick(model.fixture.sink.state, model.fixture.now_ns);
        }
    }
    for (uint32_t tid = 0; tid != MODEL_THREADS; ++tid) {
        while (model.threads[tid].left != 0)
            model_go_on(&model.threads[tid], tid);
    }
    tick_at(&model.fixture, model.fixture.now_ns + 200 * MS);
    finish(&model.fixture);
    check_messages(&model.fixture, "");
    for (size_t i = 0; i != model.count; ++i) {
        if (model.requests[i].num_passed != (model.requests[i].is_seen ? 1 : 0))
            fail_msg("request %zu was passed on %d times", i, model.requests[i].num_passed);
    }
    close_fixture(&model.fixture);
}

/* Each request is passed on once, with its own headers, and without any loss with all of them. */
static void random_requests(void **state)
{
    (void)state;
    model.seed = random_seed();
    for (size_t i = 0; i != 3; ++i) {
        run_model(0);
        run_model(1);
        run_model(100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complete_at_the_next_event),
        cmocka_unit_test(what_ends_a_response),
        cmocka_unit_test(complete_when_quiet),
        cmocka_unit_test(late_headers),
        cmocka_unit_test(requests_of_a_connection),
        cmocka_unit_test(several_threads),
        cmocka_unit_test(very_many_threads),
        cmocka_unit_test(forgotten_thread),
        cmocka_unit_test(http1),
        cmocka_unit_test(what_is_http3),
        cmocka_unit_test(http3_with_stats),
        cmocka_unit_test(http3_without_stats),
        cmocka_unit_test(http3_connection_closed),
        cmocka_unit_test(begun_before_the_trace),
        cmocka_unit_test(begun_after_a_loss),
        cmocka_unit_test(losses),
        cmocka_unit_test(losses_while_waiting),
        cmocka_unit_test(same_key_again),
        cmocka_unit_test(bound_of_requests),
        cmocka_unit_test(bound_of_memory),
        cmocka_unit_test(bound_of_age),
        cmocka_unit_test(end_of_the_trace),
        cmocka_unit_test(without_times),
        cmocka_unit_test(malformed),
        cmocka_unit_test(random_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
