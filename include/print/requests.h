/*
 * Prints requests as lines for eyes, in columns for a terminal of 120 columns:
 *
 *   10:29:34.120318  503  501.2ms  GET   https://example.com/api/orders?id=7  HTTP/2  1292/39
 *
 * local time (of the response, if the request began before the trace), status, time to first byte
 * ("99us", "501.2ms", "12.34s", "1234s"; the rest is cut off), method, URL, protocol, h2o's numbers
 * of the connection and of the request. What is not known is "-". A request that is not complete
 * ends with its state. A URL that is longer than its column is printed whole.
 *
 * Two spaces separate columns. In the method and the URL, spaces and all bytes except printable
 * ASCII become \xNN. The URL of CONNECT is the authority. A path that does not begin with '/' is
 * separated from the authority by a space: "https://example.com *".
 */
#ifndef H2OLOG_PRINT_REQUESTS_H
#define H2OLOG_PRINT_REQUESTS_H

#include "event/needs.h"
#include "print/sink.h"

/*
 * Opens a sink that prints to settings->output, and losses to settings->messages. With
 * settings->colors, the status is green (2xx), cyan (3xx), yellow (4xx) or red (5xx).
 */
struct sink requests_open(const struct sink_settings *settings);

/* Adds what the sink needs. */
void requests_add_needs(struct needs *needs);

#endif
