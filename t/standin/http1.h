#ifndef STANDIN_HTTP1_H
#define STANDIN_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "h2o_events.h"

/* The limit of h2o. */
#define HTTP1_MAX_FIELDS 100

struct http1_text {
    const char *base; /* not NUL-terminated; NULL if the request has none */
    size_t len;
};

/* The head of a request. Text points into the parsed bytes. */
struct http1_request {
    struct http1_text method;
    struct http1_text target;
    struct http1_text authority;
    int version; /* major * 256 + minor, as in h2o */
    /*
     * The header fields that h2o traces, with lower-case names: without host, content-length,
     * transfer-encoding, expect and upgrade.
     */
    struct h2o_field fields[HTTP1_MAX_FIELDS];
    size_t num_fields;
    uint64_t content_length; /* 0 if not given */
    bool has_content_length;
    bool keep_alive;
    bool expects_continue;
    bool transfer_encoded; /* the length of the body is unknown */
};

enum { HTTP1_BROKEN = -1, HTTP1_INCOMPLETE = 0 };

/*
 * Parses the request head at the start of `bytes`, and changes header names there to lower case.
 * Returns its length, or one of the above.
 */
ssize_t http1_parse(char *bytes, size_t len, struct http1_request *request);

/* Whether `text` is a token (RFC 9110, 5.6.2), as methods and header names have to be. */
bool http1_is_token(const char *text, size_t len);

/* Parses all of `text` as a decimal number. Returns false if it is not a number, or too large. */
bool http1_number(const char *text, size_t len, uint64_t *number);

#endif
