#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "query_tree.h"

const struct query_operand query_absent = {.kind = OPERAND_ABSENT};

struct query_operand query_number_operand(query_number number)
{
    return (struct query_operand){.kind = OPERAND_NUMBER, .number = number * QUERY_ONE};
}

struct query_operand query_text_operand(const char *text)
{
    return (struct query_operand){
        .kind = OPERAND_TEXT, .bytes = (const uint8_t *)text, .size = strlen(text)};
}

struct query_operand query_value_operand(enum query_operand_kind kind, const struct value *value)
{
    if (value->bytes == NULL)
        return query_absent;
    return (struct query_operand){.kind = kind, .bytes = value->bytes, .size = value->size};
}

bool query_is_named(const struct value *name, const char *wanted)
{
    const size_t size = strlen(wanted);

    return name->bytes != NULL && name->full_size == size && name->size == size &&
           strncasecmp((const char *)name->bytes, wanted, size) == 0;
}

static int compare_bytes(const uint8_t *bytes, size_t size, const void *others, size_t num_others)
{
    const size_t common = size < num_others ? size : num_others;
    const int difference = common != 0 ? memcmp(bytes, others, common) : 0;

    return difference != 0 ? difference : (size > num_others) - (size < num_others);
}

/* Whether a value that compares so with that of the query is what the operator wants. */
static bool is_wanted(enum query_operator op, int order)
{
    switch (op) {
    case QUERY_EQUAL:
        return order == 0;
    case QUERY_UNEQUAL:
        return order != 0;
    case QUERY_LESS:
        return order < 0;
    case QUERY_AT_MOST:
        return order <= 0;
    case QUERY_GREATER:
        return order > 0;
    default:
        return order >= 0;
    }
}

/* Compares with a string of the query. Returns false if the types differ. */
static bool compare_text(const struct query_comparison *comparison,
                         const struct query_operand *operand, int *order)
{
    struct query_address address;

    switch (operand->kind) {
    case OPERAND_TEXT:
        *order = compare_bytes(operand->bytes, operand->size, comparison->text, comparison->size);
        return true;
    case OPERAND_BYTES:
        *order =
            compare_bytes(operand->bytes, operand->size, comparison->bytes, comparison->num_bytes);
        return comparison->is_hex;
    case OPERAND_ADDRESS:
        if (!comparison->is_address || !query_address_read(operand->bytes, &address))
            return false;
        *order = query_address_compare(&address, &comparison->address);
        return true;
    default:
        return false;
    }
}

static bool compare_number(const struct query_comparison *comparison,
                           const struct query_operand *operand, int *order)
{
    query_number number = operand->number;

    if (operand->kind != OPERAND_NUMBER &&
        (operand->kind != OPERAND_TEXT || !query_number_of(operand->bytes, operand->size, &number)))
        return false;
    *order = (number > comparison->number) - (number < comparison->number);
    return true;
}

/* Prints a number as the JSON output does. */
static size_t print_number(query_number number, char *text, size_t size)
{
    const bool is_negative = number < 0;
    const query_number positive = is_negative ? -number : number;
    const unsigned thousandths = (unsigned)(positive % QUERY_ONE / (QUERY_ONE / 1000));

    return (size_t)snprintf(text, size, thousandths != 0 ? "%s%" PRIu64 ".%03u" : "%s%" PRIu64,
                            is_negative ? "-" : "", (uint64_t)(positive / QUERY_ONE), thousandths);
}

static size_t print_hex(const uint8_t *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i != size; ++i) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    return 2 * size;
}

static enum query_outcome match(struct query *query, const struct query_comparison *comparison,
                                const struct query_operand *operand)
{
    struct query_address address;
    enum query_outcome outcome;
    char text[QUERY_ADDRESS_MAX];
    const char *subject = text;
    size_t size;

    switch (operand->kind) {
    case OPERAND_TEXT:
        subject = (const char *)operand->bytes;
        size = operand->size;
        break;
    case OPERAND_NUMBER:
        size = print_number(operand->number, text, sizeof(text));
        break;
    case OPERAND_ADDRESS:
        if (!query_address_read(operand->bytes, &address))
            return OUTCOME_INCOMPARABLE;
        size = query_address_print(&address, text);
        break;
    default:
        subject = query->hex;
        size = operand->size < EVENT_TEXT_MAX ? operand->size : EVENT_TEXT_MAX;
        size = print_hex(operand->bytes, size, query->hex);
        break;
    }
    outcome = query_regex_match(query->matcher, comparison->regex, (const uint8_t *)subject, size);
    query->num_given_up += outcome == OUTCOME_GAVE_UP;
    return outcome;
}

/* Whether one value holds. For != and !~, whether it does not equal or match. */
static enum query_outcome compare(struct query *query, const struct query_comparison *comparison,
                                  const struct query_operand *operand)
{
    enum query_outcome outcome;
    int order = 0;

    if (comparison->op == QUERY_IS_THERE)
        return OUTCOME_HOLDS;
    if (comparison->regex != NULL) {
        outcome = match(query, comparison, operand);
        if (comparison->op == QUERY_MATCHES || outcome > OUTCOME_FAILS)
            return outcome;
        return outcome == OUTCOME_HOLDS ? OUTCOME_FAILS : OUTCOME_HOLDS;
    }
    if (!(comparison->is_number ? compare_number : compare_text)(comparison, operand, &order))
        return OUTCOME_INCOMPARABLE;
    return is_wanted(comparison->op, order) ? OUTCOME_HOLDS : OUTCOME_FAILS;
}

enum query_outcome query_compare(struct query *query, const struct query_comparison *comparison,
                                 struct query_operand operand)
{
    return operand.kind == OPERAND_ABSENT ? OUTCOME_INCOMPARABLE
                                          : compare(query, comparison, &operand);
}
