/*
 * A request with its response: what the events of one request say, put together.
 */
#ifndef H2OLOG_EVENT_REQUEST_H
#define H2OLOG_EVENT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/record.h"

enum request_state {
    REQUEST_COMPLETE,
    REQUEST_UNFINISHED, /* the connection closed, the table was full, or the trace ended */
    REQUEST_INCOMPLETE, /* events were lost while it was open */
    REQUEST_BEGUN,      /* it began before the trace, so only its response is known */
};

enum request_side { REQUEST_SIDE, RESPONSE_SIDE };

struct request {
    uint64_t conn;         /* h2o's number of the connection */
    uint64_t req;          /* h2o's number of the request in the connection */
    uint64_t connection;   /* h2olog's number of the QUIC connection; 0: none, or not captured */
    uint64_t received_ns;  /* time of receive_request, see event/clock.h; 0: unknown */
    uint64_t responded_ns; /* time of send_response; 0: unknown */
    uint64_t ended_ns;     /* end of the stream (HTTP/3); 0: unknown */
    uint64_t bytes;        /* bytes of the response body, if has_bytes */
    int32_t version;       /* of HTTP: major * 256 + minor; 0: unknown */
    int32_t status;        /* 0: unknown */
    bool has_bytes;
    bool is_truncated; /* a name or a value of a header was cut, or headers were left out */
    enum request_state state;
    /* The headers: entries of request.c, in the order of their events. */
    uint8_t *headers;
    uint32_t used, allocated; /* bytes */
};

/* A header. The name and the value point into the request, or into `text`. */
struct request_header {
    enum request_side side;
    struct value name, value;
    bool is_redacted;
    char text[48]; /* "[redacted, 21 bytes]" */
};

/*
 * Adds a header. `name` and `value` are copied. A value whose bytes are NULL could not be read. A
 * request with 4 MiB of headers takes no more; it then counts as truncated.
 */
void request_add_header(struct request *request, enum request_side side, const struct value *name,
                        const struct value *value);

/*
 * Iterates over the headers. Begin with *at = 0. Returns false at the end. The header is valid
 * until the next call, and must not be copied.
 */
bool request_next_header(const struct request *request, size_t *at, struct request_header *header);

/*
 * Finds the first header with this name (lower case; the case of the header does not matter).
 * Returns whether there is one.
 */
bool request_find_header(const struct request *request, enum request_side side, const char *name,
                         struct request_header *header);

/*
 * The header that request_next_header returned for this `at` (its value before that call) is
 * shown as "[redacted, 21 bytes]" from now on.
 */
void request_redact_header(struct request *request, size_t at);

/* Iteration and search leave out the header at `at` from now on. */
void request_hide_header(struct request *request, size_t at);

/* Shortens the value of the header at `at` to `size` bytes. It then counts as complete. */
void request_shorten_header(struct request *request, size_t at, size_t size);

/* Frees the headers. */
void request_dispose(struct request *request);

/* The time to first byte in nanoseconds. Returns false if it is unknown. */
static inline bool request_ttfb(const struct request *request, uint64_t *ttfb_ns)
{
    *ttfb_ns = request->responded_ns - request->received_ns;
    return request->received_ns != 0 && request->responded_ns != 0;
}

/* The time from receive_request to the end in nanoseconds. Returns false if it is unknown. */
static inline bool request_duration(const struct request *request, uint64_t *duration_ns)
{
    *duration_ns = request->ended_ns - request->received_ns;
    return request->received_ns != 0 && request->ended_ns != 0;
}

/* "complete", "unfinished", "incomplete", "begun-before-trace". */
const char *request_state_name(enum request_state state);

#endif
