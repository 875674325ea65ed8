#ifndef STANDIN_PAGES_H
#define STANDIN_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "http1.h"

#define PAGE_MAX_NAME     1024
#define PAGE_MAX_VALUE    32768
#define PAGE_MAX_NUMBER   64
#define PAGE_MAX_DELAY_MS 3600000

/* A response. It keeps no pointer to the request. */
struct page {
    int status;
    const char *type; /* content-type */
    const char *text; /* the body; NULL: `length` bytes of filler */
    uint64_t length;
    /* If `name_len` is not 0: an additional header field, with a value of this many bytes. */
    char name[PAGE_MAX_NAME];
    size_t name_len;
    size_t value_len;
    /* If `number_len` is not 0: the value of the header x-number of the request and the response. */
    char number[PAGE_MAX_NUMBER];
    size_t number_len;
    uint64_t delay_ns; /* from the end of the request to the response */
};

void page_find(const struct http1_request *request, struct page *page);

/* "OK" for 200. Never NULL. */
const char *page_reason(int status);

/* Whether responses with this status have a body. */
bool page_has_body(int status);

#endif
