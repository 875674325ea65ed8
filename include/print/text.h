/*
 * Prints records in varnishlog's format: h2o's number of the connection, its number of the request,
 * a tag padded to ten columns, and a value. Example: "11 0 RxHeader   :path /".
 */
#ifndef H2OLOG_PRINT_TEXT_H
#define H2OLOG_PRINT_TEXT_H

#include "event/needs.h"
#include "print/sink.h"

/* Opens a sink that prints records to settings->output, and losses to settings->messages. */
struct sink text_open(const struct sink_settings *settings);

/* Adds what the sink needs: all headers. */
void text_add_needs(struct needs *needs);

#endif
