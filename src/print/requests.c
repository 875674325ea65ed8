#include "print/requests.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "print/escape.h"
#include "print/line.h"
#include "print/local_time.h"

/* Widths of columns. With two spaces between columns, "1292/39" ends before column 120. */
#define STATUS_WIDTH   3
#define TTFB_WIDTH     7
#define METHOD_WIDTH   4
#define URL_WIDTH      60
#define PROTOCOL_WIDTH 8

struct requests {
    const struct sink_settings *settings;
    struct local_time local;
};

/* The parts of a URL. A part that is not known or empty is not there. */
struct url {
    struct request_header scheme, authority, path;
    bool has_scheme, has_authority, has_path;
};

static void print_spaces(struct output *output, size_t count)
{
    memset(output_reserve(output, count), ' ', count);
    output_advance(output, count);
}

/* Ends a column that began at `start` of the buffer. */
static void end_column(struct output *output, size_t start, size_t width)
{
    const size_t printed = output->used - start;

    print_spaces(output, 2 + (printed < width ? width - printed : 0));
}

static bool is_empty(const struct value *value)
{
    return value->bytes != NULL && value->full_size == 0;
}

static bool begins_with_slash(const struct value *value)
{
    return value->bytes != NULL && value->size != 0 && value->bytes[0] == '/';
}

/* Finds a pseudo-header that is not empty. */
static bool find(const struct request *request, const char *name, struct request_header *header)
{
    return request_find_header(request, REQUEST_SIDE, name, header) && !is_empty(&header->value);
}

static void print_header(struct output *output, const struct request_header *header)
{
    line_text(output, header->is_redacted ? escape_print : escape_print_column, &header->value);
}

static void print_time(struct requests *requests, const struct request *request)
{
    struct output *output = requests->settings->output;
    const size_t start = output->used;
    uint64_t time_ns;

    if (line_request_time(request, &time_ns))
        local_time_print(&requests->local, output, clock_wall(requests->settings->clock, time_ns));
    else
        output_bytes(output, "-", 1);
    end_column(output, start, LOCAL_TIME_WIDTH);
}

/* Returns the escape sequence of a class of status codes, NULL if it has no colour. */
static const char *color_of(int32_t status)
{
    switch (status / 100) {
    case 2:
        return "\x1b[32m"; /* green */
    case 3:
        return "\x1b[36m"; /* cyan */
    case 4:
        return "\x1b[33m"; /* yellow */
    case 5:
        return "\x1b[31m"; /* red */
    default:
        return NULL;
    }
}

static void print_status(struct requests *requests, int32_t status)
{
    struct output *output = requests->settings->output;
    const char *color = requests->settings->colors ? color_of(status) : NULL;
    size_t start;

    if (color != NULL)
        output_string(output, color);
    start = output->used;
    if (status != 0)
        output_signed(output, status);
    else
        output_bytes(output, "-", 1);
    if (color != NULL) { /* a status with a colour has three digits */
        output_string(output, "\x1b[0m");
        print_spaces(output, 2);
    } else {
        end_column(output, start, STATUS_WIDTH);
    }
}

/* Writes a fixed-point number with `decimals` digits behind the point. Returns the end. */
static char *put_fixed(char *to, uint64_t value, int decimals)
{
    char digits[24];
    int count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0 || count <= decimals);
    while (count != 0) {
        if (count-- == decimals)
            *to++ = '.';
        *to++ = digits[count];
    }
    return to;
}

/* Right-aligned: "99us" below 0.1 ms, "501.2ms", "12.34s", "1234s". The rest is cut off. */
static void print_ttfb(struct output *output, const struct request *request)
{
    char text[32], *end = text;
    uint64_t ns;

    if (!request_ttfb(request, &ns)) {
        *end++ = '-';
    } else if (ns < 100000) {
        end = put_fixed(end, ns / 1000, 0);
        *end++ = 'u';
        *end++ = 's';
    } else if (ns < 1000000000) {
        end = put_fixed(end, ns / 100000, 1);
        *end++ = 'm';
        *end++ = 's';
    } else {
        const bool is_long = ns / 1000000000 >= 1000;
        end = put_fixed(end, is_long ? ns / 1000000000 : ns / 10000000, is_long ? 0 : 2);
        *end++ = 's';
    }
    if (end - text < TTFB_WIDTH)
        print_spaces(output, (size_t)(TTFB_WIDTH - (end - text)));
    output_bytes(output, text, (size_t)(end - text));
    print_spaces(output, 2);
}

/*
 * Prints the scheme, the authority, and the path. A space cannot be a client's, so a path that does
 * not begin with '/' stands behind one: it would look like a part of the authority.
 */
static void print_parts(struct output *output, const struct url *url)
{
    if (url->has_authority) {
        if (url->has_scheme)
            print_header(output, &url->scheme);
        output_string(output, url->has_scheme ? "://" : "//");
        print_header(output, &url->authority);
        if (!url->has_path)
            output_bytes(output, " -", 2);
        else if (!begins_with_slash(&url->path.value))
            output_bytes(output, " ", 1);
    }
    if (url->has_path)
        print_header(output, &url->path);
    if (!url->has_authority && !url->has_path)
        output_bytes(output, "-", 1);
}

static void print_url(struct output *output, const struct request *request, bool is_connect)
{
    const size_t start = output->used;
    struct url url;

    url.has_scheme = find(request, ":scheme", &url.scheme);
    url.has_authority = find(request, ":authority", &url.authority);
    url.has_path = find(request, ":path", &url.path);
    if (is_connect && url.has_authority && !url.has_path)
        print_header(output, &url.authority); /* CONNECT has nothing else */
    else
        print_parts(output, &url);
    end_column(output, start, URL_WIDTH);
}

/* Prints the method. Returns whether it is CONNECT. */
static bool print_method(struct output *output, const struct request *request)
{
    static const char connect[] = "CONNECT";
    const size_t start = output->used;
    struct request_header method;
    bool is_connect = false;

    if (find(request, ":method", &method)) {
        print_header(output, &method);
        is_connect = method.value.bytes != NULL && method.value.size == strlen(connect) &&
                     memcmp(method.value.bytes, connect, strlen(connect)) == 0;
    } else {
        output_bytes(output, "-", 1);
    }
    end_column(output, start, METHOD_WIDTH);
    return is_connect;
}

static const char *state_text(enum request_state state)
{
    return state == REQUEST_BEGUN ? "begun before the trace" : request_state_name(state);
}

static void print_request(void *state, struct request *request)
{
    struct requests *requests = state;
    struct output *output = requests->settings->output;
    size_t start;

    print_time(requests, request);
    print_status(requests, request->status);
    print_ttfb(output, request);
    print_url(output, request, print_method(output, request));
    start = output->used;
    if (request->version != 0)
        line_protocol(output, request->version);
    else
        output_bytes(output, "-", 1);
    end_column(output, start, PROTOCOL_WIDTH);
    output_unsigned(output, request->conn);
    output_bytes(output, "/", 1);
    output_unsigned(output, request->req);
    if (request->state != REQUEST_COMPLETE) {
        print_spaces(output, 2);
        output_string(output, state_text(request->state));
    }
    output_end_line(output);
}

static void print_lost(void *state, uint64_t count)
{
    const struct requests *requests = state;

    line_lost(requests->settings, count);
}

struct sink requests_open(const struct sink_settings *settings)
{
    struct requests *requests = memory_grow(NULL, 1, sizeof(*requests));

    *requests = (struct requests){.settings = settings};
    local_time_open(&requests->local);
    return (struct sink){
        .state = requests, .request = print_request, .lost = print_lost, .close = free};
}

void requests_add_needs(struct needs *needs)
{
    needs_add(&needs->request, ":method");
    needs_add(&needs->request, ":scheme");
    needs_add(&needs->request, ":authority");
    needs_add(&needs->request, ":path");
    needs->times = true;
}
