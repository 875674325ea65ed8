#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "print/escape.h"

typedef void (*printer)(struct output *output, const uint8_t *bytes, size_t size);

/* Returns the output of a printer for bytes. Free it with free(). */
static char *print(printer print_bytes, const void *bytes, size_t size)
{
    struct output output;
    char *text;

    printed_open(&output);
    print_bytes(&output, bytes, size);
    output_end_line(&output);
    text = printed_take(&output);
    printed_close(&output);
    text[strlen(text) - 1] = '\0'; /* without the newline */
    return text;
}

static void check(printer print_bytes, const char *what, const void *bytes, size_t size,
                  const char *expected)
{
    char *text = print(print_bytes, bytes, size);

    check_string(what, text, expected);
    free(text);
}

/* Cases as C strings without NULs. */
struct string_case {
    const char *bytes;
    const char *expected;
};

static void check_strings(printer print_bytes, const struct string_case *cases, size_t count)
{
    for (size_t i = 0; i != count; ++i)
        check(print_bytes, cases[i].expected, cases[i].bytes, strlen(cases[i].bytes),
              cases[i].expected);
}

#define CHECK_STRINGS(print_bytes, cases)                                                          \
    check_strings(print_bytes, cases, sizeof(cases) / sizeof((cases)[0]))

static void text_prints_each_byte(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte != 256; ++byte) {
        const uint8_t bytes[] = {(uint8_t)byte};
        char what[32], expected[8];
        snprintf(what, sizeof(what), "byte 0x%02x", byte);
        if (byte == '\t' || (byte >= 0x20 && byte < 0x7f))
            snprintf(expected, sizeof(expected), "%c", (int)byte);
        else
            snprintf(expected, sizeof(expected), "\\x%02x", byte);
        check(escape_print, what, bytes, 1, expected);
    }
}

static void json_prints_each_byte(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte != 256; ++byte) {
        const uint8_t bytes[] = {(uint8_t)byte};
        char what[32], expected[8];
        snprintf(what, sizeof(what), "byte 0x%02x", byte);
        if (byte == '"' || byte == '\\')
            snprintf(expected, sizeof(expected), "\\%c", (int)byte);
        else if (byte < 0x20 || byte == 0x7f)
            snprintf(expected, sizeof(expected), "\\u00%02x", byte);
        else if (byte < 0x80)
            snprintf(expected, sizeof(expected), "%c", (int)byte);
        else
            snprintf(expected, sizeof(expected), "\xef\xbf\xbd");
        check(escape_print_json, what, bytes, 1, expected);
    }
}

/* The two kinds of ASCII: columns and access logs. */
static void columns_and_logs_have_each_byte(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte != 256; ++byte) {
        const uint8_t bytes[] = {(uint8_t)byte, 'z'};
        const bool in_column = byte > 0x20 && byte < 0x7f;
        const bool in_log = byte >= 0x20 && byte <= 0x7c && byte != '"';
        char what[32], expected[8];
        snprintf(what, sizeof(what), "byte 0x%02x", byte);
        snprintf(expected, sizeof(expected), in_column ? "%cz" : "\\x%02xz", byte);
        check(escape_print_column, what, bytes, 2, expected);
        snprintf(expected, sizeof(expected), in_log ? "%cz" : "\\x%02xz", byte);
        check(escape_print_log, what, bytes, 2, expected);
    }
}

/* `\` before the quote behind a value would make it a quote in the value. */
static void logs_do_not_end_with_a_backslash(void **state)
{
    static const struct string_case cases[] = {{"", ""},
                                               {"\\", "\\x5c"},
                                               {"a\\b\\", "a\\b\\x5c"},
                                               {"\\\\", "\\\\x5c"},
                                               {"\\\"", "\\\\x22"}};

    (void)state;
    CHECK_STRINGS(escape_print_log, cases);
}

/* U+0080 to U+00FF: the first half are control characters. */
static void c1_is_escaped(void **state)
{
    (void)state;
    for (unsigned code = 0x80; code != 0x100; ++code) {
        const uint8_t bytes[] = {'a', (uint8_t)(0xc0 | code >> 6), (uint8_t)(0x80 | (code & 0x3f)),
                                 'b'};
        char what[32], text[16], json[16];
        snprintf(what, sizeof(what), "U+%04X", code);
        if (code < 0xa0) {
            snprintf(text, sizeof(text), "a\\x%02x\\x%02xb", bytes[1], bytes[2]);
            snprintf(json, sizeof(json), "a\\u00%02xb", code);
        } else {
            snprintf(text, sizeof(text), "%.4s", (const char *)bytes);
            snprintf(json, sizeof(json), "%.4s", (const char *)bytes);
        }
        check(escape_print, what, bytes, sizeof(bytes), text);
        check(escape_print_json, what, bytes, sizeof(bytes), json);
    }
}

static void valid_text_passes(void **state)
{
    static const char *const texts[] = {
        "",
        "plain ASCII with a \\backslash, 'quotes' and %s",
        "\xc2\xa0\xc3\xa9\xdf\xbf",                           /* U+00A0 to U+07FF */
        "\xe0\xa0\x80 \xe2\x82\xac \xed\x9f\xbf",             /* U+0800 to U+D7FF */
        "\xee\x80\x80 \xef\xbf\xbd \xef\xbf\xbf",             /* U+E000 to U+FFFF */
        "\xf0\x90\x80\x80 \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf", /* U+10000 to U+10FFFF */
        "tab\tis\tkept",
    };

    (void)state;
    for (size_t i = 0; i != sizeof(texts) / sizeof(texts[0]); ++i) {
        check(escape_print, texts[i], texts[i], strlen(texts[i]), texts[i]);
        if (strpbrk(texts[i], "\t\\\"") == NULL)
            check(escape_print_json, texts[i], texts[i], strlen(texts[i]), texts[i]);
    }
}

/* Typical attacks. */
static void nothing_is_forged(void **state)
{
    static const struct string_case texts[] = {
        {"x\n1 1 TxStatus   200", "x\\x0a1 1 TxStatus   200"},
        {"x\r\ny", "x\\x0d\\x0ay"},
        {"\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"},
        {"\xc2\x9b"
         "2J",
         "\\xc2\\x9b2J"},
        {"\x9b"
         "2J",
         "\\x9b2J"},
        {"\xc2\x85", "\\xc2\\x85"}, /* NEL */
        {"\xc0\x8a", "\\xc0\\x8a"}, /* an overlong newline */
        {"\xe0\x80\x8a", "\\xe0\\x80\\x8a"},
        {"\xf0\x80\x80\x8a", "\\xf0\\x80\\x80\\x8a"},
        {"\xc0\x9b", "\\xc0\\x9b"}, /* an overlong ESC */
        {"\xc2\n", "\\xc2\\x0a"},   /* a newline in a sequence */
        {"\xe2\x82\n", "\\xe2\\x82\\x0a"},
        {"\xf0\x9f\x98\x1b[m", "\\xf0\\x9f\\x98\\x1b[m"},
        {"\xc2\xc2\x9b", "\\xc2\\xc2\\x9b"},
        {"\xe2\xc2\x9b", "\\xe2\\xc2\\x9b"},
        {"a\x08\x08"
         "b\x7f",
         "a\\x08\\x08b\\x7f"},
    };
    static const struct string_case jsons[] = {
        {"\",\"conn\":9,\"x\":\"", "\\\",\\\"conn\\\":9,\\\"x\\\":\\\""},
        {"\\", "\\\\"},
        {"\\\"", "\\\\\\\""},
        {"\"}\n{\"type\":\"x", "\\\"}\\u000a{\\\"type\\\":\\\"x"},
        {"\x1b[2J\t", "\\u001b[2J\\u0009"},
        {"\xc2\x9b"
         "2J",
         "\\u009b2J"},
        {"\xe2\x82\"", "\xef\xbf\xbd\\\""},
        {"\xc2\\", "\xef\xbf\xbd\\\\"},
        {"\xf0\x9f\x98\n", "\xef\xbf\xbd\\u000a"},
        {"\xc0\xa2", "\xef\xbf\xbd\xef\xbf\xbd"}, /* an overlong quotation mark */
    };

    (void)state;
    CHECK_STRINGS(escape_print, texts);
    CHECK_STRINGS(escape_print_json, jsons);
}

static void invalid_text_is_escaped(void **state)
{
    static const struct string_case texts[] = {
        {"\xc0\x80", "\\xc0\\x80"}, /* overlong */
        {"\xc1\xbf", "\\xc1\\xbf"},
        {"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"},
        {"\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* surrogates */
        {"\xed\xbf\xbf", "\\xed\\xbf\\xbf"},
        {"\xed\xa0\xbd\xed\xb8\x80", "\\xed\\xa0\\xbd\\xed\\xb8\\x80"},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond U+10FFFF */
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
        {"\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"}, /* five bytes */
        {"\xfe\xff", "\\xfe\\xff"},
        {"\x80", "\\x80"}, /* without a first byte */
        {"\xc3", "\\xc3"}, /* incomplete */
        {"\xe2\x82", "\\xe2\\x82"},
        {"\xf0\x9f\x98", "\\xf0\\x9f\\x98"},
        {"\xe2\x82"
         "A",
         "\\xe2\\x82"
         "A"},
        {"\xe2\x82\xc3\xa9", "\\xe2\\x82\xc3\xa9"}, /* a complete sequence follows */
        {"\xc3\xa9\xff\xc3\xa9", "\xc3\xa9\\xff\xc3\xa9"},
    };

    (void)state;
    CHECK_STRINGS(escape_print, texts);
}

/* Compares both forms with the results of Python, for more than a thousand sequences. */
static void agrees_with_python(void **state)
{
    char *text = data_read("utf8.tsv"), *rest = text, *columns[3];
    size_t count = 0;

    (void)state;
    while (data_row(&rest, columns, 3) == 3) {
        uint8_t bytes[64];
        char json[256], escaped[256];
        size_t size = data_hex(columns[0], bytes, sizeof(bytes));
        json[data_hex(columns[1], (uint8_t *)json, sizeof(json) - 1)] = '\0';
        escaped[data_hex(columns[2], (uint8_t *)escaped, sizeof(escaped) - 1)] = '\0';
        check(escape_print_json, columns[0], bytes, size, json);
        check(escape_print, columns[0], bytes, size, escaped);
        ++count;
    }
    free(text);
    assert_true(count > 1000);
}

/*
 * The output of a long value is the output of its parts, wherever it is divided.
 */
static void check_long(printer print_bytes, const char *unit, const char *printed_unit,
                       size_t prefix, size_t size)
{
    const size_t unit_size = strlen(unit), printed_size = strlen(printed_unit);
    const size_t count = (size - prefix) / unit_size;
    uint8_t *bytes = memory_grow(NULL, prefix + count * unit_size + 1, 1);
    char *expected = memory_grow(NULL, prefix + count * printed_size + 1, 1), *text;

    memset(bytes, 'a', prefix);
    memset(expected, 'a', prefix);
    for (size_t i = 0; i != count; ++i) {
        memcpy(bytes + prefix + i * unit_size, unit, unit_size);
        memcpy(expected + prefix + i * printed_size, printed_unit, printed_size);
    }
    expected[prefix + count * printed_size] = '\0';
    text = print(print_bytes, bytes, prefix + count * unit_size);
    if (strcmp(text, expected) != 0)
        fail_msg("%zu times '%s' behind %zu other bytes are not printed as they are alone", count,
                 printed_unit, prefix);
    free(text);
    free(expected);
    free(bytes);
}

static void long_values_are_printed_whole(void **state)
{
    static const struct {
        const char *unit, *text, *json;
    } units[] = {
        {"x", "x", "x"},
        {"\xc3\xa9", "\xc3\xa9", "\xc3\xa9"},
        {"\xe2\x82\xac", "\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\x01", "\\x01", "\\u0001"},
        {"\xff", "\\xff", "\xef\xbf\xbd"},
        {"\xc2\x9b", "\\xc2\\x9b", "\\u009b"},
        {"\xe2\x82\n", "\\xe2\\x82\\x0a", "\xef\xbf\xbd\\u000a"},
    };
    const size_t chunk = OUTPUT_RESERVE_MAX / ESCAPE_EXPANSION;
    const size_t sizes[] = {chunk - 5, chunk - 1, chunk,        chunk + 1,
                            chunk + 3, 2 * chunk, 2 * chunk + 7};

    (void)state;
    for (size_t i = 0; i != sizeof(units) / sizeof(units[0]); ++i) {
        for (size_t j = 0; j != sizeof(sizes) / sizeof(sizes[0]); ++j) {
            for (size_t prefix = 0; prefix != 5; ++prefix) {
                check_long(escape_print, units[i].unit, units[i].text, prefix, sizes[j]);
                check_long(escape_print_json, units[i].unit, units[i].json, prefix, sizes[j]);
                if (strlen(units[i].unit) == 1) {
                    check_long(escape_print_column, units[i].unit, units[i].text, prefix, sizes[j]);
                    check_long(escape_print_log, units[i].unit, units[i].text, prefix, sizes[j]);
                }
            }
        }
    }
}

/* No byte becomes more than ESCAPE_EXPANSION bytes, which output_reserve relies on. */
static void expansion_is_as_declared(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte != 256; ++byte) {
        uint8_t bytes[100];
        char *text, *json;
        memset(bytes, (int)byte, sizeof(bytes));
        text = print(escape_print, bytes, sizeof(bytes));
        json = print(escape_print_json, bytes, sizeof(bytes));
        assert_true(strlen(text) <= ESCAPE_EXPANSION * sizeof(bytes));
        assert_true(strlen(json) <= ESCAPE_EXPANSION * sizeof(bytes));
        free(text);
        free(json);
    }
}

static void random_bytes_are_tame(void **state)
{
    static const uint8_t tricky[] = {0,    '\n', 0x1b, '"',  '\\', 'a',  0x7f, 0x80,
                                     0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xc3,
                                     0xdf, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf4, 0xf5};
    uint32_t seed = random_seed();

    (void)state;
    for (size_t i = 0; i != 20000; ++i) {
        uint8_t bytes[16];
        char *text, *json;
        for (size_t j = 0; j != sizeof(bytes); ++j) {
            bytes[j] = tricky[random_next(&seed) % sizeof(tricky)];
        }
        text = print(escape_print, bytes, sizeof(bytes));
        json = print(escape_print_json, bytes, sizeof(bytes));
        if (!is_tame(text, false) || !is_tame(json, false) || strchr(json, '\t') != NULL)
            fail_msg("case %zu lets a byte through: %s", i, text);
        free(text);
        free(json);
    }
}

static void escapes_for_messages(void **state)
{
    static const struct string_case cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"\xc3\xa9\t\xe2\x82\xac", "\xc3\xa9\t\xe2\x82\xac"},
        {"\n\x1b[m\x7f\xff\xc2\x9b", "\\x0a\\x1b[m\\x7f\\xff\\xc2\\x9b"},
        {"\xe2\x82", "\\xe2\\x82"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        char *escaped = escape_string(cases[i].bytes);
        check_string(cases[i].expected, escaped, cases[i].expected);
        free(escaped);
    }
}

static void counts_truncated_bytes(void **state)
{
    static const struct {
        const char *bytes;
        size_t expected;
    } cases[] = {
        {"", 0},
        {"a", 0},
        {"\xc3\xa9", 0},
        {"\xe2\x82\xac", 0},
        {"\xf0\x9f\x98\x80", 0},
        {"a\xc3", 1},
        {"a\xe2", 1},
        {"a\xe2\x82", 2},
        {"a\xf0", 1},
        {"a\xf0\x9f", 2},
        {"a\xf0\x9f\x98", 3},
        {"\xc3\xa9\xc3", 1},
        {"\xc3", 1},
        {"\xf0\x9f\x98", 3},
        {"\xed\x9f", 2},
        {"\xf4\x8f\xbf", 3},
        /* an invalid sequence is not a truncated one */
        {"a\x80", 0},
        {"a\x80\x80", 0},
        {"a\x80\x80\x80\x80", 0},
        {"\xf0\x9f\x98\x80\x80", 0},
        {"\xc3\xa9\x80", 0},
        {"a\xc0", 0},
        {"a\xc1", 0},
        {"a\xe0\x80", 0},
        {"a\xed\xa0", 0},
        {"a\xf0\x80", 0},
        {"a\xf0\x80\x80", 0},
        {"a\xf4\x90", 0},
        {"a\xf4\x90\x80", 0},
        {"a\xf5", 0},
        {"a\xf5\x80", 0},
        {"a\xf8", 0},
        {"a\xff", 0},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        size_t cut = escape_cut((const uint8_t *)cases[i].bytes, strlen(cases[i].bytes));
        if (cut != cases[i].expected) {
            char *escaped = escape_string(cases[i].bytes);
            fail_msg("of '%s', %zu bytes were cut, not %zu", escaped, cases[i].expected, cut);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_prints_each_byte),
        cmocka_unit_test(json_prints_each_byte),
        cmocka_unit_test(columns_and_logs_have_each_byte),
        cmocka_unit_test(logs_do_not_end_with_a_backslash),
        cmocka_unit_test(c1_is_escaped),
        cmocka_unit_test(valid_text_passes),
        cmocka_unit_test(nothing_is_forged),
        cmocka_unit_test(invalid_text_is_escaped),
        cmocka_unit_test(agrees_with_python),
        cmocka_unit_test(long_values_are_printed_whole),
        cmocka_unit_test(expansion_is_as_declared),
        cmocka_unit_test(random_bytes_are_tame),
        cmocka_unit_test(escapes_for_messages),
        cmocka_unit_test(counts_truncated_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
