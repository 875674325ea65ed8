/*
 * What the fuzz targets share: how they fail, and what they hold the output to, worked out in other
 * ways than src/ does it.
 */
#ifndef H2OLOG_FUZZ_SUPPORT_H
#define H2OLOG_FUZZ_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "print/output.h"

/* What libFuzzer calls, and one function that it lends. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Ends the run as a crash does, so that libFuzzer keeps the input. */
#define check(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
_Noreturn void check_failed(const char *condition, const char *file, int line);

/* A copy of bytes that ends with a NUL, and behind which nothing can be read; to be freed. */
char *string_of(const uint8_t *bytes, size_t size);

/* An output whose lines stay in its buffer; and forgetting those that are there. */
void printed_open(struct output *output);
void printed_forget(struct output *output);

/* Whether bytes are UTF-8 throughout. */
bool is_utf8(const char *bytes, size_t size);

/* Whether they are UTF-8 without a control character, but for tabs if it `may_have_tabs`. */
bool is_tame(const char *bytes, size_t size, bool may_have_tabs);

/* Whether they are a JSON object (RFC 8259) of strings, integers and nulls. */
bool is_json(const char *bytes, size_t size);

/* The inside of a JSON string as UTF-8, to be freed; NULL if it is none. */
char *json_unescape(const char *bytes, size_t size, size_t *length);

/* Whether text is a C expression of the few forms that read an operand. */
bool is_expression(const char *text);

/* Whether it has no byte but those that operands are written with: it cannot end a comment. */
bool is_operands(const char *text, size_t size);

#endif
