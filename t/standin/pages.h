#ifndef STANDIN_PAGES_H
#define STANDIN_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "http1.h"

#define PAGE_MAX_NAME  1024
#define PAGE_MAX_VALUE 32768

/* What a request is answered with. Copies what it needs of the request. */
struct page {
    int status;
    const char *type; /* content-type */
    const char *text; /* the body; NULL: `length` bytes of filler */
    uint64_t length;
    /* A header field more, with a value of that many bytes, if `name_len` is not 0. */
    char name[PAGE_MAX_NAME];
    size_t name_len;
    size_t value_len;
};

void page_find(const struct http1_request *request, struct page *page);

/* "OK" for 200. Never NULL. */
const char *page_reason(int status);

/* Whether responses of that status have a body, and so its length and type. */
bool page_has_body(int status);

#endif
