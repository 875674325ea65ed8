/*
 * Passes arbitrary bytes to the operand parser. An accepted operand must become one of the few
 * expressions that read an operand, because root loads the program.
 */
#include "server/operand.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

static bool is_one_of_1248(unsigned value)
{
    return value == 1 || value == 2 || value == 4 || value == 8;
}

static void check_operand(const struct operand *operand)
{
    char expression[128]; /* the same size as in print_arguments of program.c */
    int length = operand_expression(operand, expression, sizeof(expression));

    check(length > 0 && (size_t)length < sizeof(expression));
    check(is_expression(expression));
    check(is_one_of_1248(operand->size) && is_one_of_1248(operand->scale));
    check(operand->shift == 0 || (operand->shift == 8 && operand->kind == OPERAND_REGISTER));
    check((operand->base[0] != '\0') >= (operand->kind == OPERAND_REGISTER));
}

static void parse_all(enum operand_arch arch, const char *text)
{
    const char *at = text + strspn(text, " "), *before = at;
    struct operand operand;
    size_t parsed = 0;

    while (*at != '\0' && operand_parse(arch, &at, &operand) == 0) {
        check(at > before && *at != ' ' && (*at == '\0' || at[-1] == ' '));
        check(is_operands(before, (size_t)(at - before)));
        check_operand(&operand);
        ++parsed;
        before = at;
    }
    check(at == before); /* a refused operand is not skipped */
    if (*at == '\0')
        check(operand_count(arch, text) == parsed);
    else
        check(operand_count(arch, text) > parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = string_of(data, size);

    parse_all(OPERAND_X86_64, text);
    parse_all(OPERAND_AARCH64, text);
    free(text);
    return 0;
}
