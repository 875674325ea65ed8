#include <stdlib.h>
#include <string.h>

#include "event/stats.h"
#include "memory.h"
#include "query_tree.h"

/* A type as it is printed: "packet-sent". */
static enum query_outcome compare_type(struct query *query,
                                       const struct query_comparison *comparison, const char *probe)
{
    char *type = memory_format("%s", probe);
    enum query_outcome outcome;

    for (char *at = type; (at = strchr(at, '_')) != NULL;)
        *at = '-';
    outcome = query_compare(query, comparison, query_text_operand(type));
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
        place->outcome =
            query_compare(query, comparison, query_text_operand(record->signature->provider));
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
            return query_absent;
        return field->is_signed
                   ? query_number_operand(record_signed(value->bytes + field->offset, field->width))
                   : query_number_operand(
                         record_unsigned(value->bytes + field->offset, field->width));
    }
    return query_absent;
}

static struct query_operand field_operand(const struct record *record, size_t nth,
                                          const struct clock *clock)
{
    const struct field *field = &record->signature->fields[nth];
    const struct value *value = &record->values[nth];

    if ((record->head.flags & field->unread) != 0)
        return query_absent;
    switch (field->kind) {
    case FIELD_TIED:
        return (record->head.flags & EVENT_TIED) != 0 ? query_number_operand(value->number)
                                                      : query_absent;
    case FIELD_UNSIGNED:
        return query_number_operand(value->number);
    case FIELD_SIGNED:
        return query_number_operand(value->integer);
    case FIELD_STAMP:
        return query_number_operand(clock_wall(clock, value->number) / 1000000);
    case FIELD_ADDRESS:
        return query_value_operand(OPERAND_ADDRESS, value);
    case FIELD_TEXT:
        return query_value_operand(OPERAND_TEXT, value);
    default:
        return query_value_operand(OPERAND_BYTES, value);
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

    return record->kind == kind && name != NULL && value != NULL &&
                   query_is_named(name, comparison->key)
               ? query_value_operand(OPERAND_TEXT, value)
               : query_absent;
}

enum query_outcome query_compare_record(const struct query_evaluation *subject,
                                        struct query_comparison *comparison)
{
    const struct record *record = subject->record;
    const struct query_place *place;
    struct query_operand operand = query_absent;

    if (comparison->subject.name == NAME_HEADER)
        return query_compare(subject->query, comparison, header_operand(comparison, record));
    if (comparison->subject.name == NAME_CONNECTION)
        return query_compare(subject->query, comparison,
                             record->connection != 0 ? query_number_operand(record->connection)
                                                     : query_absent);
    place = get_place(subject->query, comparison, record);
    if (comparison->subject.name == NAME_TYPE || comparison->subject.name == NAME_PROVIDER)
        return place->outcome;
    if (place->is_stats)
        operand =
            stats_operand(subject->query, &record->values[place->field], comparison->subject.key);
    else if (place->field >= 0)
        operand = field_operand(record, (size_t)place->field, subject->clock);
    else if (comparison->subject.name == NAME_TID && record->head.tid != 0)
        operand = query_number_operand(record->head.tid);
    return query_compare(subject->query, comparison, operand);
}
