#include "event/record.h"

#include <string.h>

#include "event/stats.h"

uint64_t decode_unsigned(const uint8_t *bytes, size_t width)
{
    uint64_t value64;
    uint32_t value32;
    uint16_t value16;

    switch (width) {
    case 1:
        return bytes[0];
    case 2:
        memcpy(&value16, bytes, 2);
        return value16;
    case 4:
        memcpy(&value32, bytes, 4);
        return value32;
    default:
        memcpy(&value64, bytes, 8);
        return value64;
    }
}

int64_t decode_signed(const uint8_t *bytes, size_t width)
{
    uint64_t value = decode_unsigned(bytes, width);

    switch (width) {
    case 1:
        return (int8_t)value;
    case 2:
        return (int16_t)value;
    case 4:
        return (int32_t)value;
    default:
        return (int64_t)value;
    }
}

uint16_t decode_id(const struct event *event)
{
    return event->size < sizeof(struct event_head)
               ? UINT16_MAX
               : (uint16_t)decode_unsigned(event->bytes + offsetof(struct event_head, id), 2);
}

/* A value of no fixed size, which begins at *end. */
static int decode_variable(const struct field *field, const struct event *event, int unread,
                           size_t *end, struct value *value)
{
    uint64_t size = decode_unsigned(event->bytes + field->place, field->counter_width);

    value->full_size = size;
    /* a string of just what is captured has been cut, or ends there: nobody knows */
    if (field->kind == FIELD_TEXT && size == EVENT_STRING_MAX - 1 && field->max == EVENT_STRING_MAX)
        ++value->full_size;
    if (field->kind == FIELD_STATS && !stats_is_known_size(size))
        size = 0;
    if (size > field->max)
        size = field->max;
    if (size > event->size - *end)
        return -1;
    value->size = (size_t)size;
    value->bytes = unread ? NULL : event->bytes + *end;
    *end += (size_t)size;
    return 0;
}

int decode(const struct signature *signature, int application_data, const struct event *event,
           struct event_head *head, struct value *values)
{
    size_t end = signature->size;
    unsigned nth = 0;

    if (event->size < signature->size || event->size < sizeof(*head))
        return -1;
    memcpy(head, event->bytes, sizeof(*head));
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        switch (field->kind) {
        case FIELD_UNSIGNED:
        case FIELD_TIED:
        case FIELD_STAMP:
            values[i].number = decode_unsigned(event->bytes + field->place, field->width);
            break;
        case FIELD_SIGNED:
            values[i].integer = decode_signed(event->bytes + field->place, field->width);
            break;
        case FIELD_ADDRESS:
            values[i].bytes = event->bytes + field->place;
            values[i].size = values[i].full_size = field->width;
            break;
        case FIELD_TEXT:
        case FIELD_BYTES:
        case FIELD_STATS:
            if ((!field->application_data || application_data) &&
                decode_variable(field, event, head->flags >> nth & 1, &end, &values[i]) != 0)
                return -1;
            ++nth;
            break;
        }
    }
    return end == event->size ? 0 : -1;
}
