#include "event/record.h"

#include <stdlib.h>
#include <string.h>

#include "event/stats.h"
#include "memory.h"

uint64_t record_unsigned(const uint8_t *bytes, size_t width)
{
    uint64_t value64;
    uint32_t value32;
    uint16_t value16;

    switch (width) {
    case 1:
        return bytes[0];
    case 2:
        memcpy(&value16, bytes, 2);
        return value16;
    case 4:
        memcpy(&value32, bytes, 4);
        return value32;
    default:
        memcpy(&value64, bytes, 8);
        return value64;
    }
}

int64_t record_signed(const uint8_t *bytes, size_t width)
{
    uint64_t value = record_unsigned(bytes, width);

    switch (width) {
    case 1:
        return (int8_t)value;
    case 2:
        return (int16_t)value;
    case 4:
        return (int32_t)value;
    default:
        return (int64_t)value;
    }
}

/* Decodes a value of variable size, which begins at *end. */
static int decode_variable(const struct field *field, const struct event *event, int unread,
                           size_t *end, struct value *value)
{
    uint64_t size = record_unsigned(event->bytes + field->place, field->counter_width);

    value->full_size = size;
    /* a string of the captured size may be truncated or complete; treat it as truncated */
    if (field->kind == FIELD_TEXT && size == EVENT_STRING_MAX - 1 && field->max == EVENT_STRING_MAX)
        ++value->full_size;
    if (field->kind == FIELD_STATS && !stats_is_known_size(size))
        size = 0;
    if (size > field->max)
        size = field->max;
    if (size > event->size - *end)
        return -1;
    value->size = (size_t)size;
    value->bytes = unread ? NULL : event->bytes + *end;
    *end += (size_t)size;
    return 0;
}

int record_decode(const struct signature *signature, bool application_data,
                  const struct event *event, struct event_head *head, struct value *values)
{
    size_t end = signature->size;
    unsigned nth = 0;

    if (event->size < signature->size || event->size < sizeof(*head))
        return -1;
    memcpy(head, event->bytes, sizeof(*head));
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        switch (field->kind) {
        case FIELD_UNSIGNED:
        case FIELD_TIED:
        case FIELD_STAMP:
            values[i].number = record_unsigned(event->bytes + field->place, field->width);
            break;
        case FIELD_SIGNED:
            values[i].integer = record_signed(event->bytes + field->place, field->width);
            break;
        case FIELD_ADDRESS:
            values[i].bytes = event->bytes + field->place;
            values[i].size = values[i].full_size = field->width;
            break;
        case FIELD_TEXT:
        case FIELD_BYTES:
        case FIELD_STATS:
            if (field->application_data && !application_data)
                values[i] = (struct value){0};
            else if (decode_variable(field, event, head->flags >> nth & 1, &end, &values[i]) != 0)
                return -1;
            ++nth;
            break;
        }
    }
    return end == event->size ? 0 : -1;
}

/* The probes of requests, with all names that h2o has used. */
static const struct {
    const char *probe;
    enum record_kind kind;
} kinds[] = {
    {"h2o:receive_request", RECORD_REQUEST},
    {"h2o:receive_request_header", RECORD_REQUEST_HEADER},
    {"h2o:send_response", RECORD_STATUS},
    {"h2o:send_response_status", RECORD_STATUS}, /* until 2019-12-15 */
    {"h2o:send_response_header", RECORD_RESPONSE_HEADER},
    {"h2o:h3_stream_set_state", RECORD_STREAM_STATE}, /* until 2020-07-21 */
    {"h2o:h3s_stream_set_state", RECORD_STREAM_STATE},
    {"h2o:h3s_stream_stats", RECORD_STREAM_STATS},
    {"h2o:h1_close", RECORD_CONNECTION_CLOSED},
    {"h2o:h3_close", RECORD_CONNECTION_CLOSED}, /* until 2020-07-21 */
    {"h2o:h3s_destroy", RECORD_CONNECTION_CLOSED},
};

/* The probes at the begin and the end of a connection. */
static const struct {
    const char *probe;
    enum connections_step step;
} steps[] = {
    {"quicly:new_path", CONNECTIONS_FIRST_PATH},
    {"quicly:accept", CONNECTIONS_BEGINS},
    {"quicly:connect", CONNECTIONS_BEGINS},
    {"quicly:free", CONNECTIONS_ENDS},
};

/* The keys of the fields with a role. */
static const char *const role_keys[NUM_ROLES] = {
    [ROLE_CONNECTION] = "conn-id",
    [ROLE_REQUEST] = "req-id",
    [ROLE_HTTP_VERSION] = "http-version",
    [ROLE_NAME] = "name",
    [ROLE_VALUE] = "value",
    [ROLE_STATUS] = "status",
    [ROLE_PATH_INDEX] = "path-index",
    [ROLE_CONN] = "conn",
    [ROLE_STATE] = "state",
    [ROLE_BODY_BYTES] = "response-body-bytes",
    [ROLE_TIME] = "time",
};

static int8_t find_role(const struct decoder_probe *probe, enum record_role role)
{
    const struct signature *signature = probe->signature;
    /* the request id of HTTP/3 is the number of the stream */
    const char *key =
        role == ROLE_REQUEST && probe->kind == RECORD_STREAM_STATS ? "stream-id" : role_keys[role];

    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        if (strcmp(field->key, key) == 0 && (role != ROLE_TIME || field->kind == FIELD_STAMP))
            return (int8_t)i;
    }
    return -1;
}

static void open_probe(struct decoder_probe *probe, const struct signature *signature)
{
    *probe = (struct decoder_probe){.signature = signature};
    for (size_t i = 0; i != sizeof(kinds) / sizeof(kinds[0]); ++i) {
        if (version_matches(kinds[i].probe, signature->provider, signature->probe))
            probe->kind = kinds[i].kind;
    }
    for (size_t role = 0; role != NUM_ROLES; ++role)
        probe->roles[role] = find_role(probe, (enum record_role)role);
    for (size_t i = 0; i != sizeof(steps) / sizeof(steps[0]); ++i) {
        if (version_matches(steps[i].probe, signature->provider, signature->probe))
            probe->step = steps[i].step;
    }
    if (probe->step == CONNECTIONS_FIRST_PATH && probe->roles[ROLE_PATH_INDEX] < 0)
        probe->step = CONNECTIONS_GOES_ON;
    if (probe->roles[ROLE_CONN] >= 0)
        probe->conn_unread = signature->fields[probe->roles[ROLE_CONN]].unread;
}

void decoder_open(struct decoder *decoder, const struct server_probe *probes, size_t num_printed,
                  size_t num_probes, bool application_data)
{
    *decoder = (struct decoder){.num_probes = num_probes, .application_data = application_data};
    decoder->probes = memory_grow(NULL, num_probes, sizeof(decoder->probes[0]));
    for (size_t i = 0; i != num_probes; ++i) {
        open_probe(&decoder->probes[i], probes[i].signature);
        decoder->probes[i].is_printed = i < num_printed;
    }
    connections_open(&decoder->connections);
}

void decoder_close(struct decoder *decoder)
{
    free(decoder->probes);
    connections_close(&decoder->connections);
}

/* Connections get numbers in the order of their first printed events. */
static uint64_t follow(struct decoder *decoder, const struct decoder_probe *probe,
                       const struct record *record)
{
    const struct event_head *head = &record->head;
    enum connections_step step = probe->step;
    struct connection *connection;

    if (head->connection == 0)
        return 0;
    if (step == CONNECTIONS_FIRST_PATH && record_value(record, ROLE_PATH_INDEX)->number != 0)
        step = CONNECTIONS_GOES_ON;
    connection = connections_follow(&decoder->connections, step, head->connection,
                                    (head->flags & probe->conn_unread) != 0 ? NULL : &head->conn);
    return record->is_printed ? connections_number(&decoder->connections, connection) : 0;
}

int decoder_decode(struct decoder *decoder, const struct event *event, struct record *record)
{
    const struct decoder_probe *probe;
    uint16_t id;

    if (event->size < sizeof(struct event_head))
        return -1;
    memcpy(&id, event->bytes + offsetof(struct event_head, id), sizeof(id));
    if (id >= decoder->num_probes)
        return -1;
    probe = &decoder->probes[id];
    if (record_decode(probe->signature, decoder->application_data, event, &record->head,
                      record->values) != 0)
        return -1;
    record->id = id;
    record->is_printed = probe->is_printed;
    record->kind = probe->kind;
    record->signature = probe->signature;
    record->roles = probe->roles;
    record->connection = follow(decoder, probe, record);
    return 0;
}
