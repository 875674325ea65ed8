#include "print/json.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "memory.h"
#include "event/stats.h"
#include "print/escape.h"

/* What is the same in each line: "{"type":"packet-sent","seq":" and, of each field, ","len":". */
struct json_probe {
    char *begin;
    char *layer;  /* ","provider":"quicly"" */
    bool has_tid; /* an argument has it */
    char *keys[DECODE_FIELDS_MAX];
    enum connections_step step; /* what it tells of its connection, if it has one */
    size_t path;                /* of CONNECTIONS_FIRST_PATH: the field that is 0 for the first */
    uint16_t conn_unread;       /* of event_head.flags: quicly's number could not be read */
};

/* Which probes tell that a connection begins and ends. */
static const struct {
    const char *probe;
    enum connections_step step;
} steps[] = {
    {"quicly:new_path", CONNECTIONS_FIRST_PATH},
    {"quicly:accept", CONNECTIONS_BEGINS},
    {"quicly:connect", CONNECTIONS_BEGINS},
    {"quicly:free", CONNECTIONS_ENDS},
};

static char *spell_begin(const char *probe)
{
    char *begin = memory_format("{\"type\":\"%s\",\"seq\":", probe);

    for (char *at = begin; *at != '\0'; ++at) {
        if (*at == '_')
            *at = '-';
    }
    return begin;
}

static size_t num_spelled(const struct json *json)
{
    return json->num_probes + json->num_followed;
}

/* Finds out what a probe tells of its connection. */
static void find_step(struct json_probe *spelled, const struct signature *signature)
{
    bool has_path = false;

    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        if (strcmp(field->key, "conn") == 0)
            spelled->conn_unread = field->unread;
        if (strcmp(field->key, "path-index") == 0) {
            spelled->path = i;
            has_path = true;
        }
    }
    for (size_t i = 0; i != sizeof(steps) / sizeof(steps[0]); ++i) {
        if (version_matches(steps[i].probe, signature->provider, signature->probe))
            spelled->step = steps[i].step;
    }
    if (spelled->step == CONNECTIONS_FIRST_PATH && !has_path)
        spelled->step = CONNECTIONS_GOES_ON;
}

void json_open(struct json *json)
{
    connections_open(&json->connections);
    json->spelled = memory_grow(NULL, num_spelled(json), sizeof(json->spelled[0]));
    for (size_t i = 0; i != num_spelled(json); ++i) {
        const struct signature *signature = json->probes[i].signature;
        struct json_probe *spelled = &json->spelled[i];
        *spelled = (struct json_probe){
            .begin = spell_begin(signature->probe),
            .layer = memory_format(",\"provider\":\"%s\"", signature->provider),
        };
        for (size_t j = 0; j != signature->num_fields; ++j) {
            spelled->keys[j] = memory_format(",\"%s\":", signature->fields[j].key);
            spelled->has_tid |= strcmp(signature->fields[j].key, "tid") == 0;
        }
        find_step(spelled, signature);
    }
}

void json_close(struct json *json)
{
    for (size_t i = 0; i != num_spelled(json); ++i) {
        free(json->spelled[i].begin);
        free(json->spelled[i].layer);
        for (size_t j = 0; j != DECODE_FIELDS_MAX; ++j)
            free(json->spelled[i].keys[j]);
    }
    free(json->spelled);
    connections_close(&json->connections);
}

static void print_address(struct output *output, const uint8_t *bytes)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in6 sin6;
    struct sockaddr_in sin;
    sa_family_t family;

    memcpy(&family, bytes, sizeof(family));
    output_bytes(output, "\"", 1);
    if (family == AF_INET) {
        memcpy(&sin, bytes, sizeof(sin));
        inet_ntop(AF_INET, &sin.sin_addr, text, sizeof(text));
        output_string(output, text);
        output_bytes(output, ":", 1);
        output_unsigned(output, ntohs(sin.sin_port));
    } else if (family == AF_INET6) {
        memcpy(&sin6, bytes, sizeof(sin6));
        inet_ntop(AF_INET6, &sin6.sin6_addr, text, sizeof(text));
        output_bytes(output, "[", 1);
        output_string(output, text);
        output_bytes(output, "]:", 2);
        output_unsigned(output, ntohs(sin6.sin6_port));
    }
    output_bytes(output, "\"", 1);
}

/* Fields of which it is not certain that they lie where they are read are left out. */
static void print_stats(const struct json *json, const struct value *value)
{
    const struct stats_layout *layouts[STATS_LAYOUTS_MAX];
    const size_t num_layouts =
        stats_find(value->bytes, value->size, json->mapped_files, json->num_mapped_files, layouts);
    struct output *output = json->output;

    for (size_t i = 0; num_layouts != 0 && i != layouts[0]->num_fields; ++i) {
        const struct stats_field *field = &layouts[0]->fields[i];
        if (!stats_is_common(field, layouts + 1, num_layouts - 1))
            continue;
        output_bytes(output, ",\"", 2);
        output_string(output, field->key);
        output_bytes(output, "\":", 2);
        if (field->is_signed)
            output_signed(output, decode_signed(value->bytes + field->offset, field->width));
        else
            output_unsigned(output, decode_unsigned(value->bytes + field->offset, field->width));
    }
}

static void print_text(struct output *output, const struct value *value)
{
    size_t size = value->size;

    if (value->full_size > size)
        size -= escape_cut(value->bytes, size);
    output_bytes(output, "\"", 1);
    escape_print_json(output, value->bytes, size);
    output_bytes(output, "\"", 1);
}

/*
 * Milliseconds since the epoch. The order of events is the ring's; a thread can be preempted
 * between the stamp and its place there, and is not to seem to be earlier than what is before it.
 */
static void print_time(struct json *json, uint64_t time_ns)
{
    if (time_ns > json->last_ns)
        json->last_ns = time_ns;
    output_unsigned(json->output, (json->last_ns + (uint64_t)json->wall_ns) / 1000000);
}

static void print_value(struct json *json, const struct field *field, const struct value *value)
{
    struct output *output = json->output;

    switch (field->kind) {
    case FIELD_UNSIGNED:
    case FIELD_TIED:
        output_unsigned(output, value->number);
        return;
    case FIELD_STAMP:
        print_time(json, value->number);
        return;
    case FIELD_SIGNED:
        output_signed(output, value->integer);
        return;
    default:
        break;
    }
    if (value->bytes == NULL) { /* the server's page was not in memory: not the same as empty */
        output_string(output, "null");
        return;
    }
    switch (field->kind) {
    case FIELD_ADDRESS:
        print_address(output, value->bytes);
        break;
    case FIELD_TEXT:
        print_text(output, value);
        break;
    default:
        output_bytes(output, "\"", 1);
        output_hex(output, value->bytes, value->size);
        output_bytes(output, "\"", 1);
        break;
    }
}

/* The connection of an event; NULL if it has none. */
static struct connection *follow(struct json *json, const struct json_probe *spelled,
                                 const struct event_head *head, const struct value *values)
{
    enum connections_step step = spelled->step;

    if (head->connection == 0)
        return NULL;
    if (step == CONNECTIONS_FIRST_PATH && values[spelled->path].number != 0)
        step = CONNECTIONS_GOES_ON;
    return connections_follow(&json->connections, step, head->connection,
                              (head->flags & spelled->conn_unread) != 0 ? NULL : &head->conn);
}

int json_print(struct json *json, const struct event *event)
{
    struct output *output = json->output;
    struct value values[DECODE_FIELDS_MAX];
    const struct json_probe *spelled;
    const struct signature *signature;
    struct connection *connection;
    struct event_head head;
    uint16_t id = decode_id(event);

    if (id >= num_spelled(json))
        return -1;
    signature = json->probes[id].signature;
    spelled = &json->spelled[id];
    if (decode(signature, json->application_data, event, &head, values) != 0)
        return -1;
    connection = follow(json, spelled, &head, values);
    if (id >= json->num_probes)
        return 0;
    output_string(output, spelled->begin);
    output_unsigned(output, ++json->seq);
    if (json->layers) {
        output_string(output, spelled->layer);
        if (!spelled->has_tid) {
            output_string(output, ",\"tid\":");
            output_unsigned(output, head.tid);
        }
    }
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        if (field->kind == FIELD_STATS && values[i].bytes != NULL)
            print_stats(json, &values[i]);
        if (field->kind == FIELD_STATS || (field->application_data && !json->application_data) ||
            (field->kind == FIELD_TIED && (head.flags & EVENT_TIED) == 0))
            continue;
        output_string(output, spelled->keys[i]);
        if ((head.flags & field->unread) != 0)
            output_string(output, "null");
        else
            print_value(json, field, &values[i]);
    }
    if (connection != NULL) {
        output_string(output, ",\"connection\":");
        output_unsigned(output, connections_number(&json->connections, connection));
    }
    output_bytes(output, "}", 1);
    output_end_line(output);
    return 0;
}

void json_print_lost(struct json *json, uint64_t time_ns, uint64_t count)
{
    output_string(json->output, "{\"type\":\"h2olog-event-lost\",\"seq\":");
    output_unsigned(json->output, ++json->seq);
    output_string(json->output, ",\"time\":");
    output_unsigned(json->output, (time_ns + (uint64_t)json->wall_ns) / 1000000);
    output_string(json->output, ",\"lost\":");
    output_unsigned(json->output, count);
    output_bytes(json->output, "}", 1);
    output_end_line(json->output);
}
