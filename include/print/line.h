/*
 * Parts of lines that several printers have.
 */
#ifndef H2OLOG_PRINT_LINE_H
#define H2OLOG_PRINT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/record.h"
#include "event/request.h"
#include "print/output.h"
#include "print/sink.h"

/* Escapes bytes: a function of print/escape.h. */
typedef void (*line_escape)(struct output *output, const uint8_t *bytes, size_t size);

/*
 * Prints a text value: "[unreadable]" if it could not be read; if it was cut, " [+12 bytes]" behind
 * it says how many bytes are missing, "[+12 bytes]" if these are all.
 */
void line_text(struct output *output, line_escape escape, const struct value *value);

/* Prints a text value as a JSON string, or null if it could not be read. */
void line_json(struct output *output, const struct value *value);

/* Prints the version of HTTP: "HTTP/1.1", "HTTP/2". `version` is major * 256 + minor. */
void line_protocol(struct output *output, int32_t version);

/*
 * The time of a request, of the events' clock: when it was received, or when the response began, if
 * it was received before the trace. Returns false if none is known.
 */
bool line_request_time(const struct request *request, uint64_t *time_ns);

/* Prints the members "time" and "lost" of the JSON object for lost events, and ends the line. */
void line_json_lost(const struct sink_settings *settings, uint64_t count);

/*
 * Says on settings->messages that events are lost. Flushes the lines first, because both outputs
 * can be the same terminal.
 */
void line_lost(const struct sink_settings *settings, uint64_t count);

#endif
