/*
 * Passes events with arbitrary bytes through the decoder and both printers, for every signature
 * that h2o has had. A valid event must become one line, a malformed event none.
 */
#include <stdlib.h>
#include <string.h>

#include "event/record.h"
#include "memory.h"
#include "print/json.h"
#include "print/text.h"
#include "server/version.h"
#include "support.h"
#include "view.h"

/* The first byte of an input. */
enum { APPLICATION_DATA = 1, LAYERS = 2 };

static struct output output;
static const struct clock epoch;
static struct sink_settings settings;
static struct decoder decoder;
static struct sink json, text;
static bool *is_http; /* by ids: whether the text printer prints it */

/* Addresses that differ in few bits. */
static const struct address_range server_file = {0x100, 0x10000};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct server_probe *probes = memory_grow(NULL, num_signatures, sizeof(probes[0]));

    (void)argc;
    (void)argv;
    is_http = memory_grow(NULL, num_signatures, sizeof(is_http[0]));
    for (size_t i = 0; i != num_signatures; ++i) {
        probes[i] = (struct server_probe){.signature = &signatures[i]};
        is_http[i] = view_traces(view_find("http"), signatures[i].provider, signatures[i].probe);
    }
    printed_open(&output);
    settings = (struct sink_settings){.output = &output,
                                      .messages = &output,
                                      .probes = probes,
                                      .num_probes = num_signatures,
                                      .clock = &epoch,
                                      .files = &server_file,
                                      .num_files = 1};
    decoder_open(&decoder, probes, num_signatures, num_signatures, false);
    json = json_open(&settings);
    text = text_open(&settings);
    return 0;
}

/* Returns the id of an event, num_signatures or more if the event is too short. */
static uint16_t id_of(const struct event *event)
{
    return event->size < sizeof(struct event_head) ? UINT16_MAX
                                                   : (uint16_t)record_unsigned(event->bytes, 2);
}

/* Checks that at most one line was printed. Returns whether there is one. */
static bool check_line(int result, bool may_have_tabs)
{
    const size_t size = output.used;

    check(result == 0 || result == -1);
    check(output.line == size && (size != 0) == (result == 0));
    printed_forget(&output);
    if (result != 0)
        return false;
    check(output.buffer[size - 1] == '\n');
    check(is_tame(output.buffer, size - 1, may_have_tabs));
    check(may_have_tabs || is_json(output.buffer, size - 1));
    return true;
}

static bool print(const struct sink *sink, const struct event *event, bool may_have_tabs)
{
    struct record record;
    int result = decoder_decode(&decoder, event, &record);

    if (result == 0)
        result = sink->record(sink->state, &record);
    return check_line(result, may_have_tabs);
}

static uint64_t get_counter(const uint8_t *event, const struct field *field)
{
    return record_unsigned(event + field->place, field->counter_width);
}

/* Returns the largest known size of the statistics that is not larger than this. */
static size_t stats_size(size_t room)
{
    size_t size = 0;

    for (size_t i = 0; i != num_stats_layouts; ++i) {
        if (stats_layouts[i].size <= room && stats_layouts[i].size > size)
            size = stats_layouts[i].size;
    }
    return size;
}

static bool is_captured(const struct field *field, bool application_data)
{
    return field->counter_width != 0 && (application_data || !field->application_data);
}

/* Whether the size of an event matches its fields. */
static bool is_whole(const struct event *event, bool application_data)
{
    const uint16_t id = id_of(event);
    uint64_t end, size;

    if (id >= num_signatures || event->size < signatures[id].size)
        return false;
    end = signatures[id].size;
    for (size_t i = 0; i != signatures[id].num_fields; ++i) {
        const struct field *field = &signatures[id].fields[i];
        if (!is_captured(field, application_data))
            continue;
        size = get_counter(event->bytes, field);
        if (field->kind == FIELD_STATS)
            size = stats_size(size) == size ? size : 0;
        end += size < field->max ? size : field->max;
    }
    return end == event->size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event event = {.bytes = data + 1, .size = size - 1};

    if (size == 0)
        return 0;
    settings.application_data = decoder.application_data = (data[0] & APPLICATION_DATA) != 0;
    settings.layers = (data[0] & LAYERS) != 0;
    check(print(&json, &event, false) == is_whole(&event, settings.application_data));
    decoder.application_data = false;
    check(print(&text, &event, true) == (is_whole(&event, false) && is_http[id_of(&event)]));
    return 0;
}

/* --- a mutator that makes events of the right size --- */

static void set_counter(uint8_t *event, const struct field *field, size_t value)
{
    for (size_t i = 0; i != field->counter_width;
         ++i) /* little-endian, as on all platforms of h2o */
        event[field->place + i] = (uint8_t)((uint64_t)value >> (8 * i));
}

/* Returns the bytes that a field has: its counter, limited to the rest of the event. */
static size_t mend_counter(uint8_t *event, const struct field *field, size_t room)
{
    uint64_t wanted = get_counter(event, field);
    size_t most = room < field->max ? room : field->max, size;

    if (field->kind != FIELD_STATS && (wanted <= most || most == field->max))
        return wanted < most ? (size_t)wanted : most;
    size = field->kind == FIELD_STATS ? stats_size(most) : most;
    set_counter(event, field, size);
    return size;
}

/* Makes an event of some signature from bytes, with few changes. Returns its size. */
static size_t mend(uint8_t *event, size_t size, size_t max_size, bool application_data)
{
    struct event_head head = {0};
    const struct signature *signature;
    size_t end;

    memcpy(&head, event, size < sizeof(head) ? size : sizeof(head));
    head.id = (uint16_t)(head.id % num_signatures);
    signature = &signatures[head.id];
    if (signature->size > max_size)
        return size;
    if (size < signature->size) {
        memset(event + size, 0, signature->size - size);
        size = signature->size;
    }
    memcpy(event, &head, sizeof(head));
    end = signature->size;
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        if (is_captured(field, application_data))
            end += mend_counter(event, field, size - end);
    }
    return end;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, max_size);
    if (size == 0 || seed % 4 == 0)
        return size;
    return 1 + mend(data + 1, size - 1, max_size - 1, (data[0] & APPLICATION_DATA) != 0);
}
