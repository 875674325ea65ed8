#include "print/requests_json.h"

#include <string.h>

#include "print/line.h"

/* The pseudo-headers of requests, and their keys. */
static const struct pseudo {
    const char *name, *key;
} pseudos[] = {
    {":method", ",\"method\":"},
    {":scheme", ",\"scheme\":"},
    {":authority", ",\"authority\":"},
    {":path", ",\"path\":"},
};
#define NUM_PSEUDOS (sizeof(pseudos) / sizeof(pseudos[0]))

/* Prints the key of a number, and the number. */
static void print_number(struct output *output, const char *key, uint64_t number)
{
    output_string(output, key);
    output_unsigned(output, number);
}

/* Prints nanoseconds as milliseconds with three decimals. */
static void print_milliseconds(struct output *output, uint64_t ns)
{
    const unsigned thousandths = (unsigned)(ns / 1000 % 1000);
    const char decimals[] = {'.', (char)('0' + thousandths / 100),
                             (char)('0' + thousandths / 10 % 10), (char)('0' + thousandths % 10)};

    output_unsigned(output, ns / 1000000);
    output_bytes(output, decimals, sizeof(decimals));
}

static bool is_pseudo(const struct request_header *header)
{
    const struct value *name = &header->name;

    if (header->side != REQUEST_SIDE || name->bytes == NULL || name->size == 0 ||
        name->bytes[0] != ':')
        return false;
    for (size_t i = 0; i != NUM_PSEUDOS; ++i) {
        if (strlen(pseudos[i].name) == name->size &&
            memcmp(pseudos[i].name, name->bytes, name->size) == 0)
            return true;
    }
    return false;
}

static void print_pseudos(struct output *output, const struct request *request)
{
    struct request_header header;

    for (size_t i = 0; i != NUM_PSEUDOS; ++i) {
        if (!request_find_header(request, REQUEST_SIDE, pseudos[i].name, &header))
            continue;
        output_string(output, pseudos[i].key);
        line_json(output, &header.value);
    }
}

/*
 * Prints the array of the headers of one side. Without a header, it is printed only if that side
 * `is_known`.
 */
static void print_headers(struct output *output, const struct request *request,
                          enum request_side side, bool is_known, const char *key)
{
    struct request_header header;
    size_t at = 0, count = 0;

    while (request_next_header(request, &at, &header)) {
        if (header.side != side || is_pseudo(&header))
            continue;
        output_string(output, count++ == 0 ? key : ",");
        output_bytes(output, "[", 1);
        line_json(output, &header.name);
        output_bytes(output, ",", 1);
        line_json(output, &header.value);
        output_bytes(output, "]", 1);
    }
    if (count == 0 && is_known)
        output_string(output, key);
    if (count != 0 || is_known)
        output_bytes(output, "]", 1);
}

/* Prints the members before the first of a pseudo-header. */
static void print_begin(const struct sink_settings *settings, const struct request *request)
{
    struct output *output = settings->output;
    uint64_t time_ns;

    output_bytes(output, "{", 1);
    if (line_request_time(request, &time_ns)) {
        output_string(output, "\"time\":");
        print_milliseconds(output, clock_wall(settings->clock, time_ns));
        output_bytes(output, ",", 1);
    }
    if (request->connection != 0) {
        print_number(output, "\"connection\":", request->connection);
        output_bytes(output, ",", 1);
    }
    print_number(output, "\"conn\":", request->conn);
    print_number(output, ",\"req\":", request->req);
    if (request->version != 0) {
        output_string(output, ",\"protocol\":\"");
        line_protocol(output, request->version);
        output_bytes(output, "\"", 1);
    }
}

static void print_numbers(struct output *output, const struct request *request)
{
    uint64_t ns;

    if (request->status != 0) {
        output_string(output, ",\"status\":");
        output_signed(output, request->status);
    }
    if (request_ttfb(request, &ns))
        print_number(output, ",\"ttfb-us\":", ns / 1000);
    if (request_duration(request, &ns))
        print_number(output, ",\"duration-us\":", ns / 1000);
    if (request->has_bytes)
        print_number(output, ",\"bytes\":", request->bytes);
}

static void print_request(void *state, struct request *request)
{
    const struct sink_settings *settings = state;
    struct output *output = settings->output;

    print_begin(settings, request);
    print_pseudos(output, request);
    print_numbers(output, request);
    print_headers(output, request, REQUEST_SIDE, request->state != REQUEST_BEGUN,
                  ",\"request-headers\":[");
    print_headers(output, request, RESPONSE_SIDE, request->status != 0, ",\"response-headers\":[");
    output_string(output, ",\"state\":\"");
    output_string(output, request_state_name(request->state));
    output_bytes(output, "\"", 1);
    if (request->is_truncated)
        output_string(output, ",\"truncated\":true");
    output_bytes(output, "}", 1);
    output_end_line(output);
}

static void print_lost(void *state, uint64_t count)
{
    const struct sink_settings *settings = state;

    output_string(settings->output, "{\"type\":\"h2olog-event-lost\"");
    line_json_lost(settings, count);
}

static void close_requests(void *state)
{
    (void)state;
}

struct sink requests_json_open(const struct sink_settings *settings)
{
    return (struct sink){.state = (void *)settings,
                         .request = print_request,
                         .lost = print_lost,
                         .close = close_requests};
}

void requests_json_add_needs(struct needs *needs)
{
    needs->request.all = true;
    needs->response.all = true;
    needs->times = true;
    needs->connections = true;
}
