#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memory.h"
#include "print/escape.h"
#include "query_tree.h"

/* An error shows so many bytes of the query. */
#define SHOWN_MAX 40

#define LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS     "0123456789"
#define NAME_CHARS LETTERS DIGITS "_.:-"

/* --- errors --- */

size_t query_column(const struct query_lexer *lexer, const char *at)
{
    size_t number = 1;

    for (const char *byte = lexer->text; byte != at; ++byte)
        number += ((unsigned char)*byte & 0xc0) != 0x80; /* the first byte of a character */
    return number;
}

int query_fail(const struct query_lexer *lexer, const char *at, const char *format, ...)
{
    const size_t left = (size_t)(lexer->end - at);
    char rest[SHOWN_MAX + 1], *reason, *shown;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&reason, format, arguments) < 0)
        reason = NULL;
    va_end(arguments);
    snprintf(rest, sizeof(rest), "%s", at);
    if (left > SHOWN_MAX)
        escape_mend(rest);
    shown = escape_string(rest);
    if (left == 0)
        error_set(lexer->error, ERROR_USAGE, "-q, at the end: %s", reason != NULL ? reason : "");
    else
        error_set(lexer->error, ERROR_USAGE, "-q, column %zu, at '%s%s': %s",
                  query_column(lexer, at), shown, left > SHOWN_MAX ? "..." : "",
                  reason != NULL ? reason : "");
    free(shown);
    free(reason);
    return -1;
}

/* --- strings --- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, c | 0x20) : NULL;

    return found != NULL ? (int)(found - digits) : -1;
}

/* Decodes what follows a backslash. Returns the bytes that it takes, 0 if it is kept as it is. */
static size_t decode_escape(const char *at, bool is_regex, char *byte)
{
    if (at[0] == '"' || at[0] == '\'' || at[0] == '\\') {
        *byte = at[0];
        return 1;
    }
    if (is_regex)
        return 0;
    if (at[0] == 'n' || at[0] == 't') {
        *byte = at[0] == 'n' ? '\n' : '\t';
        return 1;
    }
    if (at[0] != 'x' || hex_digit(at[1]) < 0 || hex_digit(at[2]) < 0)
        return 0;
    *byte = (char)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
    return 3;
}

char *query_unquote(const char *begin, const char *end, bool is_regex, size_t *size,
                    const char ***origins)
{
    char *text = memory_grow(NULL, (size_t)(end - begin), 1);
    size_t used = 0;

    if (origins != NULL)
        *origins = memory_grow(NULL, (size_t)(end - begin), sizeof((*origins)[0]));
    --end; /* the quote */
    for (const char *at = begin + 1; at != end; ++used) {
        if (origins != NULL)
            (*origins)[used] = at;
        text[used] = *at++;
        if (text[used] == '\\')
            at += decode_escape(at, is_regex, &text[used]);
    }
    if (origins != NULL)
        (*origins)[used] = end;
    text[used] = '\0';
    *size = used;
    return text;
}

/* Returns the end of a string that begins with a quote, NULL if it does not end. */
static const char *end_of_string(const char *begin)
{
    for (const char *at = begin + 1; *at != '\0'; ++at) {
        if (*at == *begin)
            return at + 1;
        if (*at == '\\' && at[1] != '\0')
            ++at;
    }
    return NULL;
}

static int lex_string(struct query_lexer *lexer)
{
    struct query_token *token = &lexer->token;

    token->kind = TOKEN_STRING;
    token->end = end_of_string(token->begin);
    if (token->end == NULL)
        return query_fail(lexer, token->begin, "the string has no end; it ends with %c",
                          *token->begin);
    return 0;
}

/* --- numbers --- */

/* Larger integers become this one. It is larger than any number of 64 bits. */
#define LARGEST ((query_number)1 << 96)

/* Reads digits and a fraction. Returns the end. Digits behind the ninth decimal do not count. */
static const uint8_t *read_number(const uint8_t *at, const uint8_t *end, query_number *number)
{
    query_number unit = QUERY_ONE;

    *number = 0;
    for (; at != end && *at >= '0' && *at <= '9'; ++at)
        *number = *number > LARGEST ? *number : *number * 10 + (*at - '0') * QUERY_ONE;
    if (end - at < 2 || at[0] != '.' || at[1] < '0' || at[1] > '9')
        return at;
    for (++at; at != end && *at >= '0' && *at <= '9'; ++at) {
        unit /= 10;
        *number += (*at - '0') * unit;
    }
    return at;
}

bool query_number_of(const uint8_t *bytes, size_t size, query_number *number)
{
    const uint8_t *end = bytes + size;
    const bool is_negative = size != 0 && bytes[0] == '-';

    bytes += is_negative;
    if (bytes == end || *bytes < '0' || *bytes > '9')
        return false;
    bytes = read_number(bytes, end, number);
    if (is_negative)
        *number = -*number;
    return bytes == end;
}

static const struct unit {
    const char *name;
    unsigned factor;
    bool is_duration;
} units[] = {
    {"", 1, false},     {"us", 1, true},       {"ms", 1000, true},       {"s", 1000000, true},
    {"k", 1000, false}, {"M", 1000000, false}, {"G", 1000000000, false},
};

static const struct unit *find_unit(const char *begin, const char *end)
{
    for (size_t i = 0; i != sizeof(units) / sizeof(units[0]); ++i) {
        if (strlen(units[i].name) == (size_t)(end - begin) &&
            memcmp(units[i].name, begin, (size_t)(end - begin)) == 0)
            return &units[i];
    }
    return NULL;
}

static int lex_number(struct query_lexer *lexer)
{
    struct query_token *token = &lexer->token;
    const bool is_negative = *token->begin == '-';
    const char *digits = token->begin + is_negative, *behind;
    const struct unit *unit;

    behind = (const char *)read_number((const uint8_t *)digits, (const uint8_t *)lexer->end,
                                       &token->number);
    token->kind = TOKEN_NUMBER;
    token->end = behind + strspn(behind, NAME_CHARS "/");
    unit = find_unit(behind, token->end);
    if (unit == NULL && strcspn(behind, "._:-/") < (size_t)(token->end - behind))
        return query_fail(lexer, token->begin, "this is not a number; write text in quotes");
    if (unit == NULL)
        return query_fail(lexer, behind, "this is not a unit; the units are us, ms, s, k, M and G");
    if (token->number <= QUERY_ONE * UINT64_MAX) /* else the product could overflow */
        token->number *= unit->factor;
    token->is_duration = unit->is_duration;
    if (token->number > QUERY_ONE * UINT64_MAX)
        return query_fail(lexer, token->begin, "the number is larger than 18446744073709551615");
    if (is_negative)
        token->number = -token->number;
    return 0;
}

/* --- names and operators --- */

static bool is_word(const struct query_token *token, const char *word)
{
    return strlen(word) == (size_t)(token->end - token->begin) &&
           strncasecmp(word, token->begin, strlen(word)) == 0;
}

static int lex_name(struct query_lexer *lexer)
{
    static const struct {
        const char *word;
        enum query_token_kind kind;
    } words[] = {{"and", TOKEN_AND}, {"or", TOKEN_OR}, {"not", TOKEN_NOT}};
    struct query_token *token = &lexer->token;
    const char *begin = token->begin;

    token->kind = TOKEN_NAME;
    token->end = begin + strspn(begin, NAME_CHARS);
    for (size_t i = 0; i != sizeof(words) / sizeof(words[0]); ++i) {
        if (!is_word(token, words[i].word))
            continue;
        token->kind = words[i].kind;
        if (strncmp(begin, words[i].word, strlen(words[i].word)) != 0)
            return query_fail(lexer, begin, "write '%s' in lower case", words[i].word);
    }
    /* rx."name" is for names with characters that are operators here */
    if (token->end - begin == 3 && strncmp(begin + 1, "x.", 2) == 0 &&
        (begin[3] == '"' || begin[3] == '\'')) {
        token->end = end_of_string(begin + 3);
        if (token->end == NULL)
            return query_fail(lexer, begin + 3, "the string has no end; it ends with %c", begin[3]);
    }
    return 0;
}

/* Longer operators stand before their beginnings. */
static const struct {
    const char *text;
    enum query_token_kind kind;
    enum query_operator op;
    const char *hint; /* what to write instead; NULL: it is right */
} operators[] = {
    {"===", TOKEN_OPERATOR, QUERY_EQUAL, "=="},   {"==", TOKEN_OPERATOR, QUERY_EQUAL, NULL},
    {"!=", TOKEN_OPERATOR, QUERY_UNEQUAL, NULL},  {"<=", TOKEN_OPERATOR, QUERY_AT_MOST, NULL},
    {">=", TOKEN_OPERATOR, QUERY_AT_LEAST, NULL}, {"!~", TOKEN_OPERATOR, QUERY_MATCHES_NOT, NULL},
    {"=~", TOKEN_OPERATOR, QUERY_MATCHES, "~"},   {"~=", TOKEN_OPERATOR, QUERY_MATCHES, "~"},
    {"=>", TOKEN_OPERATOR, QUERY_AT_LEAST, ">="}, {"=<", TOKEN_OPERATOR, QUERY_AT_MOST, "<="},
    {"<>", TOKEN_OPERATOR, QUERY_UNEQUAL, "!="},  {"=", TOKEN_OPERATOR, QUERY_EQUAL, "=="},
    {"<", TOKEN_OPERATOR, QUERY_LESS, NULL},      {">", TOKEN_OPERATOR, QUERY_GREATER, NULL},
    {"~", TOKEN_OPERATOR, QUERY_MATCHES, NULL},   {"(", TOKEN_OPEN, QUERY_IS_THERE, NULL},
    {")", TOKEN_CLOSE, QUERY_IS_THERE, NULL},     {"&&", TOKEN_AND, QUERY_IS_THERE, "and"},
    {"&", TOKEN_AND, QUERY_IS_THERE, "and"},      {"||", TOKEN_OR, QUERY_IS_THERE, "or"},
    {"|", TOKEN_OR, QUERY_IS_THERE, "or"},        {"!", TOKEN_NOT, QUERY_IS_THERE, "not"},
};

static int lex_operator(struct query_lexer *lexer)
{
    struct query_token *token = &lexer->token;

    for (size_t i = 0; i != sizeof(operators) / sizeof(operators[0]); ++i) {
        if (strncmp(token->begin, operators[i].text, strlen(operators[i].text)) != 0)
            continue;
        if (operators[i].hint != NULL)
            return query_fail(lexer, token->begin, "write '%s'", operators[i].hint);
        token->kind = operators[i].kind;
        token->op = operators[i].op;
        token->end = token->begin + strlen(operators[i].text);
        return 0;
    }
    return query_fail(lexer, token->begin,
                      "this character has no meaning here; write text in "
                      "quotes");
}

int query_lex(struct query_lexer *lexer)
{
    struct query_token *token = &lexer->token;
    const char *begin = token->end + strspn(token->end, " \t\r\n");
    const char *first = begin + (*begin == '-');

    *token = (struct query_token){.kind = TOKEN_END, .begin = begin, .end = begin};
    if (*begin == '\0')
        return 0;
    if (*begin == '"' || *begin == '\'')
        return lex_string(lexer);
    if (*first >= '0' && *first <= '9')
        return lex_number(lexer);
    if (strchr(LETTERS, *begin) != NULL)
        return lex_name(lexer);
    return lex_operator(lexer);
}
