/*
 * What no printer may let through: bytes that strangers chose can neither forge a line nor move the
 * cursor.
 */
#ifndef H2OLOG_PRINT_ESCAPE_H
#define H2OLOG_PRINT_ESCAPE_H

#include <stddef.h>
#include <stdint.h>

#include "print/output.h"

/* No byte takes more room than this in either form. */
#define ESCAPE_EXPANSION 6

/*
 * As a part of a line of text: UTF-8 passes as it is, but for control characters (all below 0x20
 * but the tab, 0x7f, and U+0080 to U+009F) and for bytes that are no UTF-8, which appear as \xNN.
 */
void escape_print(struct output *output, const uint8_t *bytes, size_t size);

/*
 * As the inside of a JSON string: control characters as \u00XX, what is no UTF-8 as U+FFFD, a
 * sequence that breaks off as one.
 */
void escape_print_json(struct output *output, const uint8_t *bytes, size_t size);

/* What escape_print would print, NUL-terminated, to be freed: for messages. */
char *escape_string(const char *text);

/* Drops a character that is cut off at the end of a message: a long word in it does not fit. */
void escape_mend(char *text);

/* How many bytes at the end begin a UTF-8 sequence that was cut off there. */
size_t escape_cut(const uint8_t *bytes, size_t size);

#endif
