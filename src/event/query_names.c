#include <stdio.h>
#include <string.h>

#include "query_tree.h"

static const char *const states[] = {"complete", "unfinished", "incomplete", "begun-before-trace",
                                     NULL};
static const char *const protocols[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3", NULL};

static const struct query_subject_name request_names[] = {
    {"time", NAME_TIME, TYPE_NUMBER, NULL, NULL},
    {"connection", NAME_CONNECTION, TYPE_NUMBER, NULL, NULL},
    {"conn", NAME_CONN, TYPE_NUMBER, NULL, NULL},
    {"req", NAME_REQ, TYPE_NUMBER, NULL, NULL},
    {"protocol", NAME_PROTOCOL, TYPE_TEXT, NULL, protocols},
    {"method", NAME_PSEUDO, TYPE_TEXT, ":method", NULL},
    {"scheme", NAME_PSEUDO, TYPE_TEXT, ":scheme", NULL},
    {"authority", NAME_PSEUDO, TYPE_TEXT, ":authority", NULL},
    {"path", NAME_PSEUDO, TYPE_TEXT, ":path", NULL},
    {"status", NAME_STATUS, TYPE_NUMBER, NULL, NULL},
    {"ttfb-us", NAME_TTFB, TYPE_NUMBER | TYPE_DURATION, NULL, NULL},
    {"ttfb", NAME_TTFB, TYPE_NUMBER | TYPE_DURATION | TYPE_UNITED, NULL, NULL},
    {"duration-us", NAME_DURATION, TYPE_NUMBER | TYPE_DURATION, NULL, NULL},
    {"duration", NAME_DURATION, TYPE_NUMBER | TYPE_DURATION | TYPE_UNITED, NULL, NULL},
    {"bytes", NAME_BYTES, TYPE_NUMBER, NULL, NULL},
    {"state", NAME_STATE, TYPE_TEXT, NULL, states},
    {"truncated", NAME_TRUNCATED, TYPE_FLAG, NULL, NULL},
};

/* Names of events besides the fields of their probes. */
static const struct query_subject_name event_names[] = {
    {"type", NAME_TYPE, TYPE_TEXT, NULL, NULL},
    {"provider", NAME_PROVIDER, TYPE_TEXT, NULL, NULL},
    {"connection", NAME_CONNECTION, TYPE_NUMBER, NULL, NULL},
    {"tid", NAME_TID, TYPE_NUMBER, NULL, NULL},
};

#define NUM_REQUEST_NAMES (sizeof(request_names) / sizeof(request_names[0]))
#define NUM_EVENT_NAMES   (sizeof(event_names) / sizeof(event_names[0]))

/* --- the fields of all probes --- */

static enum query_types type_of(enum field_kind kind)
{
    switch (kind) {
    case FIELD_UNSIGNED:
    case FIELD_SIGNED:
    case FIELD_TIED:
    case FIELD_STAMP:
        return TYPE_NUMBER;
    case FIELD_ADDRESS:
        return TYPE_ADDRESS;
    case FIELD_TEXT:
        return TYPE_TEXT;
    default:
        return TYPE_BYTES;
    }
}

/* Calls `visit` for each key of an event in the JSON output, several times if several have it. */
static void visit_fields(void (*visit)(void *state, const char *key, enum query_types type),
                         void *state)
{
    for (size_t i = 0; i != num_signatures + PROBE_ARGUMENTS_MAX + 1; ++i) {
        const struct signature *signature =
            i < num_signatures ? &signatures[i] : &generic_signatures[i - num_signatures];
        for (size_t j = 0; j != signature->num_fields; ++j) {
            const struct field *field = &signature->fields[j];
            if (field->kind != FIELD_STATS) /* its members are fields of the event */
                visit(state, field->key, type_of(field->kind));
        }
    }
    for (size_t i = 0; i != num_stats_layouts; ++i) {
        for (size_t j = 0; j != stats_layouts[i].num_fields; ++j)
            visit(state, stats_layouts[i].fields[j].key, TYPE_NUMBER);
    }
}

static void add_type(void *state, const char *key, enum query_types type)
{
    struct query_subject_name *name = state;

    if (strcmp(key, name->key) != 0)
        return;
    name->name = NAME_FIELD;
    name->types |= type;
}

struct query_subject_name query_find_name(enum query_subject subject, const char *key)
{
    const bool is_request = subject == QUERY_REQUESTS;
    const struct query_subject_name *names = is_request ? request_names : event_names;
    struct query_subject_name found = {.key = key, .name = NAME_UNKNOWN};

    for (size_t i = 0; i != (is_request ? NUM_REQUEST_NAMES : NUM_EVENT_NAMES); ++i) {
        if (strcmp(names[i].key, key) == 0)
            return names[i];
    }
    if (!is_request)
        visit_fields(add_type, &found);
    return found;
}

/* --- suggestions --- */

#define KEY_MAX 40 /* the longest key has 38 bytes */

/* The number of changes, insertions and removals from one word to the other. */
static size_t distance(const char *word, const char *other)
{
    const size_t length = strlen(word), width = strlen(other);
    size_t row[KEY_MAX + 1];

    if (length > KEY_MAX || width > KEY_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= width; ++j)
        row[j] = j;
    for (size_t i = 0; i != length; ++i) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j != width; ++j) {
            size_t least = diagonal + ((word[i] | 0x20) != (other[j] | 0x20));
            diagonal = row[j + 1];
            if (row[j] + 1 < least)
                least = row[j] + 1;
            if (diagonal + 1 < least)
                least = diagonal + 1;
            row[j + 1] = least;
        }
    }
    return row[width];
}

#define NEAREST_MAX 3

struct nearest {
    const char *word;
    size_t count;
    const char *keys[NEAREST_MAX]; /* the nearest first */
    size_t distances[NEAREST_MAX];
};

static void offer(void *state, const char *key, enum query_types type)
{
    struct nearest *nearest = state;
    const size_t far = distance(nearest->word, key), length = strlen(nearest->word);
    size_t at = 0;

    (void)type;
    if (far > (length < 6 ? 1 + length / 3 : length / 3))
        return;
    for (size_t i = 0; i != nearest->count; ++i) {
        if (strcmp(nearest->keys[i], key) == 0)
            return;
        at += nearest->distances[i] <= far;
    }
    if (at == NEAREST_MAX)
        return;
    nearest->count += nearest->count != NEAREST_MAX;
    for (size_t i = nearest->count - 1; i != at; --i) {
        nearest->keys[i] = nearest->keys[i - 1];
        nearest->distances[i] = nearest->distances[i - 1];
    }
    nearest->keys[at] = key;
    nearest->distances[at] = far;
}

void query_suggest(enum query_subject subject, const char *key, char *text, size_t size)
{
    const bool is_request = subject == QUERY_REQUESTS;
    const struct query_subject_name *names = is_request ? request_names : event_names;
    struct nearest nearest = {.word = key};
    size_t used = 0;

    for (size_t i = 0; i != (is_request ? NUM_REQUEST_NAMES : NUM_EVENT_NAMES); ++i)
        offer(&nearest, names[i].key, TYPE_NUMBER);
    if (!is_request)
        visit_fields(offer, &nearest);
    while (nearest.count != 0 && nearest.distances[nearest.count - 1] > nearest.distances[0] + 1)
        --nearest.count;
    if (nearest.count == 0)
        snprintf(text, size,
                 "; names are the keys of the JSON output, rx.NAME (request headers) and "
                 "tx.NAME (response headers)");
    for (size_t i = 0; i != nearest.count && used < size; ++i)
        used += (size_t)snprintf(text + used, size - used, "%s'%s'%s",
                                 i == 0                   ? "; did you mean "
                                 : i + 1 == nearest.count ? " or "
                                                          : ", ",
                                 nearest.keys[i], i + 1 == nearest.count ? "?" : "");
}
