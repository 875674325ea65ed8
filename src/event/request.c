#include "event/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memory.h"

/*
 * A header in the buffer: this head, the full sizes if ENTRY_SIZES is set, the bytes of the name,
 * the bytes of the value. Entries are not aligned.
 */
struct entry {
    uint8_t side;
    uint8_t flags;
    uint16_t name_size;
    uint16_t value_size; /* bytes in the buffer */
    uint16_t shown_size; /* after request_shorten_header */
};

#define ENTRY_SIZES            1 /* struct full_sizes follows */
#define ENTRY_NAME_UNREADABLE  2
#define ENTRY_VALUE_UNREADABLE 4
#define ENTRY_REDACTED         8
#define ENTRY_SHORTENED        16
#define ENTRY_HIDDEN           32

/* Sizes in the server, in bytes. */
struct full_sizes {
    uint64_t name, value;
};

/* The buffer begins with this size, and grows by a quarter, in multiples of GROWTH bytes. */
#define FIRST_SIZE 512
#define GROWTH     128

/* h2o accepts 100 headers in a request. A server that fires more without an end is not h2o. */
#define HEADERS_MAX ((size_t)4 << 20)

static uint8_t *reserve(struct request *request, size_t size)
{
    const size_t needed = request->used + size;
    size_t allocated = request->allocated + request->allocated / 4;

    if (needed > request->allocated) {
        if (allocated < FIRST_SIZE)
            allocated = FIRST_SIZE;
        if (allocated < needed)
            allocated = needed;
        allocated = (allocated + GROWTH - 1) / GROWTH * GROWTH;
        request->headers = memory_grow(request->headers, allocated, 1);
        request->allocated = (uint32_t)allocated;
    }
    return request->headers + request->used;
}

/* The bytes of a text that are kept. */
static uint16_t kept_size(const struct value *text, size_t max)
{
    if (text->bytes == NULL)
        return 0;
    return (uint16_t)(text->size < max ? text->size : max);
}

static uint8_t *put(uint8_t *to, const void *bytes, size_t size)
{
    if (size != 0)
        memcpy(to, bytes, size);
    return to + size;
}

void request_add_header(struct request *request, enum request_side side, const struct value *name,
                        const struct value *value)
{
    struct entry entry = {.side = (uint8_t)side,
                          .name_size = kept_size(name, EVENT_NAME_MAX),
                          .value_size = kept_size(value, EVENT_TEXT_MAX)};
    const struct full_sizes full = {name->full_size, value->full_size};
    uint8_t *to;

    if (request->used >= HEADERS_MAX) {
        request->is_truncated = true;
        return;
    }
    entry.shown_size = entry.value_size;
    if (name->bytes == NULL)
        entry.flags |= ENTRY_NAME_UNREADABLE;
    else if (full.name > entry.name_size)
        request->is_truncated = true;
    if (value->bytes == NULL)
        entry.flags |= ENTRY_VALUE_UNREADABLE;
    else if (full.value > entry.value_size)
        request->is_truncated = true;
    if (full.name != entry.name_size || full.value != entry.value_size)
        entry.flags |= ENTRY_SIZES;
    to = reserve(request, sizeof(entry) + sizeof(full) + entry.name_size + entry.value_size);
    to = put(to, &entry, sizeof(entry));
    if ((entry.flags & ENTRY_SIZES) != 0)
        to = put(to, &full, sizeof(full));
    to = put(to, name->bytes, entry.name_size);
    to = put(to, value->bytes, entry.value_size);
    request->used = (uint32_t)(to - request->headers);
}

/* An entry, copied from the buffer. `name` and `value` point into the buffer. */
struct reading {
    struct entry entry;
    struct full_sizes full;
    const uint8_t *name, *value;
    size_t end; /* where the next entry begins */
};

static struct reading read_entry(const struct request *request, size_t at)
{
    const uint8_t *from = request->headers + at;
    struct reading reading;

    memcpy(&reading.entry, from, sizeof(reading.entry));
    from += sizeof(reading.entry);
    reading.full = (struct full_sizes){reading.entry.name_size, reading.entry.value_size};
    if ((reading.entry.flags & ENTRY_SIZES) != 0) {
        memcpy(&reading.full, from, sizeof(reading.full));
        from += sizeof(reading.full);
    }
    reading.name = from;
    reading.value = from + reading.entry.name_size;
    reading.end = (size_t)(reading.value + reading.entry.value_size - request->headers);
    return reading;
}

/* Shows "[redacted, 21 bytes]" as the value. */
static void redact(struct request_header *header, uint64_t size)
{
    int length =
        snprintf(header->text, sizeof(header->text), "[redacted, %" PRIu64 " bytes]", size);

    header->is_redacted = true;
    header->value.bytes = (const uint8_t *)header->text;
    header->value.size = header->value.full_size = (size_t)length;
}

bool request_next_header(const struct request *request, size_t *at, struct request_header *header)
{
    struct reading reading;
    uint8_t flags;

    do {
        if (*at >= request->used)
            return false;
        reading = read_entry(request, *at);
        flags = reading.entry.flags;
        *at = reading.end;
    } while ((flags & ENTRY_HIDDEN) != 0);
    header->side = (enum request_side)reading.entry.side;
    header->name.bytes = (flags & ENTRY_NAME_UNREADABLE) != 0 ? NULL : reading.name;
    header->name.size = reading.entry.name_size;
    header->name.full_size = reading.full.name;
    header->value.bytes = (flags & ENTRY_VALUE_UNREADABLE) != 0 ? NULL : reading.value;
    header->value.size = reading.entry.shown_size;
    header->value.full_size =
        (flags & ENTRY_SHORTENED) != 0 ? reading.entry.shown_size : reading.full.value;
    header->is_redacted = false;
    if ((flags & ENTRY_REDACTED) != 0)
        redact(header, reading.full.value);
    return true;
}

bool request_find_header(const struct request *request, enum request_side side, const char *name,
                         struct request_header *header)
{
    const size_t size = strlen(name);
    size_t at = 0;

    while (at < request->used) {
        const struct reading reading = read_entry(request, at);
        if (reading.entry.side == (uint8_t)side && reading.entry.name_size == size &&
            reading.full.name == size &&
            (reading.entry.flags & (ENTRY_NAME_UNREADABLE | ENTRY_HIDDEN)) == 0 &&
            strncasecmp((const char *)reading.name, name, size) == 0)
            return request_next_header(request, &at, header);
        at = reading.end;
    }
    return false;
}

static void write_entry(struct request *request, size_t at, const struct entry *entry)
{
    memcpy(request->headers + at, entry, sizeof(*entry));
}

void request_redact_header(struct request *request, size_t at)
{
    struct entry entry = read_entry(request, at).entry;

    entry.flags |= ENTRY_REDACTED;
    write_entry(request, at, &entry);
}

static bool is_truncated(const struct request *request)
{
    struct request_header header;
    size_t at = 0;

    while (request_next_header(request, &at, &header)) {
        if ((header.name.bytes != NULL && header.name.full_size > header.name.size) ||
            (header.value.bytes != NULL && header.value.full_size > header.value.size))
            return true;
    }
    return false;
}

void request_hide_header(struct request *request, size_t at)
{
    struct entry entry = read_entry(request, at).entry;

    entry.flags |= ENTRY_HIDDEN;
    write_entry(request, at, &entry);
    if (request->is_truncated)
        request->is_truncated = is_truncated(request);
}

void request_shorten_header(struct request *request, size_t at, size_t size)
{
    struct entry entry = read_entry(request, at).entry;

    if (size < entry.shown_size)
        entry.shown_size = (uint16_t)size;
    entry.flags |= ENTRY_SHORTENED;
    write_entry(request, at, &entry);
    if (request->is_truncated)
        request->is_truncated = is_truncated(request);
}

void request_dispose(struct request *request)
{
    free(request->headers);
    request->headers = NULL;
    request->used = request->allocated = 0;
}

const char *request_state_name(enum request_state state)
{
    static const char *const names[] = {
        [REQUEST_COMPLETE] = "complete",
        [REQUEST_UNFINISHED] = "unfinished",
        [REQUEST_INCOMPLETE] = "incomplete",
        [REQUEST_BEGUN] = "begun-before-trace",
    };

    return names[state];
}
