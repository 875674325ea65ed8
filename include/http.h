/*
 * Event -> a line of text, as varnishlog prints: "11 0 RxHeader   :path /", connection, request,
 * tag padded to ten columns, value.
 */
#ifndef H2OLOG_HTTP_H
#define H2OLOG_HTTP_H

#include <stddef.h>

#include "catalog.h"
#include "decode.h"
#include "output.h"

/* The globs of the probes that make an HTTP trace; ends with NULL. */
extern const char *const http_probes[];

struct http {
    struct output *output;
    const struct traced *probes; /* by the ids of the events */
    size_t num_probes;
};

/* Prints the line of an event. Returns 0, or -1 if the event is malformed. */
int http_print(struct http *http, const struct event *event);

#endif
