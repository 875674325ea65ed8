#include "event/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "event.h"
#include "event/stats.h"
#include "memory.h"
#include "query_tree.h"

struct query {
    struct query_node *tree;
    enum query_subject subject;
    const struct address_range *files;
    size_t num_files;
    uint64_t num_given_up;
    char hex[2 * EVENT_TEXT_MAX]; /* bytes as printed, for regular expressions */
};

/* What is evaluated: a request or a record. */
struct subject {
    struct query *query;
    const struct request *request;
    const struct record *record;
    const struct clock *clock;
};

/* The value of a name. */
struct query_operand {
    enum { ABSENT, NUMBER, TEXT, ADDRESS, BYTES } kind;
    query_number number;
    const uint8_t *bytes;
    size_t size;
};

static const struct query_operand absent = {.kind = ABSENT};

static struct query_operand number_operand(query_number number)
{
    return (struct query_operand){.kind = NUMBER, .number = number * QUERY_ONE};
}

static struct query_operand text_operand(const char *text)
{
    return (struct query_operand){
        .kind = TEXT, .bytes = (const uint8_t *)text, .size = strlen(text)};
}

static struct query_operand value_operand(int kind, const struct value *value)
{
    if (value->bytes == NULL)
        return absent;
    return (struct query_operand){.kind = kind, .bytes = value->bytes, .size = value->size};
}

/* --- one comparison --- */

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
    case TEXT:
        *order = compare_bytes(operand->bytes, operand->size, comparison->text, comparison->size);
        return true;
    case BYTES:
        *order =
            compare_bytes(operand->bytes, operand->size, comparison->bytes, comparison->num_bytes);
        return comparison->is_hex;
    case ADDRESS:
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

    if (operand->kind != NUMBER &&
        (operand->kind != TEXT || !query_number_of(operand->bytes, operand->size, &number)))
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
    case TEXT:
        subject = (const char *)operand->bytes;
        size = operand->size;
        break;
    case NUMBER:
        size = print_number(operand->number, text, sizeof(text));
        break;
    case ADDRESS:
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
    outcome = query_regex_match(comparison->regex, (const uint8_t *)subject, size);
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

static enum query_outcome compare_one(struct query *query,
                                      const struct query_comparison *comparison,
                                      struct query_operand operand)
{
    return operand.kind == ABSENT ? OUTCOME_INCOMPARABLE : compare(query, comparison, &operand);
}

/* --- requests --- */

static bool is_named(const struct value *name, const char *wanted)
{
    const size_t size = strlen(wanted);

    return name->bytes != NULL && name->full_size == size && name->size == size &&
           strncasecmp((const char *)name->bytes, wanted, size) == 0;
}

/*
 * Compares all headers of a name. Those that are not comparable do not count. If a regular
 * expression gave up on one, !~ does not hold.
 */
static enum query_outcome compare_headers(struct query *query,
                                          const struct query_comparison *comparison,
                                          const struct request *request)
{
    const bool is_negated = comparison->op == QUERY_UNEQUAL || comparison->op == QUERY_MATCHES_NOT;
    enum query_outcome outcome = OUTCOME_INCOMPARABLE;
    struct request_header header;

    for (size_t at = 0; request_next_header(request, &at, &header);) {
        enum query_outcome one;
        if (header.side != comparison->side || !is_named(&header.name, comparison->key))
            continue;
        one = compare_one(query, comparison, value_operand(TEXT, &header.value));
        if (one == (is_negated ? OUTCOME_FAILS : OUTCOME_HOLDS) ||
            (is_negated && one == OUTCOME_GAVE_UP))
            return one;
        if (one < outcome)
            outcome = one;
    }
    return outcome;
}

static struct query_operand pseudo_operand(const struct request *request, const char *name)
{
    struct request_header header;

    /* its value does not point into `header`, because nothing is redacted before the query */
    return request_find_header(request, REQUEST_SIDE, name, &header)
               ? value_operand(TEXT, &header.value)
               : absent;
}

static struct query_operand protocol_operand(int32_t version)
{
    switch (version) {
    case 0x100:
        return text_operand("HTTP/1.0");
    case 0x101:
        return text_operand("HTTP/1.1");
    case 0x200:
        return text_operand("HTTP/2");
    case 0x300:
        return text_operand("HTTP/3");
    default:
        return absent;
    }
}

/* Milliseconds since the epoch, with microseconds, as printed. */
static struct query_operand time_operand(uint64_t time_ns, const struct clock *clock)
{
    return (struct query_operand){.kind = NUMBER,
                                  .number = (query_number)(clock_wall(clock, time_ns) / 1000) *
                                            (QUERY_ONE / 1000)};
}

static struct query_operand request_operand(const struct query_comparison *comparison,
                                            const struct request *request,
                                            const struct clock *clock)
{
    uint64_t time_ns;

    switch (comparison->subject.name) {
    case NAME_TIME:
        return request->received_ns != 0 ? time_operand(request->received_ns, clock) : absent;
    case NAME_CONNECTION:
        return request->connection != 0 ? number_operand(request->connection) : absent;
    case NAME_CONN:
        return number_operand(request->conn);
    case NAME_REQ:
        return number_operand(request->req);
    case NAME_PROTOCOL:
        return protocol_operand(request->version);
    case NAME_PSEUDO:
        return pseudo_operand(request, comparison->subject.header);
    case NAME_STATUS:
        return request->status != 0 ? number_operand(request->status) : absent;
    case NAME_TTFB:
        return request_ttfb(request, &time_ns) ? number_operand(time_ns / 1000) : absent;
    case NAME_DURATION:
        return request_duration(request, &time_ns) ? number_operand(time_ns / 1000) : absent;
    case NAME_BYTES:
        return request->has_bytes ? number_operand(request->bytes) : absent;
    case NAME_STATE:
        return text_operand(request_state_name(request->state));
    case NAME_TRUNCATED:
        return request->is_truncated ? number_operand(1) : absent;
    default:
        return absent;
    }
}

static enum query_outcome compare_request(const struct subject *subject,
                                          struct query_comparison *comparison)
{
    if (comparison->subject.name == NAME_HEADER)
        return compare_headers(subject->query, comparison, subject->request);
    return compare_one(subject->query, comparison,
                       request_operand(comparison, subject->request, subject->clock));
}

/* --- events --- */

/* A type as it is printed: "packet-sent". */
static enum query_outcome compare_type(struct query *query,
                                       const struct query_comparison *comparison, const char *probe)
{
    char *type = memory_format("%s", probe);
    enum query_outcome outcome;

    for (char *at = type; (at = strchr(at, '_')) != NULL;)
        *at = '-';
    outcome = compare_one(query, comparison, text_operand(type));
    free(type);
    return outcome;
}

static void find_field(struct query_place *place, const char *key)
{
    const struct signature *signature = place->signature;

    for (size_t i = 0; i != signature->num_fields; ++i) {
        if (signature->fields[i].kind == FIELD_STATS && place->field < 0) {
            place->field = (int8_t)i;
            place->is_stats = true;
        } else if (strcmp(signature->fields[i].key, key) == 0) {
            place->field = (int8_t)i;
            place->is_stats = false;
            return;
        }
    }
}

/* Looks up what the name means for the probe of a record. Once per probe. */
static void find_place(struct query *query, struct query_comparison *comparison,
                       const struct record *record, struct query_place *place)
{
    *place = (struct query_place){.signature = record->signature, .field = -1};
    switch (comparison->subject.name) {
    case NAME_TYPE:
        place->outcome = compare_type(query, comparison, record->signature->probe);
        break;
    case NAME_PROVIDER:
        place->outcome = compare_one(query, comparison, text_operand(record->signature->provider));
        break;
    case NAME_TID:
        find_field(place, "tid");
        if (place->is_stats)
            place->field = -1;
        break;
    default:
        find_field(place, comparison->subject.key);
        break;
    }
}

static const struct query_place *get_place(struct query *query, struct query_comparison *comparison,
                                           const struct record *record)
{
    if (record->id >= comparison->num_places) {
        comparison->places =
            memory_grow(comparison->places, record->id + 1, sizeof(comparison->places[0]));
        memset(comparison->places + comparison->num_places, 0,
               (record->id + 1 - comparison->num_places) * sizeof(comparison->places[0]));
        comparison->num_places = record->id + 1;
    }
    if (comparison->places[record->id].signature != record->signature)
        find_place(query, comparison, record, &comparison->places[record->id]);
    return &comparison->places[record->id];
}

/* A member of quicly's statistics, if its place is certain. */
static struct query_operand stats_operand(const struct query *query, const struct value *value,
                                          const char *key)
{
    const struct stats_layout *layouts[STATS_LAYOUTS_MAX];
    size_t num_layouts = 0;

    if (value->bytes != NULL)
        num_layouts =
            stats_find(value->bytes, value->size, query->files, query->num_files, layouts);
    for (size_t i = 0; num_layouts != 0 && i != layouts[0]->num_fields; ++i) {
        const struct stats_field *field = &layouts[0]->fields[i];
        if (strcmp(field->key, key) != 0)
            continue;
        if (!stats_is_common(field, layouts + 1, num_layouts - 1))
            return absent;
        return field->is_signed
                   ? number_operand(record_signed(value->bytes + field->offset, field->width))
                   : number_operand(record_unsigned(value->bytes + field->offset, field->width));
    }
    return absent;
}

static struct query_operand field_operand(const struct record *record, size_t nth,
                                          const struct clock *clock)
{
    const struct field *field = &record->signature->fields[nth];
    const struct value *value = &record->values[nth];

    if ((record->head.flags & field->unread) != 0)
        return absent;
    switch (field->kind) {
    case FIELD_TIED:
        return (record->head.flags & EVENT_TIED) != 0 ? number_operand(value->number) : absent;
    case FIELD_UNSIGNED:
        return number_operand(value->number);
    case FIELD_SIGNED:
        return number_operand(value->integer);
    case FIELD_STAMP:
        return number_operand(clock_wall(clock, value->number) / 1000000);
    case FIELD_ADDRESS:
        return value_operand(ADDRESS, value);
    case FIELD_TEXT:
        return value_operand(TEXT, value);
    default:
        return value_operand(BYTES, value);
    }
}

/* The value of a header, if the event is one with this name. */
static struct query_operand header_operand(const struct query_comparison *comparison,
                                           const struct record *record)
{
    const enum record_kind kind =
        comparison->side == REQUEST_SIDE ? RECORD_REQUEST_HEADER : RECORD_RESPONSE_HEADER;
    const struct value *name = record_value(record, ROLE_NAME);
    const struct value *value = record_value(record, ROLE_VALUE);

    return record->kind == kind && name != NULL && value != NULL && is_named(name, comparison->key)
               ? value_operand(TEXT, value)
               : absent;
}

static enum query_outcome compare_record(const struct subject *subject,
                                         struct query_comparison *comparison)
{
    const struct record *record = subject->record;
    const struct query_place *place;
    struct query_operand operand = absent;

    if (comparison->subject.name == NAME_HEADER)
        return compare_one(subject->query, comparison, header_operand(comparison, record));
    if (comparison->subject.name == NAME_CONNECTION)
        return compare_one(subject->query, comparison,
                           record->connection != 0 ? number_operand(record->connection) : absent);
    place = get_place(subject->query, comparison, record);
    if (comparison->subject.name == NAME_TYPE || comparison->subject.name == NAME_PROVIDER)
        return place->outcome;
    if (place->is_stats)
        operand =
            stats_operand(subject->query, &record->values[place->field], comparison->subject.key);
    else if (place->field >= 0)
        operand = field_operand(record, (size_t)place->field, subject->clock);
    else if (comparison->subject.name == NAME_TID && record->head.tid != 0)
        operand = number_operand(record->head.tid);
    return compare_one(subject->query, comparison, operand);
}

/* --- the tree --- */

/* The depth of the recursion is limited by QUERY_DEPTH_MAX. */
static bool holds(const struct subject *subject, struct query_node *node)
{
    struct query_node *child = node->children;

    switch (node->kind) {
    case NODE_NOT:
        return !holds(subject, child);
    case NODE_AND:
        while (child != NULL && holds(subject, child))
            child = child->next;
        return child == NULL;
    case NODE_OR:
        while (child != NULL && !holds(subject, child))
            child = child->next;
        return child != NULL;
    default:
        return (subject->request != NULL ? compare_request : compare_record)(
                   subject, &node->comparison) == OUTCOME_HOLDS;
    }
}

bool query_holds_for_request(struct query *query, const struct request *request,
                             const struct clock *clock)
{
    const struct subject subject = {query, request, NULL, clock};

    return holds(&subject, query->tree);
}

bool query_holds_for_record(struct query *query, const struct record *record,
                            const struct clock *clock)
{
    const struct subject subject = {query, NULL, record, clock};

    return holds(&subject, query->tree);
}

static void add_needs(const struct query_node *node, struct needs *needs)
{
    const struct query_comparison *comparison = &node->comparison;

    for (const struct query_node *child = node->children; child != NULL; child = child->next)
        add_needs(child, needs);
    switch (comparison->subject.name) {
    case NAME_HEADER:
        needs_add(comparison->side == REQUEST_SIDE ? &needs->request : &needs->response,
                  comparison->key);
        break;
    case NAME_PSEUDO:
        needs_add(&needs->request, comparison->subject.header);
        break;
    case NAME_TIME:
    case NAME_TTFB:
    case NAME_DURATION:
        needs->times = true;
        break;
    case NAME_CONNECTION:
        needs->connections = true;
        break;
    case NAME_FIELD:
        needs->times |= strcmp(comparison->key, "time") == 0;
        break;
    default:
        break;
    }
}

void query_add_needs(const struct query *query, struct needs *needs)
{
    add_needs(query->tree, needs);
}

void query_set_files(struct query *query, const struct address_range *files, size_t num_files)
{
    query->files = files;
    query->num_files = num_files;
}

uint64_t query_num_given_up(const struct query *query)
{
    return query->num_given_up;
}

struct query *query_open(const char *text, enum query_subject subject, struct error *error)
{
    struct query_node *tree = query_parse(text, subject, error);
    struct query *query;

    if (tree == NULL)
        return NULL;
    query = memory_grow(NULL, 1, sizeof(*query));
    *query = (struct query){.tree = tree, .subject = subject};
    return query;
}

void query_close(struct query *query)
{
    if (query == NULL)
        return;
    query_free_tree(query->tree);
    free(query);
}
