/*
 * The parts of a query, shared by the sources of the module event/query.
 */
#ifndef H2OLOG_EVENT_QUERY_TREE_H
#define H2OLOG_EVENT_QUERY_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "event.h"
#include "event/query.h"
#include "event/request.h"
#include "server/signature.h"

/*
 * A number in units of 10^-9, so that integers of 64 bits and fractions are compared exactly.
 * Durations are in microseconds.
 */
typedef __int128 query_number;
#define QUERY_ONE ((query_number)1000000000)

/* --- tokens --- */

enum query_operator {
    QUERY_IS_THERE, /* a name alone */
    QUERY_EQUAL,
    QUERY_UNEQUAL,
    QUERY_LESS,
    QUERY_AT_MOST,
    QUERY_GREATER,
    QUERY_AT_LEAST,
    QUERY_MATCHES,
    QUERY_MATCHES_NOT,
};

enum query_token_kind {
    TOKEN_END,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_AND,
    TOKEN_OR,
    TOKEN_NOT,
    TOKEN_OPERATOR,
    TOKEN_NAME,
    TOKEN_NUMBER,
    TOKEN_STRING,
};

struct query_token {
    enum query_token_kind kind;
    const char *begin, *end; /* its place in the text; a string with its quotes */
    enum query_operator op;
    query_number number;
    bool is_duration; /* the number has a unit of time */
};

/* The text of a query that is being parsed, and the next token. */
struct query_lexer {
    const char *text, *end;
    struct query_token token;
    struct error *error;
};

/* Reads the next token. Returns 0, or -1 with the error. */
int query_lex(struct query_lexer *lexer);

/* Sets the error to "-q, column 11, at 'and path': ...". `at` is a place in the text. Returns -1. */
__attribute__((format(printf, 3, 4))) int query_fail(const struct query_lexer *lexer,
                                                     const char *at, const char *format, ...);

/* Returns the number of characters before a place in the text, plus 1. */
size_t query_column(const struct query_lexer *lexer, const char *at);

/*
 * Decodes a string from its first quote on. In a regular expression, backslash sequences other than
 * \" \' and \\ are left to PCRE2. If `origins` is not NULL, origins[i] becomes the place of byte i
 * in the text, and origins[*size] that of the end. Free the result with free().
 */
char *query_unquote(const char *begin, const char *end, bool is_regex, size_t *size,
                    const char ***origins);

/* Converts text that is wholly a decimal number. Returns whether it is one. */
bool query_number_of(const uint8_t *bytes, size_t size, query_number *number);

/* --- names --- */

/* The types that the values of a name can have. */
enum query_types {
    TYPE_NUMBER = 1,
    TYPE_DURATION = 2, /* a number of microseconds */
    TYPE_UNITED = 4,   /* a duration that needs a unit in the query */
    TYPE_TEXT = 8,
    TYPE_ADDRESS = 16,
    TYPE_BYTES = 32, /* printed as hex */
    TYPE_FLAG = 64,  /* it is there or not */
};

enum query_name {
    NAME_UNKNOWN,
    NAME_HEADER,
    /* of requests */
    NAME_TIME,
    NAME_CONNECTION, /* of events, too */
    NAME_CONN,
    NAME_REQ,
    NAME_PROTOCOL,
    NAME_PSEUDO, /* method, scheme, authority, path */
    NAME_STATUS,
    NAME_TTFB,
    NAME_DURATION,
    NAME_BYTES,
    NAME_STATE,
    NAME_TRUNCATED,
    /* of events */
    NAME_TYPE,
    NAME_PROVIDER,
    NAME_TID,
    NAME_FIELD,
};

struct query_subject_name {
    const char *key;
    enum query_name name;
    unsigned types;            /* of enum query_types */
    const char *header;        /* NAME_PSEUDO: the header */
    const char *const *values; /* all values that it can have, ends with NULL; NULL: any */
};

/* Finds a name that is no header. The result has the name NAME_UNKNOWN if there is none. */
struct query_subject_name query_find_name(enum query_subject subject, const char *key);

/* Puts what the user may have meant, as "; did you mean 'status'?", or what there is. */
void query_suggest(enum query_subject subject, const char *key, char *text, size_t size);

/* --- regular expressions --- */

struct query_matcher; /* what all regular expressions of a query share */
struct query_regex;

/* Returns NULL if memory runs out. */
struct query_matcher *query_matcher_open(void);
void query_matcher_close(struct query_matcher *matcher);

/* Compiles. Returns NULL with the reason in `text`, and its place in the pattern. */
struct query_regex *query_regex_open(const char *pattern, size_t size, char *text, size_t text_size,
                                     size_t *place);
void query_regex_close(struct query_regex *regex);

enum query_outcome {
    OUTCOME_HOLDS,
    OUTCOME_FAILS,
    OUTCOME_INCOMPARABLE, /* the value is of another type */
    OUTCOME_GAVE_UP,      /* a regular expression ran into a limit */
};

enum query_outcome query_regex_match(struct query_matcher *matcher, const struct query_regex *regex,
                                     const uint8_t *bytes, size_t size);

/* --- addresses --- */

struct query_address {
    uint8_t family; /* 4 or 6 */
    bool has_port;
    uint16_t port;
    bool is_prefix;
    unsigned prefix; /* bits that count */
    uint8_t bytes[16];
};

/* Parses 1.2.3.4, 1.2.3.4:443, ::1, [::1], [::1]:443, 10.0.0.0/8. Returns whether it is one. */
bool query_address_parse(const char *text, size_t size, struct query_address *address);

/* Converts a struct sockaddr_in or sockaddr_in6. Returns false for another family. */
bool query_address_read(const uint8_t *bytes, struct query_address *address);

/* Prints as the JSON output does. `text` has QUERY_ADDRESS_MAX bytes. Returns the length. */
#define QUERY_ADDRESS_MAX 64
size_t query_address_print(const struct query_address *address, char *text);

/* Compares an event's address with a query's. Returns a number as memcmp does. */
int query_address_compare(const struct query_address *address, const struct query_address *other);

/* --- the tree --- */

/* Where a signature has what a name means. */
struct query_place {
    const struct signature *signature; /* NULL: not looked up yet */
    int8_t field;                      /* index of the field or of the statistics; -1: none */
    bool is_stats;
    enum query_outcome outcome; /* of type and provider, which do not change */
};

struct query_comparison {
    struct query_subject_name subject;
    char *key; /* of an event's field, or the name of the header, in lower case */
    enum request_side side;
    enum query_operator op;
    bool is_number; /* the value is `number`, else `text` */
    query_number number;
    char *text;
    size_t size;
    bool is_address, is_hex; /* the text can be read as such */
    struct query_address address;
    uint8_t *bytes; /* of hex */
    size_t num_bytes;
    struct query_regex *regex;
    struct query_place *places; /* by the ids of the records */
    size_t num_places;
};

enum query_node_kind { NODE_COMPARISON, NODE_AND, NODE_OR, NODE_NOT };

struct query_node {
    enum query_node_kind kind;
    struct query_node *children; /* linked by `next` */
    struct query_node *next;
    struct query_comparison comparison;
};

struct query {
    struct query_node *tree;
    struct query_matcher *matcher; /* NULL: there are no regular expressions */
    const struct address_range *files;
    size_t num_files;
    uint64_t num_given_up;
    char hex[2 * EVENT_TEXT_MAX]; /* bytes as printed, for regular expressions */
};

/* Parses a query. Sets `tree` and `matcher`. Returns 0, or -1 with the error. */
int query_parse(struct query *query, const char *text, enum query_subject subject,
                struct error *error);
void query_free_tree(struct query_node *node);

/* --- evaluation --- */

enum query_operand_kind {
    OPERAND_ABSENT,
    OPERAND_NUMBER,
    OPERAND_TEXT,
    OPERAND_ADDRESS,
    OPERAND_BYTES,
};

/* The value of a name. */
struct query_operand {
    enum query_operand_kind kind;
    query_number number;
    const uint8_t *bytes;
    size_t size;
};

extern const struct query_operand query_absent;

/* `number` is an integer. */
struct query_operand query_number_operand(query_number number);
struct query_operand query_text_operand(const char *text);

/* A value that could not be read is absent. */
struct query_operand query_value_operand(enum query_operand_kind kind, const struct value *value);

/* Whether a header has this name. A truncated name is none. */
bool query_is_named(const struct value *name, const char *wanted);

/* Compares one value. For != and !~, "holds" means that it does not equal or match. */
enum query_outcome query_compare(struct query *query, const struct query_comparison *comparison,
                                 struct query_operand operand);

/* What a query is evaluated for: a request or a record. */
struct query_evaluation {
    struct query *query;
    const struct request *request;
    const struct record *record;
    const struct clock *clock;
};

enum query_outcome query_compare_request(const struct query_evaluation *subject,
                                         struct query_comparison *comparison);
enum query_outcome query_compare_record(const struct query_evaluation *subject,
                                        struct query_comparison *comparison);

#endif
