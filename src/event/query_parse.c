#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "memory.h"
#include "print/escape.h"
#include "query_tree.h"

struct parser {
    struct query_lexer lexer;
    struct query *query;
    enum query_subject subject;
    unsigned depth; /* open parentheses and nots */
};

static struct query_node *parse_or(struct parser *parser);

static const struct query_token *token(const struct parser *parser)
{
    return &parser->lexer.token;
}

static struct query_node *new_node(enum query_node_kind kind, struct query_node *children)
{
    struct query_node *node = memory_grow(NULL, 1, sizeof(*node));

    *node = (struct query_node){.kind = kind, .children = children};
    return node;
}

static void free_comparison(struct query_comparison *comparison)
{
    query_regex_close(comparison->regex);
    free(comparison->key);
    free(comparison->text);
    free(comparison->bytes);
    free(comparison->places);
}

void query_free_tree(struct query_node *node)
{
    while (node != NULL) {
        struct query_node *next = node->next;
        query_free_tree(node->children);
        free_comparison(&node->comparison);
        free(node);
        node = next;
    }
}

/* --- the name of a comparison --- */

/* Sets the header of rx.NAME, tx.NAME or rx."NAME". */
static int parse_header(struct parser *parser, struct query_comparison *comparison)
{
    const char *name = token(parser)->begin + 3, *end = token(parser)->end;
    size_t size = (size_t)(end - name);

    if (size != 0 && (name[0] == '"' || name[0] == '\''))
        comparison->key = query_unquote(name, end, false, &size, NULL);
    else
        comparison->key = memory_format("%.*s", (int)size, name);
    if (size == 0 || strlen(comparison->key) != size)
        return query_fail(&parser->lexer, name, "the name of a header is expected after '%.3s'",
                          token(parser)->begin);
    if (size > EVENT_NAME_MAX)
        return query_fail(&parser->lexer, name, "the name of a header has at most %d bytes here",
                          EVENT_NAME_MAX);
    for (char *at = comparison->key; *at != '\0'; ++at) {
        if (*at >= 'A' && *at <= 'Z')
            *at |= 0x20;
    }
    comparison->side = token(parser)->begin[0] == 'r' ? REQUEST_SIDE : RESPONSE_SIDE;
    comparison->subject = (struct query_subject_name){
        .key = comparison->key, .name = NAME_HEADER, .types = TYPE_TEXT};
    return 0;
}

static int parse_name(struct parser *parser, struct query_comparison *comparison)
{
    const char *begin = token(parser)->begin;
    char suggestion[256];

    if (strncmp(begin, "rx.", 3) == 0 || strncmp(begin, "tx.", 3) == 0)
        return parse_header(parser, comparison);
    comparison->key = memory_format("%.*s", (int)(token(parser)->end - begin), begin);
    comparison->subject = query_find_name(parser->subject, comparison->key);
    if (comparison->subject.name != NAME_UNKNOWN)
        return 0;
    query_suggest(parser->subject, comparison->key, suggestion, sizeof(suggestion));
    return query_fail(&parser->lexer, begin, "%s have no such name%s",
                      parser->subject == QUERY_REQUESTS ? "requests" : "events", suggestion);
}

/* --- the value of a comparison --- */

static int parse_regex(struct parser *parser, struct query_comparison *comparison)
{
    const struct query_token *value = token(parser);
    struct query *query = parser->query;
    const char **origins;
    char reason[256];
    size_t size, place;
    char *pattern;
    int result = 0;

    if (query->matcher == NULL)
        query->matcher = query_matcher_open();
    if (query->matcher == NULL)
        return query_fail(&parser->lexer, value->begin, "there is not enough memory");
    pattern = query_unquote(value->begin, value->end, true, &size, &origins);
    comparison->regex = query_regex_open(pattern, size, reason, sizeof(reason), &place);
    if (comparison->regex == NULL)
        result = query_fail(&parser->lexer, origins[place < size ? place : size],
                            "this regular expression is wrong: %s", reason);
    free(origins);
    free(pattern);
    return result;
}

/* Decodes hex digits to comparison->bytes. */
static bool parse_hex(struct query_comparison *comparison)
{
    const size_t count = comparison->size / 2;

    if (comparison->size % 2 != 0 ||
        strspn(comparison->text, "0123456789abcdefABCDEF") != comparison->size)
        return false;
    comparison->bytes = memory_grow(NULL, count + 1, 1);
    comparison->num_bytes = count;
    for (size_t i = 0; i != count; ++i) {
        const char digits[] = {comparison->text[2 * i], comparison->text[2 * i + 1], '\0'};
        comparison->bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

/* Checks text against the values that a name can have. */
static int check_known(struct parser *parser, const struct query_comparison *comparison)
{
    const char *const *values = comparison->subject.values;
    char list[128] = "";
    size_t used = 0;

    if (comparison->op != QUERY_EQUAL && comparison->op != QUERY_UNEQUAL)
        return 0;
    for (; *values != NULL; ++values) {
        if (strcmp(*values, comparison->text) == 0)
            return 0;
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                 used == 0           ? ""
                                 : values[1] == NULL ? " or "
                                                     : ", ",
                                 *values);
    }
    return query_fail(&parser->lexer, token(parser)->begin, "%s is %s", comparison->key, list);
}

static int parse_text(struct parser *parser, struct query_comparison *comparison)
{
    const struct query_token *value = token(parser);
    const unsigned types = comparison->subject.types;

    comparison->text = query_unquote(value->begin, value->end, false, &comparison->size, NULL);
    comparison->is_address =
        query_address_parse(comparison->text, comparison->size, &comparison->address);
    comparison->is_hex = parse_hex(comparison);
    if ((types & TYPE_UNITED) != 0)
        return query_fail(&parser->lexer, value->begin,
                          "%s is a duration; write it without quotes, such as 300ms",
                          comparison->key);
    if ((types & ~(unsigned)TYPE_DURATION) == TYPE_NUMBER)
        return query_fail(&parser->lexer, value->begin, "%s is a number; write it without quotes",
                          comparison->key);
    if (types == TYPE_ADDRESS && !comparison->is_address)
        return query_fail(&parser->lexer, value->begin,
                          "%s is an address, such as 1.2.3.4, 1.2.3.4:443, [::1]:443 or 10.0.0.0/8",
                          comparison->key);
    if (types == TYPE_BYTES && !comparison->is_hex)
        return query_fail(&parser->lexer, value->begin,
                          "%s is bytes, which are written as pairs of hex digits", comparison->key);
    if (comparison->is_address && comparison->address.is_prefix && types == TYPE_ADDRESS &&
        comparison->op != QUERY_EQUAL && comparison->op != QUERY_UNEQUAL)
        return query_fail(&parser->lexer, value->begin, "a prefix is compared with == or !=");
    if (comparison->subject.name == NAME_TYPE) { /* '-' and '_' are the same, as for -t */
        for (char *at = comparison->text; (at = strchr(at, '_')) != NULL;)
            *at = '-';
    }
    return comparison->subject.values != NULL ? check_known(parser, comparison) : 0;
}

static int parse_number(struct parser *parser, struct query_comparison *comparison)
{
    const struct query_token *value = token(parser);
    const unsigned types = comparison->subject.types;
    const int length = (int)strspn(value->begin, "-0123456789."); /* without a unit */

    if ((types & TYPE_UNITED) != 0 && !value->is_duration)
        return query_fail(&parser->lexer, value->begin, "%s needs a unit; write %.*sms or %.*sus",
                          comparison->key, length, value->begin, length, value->begin);
    if ((types & TYPE_DURATION) == 0 && value->is_duration)
        return query_fail(&parser->lexer, value->begin,
                          "%s is not a duration; write the number without a unit of time",
                          comparison->key);
    if ((types & (TYPE_NUMBER | TYPE_TEXT)) == 0)
        return query_fail(&parser->lexer, value->begin, "%s is not a number; write text in quotes",
                          comparison->key);
    if (comparison->subject.values != NULL)
        return query_fail(&parser->lexer, value->begin, "%s is text; write it in quotes",
                          comparison->key);
    comparison->is_number = true;
    comparison->number = value->number;
    return 0;
}

static int parse_value(struct parser *parser, struct query_comparison *comparison,
                       const struct query_token *op)
{
    const struct query_token *value = token(parser);
    const int length = (int)(op->end - op->begin);
    const bool is_regex = comparison->op == QUERY_MATCHES || comparison->op == QUERY_MATCHES_NOT;

    if (value->kind == TOKEN_NAME)
        return query_fail(&parser->lexer, value->begin,
                          "a value is expected after '%.*s'; write "
                          "text in quotes",
                          length, op->begin);
    if (value->kind != TOKEN_NUMBER && value->kind != TOKEN_STRING)
        return query_fail(&parser->lexer, value->begin, "a value is expected after '%.*s'", length,
                          op->begin);
    if (comparison->subject.types == TYPE_FLAG)
        return query_fail(&parser->lexer, op->begin, "%s has no value; write '%s' or 'not %s'",
                          comparison->key, comparison->key, comparison->key);
    if (is_regex && value->kind != TOKEN_STRING)
        return query_fail(&parser->lexer, value->begin,
                          "a regular expression is expected after '%.*s'; write it in quotes",
                          length, op->begin);
    if (is_regex && (comparison->subject.types & TYPE_UNITED) != 0)
        return query_fail(&parser->lexer, op->begin,
                          "%s is a duration; compare it with one, such as 300ms", comparison->key);
    if (is_regex)
        return parse_regex(parser, comparison);
    if (value->kind == TOKEN_NUMBER)
        return parse_number(parser, comparison);
    return parse_text(parser, comparison);
}

static int parse_comparison(struct parser *parser, struct query_comparison *comparison)
{
    struct query_token op;

    if (parse_name(parser, comparison) != 0 || query_lex(&parser->lexer) != 0)
        return -1;
    op = *token(parser);
    if (op.kind != TOKEN_OPERATOR)
        return 0; /* a name alone */
    comparison->op = op.op;
    if (query_lex(&parser->lexer) != 0 || parse_value(parser, comparison, &op) != 0)
        return -1;
    return query_lex(&parser->lexer);
}

/* --- the tree --- */

static int enter(struct parser *parser)
{
    if (parser->depth++ < QUERY_DEPTH_MAX)
        return query_lex(&parser->lexer);
    return query_fail(&parser->lexer, token(parser)->begin,
                      "at most %d parentheses and nots can be open at a time", QUERY_DEPTH_MAX);
}

static struct query_node *parse_parentheses(struct parser *parser)
{
    const char *begin = token(parser)->begin;
    struct query_node *node;

    if (enter(parser) != 0)
        return NULL;
    node = parse_or(parser);
    if (node == NULL)
        return NULL;
    --parser->depth;
    if (token(parser)->kind != TOKEN_CLOSE)
        query_fail(&parser->lexer, token(parser)->begin,
                   "'and', 'or' or ')' is expected; a parenthesis is open since column %zu",
                   query_column(&parser->lexer, begin));
    else if (query_lex(&parser->lexer) == 0)
        return node;
    query_free_tree(node);
    return NULL;
}

static struct query_node *parse_operand(struct parser *parser)
{
    struct query_node *node;

    switch (token(parser)->kind) {
    case TOKEN_OPEN:
        return parse_parentheses(parser);
    case TOKEN_NOT:
        if (enter(parser) != 0)
            return NULL;
        node = parse_operand(parser);
        --parser->depth;
        return node != NULL ? new_node(NODE_NOT, node) : NULL;
    case TOKEN_NAME:
        node = new_node(NODE_COMPARISON, NULL);
        if (parse_comparison(parser, &node->comparison) == 0)
            return node;
        query_free_tree(node);
        return NULL;
    default:
        query_fail(&parser->lexer, token(parser)->begin,
                   "a comparison is expected, such as status >= 500");
        return NULL;
    }
}

/* Parses operands with `separator` between them. */
static struct query_node *parse_list(struct parser *parser, enum query_token_kind separator,
                                     enum query_node_kind kind,
                                     struct query_node *(*parse)(struct parser *parser))
{
    struct query_node *first = parse(parser), *last = first;

    while (last != NULL && token(parser)->kind == separator) {
        if (query_lex(&parser->lexer) != 0) {
            last = NULL;
            break;
        }
        last->next = parse(parser);
        last = last->next;
    }
    if (last != NULL)
        return last == first ? first : new_node(kind, first);
    query_free_tree(first);
    return NULL;
}

static struct query_node *parse_and(struct parser *parser)
{
    return parse_list(parser, TOKEN_AND, NODE_AND, parse_operand);
}

static struct query_node *parse_or(struct parser *parser)
{
    return parse_list(parser, TOKEN_OR, NODE_OR, parse_and);
}

int query_parse(struct query *query, const char *text, enum query_subject subject,
                struct error *error)
{
    const size_t size = strlen(text);
    struct parser parser = {.lexer = {.text = text, .end = text + size, .error = error},
                            .query = query,
                            .subject = subject};

    parser.lexer.token.end = text;
    if (size > QUERY_SIZE_MAX)
        return error_set(error, ERROR_USAGE,
                         "-q takes a query of at most %d bytes; this one has %zu", QUERY_SIZE_MAX,
                         size);
    if (query_lex(&parser.lexer) != 0)
        return -1;
    query->tree = parse_or(&parser);
    if (query->tree == NULL)
        return -1;
    if (token(&parser)->kind == TOKEN_END)
        return 0;
    return query_fail(&parser.lexer, token(&parser)->begin,
                      token(&parser)->kind == TOKEN_CLOSE ? "no parenthesis is open here"
                                                          : "'and' or 'or' is expected");
}
