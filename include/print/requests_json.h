/*
 * Prints requests as JSON, one object per line. doc/requests.schema.json says what it has. A loss
 * is an object of its own, at its place.
 */
#ifndef H2OLOG_PRINT_REQUESTS_JSON_H
#define H2OLOG_PRINT_REQUESTS_JSON_H

#include "event/needs.h"
#include "print/sink.h"

/* Opens a sink that prints to settings->output. */
struct sink requests_json_open(const struct sink_settings *settings);

/* Adds what the sink needs. */
void requests_json_add_needs(struct needs *needs);

#endif
