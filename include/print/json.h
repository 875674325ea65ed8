/*
 * Prints records as JSON, one object per line. The fields of a signature say what is printed, so a
 * new probe needs no code here.
 */
#ifndef H2OLOG_PRINT_JSON_H
#define H2OLOG_PRINT_JSON_H

#include "event/needs.h"
#include "print/sink.h"

/* Opens a sink that prints to settings->output. */
struct sink json_open(const struct sink_settings *settings);

/* Adds what the sink needs: all headers. */
void json_add_needs(struct needs *needs);

#endif
