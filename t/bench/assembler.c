/*
 * Measures the request assembler without a server: feeds it events that are decoded as in a trace.
 *
 *   assembler memory   prints the bytes that 10,000 open requests with 20 headers take
 *   assembler cpu      prints the nanoseconds per event without the assembler, and with it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "event/assembler.h"
#include "event/record.h"

/* The probes of a request, and the ids of their events. */
enum { RECEIVE_REQUEST, REQUEST_HEADER, SEND_RESPONSE, RESPONSE_HEADER, NUM_PROBES };

static const char *const probe_names[NUM_PROBES] = {"receive_request", "receive_request_header",
                                                    "send_response", "send_response_header"};

#define HEADERS       20
#define OPEN_REQUESTS 10000
#define ROUNDS        200 /* of the requests that are open at a time, one per connection */
#define CONNECTIONS   64

struct bench {
    struct server_probe probes[NUM_PROBES];
    struct decoder decoder;
    struct clock clock;
    struct output output;
    struct sink_settings settings;
    struct sink sink;
    uint64_t taken;     /* records or requests that reached the end */
    uint8_t bytes[512]; /* the event */
};

static const struct signature *find_signature(const char *probe)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        if (strcmp(signatures[i].provider, "h2o") == 0 && strcmp(signatures[i].probe, probe) == 0 &&
            signatures[i].until == 0)
            return &signatures[i];
    }
    fprintf(stderr, "assembler: the lists have no probe %s\n", probe);
    exit(1);
}

static void put(struct bench *bench, const struct signature *signature, const char *key,
                uint64_t value)
{
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        size_t width = field->counter_width != 0 ? field->counter_width : field->width;
        const uint32_t value32 = (uint32_t)value;
        if (strcmp(field->key, key) == 0)
            memcpy(bench->bytes + field->place,
                   width == 4 ? (const void *)&value32 : (const void *)&value, width);
    }
}

/* An event, with 12 + 48 bytes of text if it is a header. */
struct template
{
    uint8_t bytes[512];
    size_t size, conn, req, time; /* offsets */
};

static size_t place_of(const struct signature *signature, const char *key)
{
    for (size_t i = 0; i != signature->num_fields; ++i) {
        if (strcmp(signature->fields[i].key, key) == 0)
            return signature->fields[i].place;
    }
    return 0;
}

static void make_template(struct bench *bench, uint16_t probe, struct template *template)
{
    const struct signature *signature = bench->probes[probe].signature;
    const struct event_head head = {.id = probe, .tid = 1};
    bool is_header = probe == REQUEST_HEADER || probe == RESPONSE_HEADER;

    memset(bench->bytes, 0, sizeof(bench->bytes));
    memcpy(bench->bytes, &head, sizeof(head));
    put(bench, signature, "http-version", 0x200);
    put(bench, signature, "status", 200);
    template->size = signature->size;
    if (is_header) {
        put(bench, signature, "name", 12);
        put(bench, signature, "value", 48);
        memset(bench->bytes + signature->size, 'x', 60);
        template->size += 60;
    }
    memcpy(template->bytes, bench->bytes, sizeof(template->bytes));
    template->conn = place_of(signature, "conn-id");
    template->req = place_of(signature, "req-id");
    template->time = place_of(signature, "time");
}

static void feed(struct bench *bench, struct template *template, uint64_t conn, uint64_t req)
{
    const struct event event = {template->bytes, template->size};
    struct record record;

    bench->clock.now_ns += 100;
    memcpy(template->bytes + template->conn, &conn, sizeof(conn));
    memcpy(template->bytes + template->req, &req, sizeof(req));
    memcpy(template->bytes + template->time, &bench->clock.now_ns, sizeof(bench->clock.now_ns));
    if (decoder_decode(&bench->decoder, &event, &record) != 0 ||
        bench->sink.record(bench->sink.state, &record) != 0) {
        fputs("assembler: an event is malformed\n", stderr);
        exit(1);
    }
}

static int take_record(void *state, const struct record *record)
{
    (void)record;
    ++((struct bench *)state)->taken;
    return 0;
}

static void take_request(void *state, struct request *request)
{
    (void)request;
    ++((struct bench *)state)->taken;
}

static void take_close(void *state)
{
    (void)state;
}

static void bench_open(struct bench *bench, bool with_assembler)
{
    static const struct assembler_limits limits = ASSEMBLER_LIMITS_DEFAULT;
    const struct sink end = {
        .state = bench, .record = take_record, .request = take_request, .close = take_close};

    memset(bench, 0, sizeof(*bench));
    for (size_t i = 0; i != NUM_PROBES; ++i)
        bench->probes[i].signature = find_signature(probe_names[i]);
    bench->settings = (struct sink_settings){.output = &bench->output,
                                             .messages = &bench->output,
                                             .probes = bench->probes,
                                             .num_probes = NUM_PROBES,
                                             .clock = &bench->clock};
    decoder_open(&bench->decoder, bench->probes, NUM_PROBES, NUM_PROBES, false);
    bench->sink = with_assembler ? assembler_open(&bench->settings, &limits, end) : end;
}

static void bench_close(struct bench *bench)
{
    bench->sink.close(bench->sink.state);
    decoder_close(&bench->decoder);
}

static void make_templates(struct bench *bench, struct template *templates)
{
    for (uint16_t probe = 0; probe != NUM_PROBES; ++probe)
        make_template(bench, probe, &templates[probe]);
}

/* Bytes of memory of this process. */
static long resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long total = 0, pages = 0;

    if (file == NULL || fscanf(file, "%ld %ld", &total, &pages) != 2)
        exit(1);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* The headers come interleaved, as from many connections, so the buffers grow side by side. */
static int measure_memory(void)
{
    static struct template templates[NUM_PROBES];
    static struct bench bench;
    long before;

    bench_open(&bench, true);
    make_templates(&bench, templates);
    before = resident();
    for (uint64_t first = 0; first != OPEN_REQUESTS; first += 100) {
        for (uint64_t nth = 0; nth != 100; ++nth)
            feed(&bench, &templates[RECEIVE_REQUEST], first + nth, 1);
        for (size_t i = 0; i != HEADERS; ++i) {
            for (uint64_t nth = 0; nth != 100; ++nth)
                feed(&bench, &templates[REQUEST_HEADER], first + nth, 1);
        }
    }
    printf("%ld\n", resident() - before);
    bench_close(&bench);
    return 0;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Requests with 8 headers and responses with 4. CONNECTIONS of them are open at the same time. */
static uint64_t play(struct bench *bench, struct template *templates)
{
    uint64_t events = 0;

    for (uint64_t req = 0; req != ROUNDS; ++req) {
        for (uint64_t conn = 0; conn != CONNECTIONS; ++conn, events += 9) {
            feed(bench, &templates[RECEIVE_REQUEST], conn, req);
            for (size_t i = 0; i != 8; ++i)
                feed(bench, &templates[REQUEST_HEADER], conn, req);
        }
        for (uint64_t conn = 0; conn != CONNECTIONS; ++conn, events += 5) {
            feed(bench, &templates[SEND_RESPONSE], conn, req);
            for (size_t i = 0; i != 4; ++i)
                feed(bench, &templates[RESPONSE_HEADER], conn, req);
        }
    }
    return events;
}

/* Prints a line for each of 15 rounds, which alternate. */
static int measure_cpu(void)
{
    static struct template templates[NUM_PROBES];
    static struct bench benches[2];

    for (size_t with = 0; with != 2; ++with)
        bench_open(&benches[with], with != 0);
    make_templates(&benches[0], templates);
    for (size_t round = 0; round != 15; ++round) {
        double ns[2];
        for (size_t with = 0; with != 2; ++with) {
            const uint64_t before = cpu_ns();
            const uint64_t events = play(&benches[with], templates);
            ns[with] = (double)(cpu_ns() - before) / (double)events;
        }
        printf("%.2f %.2f\n", ns[0], ns[1]);
    }
    /* the last response is still waiting for its thread */
    if (benches[1].taken != (uint64_t)15 * ROUNDS * CONNECTIONS - 1)
        return 1;
    for (size_t with = 0; with != 2; ++with)
        bench_close(&benches[with]);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "memory") == 0)
        return measure_memory();
    if (argc == 2 && strcmp(argv[1], "cpu") == 0)
        return measure_cpu();
    fputs("Usage: assembler memory|cpu\n", stderr);
    return 2;
}
