/*
 * Record -> a line of JSON. What is printed of a probe is what the fields of its signature say, so a new
 * probe needs no code here.
 */
#ifndef H2OLOG_PRINT_JSON_H
#define H2OLOG_PRINT_JSON_H

#include "print/sink.h"

/* Opens a sink that prints to settings->output. */
struct sink json_open(const struct sink_settings *settings);

#endif
