/*
 * Event -> a line of text, as varnishlog prints: "11 0 RxHeader   :path /", connection, request,
 * tag padded to ten columns, value.
 */
#ifndef H2OLOG_PRINT_TEXT_H
#define H2OLOG_PRINT_TEXT_H

#include <stddef.h>

#include "server/version.h"
#include "event/record.h"
#include "print/output.h"

/* The globs of the probes that make an HTTP trace; ends with NULL. */
extern const char *const http_probes[];

struct text {
    struct output *output;
    const struct server_probe *probes; /* by the ids of the events */
    size_t num_probes;
};

/* Prints the line of an event. Returns 0, or -1 if the event is malformed. */
int text_print(struct text *http, const struct event *event);

#endif
