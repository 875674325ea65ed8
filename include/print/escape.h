/*
 * Escaping of untrusted bytes, so that they cannot forge a line or move the cursor of a terminal.
 */
#ifndef H2OLOG_PRINT_ESCAPE_H
#define H2OLOG_PRINT_ESCAPE_H

#include <stddef.h>
#include <stdint.h>

#include "print/output.h"

/* The most bytes that one byte becomes, in text and in JSON. */
#define ESCAPE_EXPANSION 6

/*
 * Prints bytes as text. Control characters (below 0x20 except the tab, 0x7f, U+0080 to U+009F) and
 * bytes that are not valid UTF-8 become \xNN.
 */
void escape_print(struct output *output, const uint8_t *bytes, size_t size);

/*
 * Prints bytes as the content of a JSON string. Control characters become \u00XX. Invalid UTF-8
 * becomes U+FFFD, an incomplete sequence one U+FFFD.
 */
void escape_print_json(struct output *output, const uint8_t *bytes, size_t size);

/*
 * Prints bytes as one column of a line: printable ASCII without the space. All other bytes become
 * \xNN, so that they cannot look like another column.
 */
void escape_print_column(struct output *output, const uint8_t *bytes, size_t size);

/*
 * Prints bytes as h2o's access log does: `"` and all bytes except 0x20 to 0x7c become \xNN. Unlike
 * h2o's, a backslash at the end does so, too: readers would take it and the quote behind the value
 * as a quote in the value.
 */
void escape_print_log(struct output *output, const uint8_t *bytes, size_t size);

/* Escapes as escape_print does, into a new string. Free it with free(). */
char *escape_string(const char *text);

/* Removes an incomplete UTF-8 sequence at the end of a truncated message. */
void escape_mend(char *text);

/* Returns the length of an incomplete UTF-8 sequence at the end, 0 if there is none. */
size_t escape_cut(const uint8_t *bytes, size_t size);

#endif
