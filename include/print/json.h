/*
 * Prints records as JSON, one object per line. The fields of a signature say what is printed, so a
 * new probe needs no code here.
 */
#ifndef H2OLOG_PRINT_JSON_H
#define H2OLOG_PRINT_JSON_H

#include "print/sink.h"

/* Opens a sink that prints to settings->output. */
struct sink json_open(const struct sink_settings *settings);

#endif
