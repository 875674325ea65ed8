#include "server/operand.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Registers of x86_64: their assembler names by size, and their names in struct pt_regs. */
static const struct {
    const char *names[5]; /* 8, 4, 2 and 1 bytes; bits 8 to 15 */
    const char *member;
} x86_registers[] = {
    {{"rax", "eax", "ax", "al", "ah"}, "ax"},       {{"rbx", "ebx", "bx", "bl", "bh"}, "bx"},
    {{"rcx", "ecx", "cx", "cl", "ch"}, "cx"},       {{"rdx", "edx", "dx", "dl", "dh"}, "dx"},
    {{"rsi", "esi", "si", "sil", NULL}, "si"},      {{"rdi", "edi", "di", "dil", NULL}, "di"},
    {{"rbp", "ebp", "bp", "bpl", NULL}, "bp"},      {{"rsp", "esp", "sp", "spl", NULL}, "sp"},
    {{"r8", "r8d", "r8w", "r8b", NULL}, "r8"},      {{"r9", "r9d", "r9w", "r9b", NULL}, "r9"},
    {{"r10", "r10d", "r10w", "r10b", NULL}, "r10"}, {{"r11", "r11d", "r11w", "r11b", NULL}, "r11"},
    {{"r12", "r12d", "r12w", "r12b", NULL}, "r12"}, {{"r13", "r13d", "r13w", "r13b", NULL}, "r13"},
    {{"r14", "r14d", "r14w", "r14b", NULL}, "r14"}, {{"r15", "r15d", "r15w", "r15b", NULL}, "r15"},
};

enum operand_arch operand_native(void)
{
#if defined(__aarch64__)
    return OPERAND_AARCH64;
#else
    return OPERAND_X86_64;
#endif
}

/* Skips a character. Returns false if it is not there. */
static bool skip(const char **at, char expected)
{
    if (**at != expected)
        return false;
    ++*at;
    return true;
}

static int parse_number(const char **at, int64_t *value)
{
    char *end;

    if (!isdigit((unsigned char)**at) && **at != '-' && **at != '+')
        return -1;
    errno = 0;
    *value = strtoll(*at, &end, 0);
    if (end == *at || errno != 0)
        return -1;
    *at = end;
    return 0;
}

/* Parses a word of letters and digits. */
static size_t parse_word(const char **at, char *word, size_t size)
{
    size_t length = 0;

    while (isalnum((unsigned char)**at)) {
        if (length + 1 == size)
            return 0;
        word[length++] = *(*at)++;
    }
    word[length] = '\0';
    return length;
}

static int parse_x86_register(const char **at, char *member, uint8_t *shift)
{
    char name[8];

    if (!skip(at, '%') || parse_word(at, name, sizeof(name)) == 0)
        return -1;
    for (size_t i = 0; i != sizeof(x86_registers) / sizeof(x86_registers[0]); ++i) {
        for (size_t size = 0; size != 5; ++size) {
            if (x86_registers[i].names[size] != NULL &&
                strcmp(x86_registers[i].names[size], name) == 0) {
                snprintf(member, OPERAND_REGISTER_MAX, "%s", x86_registers[i].member);
                *shift = size == 4 ? 8 : 0;
                return 0;
            }
        }
    }
    return -1;
}

/* DISP(BASE,INDEX,SCALE), where each part is optional; %REGISTER; or $CONSTANT. */
static int parse_x86(const char **at, struct operand *operand)
{
    uint8_t shift = 0;

    if (skip(at, '$')) {
        operand->kind = OPERAND_CONSTANT;
        return parse_number(at, &operand->value);
    }
    if (**at == '%') {
        operand->kind = OPERAND_REGISTER;
        return parse_x86_register(at, operand->base, &operand->shift);
    }
    operand->kind = OPERAND_MEMORY;
    if (**at != '(' && parse_number(at, &operand->value) != 0)
        return -1;
    if (!skip(at, '('))
        return -1;
    if (**at != ',' && (parse_x86_register(at, operand->base, &shift) != 0 || shift != 0))
        return -1;
    if (skip(at, ',')) {
        int64_t scale = 1;
        if (parse_x86_register(at, operand->index, &shift) != 0)
            return -1;
        if (skip(at, ',') && parse_number(at, &scale) != 0)
            return -1;
        if (scale != 1 && scale != 2 && scale != 4 && scale != 8)
            return -1;
        operand->scale = (uint8_t)scale;
    }
    return skip(at, ')') && shift == 0 ? 0 : -1;
}

/* xN, wN (its lower half) or sp. */
static int parse_aarch64_register(const char **at, char *member)
{
    char name[8], *end;
    unsigned long number;

    if (parse_word(at, name, sizeof(name)) == 0)
        return -1;
    if (strcmp(name, "sp") == 0) {
        snprintf(member, OPERAND_REGISTER_MAX, "sp");
        return 0;
    }
    if ((name[0] != 'x' && name[0] != 'w') || !isdigit((unsigned char)name[1]))
        return -1;
    number = strtoul(name + 1, &end, 10);
    if (*end != '\0' || number > 30)
        return -1;
    snprintf(member, OPERAND_REGISTER_MAX, "regs[%u]", (unsigned)number);
    return 0;
}

static void skip_blanks(const char **at)
{
    while (**at == ' ')
        ++*at;
}

/* [BASE, OFFSET], [BASE, INDEX, lsl N], REGISTER, or CONSTANT without a prefix. */
static int parse_aarch64(const char **at, struct operand *operand)
{
    if (!skip(at, '[')) {
        if (isalpha((unsigned char)**at)) {
            operand->kind = OPERAND_REGISTER;
            return parse_aarch64_register(at, operand->base);
        }
        operand->kind = OPERAND_CONSTANT;
        skip(at, '#');
        return parse_number(at, &operand->value);
    }
    operand->kind = OPERAND_MEMORY;
    if (parse_aarch64_register(at, operand->base) != 0)
        return -1;
    if (skip(at, ',')) {
        skip_blanks(at);
        if (!isalpha((unsigned char)**at)) {
            skip(at, '#');
            if (parse_number(at, &operand->value) != 0)
                return -1;
        } else {
            if (parse_aarch64_register(at, operand->index) != 0)
                return -1;
            operand->scale = 1;
            if (skip(at, ',')) {
                int64_t shift;
                skip_blanks(at);
                if (strncmp(*at, "lsl ", 4) != 0)
                    return -1;
                *at += 4;
                skip(at, '#');
                if (parse_number(at, &shift) != 0 || shift < 0 || shift > 3)
                    return -1;
                operand->scale = (uint8_t)(1 << shift);
            }
        }
    }
    return skip(at, ']') ? 0 : -1;
}

static int parse_size(const char **at, struct operand *operand)
{
    int64_t size;

    if (parse_number(at, &size) != 0 || !skip(at, '@'))
        return -1;
    operand->is_signed = size < 0;
    if (size != INT64_MIN && size < 0)
        size = -size;
    if (size != 1 && size != 2 && size != 4 && size != 8)
        return -1;
    operand->size = (uint8_t)size;
    return 0;
}

int operand_parse(enum operand_arch arch, const char **text, struct operand *operand)
{
    const char *at = *text;

    *operand = (struct operand){.scale = 1};
    if (parse_size(&at, operand) != 0)
        return -1;
    if ((arch == OPERAND_X86_64 ? parse_x86 : parse_aarch64)(&at, operand) != 0)
        return -1;
    if (*at != ' ' && *at != '\0')
        return -1;
    skip_blanks(&at);
    *text = at;
    return 0;
}

size_t operand_count(enum operand_arch arch, const char *text)
{
    size_t count = 0;

    skip_blanks(&text);
    while (*text != '\0') {
        struct operand operand;
        ++count;
        if (operand_parse(arch, &text, &operand) == 0)
            continue;
        /* an operand that cannot be read counts; the next one begins at the next " N@" */
        do {
            text += strcspn(text, " ");
            skip_blanks(&text);
        } while (*text != '\0' && text[strspn(text, "-0123456789")] != '@');
    }
    return count;
}

int operand_expression(const struct operand *operand, char *text, size_t size)
{
    const char sign = operand->is_signed ? 's' : 'u';
    const unsigned bits = operand->size * 8u;
    char index[OPERAND_REGISTER_MAX + 32] = "";

    switch (operand->kind) {
    case OPERAND_CONSTANT:
        /* C has no literal for INT64_MIN */
        return snprintf(text, size, "(%c%u)0x%" PRIx64 "ULL", sign, bits, (uint64_t)operand->value);
    case OPERAND_REGISTER:
        if (operand->shift != 0)
            return snprintf(text, size, "(%c%u)(ctx->%s >> %u)", sign, bits, operand->base,
                            operand->shift);
        return snprintf(text, size, "(%c%u)ctx->%s", sign, bits, operand->base);
    case OPERAND_MEMORY:
        if (operand->index[0] != '\0')
            snprintf(index, sizeof(index), " + ctx->%s * %u", operand->index, operand->scale);
        return snprintf(text, size, "read_%c%u(%s%s%s + %" PRId64 ")", sign, operand->size,
                        operand->base[0] != '\0' ? "ctx->" : "0",
                        operand->base[0] != '\0' ? operand->base : "", index, operand->value);
    }
    return -1;
}
