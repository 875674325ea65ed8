#include "print/access_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memory.h"
#include "print/escape.h"
#include "print/line.h"
#include "print/local_time.h"

/* The longest result of strftime. At compile time, half of it must do: names of days differ. */
#define STRFTIME_MAX 512

/* The format of %t, for strftime. */
#define DEFAULT_TIME "[%d/%b/%Y:%H:%M:%S %z]"

struct printer;
struct element;

typedef void (*element_print)(struct printer *printer, const struct element *element,
                              const struct request *request);

enum argument_kind {
    ARGUMENT_NONE, /* %m */
    ARGUMENT_ANY,  /* %{NAME}e; the name does not matter */
    ARGUMENT_IS,   /* %{sec}t: this name; of %{NAME}x, the case does not matter */
    ARGUMENT_NAME, /* %{NAME}i: the element has the name in lower case */
    ARGUMENT_TIME, /* %{FORMAT}t: the element has the format */
};

/* A row of the table of specifiers. */
struct specifier {
    char letter;
    enum argument_kind kind;
    const char *argument; /* of ARGUMENT_IS */
    element_print print;
    uint64_t number;        /* nanoseconds; digits; the version of HTTP, 0: all */
    const char *headers[2]; /* the pseudo-headers that it needs */
};

/* A part of a format: text between specifiers, or a specifier. */
struct element {
    element_print print;
    const struct specifier *specifier; /* NULL: text */
    char *text;                        /* the text, the header's name, or strftime's format */
};

struct access_log {
    struct element *elements;
    size_t num_elements;
};

/* What strftime made for an element in the latest second. */
struct formatted {
    uint64_t second;
    size_t size;
    bool is_there;
    char text[STRFTIME_MAX];
};

struct printer {
    const struct sink_settings *settings;
    struct local_time local;
    struct formatted *formatted; /* for each element */
};

/* --- the specifiers --- */

static void print_unknown(struct printer *printer, const struct element *element,
                          const struct request *request)
{
    (void)element;
    (void)request;
    output_bytes(printer->settings->output, "-", 1);
}

static void print_text(struct printer *printer, const struct element *element,
                       const struct request *request)
{
    (void)request;
    output_string(printer->settings->output, element->text);
}

/* Prints a number if it is known, else "-". */
static void print_number(struct printer *printer, bool is_known, uint64_t number)
{
    if (is_known)
        output_unsigned(printer->settings->output, number);
    else
        output_bytes(printer->settings->output, "-", 1);
}

static void print_bytes(struct printer *printer, const struct element *element,
                        const struct request *request)
{
    (void)element;
    print_number(printer, request->has_bytes, request->bytes);
}

static void print_duration(struct printer *printer, const struct element *element,
                           const struct request *request)
{
    uint64_t ns;
    const bool is_known = request_duration(request, &ns);

    (void)element;
    print_number(printer, is_known, ns / 1000);
}

static void print_protocol(struct printer *printer, const struct element *element,
                           const struct request *request)
{
    if (request->version == 0)
        print_unknown(printer, element, request);
    else
        line_protocol(printer->settings->output, request->version);
}

static void print_status(struct printer *printer, const struct element *element,
                         const struct request *request)
{
    if (request->status == 0)
        print_unknown(printer, element, request);
    else
        output_signed(printer->settings->output, request->status);
}

static void print_value(struct printer *printer, const struct value *value)
{
    if (value->bytes == NULL)
        output_bytes(printer->settings->output, "-", 1);
    else
        line_text(printer->settings->output, escape_print_log, value);
}

/* Prints a pseudo-header of the request, "-" if it is not known or empty. */
static void print_pseudo(struct printer *printer, const struct request *request, const char *name)
{
    struct request_header header;

    if (request_find_header(request, REQUEST_SIDE, name, &header) && header.value.size != 0)
        print_value(printer, &header.value);
    else
        output_bytes(printer->settings->output, "-", 1);
}

static void print_method(struct printer *printer, const struct element *element,
                         const struct request *request)
{
    (void)element;
    print_pseudo(printer, request, ":method");
}

/* Prints nothing for an empty authority, as h2o does. */
static void print_authority(struct printer *printer, const struct element *element,
                            const struct request *request)
{
    struct request_header header;

    if (request_find_header(request, REQUEST_SIDE, ":authority", &header))
        print_value(printer, &header.value);
    else
        print_unknown(printer, element, request);
}

/*
 * h2o prints the request line if the version is known. CONNECT has no path, and h2o prints nothing
 * for it.
 */
static void print_line(struct printer *printer, const struct element *element,
                       const struct request *request)
{
    struct output *output = printer->settings->output;
    struct request_header header;

    if (request->version == 0) {
        print_unknown(printer, element, request);
        return;
    }
    print_pseudo(printer, request, ":method");
    output_bytes(output, " ", 1);
    if (request_find_header(request, REQUEST_SIDE, ":path", &header))
        print_value(printer, &header.value);
    else if (request->state == REQUEST_INCOMPLETE)
        output_bytes(output, "-", 1);
    output_bytes(output, " ", 1);
    line_protocol(output, request->version);
}

/* Returns the size of the path before the '?'. */
static size_t size_before_query(const struct value *path)
{
    const uint8_t *query = path->size != 0 ? memchr(path->bytes, '?', path->size) : NULL;

    return query != NULL ? (size_t)(query - path->bytes) : path->size;
}

static void print_path(struct printer *printer, const struct element *element,
                       const struct request *request)
{
    struct request_header header;
    struct value *path = &header.value;

    if (!request_find_header(request, REQUEST_SIDE, ":path", &header) || path->bytes == NULL ||
        path->size == 0) {
        print_unknown(printer, element, request);
        return;
    }
    if (size_before_query(path) != path->size)
        path->full_size = path->size = size_before_query(path);
    print_value(printer, path);
}

/* Prints nothing if the path is not known, so that %U%q is "-". */
static void print_query(struct printer *printer, const struct element *element,
                        const struct request *request)
{
    struct request_header header;
    struct value *path = &header.value;
    size_t before;

    (void)element;
    if (!request_find_header(request, REQUEST_SIDE, ":path", &header) || path->bytes == NULL)
        return;
    before = size_before_query(path);
    if (before == path->size)
        return;
    path->bytes += before;
    path->size -= before;
    path->full_size -= before;
    print_value(printer, path);
}

static void print_request_header(struct printer *printer, const struct element *element,
                                 const struct request *request)
{
    struct request_header header;

    if (request_find_header(request, REQUEST_SIDE, element->text, &header))
        print_value(printer, &header.value);
    else
        print_unknown(printer, element, request);
}

static bool has_name(const struct request_header *header, const char *name)
{
    return header->name.bytes != NULL && header->name.size == strlen(name) &&
           strncasecmp((const char *)header->name.bytes, name, header->name.size) == 0;
}

/* Prints the first value, of set-cookie all values. */
static void print_response_header(struct printer *printer, const struct element *element,
                                  const struct request *request)
{
    const bool prints_all = strcmp(element->text, "set-cookie") == 0;
    struct request_header header;
    size_t at = 0, count = 0;

    while (request_next_header(request, &at, &header)) {
        if (header.side != RESPONSE_SIDE || !has_name(&header, element->text))
            continue;
        if (count++ != 0)
            output_bytes(printer->settings->output, ", ", 2);
        print_value(printer, &header.value);
        if (!prints_all)
            return;
    }
    if (count == 0)
        print_unknown(printer, element, request);
}

/* --- times --- */

/* The time of a request since the epoch. Returns false if it is not known. */
static bool wall_time(const struct printer *printer, const struct request *request,
                      uint64_t *wall_ns)
{
    uint64_t time_ns;

    if (!line_request_time(request, &time_ns))
        return false;
    *wall_ns = clock_wall(printer->settings->clock, time_ns);
    return true;
}

/* Formats the local time of a second as strftime does. */
static void format(struct printer *printer, const struct element *element,
                   struct formatted *formatted, uint64_t wall_ns)
{
    local_time_set(&printer->local, wall_ns);
    formatted->size =
        strftime(formatted->text, sizeof(formatted->text), element->text, &printer->local.tm);
    formatted->second = printer->local.second;
    formatted->is_there = true;
}

static void print_strftime(struct printer *printer, const struct element *element,
                           const struct request *request)
{
    const size_t nth = (size_t)(element - printer->settings->access_log->elements);
    struct formatted *formatted = &printer->formatted[nth];
    uint64_t wall_ns;

    if (!wall_time(printer, request, &wall_ns)) {
        print_unknown(printer, element, request);
        return;
    }
    if (!formatted->is_there || formatted->second != wall_ns / 1000000000)
        format(printer, element, formatted, wall_ns);
    output_bytes(printer->settings->output, formatted->text, formatted->size);
}

static void print_since_epoch(struct printer *printer, const struct element *element,
                              const struct request *request)
{
    uint64_t wall_ns;
    const bool is_known = wall_time(printer, request, &wall_ns);

    print_number(printer, is_known, is_known ? wall_ns / element->specifier->number : 0);
}

/* Prints the first decimals of the second. */
static void print_fraction(struct printer *printer, const struct element *element,
                           const struct request *request)
{
    uint64_t wall_ns, unit_ns = 100000000;

    if (!wall_time(printer, request, &wall_ns)) {
        print_unknown(printer, element, request);
        return;
    }
    for (uint64_t i = 0; i != element->specifier->number; ++i, unit_ns /= 10)
        output_unsigned(printer->settings->output, wall_ns / unit_ns % 10);
}

/* --- %{NAME}x --- */

static void print_conn(struct printer *printer, const struct element *element,
                       const struct request *request)
{
    (void)element;
    print_number(printer, true, request->conn);
}

/* Some names of the number of the request are for one version of HTTP only. */
static void print_req(struct printer *printer, const struct element *element,
                      const struct request *request)
{
    const uint64_t major = element->specifier->number;

    print_number(printer, major == 0 || request->version / 256 == (int)major, request->req);
}

/* --- compiling --- */

/* Of the rows with a letter, the first one that fits is taken. */
static const struct specifier specifiers[] = {
    {.letter = 'A', .print = print_unknown},
    {.letter = 'b', .print = print_bytes},
    {.letter = 'D', .print = print_duration},
    {.letter = 'H', .print = print_protocol},
    {.letter = 'h', .print = print_unknown},
    {.letter = 'l', .print = print_unknown},
    {.letter = 'm', .print = print_method, .headers = {":method"}},
    {.letter = 'p', .print = print_unknown},
    {'p', ARGUMENT_IS, "local", print_unknown, 0, {NULL}},
    {'p', ARGUMENT_IS, "remote", print_unknown, 0, {NULL}},
    {.letter = 'e', .print = print_unknown},
    {'e', ARGUMENT_ANY, NULL, print_unknown, 0, {NULL}},
    {.letter = 'q', .print = print_query, .headers = {":path"}},
    {.letter = 'r', .print = print_line, .headers = {":method", ":path"}},
    {.letter = 's', .print = print_status},
    {.letter = 't', .print = print_strftime},
    {'t', ARGUMENT_IS, "sec", print_since_epoch, 1000000000, {NULL}},
    {'t', ARGUMENT_IS, "msec", print_since_epoch, 1000000, {NULL}},
    {'t', ARGUMENT_IS, "usec", print_since_epoch, 1000, {NULL}},
    {'t', ARGUMENT_IS, "msec_frac", print_fraction, 3, {NULL}},
    {'t', ARGUMENT_IS, "usec_frac", print_fraction, 6, {NULL}},
    {'t', ARGUMENT_TIME, NULL, print_strftime, 0, {NULL}},
    {.letter = 'U', .print = print_path, .headers = {":path"}},
    {.letter = 'u', .print = print_unknown},
    {.letter = 'V', .print = print_authority, .headers = {":authority"}},
    {.letter = 'v', .print = print_unknown},
    {'i', ARGUMENT_NAME, NULL, print_request_header, 0, {NULL}},
    {'o', ARGUMENT_NAME, NULL, print_response_header, 0, {NULL}},
    {'x', ARGUMENT_IS, "connection-id", print_conn, 0, {NULL}},
    {'x', ARGUMENT_IS, "request-id", print_req, 0, {NULL}},
    {'x', ARGUMENT_IS, "http1.request-index", print_req, 1, {NULL}},
    {'x', ARGUMENT_IS, "http2.stream-id", print_req, 2, {NULL}},
    {'x', ARGUMENT_IS, "http3.stream-id", print_req, 3, {NULL}},
    {'x', ARGUMENT_ANY, NULL, print_unknown, 0, {NULL}},
};

/* Letters of specifiers that need times. */
static const char time_letters[] = "tD";

static const char specifier_list[] =
    "%% %A %b %D %e %H %h %l %m %p %q %r %s %t %U %u %V %v %{local}p %{remote}p %{NAME}e %{NAME}i "
    "%{NAME}o %{NAME}x %{FORMAT}t %{sec}t %{msec}t %{usec}t %{msec_frac}t %{usec_frac}t";

static const struct {
    const char *name, *format;
} named_formats[] = {
    {"common", "%h %l %u %t \"%r\" %s %b"},
    {"combined", "%h %l %u %t \"%r\" %s %b \"%{Referer}i\" \"%{User-agent}i\""},
};

static bool fits(const struct specifier *specifier, char letter, const char *argument, size_t size)
{
    if (specifier->letter != letter || (argument == NULL) != (specifier->kind == ARGUMENT_NONE))
        return false;
    if (specifier->kind != ARGUMENT_IS)
        return true;
    return strlen(specifier->argument) == size &&
           (letter == 'x' ? strncasecmp : strncmp)(specifier->argument, argument, size) == 0;
}

/* `argument` is NULL for a specifier without braces. Returns NULL if there is none. */
static const struct specifier *find_specifier(char letter, const char *argument, size_t size)
{
    for (size_t i = 0; i != sizeof(specifiers) / sizeof(specifiers[0]); ++i) {
        if (fits(&specifiers[i], letter, argument, size))
            return &specifiers[i];
    }
    return NULL;
}

/* Adds an element, which owns `text`. */
static void add(struct access_log *access_log, element_print print,
                const struct specifier *specifier, char *text)
{
    access_log->elements = memory_grow(access_log->elements, access_log->num_elements + 1,
                                       sizeof(access_log->elements[0]));
    access_log->elements[access_log->num_elements++] =
        (struct element){.print = print, .specifier = specifier, .text = text};
}

/* Sets the error for what is wrong at `at` of the format. Returns NULL. */
static const char *refuse(const char *format, const char *at, const char *what, struct error *error)
{
    char *begin = memory_format("%.*s", (int)(at - format), format);
    char *escaped = escape_string(begin), *rest = escape_string(at);

    error_set(error, ERROR_USAGE,
              "the format has %s at character %zu: '%.100s' after '%.100s'; there are %s", what,
              (size_t)(at - format) + 1, rest, escaped, specifier_list);
    free(begin);
    free(escaped);
    free(rest);
    return NULL;
}

static char *copy_lower(const char *text, size_t size)
{
    char *copy = memory_format("%.*s", (int)size, text);

    for (char *at = copy; *at != '\0'; ++at) {
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    }
    return copy;
}

static char *copy_argument(const struct specifier *specifier, const char *argument, size_t size)
{
    if (specifier->kind == ARGUMENT_NAME)
        return copy_lower(argument, size);
    if (specifier->kind == ARGUMENT_TIME)
        return memory_format("%.*s", (int)size, argument);
    return memory_format("%s", specifier->print == print_strftime ? DEFAULT_TIME : "");
}

/* Whether the result of a format of the time is always short enough. */
static bool is_short(const char *format)
{
    const time_t now = time(NULL);
    char text[STRFTIME_MAX / 2];
    struct tm tm;

    return format[0] == '\0' || strftime(text, sizeof(text), format, localtime_r(&now, &tm)) != 0;
}

/* Compiles the specifier at `at`, a '%'. Returns the end, NULL with `error` set if it is wrong. */
static const char *compile_specifier(struct access_log *access_log, const char *format,
                                     const char *at, struct error *error)
{
    const char *letter = at + 1 + strspn(at + 1, "<>"), *argument = NULL;
    const struct specifier *specifier;
    size_t size = 0;

    if (*letter == '{') {
        argument = letter + 1;
        size = strcspn(argument, "}");
        if (argument[size] == '\0')
            return refuse(format, at, "a '{' without a '}'", error);
        letter = argument + size + 1;
    }
    specifier = *letter != '\0' ? find_specifier(*letter, argument, size) : NULL;
    if (specifier == NULL)
        return refuse(format, at, "an unknown specifier", error);
    add(access_log, specifier->print, specifier, copy_argument(specifier, argument, size));
    if (specifier->kind == ARGUMENT_TIME &&
        !is_short(access_log->elements[access_log->num_elements - 1].text))
        return refuse(format, at, "a time that is too long", error);
    return letter + 1;
}

/* Compiles the part at `at`. Returns its end, NULL with `error` set if it is wrong. */
static const char *compile_part(struct access_log *access_log, const char *format, const char *at,
                                struct error *error)
{
    size_t size = strcspn(at, "%");

    if (size == 0 && at[1] != '%')
        return compile_specifier(access_log, format, at, error);
    if (size == 0) { /* "%%" */
        add(access_log, print_text, NULL, memory_format("%%"));
        return at + 2;
    }
    add(access_log, print_text, NULL, memory_format("%.*s", (int)size, at));
    return at + size;
}

struct access_log *access_log_compile(const char *format, struct error *error)
{
    struct access_log *access_log = memory_grow(NULL, 1, sizeof(*access_log));

    *access_log = (struct access_log){0};
    for (size_t i = 0; i != sizeof(named_formats) / sizeof(named_formats[0]); ++i) {
        if (strcmp(format, named_formats[i].name) == 0)
            format = named_formats[i].format;
    }
    for (const char *at = format; *at != '\0';) {
        at = compile_part(access_log, format, at, error);
        if (at == NULL) {
            access_log_close(access_log);
            return NULL;
        }
    }
    return access_log;
}

void access_log_close(struct access_log *access_log)
{
    if (access_log == NULL)
        return;
    for (size_t i = 0; i != access_log->num_elements; ++i)
        free(access_log->elements[i].text);
    free(access_log->elements);
    free(access_log);
}

void access_log_add_needs(const struct access_log *access_log, struct needs *needs)
{
    for (size_t i = 0; i != access_log->num_elements; ++i) {
        const struct element *element = &access_log->elements[i];
        const struct specifier *specifier = element->specifier;
        if (specifier == NULL)
            continue;
        if (specifier->kind == ARGUMENT_NAME)
            needs_add(specifier->letter == 'i' ? &needs->request : &needs->response, element->text);
        for (size_t j = 0; j != 2 && specifier->headers[j] != NULL; ++j)
            needs_add(&needs->request, specifier->headers[j]);
        needs->times |= strchr(time_letters, specifier->letter) != NULL;
    }
}

/* --- the sink --- */

static void print_request(void *state, struct request *request)
{
    struct printer *printer = state;
    const struct access_log *access_log = printer->settings->access_log;

    for (size_t i = 0; i != access_log->num_elements; ++i)
        access_log->elements[i].print(printer, &access_log->elements[i], request);
    output_end_line(printer->settings->output);
}

static void print_lost(void *state, uint64_t count)
{
    const struct printer *printer = state;

    line_lost(printer->settings, count);
}

static void close_printer(void *state)
{
    struct printer *printer = state;

    free(printer->formatted);
    free(printer);
}

struct sink access_log_open(const struct sink_settings *settings)
{
    const size_t count = settings->access_log->num_elements;
    struct printer *printer = memory_grow(NULL, 1, sizeof(*printer));

    *printer = (struct printer){.settings = settings};
    printer->formatted = memory_grow(NULL, count, sizeof(printer->formatted[0]));
    memset(printer->formatted, 0, count * sizeof(printer->formatted[0]));
    local_time_open(&printer->local);
    return (struct sink){
        .state = printer, .request = print_request, .lost = print_lost, .close = close_printer};
}
