#ifndef STANDIN_H2O_EVENTS_H
#define STANDIN_H2O_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "probes.h"

/* A probe of h2o, and the places of its arguments in the version of this build. */
struct h2o_event {
    const struct probe *probe;
    int places[PROBE_MAX_ARGUMENTS]; /* -1: that version has no such argument */
};

/* The probes that h2o fires for HTTP/1. */
struct h2o_events {
    struct h2o_event accept;
    struct h2o_event request;
    struct h2o_event request_header;
    struct h2o_event response;
    struct h2o_event response_header;
    struct h2o_event close;
};

struct h2o_field {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

void h2o_events_bind(struct h2o_events *events);

/* `conn` is a number that identifies the connection, as `sock` does for a tracer. */
void h2o_fire_accept(const struct h2o_events *events, uint64_t conn_id, const void *sock,
                     const void *conn);
/* `version` is major * 256 + minor. */
void h2o_fire_request(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                      int version);
void h2o_fire_request_header(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                             const struct h2o_field *field);
void h2o_fire_response(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                       int status);
void h2o_fire_response_header(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                              const struct h2o_field *field);
void h2o_fire_close(const struct h2o_events *events, uint64_t conn_id);

#endif
