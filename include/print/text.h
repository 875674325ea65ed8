/*
 * Prints records in varnishlog's format: h2o's number of the connection, its number of the request,
 * a tag padded to ten columns, and a value. Example: "11 0 RxHeader   :path /".
 *
 * Requests are printed as the lines of their records, and an empty line. The last line of a request
 * that is not complete says so: "11 0 State      unfinished", or another name that
 * request_state_name returns.
 *
 * With settings->timestamps, each line except the empty ones begins with the local time of its
 * event: "10:29:34.120318 11 0 RxHeader   :path /". A time that is not known is "-", as wide.
 */
#ifndef H2OLOG_PRINT_TEXT_H
#define H2OLOG_PRINT_TEXT_H

#include "event/needs.h"
#include "print/sink.h"

/*
 * Opens a sink that prints records or requests to settings->output, and losses to
 * settings->messages.
 */
struct sink text_open(const struct sink_settings *settings);

/* Adds what the sink needs: all headers. */
void text_add_needs(struct needs *needs);

#endif
