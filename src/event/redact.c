#include "event/redact.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memory.h"

const char *const redact_default_names[] = {"cookie", "set-cookie", "authorization",
                                            "proxy-authorization"};
const size_t redact_num_default_names =
    sizeof(redact_default_names) / sizeof(redact_default_names[0]);

struct redact {
    const struct redaction *redaction;
    struct sink next;
    char text[48]; /* "[redacted, 21 bytes]" */
};

static bool is_named(const struct value *name, const char *wanted)
{
    const size_t size = strlen(wanted);

    return name->bytes != NULL && name->size == size && name->full_size == size &&
           strncasecmp((const char *)name->bytes, wanted, size) == 0;
}

static bool is_one_of(const struct value *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i != count; ++i) {
        if (is_named(name, names[i]))
            return true;
    }
    return false;
}

/* A header whose name could not be read can be any of them. */
static bool is_hidden(const struct redaction *redaction, const struct value *name)
{
    return redaction->num_names != 0 &&
           (name->bytes == NULL || is_one_of(name, redaction->names, redaction->num_names));
}

static bool is_shown(const struct redaction *redaction, enum request_side side,
                     const struct value *name)
{
    const struct redact_headers *headers =
        side == REQUEST_SIDE ? &redaction->request : &redaction->response;

    if (headers->all || is_one_of(name, headers->names, headers->count))
        return true;
    return redaction->keeps_pseudo && side == REQUEST_SIDE && name->bytes != NULL &&
           name->size != 0 && name->bytes[0] == ':';
}

/* The place of '?' in a path whose rest is not to be shown, NULL if there is none. */
static const uint8_t *find_query(const struct redaction *redaction, enum request_side side,
                                 const struct value *name, const struct value *value)
{
    if (!redaction->strips_query || side != REQUEST_SIDE || value->bytes == NULL ||
        !is_named(name, ":path"))
        return NULL;
    return memchr(value->bytes, '?', value->size);
}

/* --- records --- */

static void hide_value(struct redact *redact, struct value *value)
{
    const int length = snprintf(redact->text, sizeof(redact->text), "[redacted, %" PRIu64 " bytes]",
                                value->full_size);

    value->bytes = (const uint8_t *)redact->text;
    value->size = value->full_size = (size_t)length;
}

static int redact_header(struct redact *redact, enum request_side side, const struct record *record)
{
    const struct redaction *redaction = redact->redaction;
    const struct value *name = record_value(record, ROLE_NAME);
    const struct value *value = record_value(record, ROLE_VALUE);
    const uint8_t *query;
    struct record copy;
    struct value *changed;

    if (!is_shown(redaction, side, name))
        return 0;
    query = find_query(redaction, side, name, value);
    if (query == NULL && !(value->bytes != NULL && is_hidden(redaction, name)))
        return redact->next.record(redact->next.state, record);
    copy = *record;
    changed = &copy.values[record->roles[ROLE_VALUE]];
    if (is_hidden(redaction, name))
        hide_value(redact, changed);
    else
        changed->size = changed->full_size = (size_t)(query - value->bytes);
    return redact->next.record(redact->next.state, &copy);
}

static int redact_record(void *state, const struct record *record)
{
    struct redact *redact = state;
    const bool is_header =
        record->kind == RECORD_REQUEST_HEADER || record->kind == RECORD_RESPONSE_HEADER;

    if (is_header && record_value(record, ROLE_NAME) != NULL &&
        record_value(record, ROLE_VALUE) != NULL)
        return redact_header(
            redact, record->kind == RECORD_REQUEST_HEADER ? REQUEST_SIDE : RESPONSE_SIDE, record);
    return redact->next.record(redact->next.state, record);
}

/* --- requests --- */

static void redact_request(void *state, struct request *request)
{
    struct redact *redact = state;
    const struct redaction *redaction = redact->redaction;
    struct request_header header;
    size_t at = 0, here = 0;

    for (; request_next_header(request, &at, &header); here = at) {
        const uint8_t *query = find_query(redaction, header.side, &header.name, &header.value);
        if (!is_shown(redaction, header.side, &header.name))
            request_hide_header(request, here);
        else if (is_hidden(redaction, &header.name))
            request_redact_header(request, here);
        else if (query != NULL)
            request_shorten_header(request, here, (size_t)(query - header.value.bytes));
    }
    redact->next.request(redact->next.state, request);
}

/* --- the stage --- */

static void redact_lost(void *state, uint64_t count)
{
    struct redact *redact = state;

    redact->next.lost(redact->next.state, count);
}

static void redact_tick(void *state, uint64_t now_ns)
{
    struct redact *redact = state;

    redact->next.tick(redact->next.state, now_ns);
}

static void redact_finish(void *state)
{
    struct redact *redact = state;

    redact->next.finish(redact->next.state);
}

static void redact_close(void *state)
{
    struct redact *redact = state;

    redact->next.close(redact->next.state);
    free(redact);
}

struct sink redact_open(const struct redaction *redaction, struct sink next)
{
    struct redact *redact = memory_grow(NULL, 1, sizeof(*redact));

    *redact = (struct redact){.redaction = redaction, .next = next};
    return (struct sink){.state = redact,
                         .record = next.record != NULL ? redact_record : NULL,
                         .request = next.request != NULL ? redact_request : NULL,
                         .lost = redact_lost,
                         .tick = next.tick != NULL ? redact_tick : NULL,
                         .finish = next.finish != NULL ? redact_finish : NULL,
                         .close = redact_close};
}
