/*
 * Shared by the fuzz targets: failing, and checks of the output that are independent of src/.
 */
#ifndef H2OLOG_FUZZ_SUPPORT_H
#define H2OLOG_FUZZ_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "print/output.h"

/* Functions that libFuzzer calls, and one of its own. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Aborts, so that libFuzzer keeps the input. */
#define check(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
_Noreturn void check_failed(const char *condition, const char *file, int line);

/* Copies bytes and appends a NUL, in exactly the size that ASan checks. Free it with free(). */
char *string_of(const uint8_t *bytes, size_t size);

/* Opens an output that keeps its lines in the buffer; discards these lines. */
void printed_open(struct output *output);
void printed_forget(struct output *output);

/* Whether bytes are valid UTF-8. */
bool is_utf8(const char *bytes, size_t size);

/* Whether bytes are valid UTF-8 without control characters, except tabs if `may_have_tabs`. */
bool is_tame(const char *bytes, size_t size, bool may_have_tabs);

/* Whether bytes are a JSON object (RFC 8259) with strings, integers and nulls. */
bool is_json(const char *bytes, size_t size);

/* Decodes the content of a JSON string. Returns NULL if it is not valid. Free it with free(). */
char *json_unescape(const char *bytes, size_t size, size_t *length);

/* Whether text is one of the few C expressions that read an operand. */
bool is_expression(const char *text);

/* Whether text has only bytes that operands can have, so that it cannot end a comment. */
bool is_operands(const char *text, size_t size);

#endif
