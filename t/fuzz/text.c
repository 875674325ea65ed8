/*
 * Escapes arbitrary bytes. The result must have no control characters and no invalid UTF-8. Other
 * text must not change.
 */
#include "print/escape.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "support.h"

static struct output output;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    printed_open(&output);
    return 0;
}

static bool is_printed(const char *bytes, size_t size)
{
    return output.used == size && memcmp(output.buffer, bytes, size) == 0;
}

static void print_text(const char *bytes, size_t size)
{
    escape_print(&output, (const uint8_t *)bytes, size);
    check(output.used >= size && output.used <= 4 * size);
    check(is_tame(output.buffer, output.used, true));
    if (is_tame(bytes, size, true))
        check(is_printed(bytes, size));
    printed_forget(&output);
}

static void print_json(const char *bytes, size_t size)
{
    size_t length;
    char *back;

    escape_print_json(&output, (const uint8_t *)bytes, size);
    check(output.used <= ESCAPE_EXPANSION * size);
    check(is_tame(output.buffer, output.used, false));
    back = json_unescape(output.buffer, output.used, &length);
    check(back != NULL);
    if (is_utf8(bytes, size))
        check(length == size && memcmp(back, bytes, size) == 0);
    free(back);
    printed_forget(&output);
}

/* The same for a message that was truncated. */
static void escape(const char *string)
{
    char *escaped = escape_string(string);
    size_t size = strlen(escaped);

    escape_print(&output, (const uint8_t *)string, strlen(string));
    check(is_printed(escaped, size));
    for (int i = 0; i != 4 && size != 0; ++i) {
        escaped[--size] = '\0';
        escape_mend(escaped);
        check(is_utf8(escaped, strlen(escaped)) && strlen(escaped) + 3 >= size);
        size = strlen(escaped);
    }
    free(escaped);
    printed_forget(&output);
}

/* Truncated UTF-8 is valid again without the bytes that escape_cut returns. */
static void cut(const char *bytes, size_t size)
{
    const bool whole = is_utf8(bytes, size);

    for (size_t end = size; end + 4 > size; --end) {
        size_t incomplete = escape_cut((const uint8_t *)bytes, end);
        check(incomplete <= 3 && incomplete <= end);
        if (whole)
            check(is_utf8(bytes, end - incomplete));
        if (is_utf8(bytes, end))
            check(incomplete == 0);
        if (end == 0)
            break;
    }
}

/* Writes at the end of the buffer, to check that no more bytes are written than reserved. */
static void print_at_end(const char *bytes, size_t size)
{
    const size_t allocated = output.allocated;

    output.used = output.line = allocated - OUTPUT_RESERVE_MAX;
    escape_print_json(&output, (const uint8_t *)bytes, size);
    check(output.used <= output.allocated); /* the buffer has grown, if that was necessary */
    printed_forget(&output);
    output.buffer = realloc(output.buffer, allocated);
    check(output.buffer != NULL);
    output.allocated = allocated;
}

/* Large values are printed in pieces, which is slow: only one input in 64 is made large. */
static size_t repetitions(const uint8_t *data, size_t size)
{
    uint8_t sum = 0;

    for (size_t i = 0; i != size; ++i)
        sum = (uint8_t)(sum * 31 + data[i]);
    return size != 0 && sum % 64 == 63 ? EVENT_MAX / size : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t times = repetitions(data, size);
    char *bytes = malloc(size * times + 1);
    size_t total = 0;

    check(bytes != NULL);
    for (; total != size * times; total += size)
        memcpy(bytes + total, data, size);
    bytes[total] = '\0';
    escape(bytes);
    bytes = realloc(bytes, total != 0 ? total : 1); /* exact size, for ASan */
    check(bytes != NULL);
    print_text(bytes, total);
    print_json(bytes, total);
    if (times > 1)
        print_at_end(bytes, total);
    cut(bytes, total);
    free(bytes);
    return 0;
}
