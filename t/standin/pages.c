#include "pages.h"

#include <string.h>

static void set_text(struct page *page, int status, const char *type, const char *text)
{
    page->status = status;
    page->type = type;
    page->text = text;
    page->length = strlen(text);
}

static bool is_text(struct http1_text text, const char *expected)
{
    return strlen(expected) == text.len && memcmp(text.base, expected, text.len) == 0;
}

/* Returns the rest of `path` after `prefix`, NULL if it does not start with it. */
static bool has_prefix(struct http1_text path, const char *prefix, struct http1_text *rest)
{
    size_t len = strlen(prefix);

    if (path.len < len || memcmp(path.base, prefix, len) != 0)
        return false;
    *rest = (struct http1_text){path.base + len, path.len - len};
    return true;
}

static struct http1_text without_query(struct http1_text target)
{
    const char *mark = memchr(target.base, '?', target.len);
    return mark == NULL ? target : (struct http1_text){target.base, (size_t)(mark - target.base)};
}

/* /bytes/N: a body of N bytes. */
static bool find_bytes(struct http1_text rest, struct page *page)
{
    if (!http1_number(rest.base, rest.len, &page->length))
        return false;
    page->status = 200;
    page->type = "application/octet-stream";
    page->text = NULL;
    return true;
}

/* /status/CODE: this status, with its reason as the body. */
static bool find_status(struct http1_text rest, struct page *page)
{
    uint64_t status;

    if (!http1_number(rest.base, rest.len, &status) || status < 200 || status > 599)
        return false;
    set_text(page, (int)status, "text/plain", page_reason((int)status));
    return true;
}

/* /delay/MS: the default page, after this time. */
static bool find_delay(struct http1_text rest, struct page *page)
{
    uint64_t milliseconds;

    if (!http1_number(rest.base, rest.len, &milliseconds) || milliseconds > PAGE_MAX_DELAY_MS)
        return false;
    set_text(page, 200, "text/html", "Hello, world\n");
    page->delay_ns = milliseconds * 1000000;
    return true;
}

/* /header/NAME/N: the default page, with a response header NAME whose value has N bytes. */
static bool find_header(struct http1_text rest, struct page *page)
{
    const char *slash = memchr(rest.base, '/', rest.len);
    uint64_t value_len;

    if (slash == NULL)
        return false;
    size_t name_len = (size_t)(slash - rest.base);
    if (name_len > PAGE_MAX_NAME || !http1_is_token(rest.base, name_len) ||
        !http1_number(slash + 1, rest.len - name_len - 1, &value_len) || value_len > PAGE_MAX_VALUE)
        return false;

    set_text(page, 200, "text/html", "Hello, world\n");
    memcpy(page->name, rest.base, name_len);
    page->name_len = name_len;
    page->value_len = (size_t)value_len;
    return true;
}

/* The response repeats the header x-number of the request, so that each can be told from others. */
static void repeat_number(const struct http1_request *request, struct page *page)
{
    static const char name[] = "x-number";

    page->number_len = 0;
    for (size_t i = 0; i < request->num_fields; ++i) {
        const struct h2o_field *field = &request->fields[i];
        if (field->name_len != sizeof(name) - 1 || memcmp(field->name, name, field->name_len) != 0)
            continue;
        if (field->value_len <= PAGE_MAX_NUMBER) {
            memcpy(page->number, field->value, field->value_len);
            page->number_len = field->value_len;
        }
        return;
    }
}

void page_find(const struct http1_request *request, struct page *page)
{
    struct http1_text path = without_query(request->target), rest;

    page->name_len = 0;
    page->value_len = 0;
    page->delay_ns = 0;
    repeat_number(request, page);
    if (!is_text(request->method, "GET") && !is_text(request->method, "HEAD") &&
        !is_text(request->method, "POST"))
        set_text(page, 405, "text/plain; charset=utf-8", "method not allowed");
    else if (is_text(path, "/") || is_text(path, "/index.html"))
        set_text(page, 200, "text/html", "Hello, world\n");
    else if (!(has_prefix(path, "/bytes/", &rest) && find_bytes(rest, page)) &&
             !(has_prefix(path, "/status/", &rest) && find_status(rest, page)) &&
             !(has_prefix(path, "/delay/", &rest) && find_delay(rest, page)) &&
             !(has_prefix(path, "/header/", &rest) && find_header(rest, page)))
        set_text(page, 404, "text/plain; charset=utf-8", "not found");
}

const char *page_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "File Not Found"}, /* h2o's wording */
        {405, "Method Not Allowed"},
        {411, "Length Required"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); ++i)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

bool page_has_body(int status)
{
    return status != 204 && status != 304;
}
