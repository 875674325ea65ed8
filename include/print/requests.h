/*
 * Prints requests: a line for eyes, or a JSON object, for each.
 */
#ifndef H2OLOG_PRINT_REQUESTS_H
#define H2OLOG_PRINT_REQUESTS_H

#include "event/needs.h"
#include "print/sink.h"

/*
 * Opens a sink that prints requests in columns, for a terminal of 120 columns:
 * "10:29:34.120318  503  501.2ms  GET   https://example.com/  HTTP/2  1292/39".
 */
struct sink requests_open(const struct sink_settings *settings);

/* Opens a sink that prints requests as JSON, one object per line. doc/requests.schema.json. */
struct sink requests_json_open(const struct sink_settings *settings);

/* Adds what the sinks need. */
void requests_add_needs(struct needs *needs);
void requests_json_add_needs(struct needs *needs);

#endif
