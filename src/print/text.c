#include "print/text.h"

#include <stdlib.h>

#include "memory.h"
#include "print/escape.h"
#include "print/line.h"
#include "print/local_time.h"

/* Where a time is not known: as wide as "10:29:34.120318 ". */
#define NO_TIME "-               "

struct text {
    const struct sink_settings *settings;
    struct local_time local;
};

/* A line's tag, with the spaces around it. */
#define TAG_REQUEST         " RxProtocol "
#define TAG_REQUEST_HEADER  " RxHeader   "
#define TAG_STATUS          " TxStatus   "
#define TAG_RESPONSE_HEADER " TxHeader   "
#define TAG_STATE           " State      "

/* Begins a line. `time_ns` is a time of the events' clock, 0 if it is not known. */
static void begin_line(struct text *text, uint64_t time_ns, uint64_t conn, uint64_t req,
                       const char *tag)
{
    struct output *output = text->settings->output;

    if (text->settings->timestamps && time_ns != 0) {
        local_time_print(&text->local, output, clock_wall(text->settings->clock, time_ns));
        output_bytes(output, " ", 1);
    } else if (text->settings->timestamps) {
        output_string(output, NO_TIME);
    }
    output_unsigned(output, conn);
    output_bytes(output, " ", 1);
    output_unsigned(output, req);
    output_string(output, tag);
}

static void print_header(struct output *output, const struct value *name, const struct value *value)
{
    line_text(output, escape_print, name);
    output_bytes(output, " ", 1);
    line_text(output, escape_print, value);
}

/* h2o's http_version is major * 256 + minor. */
static void print_version(struct output *output, int64_t version)
{
    output_string(output, "HTTP/");
    output_signed(output, version / 256);
    output_bytes(output, ".", 1);
    output_signed(output, version % 256);
}

static void print_version_of(struct output *output, const struct record *record)
{
    print_version(output, record_value(record, ROLE_HTTP_VERSION)->integer);
}

static void print_header_of(struct output *output, const struct record *record)
{
    print_header(output, record_value(record, ROLE_NAME), record_value(record, ROLE_VALUE));
}

static void print_status_of(struct output *output, const struct record *record)
{
    output_signed(output, record_value(record, ROLE_STATUS)->integer);
}

/* The lines: for each kind of record its tag, and the values that it needs. */
static const struct line {
    const char *tag;
    void (*print)(struct output *output, const struct record *record);
    enum record_role needs[2];
} lines[NUM_RECORD_KINDS] = {
    [RECORD_REQUEST] = {TAG_REQUEST, print_version_of, {ROLE_HTTP_VERSION, ROLE_HTTP_VERSION}},
    [RECORD_REQUEST_HEADER] = {TAG_REQUEST_HEADER, print_header_of, {ROLE_NAME, ROLE_VALUE}},
    [RECORD_STATUS] = {TAG_STATUS, print_status_of, {ROLE_STATUS, ROLE_STATUS}},
    [RECORD_RESPONSE_HEADER] = {TAG_RESPONSE_HEADER, print_header_of, {ROLE_NAME, ROLE_VALUE}},
};

static int print_record(void *state, const struct record *record)
{
    struct text *text = state;
    const struct value *connection = record_value(record, ROLE_CONNECTION);
    const struct value *request = record_value(record, ROLE_REQUEST);
    const struct value *time = record_value(record, ROLE_TIME);
    const struct line *line = &lines[record->kind];

    if (line->print == NULL || connection == NULL || request == NULL ||
        record_value(record, line->needs[0]) == NULL ||
        record_value(record, line->needs[1]) == NULL)
        return -1;
    begin_line(text, time != NULL ? time->number : 0, connection->number, request->number,
               line->tag);
    line->print(text->settings->output, record);
    output_end_line(text->settings->output);
    return 0;
}

/* Prints the headers of one side. */
static void print_headers(struct text *text, const struct request *request, enum request_side side,
                          uint64_t time_ns, const char *tag)
{
    struct request_header header;
    size_t at = 0;

    while (request_next_header(request, &at, &header)) {
        if (header.side != side)
            continue;
        begin_line(text, time_ns, request->conn, request->req, tag);
        print_header(text->settings->output, &header.name, &header.value);
        output_end_line(text->settings->output);
    }
}

/* The state has the latest known time of the request. */
static void print_state(struct text *text, const struct request *request)
{
    const uint64_t time_ns = request->ended_ns != 0       ? request->ended_ns
                             : request->responded_ns != 0 ? request->responded_ns
                                                          : request->received_ns;

    begin_line(text, time_ns, request->conn, request->req, TAG_STATE);
    output_string(text->settings->output, request_state_name(request->state));
    output_end_line(text->settings->output);
}

static void print_request(void *state, struct request *request)
{
    struct text *text = state;
    struct output *output = text->settings->output;

    if (request->version != 0) {
        begin_line(text, request->received_ns, request->conn, request->req, TAG_REQUEST);
        print_version(output, request->version);
        output_end_line(output);
    }
    print_headers(text, request, REQUEST_SIDE, request->received_ns, TAG_REQUEST_HEADER);
    if (request->status != 0) {
        begin_line(text, request->responded_ns, request->conn, request->req, TAG_STATUS);
        output_signed(output, request->status);
        output_end_line(output);
    }
    print_headers(text, request, RESPONSE_SIDE, request->responded_ns, TAG_RESPONSE_HEADER);
    if (request->state != REQUEST_COMPLETE)
        print_state(text, request);
    output_end_line(output);
}

static void print_lost(void *state, uint64_t count)
{
    const struct text *text = state;

    line_lost(text->settings, count);
}

struct sink text_open(const struct sink_settings *settings)
{
    struct text *text = memory_grow(NULL, 1, sizeof(*text));

    *text = (struct text){.settings = settings};
    local_time_open(&text->local);
    return (struct sink){.state = text,
                         .record = print_record,
                         .request = print_request,
                         .lost = print_lost,
                         .close = free};
}

void text_add_needs(struct needs *needs)
{
    needs->request.all = needs->response.all = true;
}
