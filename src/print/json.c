#include "print/json.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "event/stats.h"
#include "memory.h"
#include "print/line.h"

/* The constant parts of a probe's lines. */
struct json_probe {
    char *begin;                   /* {"type":"packet-sent","seq": */
    char *layer;                   /* ,"provider":"quicly" */
    bool has_tid;                  /* the probe has an argument tid */
    char *keys[RECORD_FIELDS_MAX]; /* of each field: ,"len": */
};

struct json {
    const struct sink_settings *settings;
    uint64_t seq;               /* number of the latest line */
    uint64_t last_ns;           /* the latest time of an event that was printed */
    struct json_probe *spelled; /* by the ids of the records */
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

/* Leaves out fields whose place in the server's struct is not certain. */
static void print_stats(const struct json *json, const struct value *value)
{
    const struct stats_layout *layouts[STATS_LAYOUTS_MAX];
    const size_t num_layouts = stats_find(value->bytes, value->size, json->settings->files,
                                          json->settings->num_files, layouts);
    struct output *output = json->settings->output;

    for (size_t i = 0; num_layouts != 0 && i != layouts[0]->num_fields; ++i) {
        const struct stats_field *field = &layouts[0]->fields[i];
        if (!stats_is_common(field, layouts + 1, num_layouts - 1))
            continue;
        output_bytes(output, ",\"", 2);
        output_string(output, field->key);
        output_bytes(output, "\":", 2);
        if (field->is_signed)
            output_signed(output, record_signed(value->bytes + field->offset, field->width));
        else
            output_unsigned(output, record_unsigned(value->bytes + field->offset, field->width));
    }
}

/*
 * Prints milliseconds since the epoch. A thread can be preempted between reading the clock and
 * reserving its place in the ring, so a time before the previous one is replaced by that.
 */
static void print_time(struct json *json, uint64_t time_ns)
{
    if (time_ns > json->last_ns)
        json->last_ns = time_ns;
    output_unsigned(json->settings->output,
                    clock_wall(json->settings->clock, json->last_ns) / 1000000);
}

static void print_value(struct json *json, const struct field *field, const struct value *value)
{
    struct output *output = json->settings->output;

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
    if (value->bytes == NULL) { /* could not be read */
        output_string(output, "null");
        return;
    }
    switch (field->kind) {
    case FIELD_ADDRESS:
        print_address(output, value->bytes);
        break;
    case FIELD_TEXT:
        line_json(output, value);
        break;
    default:
        output_bytes(output, "\"", 1);
        output_hex(output, value->bytes, value->size);
        output_bytes(output, "\"", 1);
        break;
    }
}

/* Prints one field. Each field of FIELD_STATS becomes a member. */
static void print_field(struct json *json, const struct record *record, size_t nth)
{
    struct output *output = json->settings->output;
    const struct field *field = &record->signature->fields[nth];
    const struct value *value = &record->values[nth];

    if (field->kind == FIELD_STATS && value->bytes != NULL)
        print_stats(json, value);
    if (field->kind == FIELD_STATS ||
        (field->application_data && !json->settings->application_data) ||
        (field->kind == FIELD_TIED && (record->head.flags & EVENT_TIED) == 0))
        return;
    output_string(output, json->spelled[record->id].keys[nth]);
    if ((record->head.flags & field->unread) != 0)
        output_string(output, "null");
    else
        print_value(json, field, value);
}

static int print_record(void *state, const struct record *record)
{
    struct json *json = state;
    struct output *output = json->settings->output;
    const struct json_probe *spelled = &json->spelled[record->id];

    output_string(output, spelled->begin);
    output_unsigned(output, ++json->seq);
    if (json->settings->layers) {
        output_string(output, spelled->layer);
        if (!spelled->has_tid) {
            output_string(output, ",\"tid\":");
            output_unsigned(output, record->head.tid);
        }
    }
    for (size_t i = 0; i != record->signature->num_fields; ++i)
        print_field(json, record, i);
    if (record->connection != 0) {
        output_string(output, ",\"connection\":");
        output_unsigned(output, record->connection);
    }
    output_bytes(output, "}", 1);
    output_end_line(output);
    return 0;
}

static void print_lost(void *state, uint64_t count)
{
    struct json *json = state;
    struct output *output = json->settings->output;

    output_string(output, "{\"type\":\"h2olog-event-lost\",\"seq\":");
    output_unsigned(output, ++json->seq);
    line_json_lost(json->settings, count);
}

static void spell(struct json_probe *spelled, const struct signature *signature)
{
    *spelled = (struct json_probe){
        .begin = spell_begin(signature->probe),
        .layer = memory_format(",\"provider\":\"%s\"", signature->provider),
    };
    for (size_t i = 0; i != signature->num_fields; ++i) {
        spelled->keys[i] = memory_format(",\"%s\":", signature->fields[i].key);
        spelled->has_tid |= strcmp(signature->fields[i].key, "tid") == 0;
    }
}

static void close_json(void *state)
{
    struct json *json = state;

    for (size_t i = 0; i != json->settings->num_probes; ++i) {
        free(json->spelled[i].begin);
        free(json->spelled[i].layer);
        for (size_t j = 0; j != RECORD_FIELDS_MAX; ++j)
            free(json->spelled[i].keys[j]);
    }
    free(json->spelled);
    free(json);
}

struct sink json_open(const struct sink_settings *settings)
{
    struct json *json = memory_grow(NULL, 1, sizeof(*json));

    *json = (struct json){.settings = settings};
    json->spelled = memory_grow(NULL, settings->num_probes, sizeof(json->spelled[0]));
    for (size_t i = 0; i != settings->num_probes; ++i)
        spell(&json->spelled[i], settings->probes[i].signature);
    return (struct sink){
        .state = json, .record = print_record, .lost = print_lost, .close = close_json};
}

void json_add_needs(struct needs *needs)
{
    needs->request.all = needs->response.all = true;
}
