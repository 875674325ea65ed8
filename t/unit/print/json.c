#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "memory.h"
#include "print/json.h"

/* A time of the wall clock, and the same time of the monotonic clock. */
#define WALL_MS      UINT64_C(1795347456218)
#define MONOTONIC_NS UINT64_C(5000000000123)
#define WALL_NS      ((int64_t)(WALL_MS * 1000000 - MONOTONIC_NS))

/* A printer for events of one probe, and a draft of an event. */
struct bench {
    struct server_probe server_probe;
    struct output output;
    struct printer json;
    struct draft draft;
};

static void bench_open_signature(struct bench *bench, const struct signature *signature)
{
    *bench = (struct bench){.server_probe = {.signature = signature}};
    printed_open(&bench->output);
    printer_open(&bench->json, json_open, &bench->output, &bench->server_probe, 1, 0);
    bench->json.clock.wall_ns = WALL_NS;
    draft_open(&bench->draft, signature, 0);
}

static void bench_open(struct bench *bench, const char *probe, uint32_t date)
{
    bench_open_signature(bench, signature_on(probe, date));
}

static void bench_close(struct bench *bench)
{
    printer_close(&bench->json);
    printed_close(&bench->output);
}

/* Returns the line of the event. Free it with free(). */
static char *line_of(struct bench *bench)
{
    struct event event = draft_event(&bench->draft);

    event = fenced(&event, event.size);
    if (printer_print(&bench->json, &event) != 0)
        fail_msg("%s: a good event is refused", bench->server_probe.signature->declaration);
    return printed_take(&bench->output);
}

static void check_line(struct bench *bench, const char *expected)
{
    char *line = line_of(bench);

    check_string(bench->server_probe.signature->declaration, line, expected);
    free(line);
}

/* A new event; numbers begin again at 1. */
static void restart(struct bench *bench)
{
    printer_restart(&bench->json);
    draft_open(&bench->draft, bench->server_probe.signature, 0);
}

/* Lines of t/data/trace-2020-06-quic.jsonl, and of a server of 2026-06. */
static void lines_of_quic(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "quicly:accept", 20260629);
    draft_head(&bench.draft, 0, 1);
    draft_connection(&bench.draft, UINT64_MAX);
    draft_number(&bench.draft, "time", 1795347456218);
    draft_string(&bench.draft, "dcid", "0f82b6bb2ab17ea0");
    check_line(&bench, "{\"type\":\"accept\",\"seq\":1,\"conn\":1,\"time\":1795347456218,\"dcid\":"
                       "\"0f82b6bb2ab17ea0\",\"connection\":1}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:packet_sent", 20260629);
    for (int i = 0; i != 21; ++i)
        free(line_of(&bench));
    draft_head(&bench.draft, 0, 1);
    draft_number(&bench.draft, "time", 1795347824594);
    draft_number(&bench.draft, "len", 144);
    check_line(&bench, "{\"type\":\"packet-sent\",\"seq\":22,\"conn\":1,\"time\":1795347824594,"
                       "\"pn\":0,\"len\":144,"
                       "\"packet-type\":0,\"ack-only\":0}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:crypto_update_secret", 20200604);
    draft_number(&bench.draft, "time", 1795350191559);
    draft_number(&bench.draft, "is-enc", 1);
    draft_number(&bench.draft, "epoch", 2);
    draft_string(&bench.draft, "label", "QUIC_SERVER_HANDSHAKE_TRAFFIC_SECRET");
    check_line(&bench, "{\"type\":\"crypto-update-secret\",\"seq\":1,\"conn\":0,\"time\":"
                       "1795350191559,\"is-enc\":1,"
                       "\"epoch\":2,\"label\":\"QUIC_SERVER_HANDSHAKE_TRAFFIC_SECRET\"}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:stream_receive", 20200604);
    draft_number(&bench.draft, "time", 1795350191559);
    draft_number(&bench.draft, "stream-id", (uint64_t)-1);
    draft_number(&bench.draft, "len", 218);
    check_line(
        &bench,
        "{\"type\":\"stream-receive\",\"seq\":1,\"conn\":0,\"time\":1795350191559,\"stream-id\":-1,"
        "\"off\":0,\"len\":218}\n");
    bench_close(&bench);
}

/* In the trace of 2020, every line has the keys of its probe's fields, in this order. */
static void renamed_keys(void **state)
{
    struct bench bench;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(443)};

    (void)state;
    bench_open(&bench, "quicly:receive", 20200604);
    draft_head(&bench.draft, 0, 3);
    draft_number(&bench.draft, "time", 7);
    draft_number(&bench.draft, "first-octet", 0xc3);
    draft_number(&bench.draft, "bytes-len", 1252);
    draft_string(&bench.draft, "dcid", "ab");
    check_line(
        &bench,
        "{\"type\":\"receive\",\"seq\":1,\"conn\":3,\"time\":7,\"dcid\":\"ab\",\"first-octet\":195,"
        "\"bytes-len\":1252}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:receive", 20260629);
    draft_head(&bench.draft, 0, 3);
    draft_number(&bench.draft, "first-octet", 64);
    draft_number(&bench.draft, "bytes-len", 33);
    draft_number(&bench.draft, "receive-delay", (uint64_t)-5);
    draft_string(&bench.draft, "dcid", "");
    check_line(
        &bench,
        "{\"type\":\"receive\",\"seq\":1,\"conn\":3,\"time\":0,\"dcid\":\"\",\"first-octet\":64,"
        "\"bytes-len\":33,\"receive-delay\":-5}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:quictrace_cc_ack", 20200604);
    draft_head(&bench.draft, 0, 3);
    draft_number(&bench.draft, "time", 7);
    draft_number(&bench.draft, "min-rtt", 1);
    draft_number(&bench.draft, "smoothed-rtt", 2);
    draft_number(&bench.draft, "variance-rtt", 3);
    draft_number(&bench.draft, "latest-rtt", 0xffffffff);
    draft_number(&bench.draft, "cwnd", 14720);
    draft_number(&bench.draft, "inflight", 1280);
    check_line(&bench,
               "{\"type\":\"quictrace-cc-ack\",\"seq\":1,\"conn\":3,\"time\":7,\"min-rtt\":1,"
               "\"smoothed-rtt\":2,\"variance-rtt\":3,\"latest-rtt\":4294967295,\"cwnd\":14720,"
               "\"inflight\":1280}\n");
    bench_close(&bench);

    bench_open(&bench, "h2o:h3_packet_forward", 20200604);
    draft_address(&bench.draft, "dest", &sin, sizeof(sin));
    draft_number(&bench.draft, "num-packets", 2);
    draft_number(&bench.draft, "bytes-len", 2504);
    draft_number(&bench.draft, "fd", (uint64_t)-1);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    check_line(&bench,
               "{\"type\":\"h3-packet-forward\",\"seq\":1,\"dest\":\"0.0.0.0:443\",\"src\":\"\","
               "\"num-packets\":2,\"bytes-len\":2504,\"fd\":-1,\"time\":1795347456218}\n");
    bench_close(&bench);
}

/* Events of h2o end with `conn`, if there is a tie, and the time of the event. */
static void lines_of_h2o(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:send_response_header", 20200604);
    draft_number(&bench.draft, "conn-id", 11);
    draft_number(&bench.draft, "req-id", 4);
    draft_string(&bench.draft, "name", "content-length");
    draft_string(&bench.draft, "value", "13");
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_head(&bench.draft, EVENT_TIED, 3);
    check_line(&bench,
               "{\"type\":\"send-response-header\",\"seq\":1,\"conn-id\":11,\"req-id\":4,\"name\":"
               "\"content-length\",\"name-len\":14,\"value\":\"13\",\"value-len\":2,\"conn\":3,"
               "\"time\":1795347456218}\n");
    draft_head(&bench.draft, EVENT_TIED, 0); /* quicly's first connection */
    check_line(&bench,
               "{\"type\":\"send-response-header\",\"seq\":2,\"conn-id\":11,\"req-id\":4,\"name\":"
               "\"content-length\",\"name-len\":14,\"value\":\"13\",\"value-len\":2,\"conn\":0,"
               "\"time\":1795347456218}\n");
    draft_head(&bench.draft, 0, 0); /* no connection of quicly */
    check_line(&bench,
               "{\"type\":\"send-response-header\",\"seq\":3,\"conn-id\":11,\"req-id\":4,\"name\":"
               "\"content-length\",\"name-len\":14,\"value\":\"13\",\"value-len\":2,\"time\":"
               "1795347456218}\n");
    bench_close(&bench);

    bench_open(&bench, "h2o:h3s_accept", 20260629);
    draft_number(&bench.draft, "conn-id", 12);
    draft_string(&bench.draft, "conn-uuid", "3ff0589c-f1be-48f5-a57d-180535fc4bcc");
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_head(&bench.draft, EVENT_TIED, 9);
    check_line(&bench,
               "{\"type\":\"h3s-accept\",\"seq\":1,\"conn-id\":12,\"conn-uuid\":"
               "\"3ff0589c-f1be-48f5-a57d-180535fc4bcc\",\"conn\":9,\"time\":1795347456218}\n");
    bench_close(&bench);

    bench_open(&bench, "h2o:h3_close", 20200604);
    draft_number(&bench.draft, "conn-id", UINT64_MAX);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_head(&bench.draft, EVENT_TIED, UINT32_MAX);
    check_line(
        &bench,
        "{\"type\":\"h3-close\",\"seq\":1,\"conn-id\":18446744073709551615,\"conn\":4294967295,"
        "\"time\":1795347456218}\n");
    bench_close(&bench);
}

/* The time of the event in milliseconds of the wall clock, rounded down, never decreasing. */
static void times_of_h2o(void **state)
{
    static const struct {
        uint64_t stamp, printed;
    } times[] = {
        {MONOTONIC_NS, WALL_MS},
        {MONOTONIC_NS + 999999, WALL_MS},
        {MONOTONIC_NS + 1000000, WALL_MS + 1},
        {MONOTONIC_NS + 60000000000, WALL_MS + 60000},
        {MONOTONIC_NS + 59999000000,
         WALL_MS + 60000}, /* written after an event with a later time */
        {MONOTONIC_NS + 60001000000, WALL_MS + 60001},
    };
    struct bench bench;
    char expected[128];

    (void)state;
    bench_open(&bench, "h2o:h1_close", 20260629);
    for (size_t i = 0; i != sizeof(times) / sizeof(times[0]); ++i) {
        draft_open(&bench.draft, bench.server_probe.signature, 0);
        draft_number(&bench.draft, "time", times[i].stamp);
        snprintf(expected, sizeof(expected),
                 "{\"type\":\"h1-close\",\"seq\":%zu,\"conn-id\":0,\"time\":%llu}\n", i + 1,
                 (unsigned long long)times[i].printed);
        check_line(&bench, expected);
    }
    bench_close(&bench);
}

/* If the wall clock is set, later events have the new time. */
static void wall_clock_is_set(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:h1_close", 20260629);
    draft_number(&bench.draft, "time", 1000000);
    bench.json.clock.wall_ns = -1000000;
    check_line(&bench, "{\"type\":\"h1-close\",\"seq\":1,\"conn-id\":0,\"time\":0}\n");
    bench.json.clock.wall_ns = 41000000;
    check_line(&bench, "{\"type\":\"h1-close\",\"seq\":2,\"conn-id\":0,\"time\":42}\n");
    bench_close(&bench);
}

/* A printer for several probes with alternating events. */
struct turns {
    struct server_probe server_probes[8];
    struct output output;
    struct printer json;
};

static void turns_open(struct turns *turns, uint32_t date, const char *const *probes,
                       size_t num_printed)
{
    size_t count = 0;

    *turns = (struct turns){0};
    for (; probes[count] != NULL; ++count)
        turns->server_probes[count].signature = signature_on(probes[count], date);
    printed_open(&turns->output);
    printer_open(&turns->json, json_open, &turns->output, turns->server_probes, num_printed,
                 count - num_printed);
    turns->json.clock.wall_ns = WALL_NS;
}

static void turns_close(struct turns *turns)
{
    printer_close(&turns->json);
    printed_close(&turns->output);
}

/* Prints an event of the Ith probe with this head; `path` is its path-index, if it has one. */
static void take_turn(struct turns *turns, uint16_t i, uint16_t flags, uint32_t conn,
                      uint64_t address, uint64_t path)
{
    static struct draft draft;
    struct event event;

    draft_open(&draft, turns->server_probes[i].signature, i);
    draft_head(&draft, flags, conn);
    draft_connection(&draft, address);
    if (strcmp(draft.signature->probe, "new_path") == 0)
        draft_number(&draft, "path-index", path);
    event = draft_event(&draft);
    assert_int_equal(printer_print(&turns->json, &event), 0);
}

/* Returns `type`, `conn` and `connection` of each line: "free 0 1, ". */
static void check_turns(struct turns *turns, const char *expected)
{
    char *lines = printed_take(&turns->output), *rest = lines, *line;
    char *found = memory_format("%s", "");

    while ((line = strsep(&rest, "\n")) != NULL && line[0] != '\0') {
        const char *type = line + strlen("{\"type\":\""), *conn = strstr(line, "\"conn\":"),
                   *last = strstr(line, ",\"connection\":");
        char *longer;
        conn = conn != NULL ? conn + strlen("\"conn\":") : "-";
        last = last != NULL ? last + strlen(",\"connection\":") : "-}"; /* it ends the line */
        longer = memory_format("%s%s%.*s %.*s %.*s", found, found[0] != '\0' ? ", " : "",
                               (int)strcspn(type, "\""), type, (int)strcspn(conn, ",}"), conn,
                               (int)strlen(last) - 1, last);
        free(found);
        found = longer;
    }
    check_string("turns", found, expected);
    free(found);
    free(lines);
}

/* `connection` is the last member of lines of a connection, for every provider. */
static void connections_are_numbered(void **state)
{
    static const char *const probes[] = {
        "quicly:new_path", "quicly:accept",  "quicly:free",      "h2o:send_response_header",
        "picotls:free",    "quicly:connect", "quicly:ping_send", NULL};
    enum { PATH, ACCEPT, FREE, HEADER, TLS, CONNECT, PING };
    struct turns turns;

    (void)state;
    turns_open(&turns, 20260629, probes, 7);
    take_turn(&turns, PATH, 0, 0, 0x1000, 0);
    take_turn(&turns, PATH, 0, 0, 0x2000, 0);
    take_turn(&turns, ACCEPT, 0, 7, 0x2000, 0);
    take_turn(&turns, ACCEPT, 0, 7, 0x1000, 0);
    take_turn(&turns, PATH, 0, 7, 0x1000, 1); /* another path of the same connection */
    take_turn(&turns, HEADER, EVENT_TIED, 7, 0x2000, 0);
    check_turns(&turns, "new-path 0 1, new-path 0 2, accept 7 2, accept 7 1, new-path 7 1, "
                        "send-response-header 7 2");
    take_turn(&turns, HEADER, 0, 0, 0, 0); /* of HTTP/1 */
    take_turn(&turns, TLS, 0, 0, 0, 0);
    take_turn(&turns, PING, 0x4000, 0, 0, 0); /* a NULL pointer */
    take_turn(&turns, PING, 0x4000, 0, 0x1000, 0);
    check_turns(&turns, "send-response-header - -, free - -, ping-send null -, ping-send null 1");
    take_turn(&turns, FREE, 0, 7, 0x1000, 0);
    take_turn(&turns, CONNECT, 0, 7, 0x1000, 0);
    take_turn(&turns, PING, 0, 8, 0x1000, 0);
    take_turn(&turns, PING, 0, 7, 0x2000, 0);
    check_turns(&turns, "free 7 1, connect 7 3, ping-send 8 4, ping-send 7 2");
    turns_close(&turns);
}

/* Events that are not printed are followed, but change neither `seq` nor the numbers. */
static void followed_probes_are_not_printed(void **state)
{
    static const char *const probes[] = {"quicly:ping_send", "quicly:accept", "quicly:connect",
                                         "quicly:free", NULL};
    enum { PING, ACCEPT, CONNECT, FREE };
    struct turns turns;
    char *line;

    (void)state;
    turns_open(&turns, 20260629, probes, 1);
    take_turn(&turns, ACCEPT, 0, 7, 0x1000, 0);
    take_turn(&turns, ACCEPT, 0, 8, 0x2000, 0);
    take_turn(&turns, PING, 0, 8, 0x2000, 0);
    take_turn(&turns, FREE, 0, 8, 0x2000, 0);
    take_turn(&turns, PING, 0, 8, 0x2000, 0);
    take_turn(&turns, CONNECT, 0, 8, 0x2000, 0);
    take_turn(&turns, PING, 0, 8, 0x2000, 0);
    check_turns(&turns, "ping-send 8 1, ping-send 8 1, ping-send 8 2");
    take_turn(&turns, PING, 0, 7, 0x1000, 0);
    line = printed_take(&turns.output);
    check_string("seq", line,
                 "{\"type\":\"ping-send\",\"seq\":4,\"conn\":7,\"time\":0,\"connection\":3}\n");
    free(line);
    turns_close(&turns);
}

static void lines_of_picotls(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "picotls:receive_message", 20260629);
    draft_number(&bench.draft, "tls", 94526351561200);
    draft_number(&bench.draft, "message", 1);
    draft_number(&bench.draft, "result", (uint64_t)-517);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_number(&bench.draft, "len", 3);
    check_line(&bench,
               "{\"type\":\"receive-message\",\"seq\":1,\"tls\":94526351561200,\"message\":1,"
               "\"len\":3,\"result\":-517,\"time\":1795347456218}\n");
    bench.json.settings.application_data = true;
    draft_append(&bench.draft, "bytes", "\x01\x00\xff", 3, 3);
    check_line(&bench,
               "{\"type\":\"receive-message\",\"seq\":2,\"tls\":94526351561200,\"message\":1,"
               "\"bytes\":\"0100ff\",\"len\":3,\"result\":-517,\"time\":1795347456218}\n");
    bench_close(&bench);

    bench_open(&bench, "picotls:new_secret", 20260629);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_string(&bench.draft, "label", "CLIENT_TRAFFIC_SECRET_0");
    check_line(&bench,
               "{\"type\":\"new-secret\",\"seq\":1,\"tls\":0,\"label\":\"CLIENT_TRAFFIC_SECRET_0\","
               "\"time\":1795347456218}\n");
    bench_close(&bench);
}

/* NULL and "" are printed the same; an unreadable value differs from both. */
static void null_and_empty_and_unreadable(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "quicly:transport_close_send", 20260629);
    draft_string(&bench.draft, "reason-phrase", "");
    check_line(
        &bench,
        "{\"type\":\"transport-close-send\",\"seq\":1,\"conn\":0,\"time\":0,\"error-code\":0,"
        "\"frame-type\":0,\"reason-phrase\":\"\"}\n");
    restart(&bench);
    draft_head(&bench.draft, 1, 0);
    check_line(
        &bench,
        "{\"type\":\"transport-close-send\",\"seq\":1,\"conn\":0,\"time\":0,\"error-code\":0,"
        "\"frame-type\":0,\"reason-phrase\":null}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:new_token_receive", 20260629);
    draft_append(&bench.draft, "token", "\0\0\0\0", 4, 4);
    draft_head(&bench.draft, 1, 0);
    check_line(&bench,
               "{\"type\":\"new-token-receive\",\"seq\":1,\"conn\":0,\"time\":0,\"token\":null,"
               "\"token-len\":4}\n");
    restart(&bench);
    draft_append(&bench.draft, "token", "", 0, 0);
    check_line(&bench,
               "{\"type\":\"new-token-receive\",\"seq\":1,\"conn\":0,\"time\":0,\"token\":\"\","
               "\"token-len\":0}\n");
    bench_close(&bench);

    bench_open(&bench, "h2o:connect_error", 20260629);
    draft_string(&bench.draft, "error-type", "dns_error");
    draft_string(&bench.draft, "details", "");
    draft_string(&bench.draft, "rcode", "NXDOMAIN");
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_head(&bench.draft, 1u << 1, 0);
    check_line(&bench, "{\"type\":\"connect-error\",\"seq\":1,\"conn-id\":0,\"req-id\":0,\"error-"
                       "type\":\"dns_error\","
                       "\"details\":null,\"rcode\":\"NXDOMAIN\",\"time\":1795347456218}\n");
    bench_close(&bench);
}

static void hex(void **state)
{
    struct bench bench;
    uint8_t token[256];
    char expected[1024], *at;

    (void)state;
    bench_open(&bench, "quicly:new_token_send", 20200604);
    for (size_t i = 0; i != sizeof(token); ++i)
        token[i] = (uint8_t)i;
    draft_number(&bench.draft, "generation", 5);
    draft_append(&bench.draft, "token", token, sizeof(token), sizeof(token));
    at = expected +
         sprintf(expected,
                 "{\"type\":\"new-token-send\",\"seq\":1,\"conn\":0,\"time\":0,\"token\":\"");
    for (size_t i = 0; i != sizeof(token); ++i)
        at += sprintf(at, "%02x", (unsigned)i);
    sprintf(at, "\",\"len\":256,\"generation\":5}\n");
    check_line(&bench, expected);
    bench_close(&bench);
}

/* Integers of each declared type, with their limits. */
static void integers(void **state)
{
    static const uint64_t ones = UINT64_MAX, high = 0x8080808080808080, low = 0x7f7f7f7f7f7f7f7f;
    struct bench bench;

    (void)state;
    bench_open(&bench, "quicly:packet_sent",
               20260629); /* int64_t, uint64_t, size_t, uint8_t, int */
    for (const char *const *key =
             (const char *const[]){"time", "pn", "len", "packet-type", "ack-only", NULL};
         *key != NULL; ++key)
        draft_number(&bench.draft, *key, ones);
    check_line(
        &bench,
        "{\"type\":\"packet-sent\",\"seq\":1,\"conn\":0,\"time\":-1,\"pn\":18446744073709551615,"
        "\"len\":18446744073709551615,\"packet-type\":255,\"ack-only\":-1}\n");
    for (const char *const *key =
             (const char *const[]){"time", "pn", "len", "packet-type", "ack-only", NULL};
         *key != NULL; ++key)
        draft_number(&bench.draft, *key, high);
    check_line(&bench,
               "{\"type\":\"packet-sent\",\"seq\":2,\"conn\":0,\"time\":-9187201950435737472,"
               "\"pn\":9259542123273814144,\"len\":9259542123273814144,\"packet-type\":128,"
               "\"ack-only\":-2139062144}\n");
    for (const char *const *key =
             (const char *const[]){"time", "pn", "len", "packet-type", "ack-only", NULL};
         *key != NULL; ++key)
        draft_number(&bench.draft, *key, low);
    check_line(&bench,
               "{\"type\":\"packet-sent\",\"seq\":3,\"conn\":0,\"time\":9187201950435737471,"
               "\"pn\":9187201950435737471,\"len\":9187201950435737471,\"packet-type\":127,"
               "\"ack-only\":2139062143}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:pto", 20260629); /* int8_t */
    draft_number(&bench.draft, "time", (uint64_t)INT64_MIN);
    draft_number(&bench.draft, "pto-count", (uint64_t)-1);
    draft_number(&bench.draft, "cwnd", UINT32_MAX);
    check_line(
        &bench,
        "{\"type\":\"pto\",\"seq\":1,\"conn\":0,\"time\":-9223372036854775808,\"inflight\":0,"
        "\"cwnd\":4294967295,\"pto-count\":-1}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:stop_sending_receive", 20240728); /* uint16_t */
    draft_number(&bench.draft, "stream-id", (uint64_t)INT64_MIN);
    draft_number(&bench.draft, "error-code", 65535);
    check_line(&bench, "{\"type\":\"stop-sending-receive\",\"seq\":1,\"conn\":0,\"time\":0,"
                       "\"stream-id\":-9223372036854775808,\"error-code\":65535}\n");
    bench_close(&bench);
}

static void addresses(void **state)
{
    static const struct {
        const char *address;
        uint16_t port;
        const char *printed;
    } cases[] = {
        {"127.0.0.1", 443, "127.0.0.1:443"},
        {"255.255.255.255", 65535, "255.255.255.255:65535"},
        {"::1", 443, "[::1]:443"},
        {"::", 0, "[::]:0"},
        {"2001:db8::dead:beef", 8443, "[2001:db8::dead:beef]:8443"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1,
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1"},
        {"::ffff:192.0.2.1", 80, "[::ffff:192.0.2.1]:80"},
    };
    static const sa_family_t families[] = {AF_UNSPEC, AF_UNIX, 0x2222, UINT16_MAX};
    struct bench bench;
    char expected[256];
    uint8_t unknown[28];

    (void)state;
    bench_open(&bench, "h2o:h3_forwarded_packet_receive", 20260629);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(cases[i].port)};
        struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(cases[i].port)};
        restart(&bench);
        draft_number(&bench.draft, "time", MONOTONIC_NS);
        if (strchr(cases[i].address, ':') == NULL) {
            assert_int_equal(inet_pton(AF_INET, cases[i].address, &sin.sin_addr), 1);
            draft_address(&bench.draft, "src", &sin, sizeof(sin));
        } else {
            assert_int_equal(inet_pton(AF_INET6, cases[i].address, &sin6.sin6_addr), 1);
            draft_address(&bench.draft, "src", &sin6, sizeof(sin6));
        }
        snprintf(expected, sizeof(expected),
                 "{\"type\":\"h3-forwarded-packet-receive\",\"seq\":1,\"dest\":\"\",\"src\":\"%s\","
                 "\"bytes-len\":0,"
                 "\"time\":1795347456218}\n",
                 cases[i].printed);
        check_line(&bench, expected);
    }
    /* other address families are printed as an empty string */
    for (size_t i = 0; i != sizeof(families) / sizeof(families[0]); ++i) {
        memset(unknown, '"', sizeof(unknown));
        memcpy(unknown, &families[i], sizeof(families[i]));
        restart(&bench);
        draft_number(&bench.draft, "time", MONOTONIC_NS);
        draft_address(&bench.draft, "src", unknown, sizeof(unknown));
        check_line(&bench,
                   "{\"type\":\"h3-forwarded-packet-receive\",\"seq\":1,\"dest\":\"\",\"src\":\"\","
                   "\"bytes-len\":0,\"time\":1795347456218}\n");
    }
    bench_close(&bench);
}

/* A name and a value with this many captured bytes, and the line. */
static void check_header(struct bench *bench, const char *name, size_t name_size,
                         uint64_t name_full, const char *value, size_t value_size,
                         uint64_t value_full, const char *printed_name, const char *printed_value)
{
    char *expected = memory_format(
        "{\"type\":\"receive-request-header\",\"seq\":1,\"conn-id\":0,\"req-id\":0,\"name\":\"%s\","
        "\"name-len\":%llu,\"value\":\"%s\",\"value-len\":%llu,\"time\":1795347456218}\n",
        printed_name, (unsigned long long)name_full, printed_value, (unsigned long long)value_full);

    restart(bench);
    draft_number(&bench->draft, "time", MONOTONIC_NS);
    draft_append(&bench->draft, "name", name, name_size, name_full);
    draft_append(&bench->draft, "value", value, value_size, value_full);
    check_line(bench, expected);
    free(expected);
}

static void long_texts_are_truncated(void **state)
{
    struct bench bench;
    char name[EVENT_NAME_MAX + 1] = "", value[EVENT_TEXT_MAX + 1] = "",
                               kept[EVENT_TEXT_MAX + 1] = "";

    (void)state;
    memset(name, 'n', EVENT_NAME_MAX);
    memset(value, 'v', EVENT_TEXT_MAX);
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    check_header(&bench, name, 256, 256, value, 4096, 4096, name, value);
    check_header(&bench, name, 256, 257, value, 4096, 4097, name, value);
    check_header(&bench, name, 256, 1000, value, 4096, UINT64_MAX, name, value);
    /* not in the middle of a character */
    memcpy(value + EVENT_TEXT_MAX - 2, "\xe2\x82", 2);
    memcpy(kept, value, EVENT_TEXT_MAX - 2);
    check_header(&bench, "n", 1, 1, value, 4096, 4097, "n", kept);
    /* a complete value keeps its end, even if that is half a character */
    memset(value, 'v', EVENT_TEXT_MAX);
    check_header(&bench, "n", 1, 1, "v\xe2\x82", 3, 3, "n", "v\xef\xbf\xbd");
    bench_close(&bench);

    bench_open(&bench, "picotls:receive_message", 20260629);
    bench.json.settings.application_data = true;
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    draft_append(&bench.draft, "bytes", value, EVENT_TEXT_MAX, 100000);
    {
        char *line = line_of(&bench), *hex_begin = strstr(line, "\"bytes\":\"");
        assert_non_null(hex_begin);
        assert_int_equal(strspn(hex_begin + 9, "76"), 2 * EVENT_TEXT_MAX);
        assert_non_null(strstr(line, "\",\"len\":100000,\"result\":0,"));
        free(line);
    }
    bench_close(&bench);
}

static void hostile_texts(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    check_header(&bench, "x\",\"conn\":1,\"y\":\"", 17, 17, "\"}\n{\"type\":\"forged\"}", 20, 20,
                 "x\\\",\\\"conn\\\":1,\\\"y\\\":\\\"",
                 "\\\"}\\u000a{\\\"type\\\":\\\"forged\\\"}");
    check_header(&bench, "a\0b", 3, 3, "\0\t\r\n\x1b\x7f\xc2\x9b\\", 9, 9, "a\\u0000b",
                 "\\u0000\\u0009\\u000d\\u000a\\u001b\\u007f\\u009b\\\\");
    check_header(&bench, "\xff", 1, 1, "\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80", 9, 9, "\xef\xbf\xbd",
                 "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf"
                 "\xbd\xef\xbf\xbd"
                 "\xef\xbf\xbd");
    check_header(&bench, "\xc3\xa9", 2, 2, "\xf0\x9f\x98\x80", 4, 4, "\xc3\xa9",
                 "\xf0\x9f\x98\x80");
    bench_close(&bench);
}

static void application_data(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "quicly:packet_received", 20260629);
    draft_number(&bench.draft, "pn", 1);
    draft_number(&bench.draft, "decrypted-len", 3);
    check_line(&bench, "{\"type\":\"packet-received\",\"seq\":1,\"conn\":0,\"time\":0,\"pn\":1,"
                       "\"decrypted-len\":3,"
                       "\"packet-type\":0}\n");
    bench.json.settings.application_data = true;
    draft_append(&bench.draft, "decrypted", "\x06\x00\x40", 3, 3);
    check_line(&bench, "{\"type\":\"packet-received\",\"seq\":2,\"conn\":0,\"time\":0,\"pn\":1,"
                       "\"decrypted\":\"060040\",\"decrypted-len\":3,\"packet-type\":0}\n");
    bench_close(&bench);

    bench_open(&bench, "quicly:new_connection_id_send", 20260629);
    draft_string(&bench.draft, "cid", "c1d0");
    check_line(
        &bench,
        "{\"type\":\"new-connection-id-send\",\"seq\":1,\"conn\":0,\"time\":0,\"sequence\":0,"
        "\"retire-prior-to\":0,\"cid\":\"c1d0\"}\n");
    bench.json.settings.application_data = true;
    draft_string(&bench.draft, "stateless-reset-token", "70ce");
    check_line(
        &bench,
        "{\"type\":\"new-connection-id-send\",\"seq\":2,\"conn\":0,\"time\":0,\"sequence\":0,"
        "\"retire-prior-to\":0,\"cid\":\"c1d0\",\"stateless-reset-token\":\"70ce\"}\n");
    bench_close(&bench);

    /* an event captured with -a is malformed for a printer without it, and vice versa */
    bench_open(&bench, "quicly:datagram_send", 20260629);
    draft_append(&bench.draft, "payload", "abc", 3, 3);
    {
        struct event event = draft_event(&bench.draft);
        assert_int_equal(printer_print(&bench.json, &event), -1);
        bench.json.settings.application_data = true;
        assert_int_equal(printer_print(&bench.json, &event), 0);
        event.size -= 3;
        assert_int_equal(printer_print(&bench.json, &event), -1);
    }
    bench_close(&bench);
}

/* A mapped file of the server in these tests. */
static const struct address_range server_file = {0x555555554000, 0x555555800000};

/* The offset of the pointer cc.type, which t/data/conn-stats-layouts.tsv does not have. */
static const struct {
    size_t size;
    const char *from;
    size_t pointer; /* 0: there is none */
} stats_pointers[] = {
    {144, "2020-06-28", 0},    {168, "2020-07-21", 96},   {176, "2020-08-23", 96},
    {544, "2020-09-08", 464},  {544, "2020-10-24", 464},  {560, "2020-11-10", 480},
    {584, "2021-08-03", 504},  {616, "2021-09-14", 512},  {648, "2022-07-15", 536},
    {664, "2022-12-07", 544},  {744, "2023-10-19", 616},  {832, "2024-03-13", 664},
    {936, "2024-07-28", 768},  {936, "2025-09-20", 776},  {992, "2025-10-16", 808},
    {1024, "2026-01-19", 840}, {1032, "2026-06-04", 840},
};

/* A row of t/data/conn-stats-layouts.tsv. */
struct stats_row {
    size_t size;
    const char *from, *key;
    size_t offset, width;
    bool is_signed;
};

/* Reads the rows. They point into a text that must be freed. */
static size_t read_stats_rows(struct stats_row rows[2048], char **text)
{
    char *rest = *text = data_read("conn-stats-layouts.tsv"), *columns[7];
    size_t count = 0;

    while (data_row(&rest, columns, 7) == 7) {
        assert_true(count < 2048);
        rows[count++] = (struct stats_row){
            .size = strtoul(columns[0], NULL, 10),
            .from = columns[1],
            .key = columns[3],
            .offset = strtoul(columns[4], NULL, 10),
            .width = strtoul(columns[5], NULL, 10),
            .is_signed = strcmp(columns[6], "1") == 0,
        };
    }
    return count;
}

static bool is_row_of(const struct stats_row *row, size_t size, const char *from)
{
    return row->size == size && (from == NULL || strcmp(row->from, from) == 0);
}

/* Makes a struct with a different value in each field of more than one byte. */
static void fill_stats(uint8_t bytes[2048])
{
    for (size_t i = 0; i != 2048; ++i)
        bytes[i] = (uint8_t)(i * 37 + 200 + i / 256 * 101);
}

static void put_stats(uint8_t bytes[2048], size_t offset, uint64_t value, size_t width)
{
    memcpy(bytes + offset, &value, width);
}

static char *append_stats_row(char *line, const struct stats_row *row, const uint8_t *bytes)
{
    const long long number =
        (long long)(row->is_signed ? record_signed(bytes + row->offset, row->width) : 0);
    char *longer =
        row->is_signed
            ? memory_format("%s,\"%s\":%lld", line, row->key, number)
            : memory_format("%s,\"%s\":%llu", line, row->key,
                            (unsigned long long)record_unsigned(bytes + row->offset, row->width));

    free(line);
    return longer;
}

/* The line of a struct of `size` bytes, with some of the rows. */
static void check_stats(const uint8_t *bytes, size_t size, bool files_are_known,
                        const struct stats_row *rows, const bool *is_printed, size_t num_rows)
{
    char *expected = memory_format("%s", "{\"type\":\"conn-stats\",\"seq\":1,\"conn\":2,"
                                         "\"time\":3"),
         *longer;
    struct bench bench;

    for (size_t i = 0; i != num_rows; ++i) {
        if (is_printed[i])
            expected = append_stats_row(expected, &rows[i], bytes);
    }
    longer = memory_format("%s,\"size\":%zu}\n", expected, size);
    free(expected);
    bench_open(&bench, "quicly:conn_stats", 20260629);
    bench.json.settings.files = &server_file;
    bench.json.settings.num_files = files_are_known ? 1 : 0;
    draft_head(&bench.draft, 0, 2);
    draft_number(&bench.draft, "time", 3);
    draft_append(&bench.draft, "stats", bytes, size, size);
    check_line(&bench, longer);
    free(longer);
    bench_close(&bench);
}

/* Each layout, with the pointer, as in a real server. */
static void stats_of_each_layout(void **state)
{
    static struct stats_row rows[2048];
    static bool is_printed[2048];
    uint8_t bytes[2048];
    char *text;
    size_t num_rows = read_stats_rows(rows, &text), num_printed = 0;

    (void)state;
    for (size_t i = 0; i != sizeof(stats_pointers) / sizeof(stats_pointers[0]); ++i) {
        const size_t size = stats_pointers[i].size, pointer = stats_pointers[i].pointer;
        for (size_t j = 0; j != num_rows; ++j) {
            is_printed[j] = is_row_of(&rows[j], size, stats_pointers[i].from);
            num_printed += is_printed[j];
        }
        fill_stats(bytes);
        if (pointer != 0)
            put_stats(bytes, pointer, server_file.begin + 64 * i, 8);
        if (strcmp(stats_pointers[i].from, "2020-10-24") == 0)
            put_stats(bytes, 440, 0xc0ffee, 8); /* num-ptos: less than 2^32 */
        check_stats(bytes, size, true, rows, is_printed, num_rows);
    }
    assert_int_equal(num_printed, num_rows); /* all rows, once */
    assert_true(num_rows > 1300);
    free(text);
}

/* If the files are unknown, or no pointer points into one, the size can be enough. */
static void stats_without_a_pointer(void **state)
{
    static struct stats_row rows[2048];
    static bool is_printed[2048];
    uint8_t bytes[2048];
    char *text;
    size_t num_rows = read_stats_rows(rows, &text);

    (void)state;
    for (size_t i = 0; i != sizeof(stats_pointers) / sizeof(stats_pointers[0]); ++i) {
        const size_t size = stats_pointers[i].size;
        if (size == 936)
            continue;
        for (size_t j = 0; j != num_rows; ++j)
            is_printed[j] = is_row_of(&rows[j], size, stats_pointers[i].from);
        fill_stats(bytes);
        if (strcmp(stats_pointers[i].from, "2020-10-24") == 0)
            put_stats(bytes, 440, 0xc0ffee, 8);
        check_stats(bytes, size, true, rows, is_printed, num_rows);
        put_stats(bytes, stats_pointers[i].pointer, server_file.begin, 8);
        if (stats_pointers[i].pointer != 0)
            check_stats(bytes, size, false, rows, is_printed, num_rows);
    }
    free(text);
}

/* If the layout of 936 bytes is not certain, fields at different places are left out. */
static void stats_of_two_layouts(void **state)
{
    static struct stats_row rows[2048];
    static bool is_first[2048], is_second[2048], is_common[2048];
    uint8_t bytes[2048];
    char *text;
    size_t num_rows = read_stats_rows(rows, &text), num_common = 0;

    (void)state;
    for (size_t i = 0; i != num_rows; ++i) {
        is_first[i] = is_row_of(&rows[i], 936, "2024-07-28");
        is_second[i] = is_row_of(&rows[i], 936, "2025-09-20");
        for (size_t j = i; is_first[i] && j != num_rows; ++j)
            is_common[i] |= is_row_of(&rows[j], 936, "2025-09-20") &&
                            strcmp(rows[j].key, rows[i].key) == 0 &&
                            rows[j].offset == rows[i].offset && rows[j].width == rows[i].width;
        num_common += is_common[i];
    }
    assert_int_equal(num_common, 31); /* num-packets, num-bytes, and three counters */
    fill_stats(bytes);
    check_stats(bytes, 936, true, rows, is_common, num_rows);
    put_stats(bytes, 768, server_file.begin, 8);
    check_stats(bytes, 936, false, rows, is_common, num_rows);
    check_stats(bytes, 936, true, rows, is_first, num_rows);
    put_stats(bytes, 776, server_file.end - 8, 8); /* a pointer at both places */
    check_stats(bytes, 936, true, rows, is_common, num_rows);
    put_stats(bytes, 780, 0, 4); /* cc.ssthresh of the first layout would be 0 */
    put_stats(bytes, 776, 0x400000, 4);
    check_stats(bytes, 936, true, rows, is_common + num_rows, 0);
    put_stats(bytes, 776, server_file.end - 8, 8);
    put_stats(bytes, 768, 0x800001, 8); /* the thresholds of the second layout */
    check_stats(bytes, 936, true, rows, is_second, num_rows);
    put_stats(bytes, 776, server_file.end, 8); /* after the file */
    check_stats(bytes, 936, true, rows, is_common, num_rows);
    put_stats(bytes, 776, server_file.begin + 4, 8); /* not aligned */
    check_stats(bytes, 936, true, rows, is_common, num_rows);
    free(text);
}

/* A later h2o with a reordered struct of the same size: its pointer is at another place. */
static void stats_of_another_layout(void **state)
{
    static const bool nothing[1];
    uint8_t bytes[2048];

    (void)state;
    for (size_t i = 0; i != sizeof(stats_pointers) / sizeof(stats_pointers[0]); ++i) {
        if (stats_pointers[i].pointer == 0)
            continue;
        fill_stats(bytes);
        put_stats(bytes, 104, server_file.begin + 8, 8);
        check_stats(bytes, stats_pointers[i].size, true, NULL, nothing, 0);
    }
}

static void stats(void **state)
{
    struct bench bench;
    uint8_t bytes[936] = {0};

    (void)state;
    bench_open(&bench, "quicly:conn_stats", 20260629);
    draft_number(&bench.draft, "size", 944); /* an unknown layout */
    check_line(&bench, "{\"type\":\"conn-stats\",\"seq\":1,\"conn\":0,\"time\":0,\"size\":944}\n");
    restart(&bench);
    draft_append(&bench.draft, "stats", bytes, 936, 936);
    draft_head(&bench.draft, 1, 0); /* unreadable */
    check_line(&bench, "{\"type\":\"conn-stats\",\"seq\":1,\"conn\":0,\"time\":0,\"size\":936}\n");
    bench_close(&bench);
}

static void put_tid(struct draft *draft, uint32_t tid)
{
    memcpy(draft->bytes + offsetof(struct event_head, tid), &tid, sizeof(tid));
}

/* `all`: each line also has its provider and thread. */
static void layers(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, "quicly:free", 20260629);
    bench.json.settings.layers = true;
    draft_number(&bench.draft, "time", 5);
    put_tid(&bench.draft, 20769);
    check_line(&bench, "{\"type\":\"free\",\"seq\":1,\"provider\":\"quicly\",\"tid\":20769,"
                       "\"conn\":0,\"time\":5}\n");
    bench_close(&bench);
    bench_open(&bench, "picotls:free", 20260629);
    bench.json.settings.layers = true;
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    put_tid(&bench.draft, UINT32_MAX);
    check_line(&bench,
               "{\"type\":\"free\",\"seq\":1,\"provider\":\"picotls\",\"tid\":4294967295,\"tls\":0,"
               "\"time\":1795347456218}\n");
    bench_close(&bench);
    bench_open(&bench, "h2o:h1_close", 20260629);
    bench.json.settings.layers = true;
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    put_tid(&bench.draft, 1);
    check_line(&bench,
               "{\"type\":\"h1-close\",\"seq\":1,\"provider\":\"h2o\",\"tid\":1,\"conn-id\":0,"
               "\"time\":1795347456218}\n");
    bench_close(&bench);
}

static void losses(void **state)
{
    struct bench bench;
    char *text;

    (void)state;
    bench_open(&bench, "h2o:h1_close", 20260629);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    check_line(&bench, "{\"type\":\"h1-close\",\"seq\":1,\"conn-id\":0,\"time\":1795347456218}\n");
    printer_lose(&bench.json, MONOTONIC_NS + 7000000, 42);
    text = printed_take(&bench.output);
    check_string("losses", text,
                 "{\"type\":\"h2olog-event-lost\",\"seq\":2,\"time\":1795347456225,\"lost\":42}\n");
    free(text);
    printer_lose(&bench.json, MONOTONIC_NS + 7000000, UINT64_MAX);
    text = printed_take(&bench.output);
    check_string("losses", text,
                 "{\"type\":\"h2olog-event-lost\",\"seq\":3,\"time\":1795347456225,\"lost\":"
                 "18446744073709551615}\n");
    free(text);
    bench_close(&bench);
}

/* Events after a loss can have earlier times than the line of the loss. */
static void losses_do_not_move_times(void **state)
{
    struct bench bench;
    char *text;

    (void)state;
    bench_open(&bench, "h2o:h1_close", 20260629);
    printer_lose(&bench.json, MONOTONIC_NS + 7000000, 42);
    text = printed_take(&bench.output);
    free(text);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    check_line(&bench, "{\"type\":\"h1-close\",\"seq\":2,\"conn-id\":0,\"time\":1795347456218}\n");
    bench_close(&bench);
}

/* A probe that is in no list. */
static void unknown_probes(void **state)
{
    struct notes notes;
    struct version version;
    struct bench bench;

    (void)state;
    notes_open(&notes, NULL);
    notes_add(&notes, "quicly", "brand_new", "8@%rdi -8@%rsi -4@%eax 2@%ax -1@%al");
    version_open(&version, OPERAND_X86_64, &notes);
    bench_open_signature(&bench, version.probes[0].signature);
    for (size_t i = 1; i <= 5; ++i) {
        char key[8];
        snprintf(key, sizeof(key), "arg%zu", i);
        /* the capture extends the operands, 2@%ax with zeros */
        draft_number(&bench.draft, key, i == 4 ? (uint16_t)(UINT64_MAX - i) : UINT64_MAX - i);
    }
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    check_line(
        &bench,
        "{\"type\":\"brand-new\",\"seq\":1,\"arg1\":18446744073709551614,\"arg2\":-3,\"arg3\":-4,"
        "\"arg4\":65531,\"arg5\":-6,\"time\":1795347456218}\n");
    bench_close(&bench);
    version_dispose(&version);
    notes_close(&notes);
}

/* A malformed event prints nothing and takes no number. */
static void malformed_events_are_refused(void **state)
{
    struct bench bench;
    struct event event;
    char *text;

    (void)state;
    bench_open(&bench, "h2o:receive_request_header", 20260629);
    draft_string(&bench.draft, "name", "name");
    draft_string(&bench.draft, "value", "value");
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    for (size_t size = 0; size <= bench.draft.size + 16; ++size) {
        if (size == bench.draft.size)
            continue;
        event = draft_event(&bench.draft);
        event = fenced(&event, size);
        assert_int_equal(printer_print(&bench.json, &event), -1);
    }
    draft_number(&bench.draft, "value-len", UINT64_MAX);
    event = draft_event(&bench.draft);
    event = fenced(&event, event.size);
    assert_int_equal(printer_print(&bench.json, &event), -1);
    for (unsigned id = 1; id <= UINT16_MAX; id = 2 * id + 1) {
        draft_open(&bench.draft, bench.server_probe.signature, (uint16_t)id);
        event = draft_event(&bench.draft);
        assert_int_equal(printer_print(&bench.json, &event), -1);
    }
    draft_open(&bench.draft, bench.server_probe.signature, 0);
    draft_number(&bench.draft, "time", MONOTONIC_NS);
    text = line_of(&bench);
    assert_int_equal(strncmp(text, "{\"type\":\"receive-request-header\",\"seq\":1,", 41), 0);
    free(text);
    bench_close(&bench);
}

/* Skips a JSON string in the form that we print. Returns NULL if it is not valid. */
static const char *skip_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at++ != '\\')
            continue;
        if (*at == 'u') {
            if (strspn(at + 1, "0123456789abcdef") < 4)
                return NULL;
            at += 5;
        } else if (strchr("\"\\/bfnrt", *at++) == NULL) {
            return NULL;
        }
    }
    return at + 1;
}

/* Skips a string, an integer or null. */
static const char *skip_value(const char *at)
{
    size_t digits;

    if (*at == '"')
        return skip_string(at);
    if (strncmp(at, "null", 4) == 0)
        return at + 4;
    at += *at == '-';
    digits = strspn(at, "0123456789");
    return digits == 0 || (digits > 1 && *at == '0') ? NULL : at + digits;
}

/*
 * Checks for one object with strings, integers and nulls, without duplicate keys, and a newline.
 * Returns the number of members, 0 if it is not valid.
 */
static size_t count_members(const char *line)
{
    const char *keys[256];
    size_t lengths[256], count = 0;

    do {
        const char *key = line + 1, *end = skip_string(key);
        if (*line != (count == 0 ? '{' : ',') || end == NULL || *end != ':')
            return 0;
        assert_true(count < 256);
        keys[count] = key;
        lengths[count] = (size_t)(end - key);
        for (size_t i = 0; i != count; ++i) {
            if (lengths[i] == lengths[count] && strncmp(keys[i], key, lengths[i]) == 0)
                return 0;
        }
        ++count;
        line = skip_value(end + 1);
    } while (line != NULL && *line == ',');
    return line != NULL && strcmp(line, "}\n") == 0 ? count : 0;
}

/* Tests the parser of these tests. */
static void own_parser_is_strict(void **state)
{
    static const char *const bad[] = {
        "{}\n",
        "{\"a\":1}",
        "{\"a\":1}\n\n",
        "{\"a\":1,}\n",
        "{\"a\":01}\n",
        "{\"a\":}\n",
        "{\"a\":\"\x01\"}\n",
        "{\"a\":\"\\x\"}\n",
        "{\"a\":\"\\u00g0\"}\n",
        "{\"a\":1,\"a\":2}\n",
        "{\"a\":1}{\"a\":1}\n",
        "{a:1}\n",
        "{\"a\":-}\n",
    };

    (void)state;
    assert_int_equal(count_members("{\"a\":1,\"b\":\"\\u001f\\\"\",\"c\":null,\"d\":-7,\"e\":0}\n"),
                     5);
    for (size_t i = 0; i != sizeof(bad) / sizeof(bad[0]); ++i)
        assert_int_equal(count_members(bad[i]), 0);
}

/* Fills the untrusted parts of an event with problematic bytes. */
static void fill_hostile(struct draft *draft, bool application_data, uint32_t *seed)
{
    static const uint8_t tricky[] = {0,    '\n', '\r', 0x1b, '"',  '\\', '}',  ',',
                                     '{',  'u',  0x7f, 0x80, 0x9b, 0xc2, 0xc3, 0xe2,
                                     0x82, 0xed, 0xa0, 0xf0, 0x9f, 0xf4, 0xff, '/'};
    uint8_t bytes[EVENT_TEXT_MAX];

    for (size_t i = 0; i != sizeof(bytes); ++i)
        bytes[i] = tricky[random_next(seed) % sizeof(tricky)];
    memcpy(draft->bytes + sizeof(struct event_head), bytes,
           draft->signature->size - sizeof(struct event_head));
    for (size_t i = 0; i != draft->signature->num_fields; ++i) {
        const struct field *field = &draft->signature->fields[i];
        size_t size = *seed / 7 % 60;
        if (field->counter_width != 0 && (!field->application_data || application_data))
            draft_append(draft, field->key, bytes, field->kind == FIELD_STATS ? 1032 : size,
                         field->kind == FIELD_STATS ? 1032 : size);
        else if (field->counter_width != 0)
            memset(draft->bytes + field->place, 0, field->counter_width);
    }
}

/*
 * For every signature, a line is one valid JSON object in valid UTF-8, whatever bytes the server
 * holds.
 */
static void every_line_is_one_object(void **state)
{
    uint32_t seed = random_seed();

    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        for (unsigned nth = 0; nth != 64; ++nth) {
            struct bench bench;
            char *line;
            bench_open_signature(&bench, &signatures[i]);
            bench.json.settings.application_data = (nth & 1) != 0;
            bench.json.settings.layers = (nth & 2) != 0;
            fill_hostile(&bench.draft, bench.json.settings.application_data, &seed);
            draft_head(&bench.draft, (uint16_t)((nth & 4) != 0 ? EVENT_TIED | nth >> 3 : nth >> 3),
                       nth);
            line = line_of(&bench);
            if (count_members(line) < 3 || !is_utf8(line) || !is_tame(line, true) ||
                strchr(line, '\t') != NULL)
                fail_msg("%s: this is no line of JSON: %s", signatures[i].declaration, line);
            free(line);
            bench_close(&bench);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_quic),
        cmocka_unit_test(renamed_keys),
        cmocka_unit_test(lines_of_h2o),
        cmocka_unit_test(times_of_h2o),
        cmocka_unit_test(wall_clock_is_set),
        cmocka_unit_test(connections_are_numbered),
        cmocka_unit_test(followed_probes_are_not_printed),
        cmocka_unit_test(lines_of_picotls),
        cmocka_unit_test(null_and_empty_and_unreadable),
        cmocka_unit_test(hex),
        cmocka_unit_test(integers),
        cmocka_unit_test(addresses),
        cmocka_unit_test(long_texts_are_truncated),
        cmocka_unit_test(hostile_texts),
        cmocka_unit_test(application_data),
        cmocka_unit_test(stats),
        cmocka_unit_test(stats_of_each_layout),
        cmocka_unit_test(stats_without_a_pointer),
        cmocka_unit_test(stats_of_two_layouts),
        cmocka_unit_test(stats_of_another_layout),
        cmocka_unit_test(layers),
        cmocka_unit_test(losses),
        cmocka_unit_test(losses_do_not_move_times),
        cmocka_unit_test(unknown_probes),
        cmocka_unit_test(malformed_events_are_refused),
        cmocka_unit_test(own_parser_is_strict),
        cmocka_unit_test(every_line_is_one_object),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
