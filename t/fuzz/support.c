#include "support.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, condition);
    abort();
}

char *string_of(const uint8_t *bytes, size_t size)
{
    char *string = malloc(size + 1);

    check(string != NULL);
    if (size != 0)
        memcpy(string, bytes, size);
    string[size] = '\0';
    return string;
}

void printed_open(struct output *output)
{
    const struct caller nobody = {0, 0};

    check(output_open(output, NULL, &nobody, -1) == NULL);
    if (output->fd > STDERR_FILENO)
        close(output->fd);
    output->fd = open("/dev/null", O_WRONLY | O_CLOEXEC); /* for full batches */
    check(output->fd >= 0);
}

void printed_forget(struct output *output)
{
    output->used = output->line = 0;
}

/* Returns the code point at `bytes` and its length, -1 if it is not valid. */
static long code_point(const char *bytes, size_t size, size_t *length)
{
    static const struct {
        uint8_t mask, lead;
        long first; /* below: overlong */
    } forms[] = {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

    for (size_t i = 0; i != 4 && i < size; ++i) {
        long code = (uint8_t)bytes[0] & ~forms[i].mask & 0xff;
        if (((uint8_t)bytes[0] & forms[i].mask) != forms[i].lead)
            continue;
        *length = i + 1;
        for (size_t j = 1; j <= i; ++j) {
            if ((uint8_t)bytes[j] >> 6 != 2)
                return -1;
            code = code << 6 | ((uint8_t)bytes[j] & 0x3f);
        }
        return code < forms[i].first || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? -1
                                                                                             : code;
    }
    return -1;
}

bool is_utf8(const char *bytes, size_t size)
{
    size_t length;

    for (size_t i = 0; i != size; i += length) {
        if (code_point(bytes + i, size - i, &length) < 0)
            return false;
    }
    return true;
}

bool is_tame(const char *bytes, size_t size, bool may_have_tabs)
{
    size_t length;

    for (size_t i = 0; i != size; i += length) {
        long code = code_point(bytes + i, size - i, &length);
        if (code < 0 || (code < 0x20 && !(code == '\t' && may_have_tabs)) ||
            (code >= 0x7f && code < 0xa0))
            return false;
    }
    return true;
}

/* The rest of a text. */
struct rest {
    const char *at, *end;
};

static bool skip(struct rest *rest, const char *expected)
{
    size_t length = strlen(expected);

    if ((size_t)(rest->end - rest->at) < length || memcmp(rest->at, expected, length) != 0)
        return false;
    rest->at += length;
    return true;
}

/* Parses one of several characters. */
static bool skip_any(struct rest *rest, const char *allowed)
{
    if (rest->at == rest->end || *rest->at == '\0' || strchr(allowed, *rest->at) == NULL)
        return false;
    ++rest->at;
    return true;
}

static size_t skip_all(struct rest *rest, const char *allowed)
{
    size_t count = 0;

    while (skip_any(rest, allowed))
        ++count;
    return count;
}

#define DIGITS "0123456789"
#define HEX    DIGITS "abcdef"

static bool skip_integer(struct rest *rest)
{
    skip(rest, "-");
    return skip(rest, "0") || (skip_any(rest, "123456789") && (skip_all(rest, DIGITS), true));
}

static bool skip_string(struct rest *rest)
{
    if (!skip(rest, "\""))
        return false;
    while (!skip(rest, "\"")) {
        if (rest->at == rest->end || (uint8_t)*rest->at < 0x20)
            return false;
        if (!skip(rest, "\\")) {
            ++rest->at;
            continue;
        }
        if (skip(rest, "u")) {
            for (int i = 0; i != 4; ++i) {
                if (!skip_any(rest, HEX))
                    return false;
            }
        } else if (!skip_any(rest, "\"\\/bfnrt")) {
            return false;
        }
    }
    return true;
}

bool is_json(const char *bytes, size_t size)
{
    struct rest rest = {bytes, bytes + size};

    if (!skip(&rest, "{"))
        return false;
    do {
        if (!skip_string(&rest) || !skip(&rest, ":") ||
            !(skip(&rest, "null") || skip_string(&rest) || skip_integer(&rest)))
            return false;
    } while (skip(&rest, ","));
    return skip(&rest, "}") && rest.at == rest.end;
}

char *json_unescape(const char *bytes, size_t size, size_t *length)
{
    char *text = malloc(size + 1), *to = text;

    check(text != NULL);
    for (const char *at = bytes, *end = bytes + size; at != end;) {
        if (*at != '\\') {
            *to++ = *at++;
        } else if (end - at >= 2 && (at[1] == '"' || at[1] == '\\')) {
            *to++ = at[1];
            at += 2;
        } else if (end - at >= 6 && memcmp(at, "\\u00", 4) == 0) {
            char digits[3] = {at[4], at[5], '\0'};
            unsigned long code = strtoul(digits, NULL, 16);
            if (code >= 0x80)
                *to++ = (char)(0xc0 | code >> 6);
            *to++ = (char)(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
            at += 6;
        } else {
            free(text);
            return NULL;
        }
    }
    *length = (size_t)(to - text);
    return text;
}

/* A member of struct pt_regs, of either architecture. */
static bool skip_register(struct rest *rest)
{
    static const char *const names[] = {"ax",  "bx",  "cx",  "dx",  "si",  "di",  "bp", "sp",
                                        "r10", "r11", "r12", "r13", "r14", "r15", "r8", "r9"};

    if (!skip(rest, "ctx->"))
        return false;
    for (size_t i = 0; i != sizeof(names) / sizeof(names[0]); ++i) {
        if (skip(rest, names[i]))
            return true;
    }
    if (!skip(rest, "regs["))
        return false;
    if (!skip(rest, "30") && !(skip_any(rest, "12") && skip_any(rest, DIGITS))) {
        if (rest->at[-1] == '[' && !skip_any(rest, DIGITS))
            return false;
    }
    return skip(rest, "]");
}

/* read_u8(ctx->bp + ctx->dx * 4 + -16) */
static bool skip_read(struct rest *rest)
{
    if (!skip(rest, "read_") || !skip_any(rest, "us") || !skip_any(rest, "1248") ||
        !skip(rest, "(") || !(skip(rest, "0") || skip_register(rest)) || !skip(rest, " + "))
        return false;
    if (skip_register(rest) && !(skip(rest, " * ") && skip_any(rest, "1248") && skip(rest, " + ")))
        return false;
    return skip_integer(rest) && skip(rest, ")");
}

/* (s32)ctx->ax, (u8)(ctx->ax >> 8), (s32)0x1ULL */
static bool skip_cast(struct rest *rest)
{
    if (!skip(rest, "(") || !skip_any(rest, "us") ||
        !(skip(rest, "8)") || skip(rest, "16)") || skip(rest, "32)") || skip(rest, "64)")))
        return false;
    if (skip(rest, "0x"))
        return skip_all(rest, HEX) != 0 && skip(rest, "ULL");
    if (skip(rest, "("))
        return skip_register(rest) && skip(rest, " >> 8)");
    return skip_register(rest);
}

bool is_expression(const char *text)
{
    struct rest read = {text, text + strlen(text)}, cast = read;

    return (skip_read(&read) && read.at == read.end) || (skip_cast(&cast) && cast.at == cast.end);
}

bool is_operands(const char *text, size_t size)
{
    struct rest rest = {text, text + size};

    skip_all(&rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "@$%#(),[]+- ");
    return rest.at == rest.end;
}
