#include "print/text.h"

#include <inttypes.h>

#include "print/escape.h"

/* Prints text, and the number of missing bytes. */
static void print_text(struct output *output, const struct value *value)
{
    size_t size = value->size;

    if (value->bytes == NULL) {
        output_string(output, "[unreadable]");
        return;
    }
    if (value->full_size > size)
        size -= escape_cut(value->bytes, size);
    escape_print(output, value->bytes, size);
    if (value->full_size > size) {
        output_string(output, " [+");
        output_unsigned(output, value->full_size - size);
        output_string(output, " bytes]");
    }
}

static void print_header(struct output *output, const struct record *record)
{
    print_text(output, record_value(record, ROLE_NAME));
    output_bytes(output, " ", 1);
    print_text(output, record_value(record, ROLE_VALUE));
}

/* h2o's http_version is major * 256 + minor. */
static void print_version(struct output *output, const struct record *record)
{
    const struct value *version = record_value(record, ROLE_HTTP_VERSION);

    output_string(output, "HTTP/");
    output_signed(output, version->integer / 256);
    output_bytes(output, ".", 1);
    output_signed(output, version->integer % 256);
}

static void print_status(struct output *output, const struct record *record)
{
    output_signed(output, record_value(record, ROLE_STATUS)->integer);
}

/* The lines: for each kind of record its tag, and the values that it needs. */
static const struct line {
    const char *tag;
    void (*print)(struct output *output, const struct record *record);
    enum record_role needs[2];
} lines[NUM_RECORD_KINDS] = {
    [RECORD_REQUEST] = {" RxProtocol ", print_version, {ROLE_HTTP_VERSION, ROLE_HTTP_VERSION}},
    [RECORD_REQUEST_HEADER] = {" RxHeader   ", print_header, {ROLE_NAME, ROLE_VALUE}},
    [RECORD_STATUS] = {" TxStatus   ", print_status, {ROLE_STATUS, ROLE_STATUS}},
    [RECORD_RESPONSE_HEADER] = {" TxHeader   ", print_header, {ROLE_NAME, ROLE_VALUE}},
};

static int print_record(void *state, const struct record *record)
{
    const struct sink_settings *settings = state;
    struct output *output = settings->output;
    const struct line *line = &lines[record->kind];
    const struct value *connection = record_value(record, ROLE_CONNECTION);
    const struct value *request = record_value(record, ROLE_REQUEST);

    if (line->print == NULL || connection == NULL || request == NULL ||
        record_value(record, line->needs[0]) == NULL ||
        record_value(record, line->needs[1]) == NULL)
        return -1;
    output_unsigned(output, connection->number);
    output_bytes(output, " ", 1);
    output_unsigned(output, request->number);
    output_string(output, line->tag);
    line->print(output, record);
    output_end_line(output);
    return 0;
}

/* Flushes the lines first, because both outputs can be the same terminal. */
static void print_lost(void *state, uint64_t count)
{
    const struct sink_settings *settings = state;

    output_flush(settings->output);
    output_say(settings->messages,
               "h2olog: %" PRIu64 " events are lost here; use a larger ring (-b)", count);
}

static void close_text(void *state)
{
    (void)state;
}

struct sink text_open(const struct sink_settings *settings)
{
    return (struct sink){
        .state = (void *)settings, .record = print_record, .lost = print_lost, .close = close_text};
}
