#include "http1.h"

#include <string.h>
#include <strings.h>

struct line {
    char *base;
    size_t len;
};

static bool is_token_char(unsigned char c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool http1_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; ++i)
        if (!is_token_char((unsigned char)text[i]))
            return false;
    return len != 0;
}

bool http1_number(const char *text, size_t len, uint64_t *number)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; ++i) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return len != 0;
}

static bool is_name(const char *text, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(text, name, len) == 0;
}

/* Whether a comma-separated list has `token`, case-insensitive. */
static bool lists(const char *text, size_t len, const char *token)
{
    size_t token_len = strlen(token);

    for (size_t i = 0; i < len;) {
        while (i < len && (text[i] == ' ' || text[i] == '\t' || text[i] == ','))
            ++i;
        size_t start = i;
        while (i < len && text[i] != ' ' && text[i] != '\t' && text[i] != ',')
            ++i;
        if (i - start == token_len && strncasecmp(text + start, token, token_len) == 0)
            return true;
    }
    return false;
}

/*
 * Takes a line from `*rest`. Returns false if it is not complete. A newline alone also ends a line.
 */
static bool take_line(struct line *rest, struct line *line)
{
    char *end = memchr(rest->base, '\n', rest->len);
    if (end == NULL)
        return false;

    line->base = rest->base;
    line->len = (size_t)(end - rest->base);
    rest->base = end + 1;
    rest->len -= line->len + 1;
    if (line->len != 0 && line->base[line->len - 1] == '\r')
        --line->len;
    return true;
}

static bool parse_version(const char *text, size_t len, struct http1_request *request)
{
    if (len != strlen("HTTP/1.1") || memcmp(text, "HTTP/1.", len - 1) != 0)
        return false;
    if (text[len - 1] != '0' && text[len - 1] != '1')
        return false;
    request->version = 0x100 + (text[len - 1] - '0');
    return true;
}

static bool parse_request_line(struct line line, struct http1_request *request)
{
    const char *end = line.base + line.len;
    const char *space = memchr(line.base, ' ', line.len);
    if (space == NULL)
        return false;
    request->method = (struct http1_text){line.base, (size_t)(space - line.base)};
    if (!http1_is_token(request->method.base, request->method.len))
        return false;

    const char *target = space + 1;
    space = memchr(target, ' ', (size_t)(end - target));
    if (space == NULL || space == target)
        return false;
    request->target = (struct http1_text){target, (size_t)(space - target)};
    for (const char *c = target; c < space; ++c)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;

    return parse_version(space + 1, (size_t)(end - space - 1), request);
}

/* Splits a header line. Refuses the same characters as h2o. */
static bool parse_field(struct line line, struct h2o_field *field)
{
    char *colon = memchr(line.base, ':', line.len);
    if (colon == NULL || !http1_is_token(line.base, (size_t)(colon - line.base)))
        return false;
    for (char *c = line.base; c < colon; ++c)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');

    const char *start = colon + 1, *end = line.base + line.len;
    while (start < end && (*start == ' ' || *start == '\t'))
        ++start;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
        --end;
    for (const char *c = start; c < end; ++c)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return false;

    *field =
        (struct h2o_field){line.base, (size_t)(colon - line.base), start, (size_t)(end - start)};
    return true;
}

static bool take_content_length(const struct h2o_field *field, struct http1_request *request)
{
    uint64_t length;

    if (!http1_number(field->value, field->value_len, &length))
        return false;
    /* Two different lengths are request smuggling. */
    if (request->has_content_length && request->content_length != length)
        return false;
    request->content_length = length;
    request->has_content_length = true;
    return true;
}

static bool take_field(const struct h2o_field *field, struct http1_request *request)
{
    if (is_name(field->name, field->name_len, "host")) {
        request->authority = (struct http1_text){field->value, field->value_len};
        return true;
    }
    if (is_name(field->name, field->name_len, "content-length"))
        return take_content_length(field, request);
    if (is_name(field->name, field->name_len, "transfer-encoding")) {
        request->transfer_encoded = true;
        return true;
    }
    if (is_name(field->name, field->name_len, "expect")) {
        request->expects_continue = lists(field->value, field->value_len, "100-continue");
        return true;
    }
    if (is_name(field->name, field->name_len, "upgrade"))
        return true;

    if (is_name(field->name, field->name_len, "connection"))
        request->keep_alive = request->version == 0x100
                                  ? lists(field->value, field->value_len, "keep-alive")
                                  : !lists(field->value, field->value_len, "close");
    if (request->num_fields == HTTP1_MAX_FIELDS)
        return false;
    request->fields[request->num_fields++] = *field;
    return true;
}

/* Clears `request`, but not its array of fields: that would cost more than parsing. */
static void clear(struct http1_request *request)
{
    request->method = request->target = request->authority = (struct http1_text){NULL, 0};
    request->version = 0;
    request->num_fields = 0;
    request->content_length = 0;
    request->has_content_length = false;
    request->keep_alive = false;
    request->expects_continue = false;
    request->transfer_encoded = false;
}

ssize_t http1_parse(char *bytes, size_t len, struct http1_request *request)
{
    struct line rest = {bytes, len}, line;

    clear(request);
    /* RFC 9112, 2.2: ignore empty lines before a request. */
    do {
        if (!take_line(&rest, &line))
            return HTTP1_INCOMPLETE;
    } while (line.len == 0);
    if (!parse_request_line(line, request))
        return HTTP1_BROKEN;
    request->keep_alive = request->version > 0x100;

    for (;;) {
        struct h2o_field field;
        if (!take_line(&rest, &line))
            return HTTP1_INCOMPLETE;
        if (line.len == 0)
            return rest.base - bytes;
        if (!parse_field(line, &field) || !take_field(&field, request))
            return HTTP1_BROKEN;
    }
}
