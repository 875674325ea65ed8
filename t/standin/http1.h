#ifndef STANDIN_HTTP1_H
#define STANDIN_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "h2o_events.h"

/* As many as h2o takes. */
#define HTTP1_MAX_FIELDS 100

struct http1_text {
    const char *base; /* not NUL-terminated; NULL if the request has none */
    size_t len;
};

/* The head of a request. All text points into the bytes that were parsed. */
struct http1_request {
    struct http1_text method;
    struct http1_text target;
    struct http1_text authority;
    int version; /* major * 256 + minor, as h2o has it */
    /* The header fields that h2o shows as such: names in lower case, and without those that it
     * takes for itself (host, content-length, transfer-encoding, expect, upgrade). */
    struct h2o_field fields[HTTP1_MAX_FIELDS];
    size_t num_fields;
    uint64_t content_length; /* 0 if not given */
    bool has_content_length;
    bool keep_alive;
    bool expects_continue;
    bool transfer_encoded; /* the length of the body is not known beforehand */
};

enum { HTTP1_BROKEN = -1, HTTP1_INCOMPLETE = 0 };

/* Reads the request head at the start of `bytes`, and turns header names to lower case there.
 * Returns its length, or one of the above. */
ssize_t http1_parse(char *bytes, size_t len, struct http1_request *request);

/* Whether `text` is a token (RFC 9110, 5.6.2), as methods and header names have to be. */
bool http1_is_token(const char *text, size_t len);

/* Reads all of `text` as a decimal number. False if it is none, or too big. */
bool http1_number(const char *text, size_t len, uint64_t *number);

#endif
