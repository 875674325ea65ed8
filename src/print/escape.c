#include "print/escape.h"

#include <stdbool.h>
#include <string.h>

#include "memory.h"

/*
 * Returns the length of the UTF-8 sequence at `bytes`, 0 if it is not valid. Then *bad is the
 * length of the "maximal subpart" (Unicode 15, 3.9, table 3-7), which one U+FFFD replaces.
 */
static size_t sequence_length(const uint8_t *bytes, size_t size, size_t *bad)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t length;

    *bad = 1;
    if (bytes[0] < 0x80)
        return 1;
    if (bytes[0] >= 0xc2 && bytes[0] <= 0xdf)
        length = 2;
    else if (bytes[0] >= 0xe0 && bytes[0] <= 0xef)
        length = 3;
    else if (bytes[0] >= 0xf0 && bytes[0] <= 0xf4)
        length = 4;
    else
        return 0;
    switch (bytes[0]) {
    case 0xe0: /* below: overlong */
        low = 0xa0;
        break;
    case 0xed: /* above: surrogates */
        high = 0x9f;
        break;
    case 0xf0:
        low = 0x90;
        break;
    case 0xf4: /* above: beyond U+10FFFF */
        high = 0x8f;
        break;
    default:
        break;
    }
    for (size_t i = 1; i != length; ++i) {
        if (i == size || bytes[i] < low || bytes[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

/* U+0080 to U+009F: terminals treat them as control characters. */
static bool is_c1(const uint8_t *bytes, size_t length)
{
    return length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0;
}

/* Returns how many bytes need no escape: printable ASCII, for JSON without `"` and `\`. */
static size_t plain_length(const uint8_t *bytes, size_t size, bool json)
{
    size_t i = 0;

    while (i != size && bytes[i] >= 0x20 && bytes[i] < 0x7f &&
           !(json && (bytes[i] == '"' || bytes[i] == '\\')))
        ++i;
    return i;
}

static char *print_x(char *to, uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";

    *to++ = '\\';
    *to++ = 'x';
    *to++ = digits[byte >> 4];
    *to++ = digits[byte & 15];
    return to;
}

/* Escapes one character. Returns the number of bytes it has, and advances *to. */
static size_t escape_text(char **to, const uint8_t *bytes, size_t size)
{
    size_t bad, length = sequence_length(bytes, size, &bad);

    if (length == 0 || is_c1(bytes, length)) {
        size_t count = length == 0 ? bad : length;
        for (size_t i = 0; i != count; ++i)
            *to = print_x(*to, bytes[i]);
        return count;
    }
    if (length == 1 && bytes[0] != '\t' && (bytes[0] < 0x20 || bytes[0] == 0x7f)) {
        *to = print_x(*to, bytes[0]);
        return 1;
    }
    memcpy(*to, bytes, length);
    *to += length;
    return length;
}

static size_t escape_json(char **to, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t bad, length = sequence_length(bytes, size, &bad);

    if (length == 0) {
        memcpy(*to, "\xef\xbf\xbd", 3); /* U+FFFD */
        *to += 3;
        return bad;
    }
    if (length == 1 && (bytes[0] == '"' || bytes[0] == '\\')) {
        *(*to)++ = '\\';
        *(*to)++ = (char)bytes[0];
    } else if ((length == 1 && (bytes[0] < 0x20 || bytes[0] == 0x7f)) || is_c1(bytes, length)) {
        uint8_t code = bytes[length - 1]; /* U+0080 to U+009F: the second byte is the code */
        memcpy(*to, "\\u00", 4);
        (*to)[4] = digits[code >> 4];
        (*to)[5] = digits[code & 15];
        *to += 6;
    } else {
        memcpy(*to, bytes, length);
        *to += length;
    }
    return length;
}

static void print(struct output *output, const uint8_t *bytes, size_t size, bool json)
{
    while (size != 0) {
        size_t chunk = size < OUTPUT_RESERVE_MAX / ESCAPE_EXPANSION
                           ? size
                           : OUTPUT_RESERVE_MAX / ESCAPE_EXPANSION - 4;
        char *start = output_reserve(output, OUTPUT_RESERVE_MAX), *to = start;
        size_t done = 0;

        while (done < chunk) {
            size_t plain = plain_length(bytes + done, chunk - done, json);
            memcpy(to, bytes + done, plain);
            to += plain;
            done += plain;
            if (done < chunk)
                done += (json ? escape_json : escape_text)(&to, bytes + done, size - done);
        }
        output_advance(output, (size_t)(to - start));
        bytes += done;
        size -= done;
    }
}

void escape_print(struct output *output, const uint8_t *bytes, size_t size)
{
    print(output, bytes, size, false);
}

void escape_print_json(struct output *output, const uint8_t *bytes, size_t size)
{
    print(output, bytes, size, true);
}

/* Prints bytes from `first` to `last`, except `quote`, as they are, and all others as \xNN. */
static void print_range(struct output *output, const uint8_t *bytes, size_t size, uint8_t first,
                        uint8_t last, uint8_t quote)
{
    while (size != 0) {
        const size_t chunk = size < OUTPUT_RESERVE_MAX / ESCAPE_EXPANSION
                                 ? size
                                 : OUTPUT_RESERVE_MAX / ESCAPE_EXPANSION;
        char *start = output_reserve(output, chunk * ESCAPE_EXPANSION), *to = start;

        for (size_t i = 0; i != chunk; ++i) {
            if (bytes[i] >= first && bytes[i] <= last && bytes[i] != quote)
                *to++ = (char)bytes[i];
            else
                to = print_x(to, bytes[i]);
        }
        output_advance(output, (size_t)(to - start));
        bytes += chunk;
        size -= chunk;
    }
}

void escape_print_column(struct output *output, const uint8_t *bytes, size_t size)
{
    print_range(output, bytes, size, 0x21, 0x7e, 0);
}

void escape_print_log(struct output *output, const uint8_t *bytes, size_t size)
{
    const bool ends_with_backslash = size != 0 && bytes[size - 1] == '\\';

    print_range(output, bytes, size - ends_with_backslash, 0x20, 0x7c, '"');
    if (ends_with_backslash)
        output_string(output, "\\x5c");
}

char *escape_string(const char *text)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t size = strlen(text);
    char *escaped = memory_grow(NULL, size + 1, 4), *to = escaped;

    while (size != 0) {
        size_t taken = escape_text(&to, bytes, size);
        bytes += taken;
        size -= taken;
    }
    *to = '\0';
    return escaped;
}

size_t escape_cut(const uint8_t *bytes, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; ++back) {
        const uint8_t *start = bytes + size - back;
        size_t bad;
        if ((*start & 0xc0) == 0x80)
            continue;
        /* incomplete, but valid so far */
        return *start >= 0xc2 && *start <= 0xf4 && sequence_length(start, back, &bad) == 0 &&
                       bad == back
                   ? back
                   : 0;
    }
    return 0;
}

void escape_mend(char *text)
{
    size_t size = strlen(text);

    text[size - escape_cut((const uint8_t *)text, size)] = '\0';
}
