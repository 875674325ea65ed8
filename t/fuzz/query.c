/*
 * Compiles arbitrary text as a query, and evaluates it for an arbitrary request or event. Messages
 * must be escaped. "not (Q)", "(Q) and (Q)" and "(Q) or (Q)" must agree with Q.
 */
#include "event/query.h"

#include <stdlib.h>
#include <string.h>

#include "event/stats.h"
#include "memory.h"
#include "support.h"

/* The first byte of an input. */
enum { EVENT = 1, KNOWS_FILES = 2 };

static const struct clock wall = {.wall_ns = INT64_C(1795342456218123333)};
static const struct address_range server_file = {0x100, 0x10000};
static struct decoder decoder;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct server_probe *probes = memory_grow(NULL, num_signatures, sizeof(probes[0]));

    (void)argc;
    (void)argv;
    for (size_t i = 0; i != num_signatures; ++i)
        probes[i] = (struct server_probe){.signature = &signatures[i]};
    decoder_open(&decoder, probes, num_signatures, num_signatures, false);
    free(probes);
    return 0;
}

/* The rest of an input. */
struct rest {
    const uint8_t *bytes;
    size_t size;
};

/* Takes at most `most` bytes. Fills up with zeros. Returns how many there were. */
static size_t take(struct rest *rest, void *to, size_t most)
{
    const size_t size = rest->size < most ? rest->size : most;

    memset(to, 0, most);
    if (size != 0)
        memcpy(to, rest->bytes, size);
    rest->bytes += size;
    rest->size -= size;
    return size;
}

/* --- requests --- */

/* A value in memory of its own, so that ASan sees where it ends. */
static struct value take_value(struct rest *rest, uint8_t **owned)
{
    struct value value = {.number = 0};
    uint8_t length = 0;
    size_t size;

    take(rest, &length, 1);
    *owned = NULL;
    if (length == 255) { /* unreadable */
        value.full_size = 5;
        return value;
    }
    size = length < rest->size ? length : rest->size;
    *owned = memory_grow(NULL, size != 0 ? size : 1, 1);
    take(rest, *owned, size);
    value.bytes = *owned;
    value.size = size;
    value.full_size = size + (length % 32 == 31);
    return value;
}

static void take_request(struct rest *rest, struct request *request)
{
    static const char *const names[] = {":method", ":path", "x", "y"};

    memset(request, 0, sizeof(*request));
    take(rest, &request->conn, 8);
    take(rest, &request->received_ns, 8);
    take(rest, &request->responded_ns, 8);
    take(rest, &request->ended_ns, 8);
    take(rest, &request->version, 4);
    take(rest, &request->status, 4);
    request->has_bytes = request->conn % 2 != 0;
    request->bytes = request->conn;
    request->state = (enum request_state)(request->conn % 4);
    while (rest->size != 0) {
        struct value name = {.number = 0}, value;
        uint8_t *owned, *owned_name = NULL, side = 0;
        take(rest, &side, 1);
        if (side < 128) {
            name.bytes = (const uint8_t *)names[side / 2 % 4];
            name.size = name.full_size = strlen(names[side / 2 % 4]);
        } else {
            name = take_value(rest, &owned_name);
        }
        value = take_value(rest, &owned);
        request_add_header(request, side % 2 != 0 ? RESPONSE_SIDE : REQUEST_SIDE, &name, &value);
        free(owned_name);
        free(owned);
    }
}

/* --- events --- */

static void put_counter(uint8_t *event, const struct field *field, size_t value)
{
    for (size_t i = 0; i != field->counter_width; ++i) /* little-endian, as on all platforms */
        event[field->place + i] = (uint8_t)((uint64_t)value >> (8 * i));
}

/* Makes an event of some probe. Returns its size. */
static size_t take_event(struct rest *rest, uint8_t event[EVENT_MAX])
{
    struct event_head head;
    const struct signature *signature;
    size_t end;

    take(rest, &head.id, sizeof(head.id));
    head.id = (uint16_t)(head.id % num_signatures);
    signature = &signatures[head.id];
    end = signature->size;
    take(rest, event, signature->size);
    memcpy(event, &head.id, sizeof(head.id));
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        size_t size = rest->size < field->max ? rest->size : field->max;
        if (field->counter_width == 0 || field->application_data)
            continue;
        if (field->kind == FIELD_STATS)
            size = stats_layouts[event[0] % num_stats_layouts].size;
        else if (size > 40)
            size /= 2;
        take(rest, event + end, size);
        put_counter(event, field, size);
        end += size;
    }
    return end;
}

/* --- evaluation --- */

/* What a query is evaluated for. */
struct subject {
    enum query_subject kind;
    struct request request;
    struct record record;
    bool knows_files;
};

enum { FALSE, TRUE, GAVE_UP, REFUSED };

static int evaluate(const char *text, const struct subject *subject)
{
    struct error error = {.status = ERROR_NONE};
    struct query *query = query_open(text, subject->kind, &error);
    int outcome[2];

    check((query == NULL) == (error.status == ERROR_USAGE));
    if (query == NULL) {
        check(strncmp(error.text, "-q", 2) == 0);
        check(is_tame(error.text, strlen(error.text), true));
        return REFUSED;
    }
    if (subject->knows_files)
        query_set_files(query, &server_file, 1);
    for (size_t i = 0; i != 2; ++i)
        outcome[i] = subject->kind == QUERY_REQUESTS
                         ? query_holds_for_request(query, &subject->request, &wall)
                         : query_holds_for_record(query, &subject->record, &wall);
    if (query_num_given_up(query) != 0)
        outcome[0] = GAVE_UP;
    else
        check(outcome[0] == outcome[1]);
    query_close(query);
    return outcome[0];
}

static void check_needs(const char *text, enum query_subject subject)
{
    struct error error;
    struct query *query = query_open(text, subject, &error);
    struct needs needs;

    memset(&needs, 0, sizeof(needs));
    check(query != NULL);
    query_add_needs(query, &needs);
    for (size_t i = 0; i != needs.request.count; ++i)
        check(needs.request.names[i][strcspn(needs.request.names[i], "ABCXYZ")] == '\0');
    needs_dispose(&needs);
    query_close(query);
}

/* Evaluates a query that consists of this one. The result must be `expected`. */
static void check_form(const char *begin, const char *text, const char *middle, const char *end,
                       const struct subject *subject, int expected)
{
    char *whole =
        memory_format("%s%s%s%s%s", begin, text, middle, middle[0] != '\0' ? text : "", end);
    const int outcome = evaluate(whole, subject);

    check(outcome == expected || outcome == GAVE_UP ||
          (outcome == REFUSED &&
           (strlen(whole) > QUERY_SIZE_MAX || strlen(text) >= QUERY_DEPTH_MAX)));
    free(whole);
}

static void check_query(const char *text, const struct subject *subject)
{
    const int outcome = evaluate(text, subject);

    if (outcome == REFUSED || outcome == GAVE_UP)
        return;
    check_needs(text, subject->kind);
    check_form("not(", text, "", ")", subject, !outcome);
    check_form("(", text, ")and(", ")", subject, outcome);
    check_form("(", text, ")or not not(", ")", subject, outcome);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 1 ? memchr(data + 1, '\0', size - 1) : NULL;
    const size_t length = size == 0 ? 0 : end != NULL ? (size_t)(end - data) - 1 : size - 1;
    struct rest rest = {data + 1 + length, size - 1 - length};
    static uint8_t event_bytes[EVENT_MAX];
    struct subject subject = {.kind = QUERY_REQUESTS};
    struct event event = {.bytes = event_bytes};
    char *text;

    if (size == 0)
        return 0;
    if (rest.size != 0) { /* the NUL */
        ++rest.bytes;
        --rest.size;
    }
    subject.knows_files = (data[0] & KNOWS_FILES) != 0;
    text = string_of(data + 1, length);
    if ((data[0] & EVENT) != 0) {
        subject.kind = QUERY_EVENTS;
        event.size = take_event(&rest, event_bytes);
        check(decoder_decode(&decoder, &event, &subject.record) == 0);
    } else {
        take_request(&rest, &subject.request);
    }
    check_query(text, &subject);
    request_dispose(&subject.request);
    free(text);
    return 0;
}
