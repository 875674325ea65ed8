#include "support.h"

#include <string.h>

#include "event.h"

/* Bytes, and their number in native byte order. */
static void numbers(void **state)
{
    const uint8_t bytes[] = {0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88};
    const uint8_t ones[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint16_t value16;
    uint32_t value32;
    uint64_t value64;

    (void)state;
    memcpy(&value16, bytes, sizeof(value16));
    memcpy(&value32, bytes, sizeof(value32));
    memcpy(&value64, bytes, sizeof(value64));
    assert_true(record_unsigned(bytes, 1) == 0x81);
    assert_true(record_unsigned(bytes, 2) == value16);
    assert_true(record_unsigned(bytes, 4) == value32);
    assert_true(record_unsigned(bytes, 8) == value64);
    assert_true(record_signed(bytes, 1) == 0x81 - 0x100);
    assert_true(record_signed(bytes, 2) == (int16_t)value16);
    assert_true(record_signed(bytes, 4) == (int32_t)value32);
    assert_true(record_signed(bytes, 8) == (int64_t)value64);
    assert_true(record_unsigned(ones, 1) == UINT8_MAX && record_signed(ones, 1) == -1);
    assert_true(record_unsigned(ones, 2) == UINT16_MAX && record_signed(ones, 2) == -1);
    assert_true(record_unsigned(ones, 4) == UINT32_MAX && record_signed(ones, 4) == -1);
    assert_true(record_unsigned(ones, 8) == UINT64_MAX && record_signed(ones, 8) == -1);
    assert_true(record_unsigned(bytes + 1, 1) == 0x82); /* unaligned */
    memcpy(&value64, (uint8_t[]){0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0}, sizeof(value64));
    assert_true(record_unsigned((uint8_t[]){0, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0} + 1,
                                8) == value64);
}

static bool is_variable(const struct field *field)
{
    return field->counter_width != 0;
}

/* Returns the field of variable size whose length this field has, NULL if there is none. */
static const struct field *counted_by(const struct signature *signature,
                                      const struct field *counter)
{
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        if (is_variable(field) && !is_variable(counter) && field->place == counter->place)
            return field;
    }
    return NULL;
}

/* The expected fields of an event. */
struct expected {
    uint64_t number;
    size_t offset, size; /* of the bytes in the event */
};

static size_t stats_size(size_t nth)
{
    static const size_t sizes[] = {936, 1032, 936, 1032};

    return sizes[nth % 4];
}

/*
 * Makes an event with a different value in each field. Values of variable size have `length` and
 * more bytes.
 */
static void fill(struct draft *draft, const struct signature *signature, bool application_data,
                 size_t length, struct expected *expected)
{
    uint8_t bytes[EVENT_TEXT_MAX];

    draft_open(draft, signature, 0x1234);
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        expected[i] = (struct expected){.offset = field->place, .size = field->width};
        for (size_t j = 0; j != sizeof(bytes); ++j)
            bytes[j] = (uint8_t)(37 * i + j + 0x90);
        switch (field->kind) {
        case FIELD_UNSIGNED:
        case FIELD_SIGNED:
        case FIELD_TIED:
        case FIELD_STAMP:
            if (counted_by(signature, field) != NULL)
                break;
            memcpy(draft->bytes + field->place, bytes, field->width);
            expected[i].number = record_unsigned(bytes, field->width);
            break;
        case FIELD_ADDRESS:
            draft_address(draft, field->key, bytes, field->width);
            break;
        default:
            expected[i].offset = draft->size;
            expected[i].size = field->kind == FIELD_STATS ? stats_size(length) : length + i;
            if (expected[i].size > field->max)
                expected[i].size = field->max;
            expected[i].number = expected[i].size;
            if (field->application_data && !application_data) {
                expected[i].size = 0;
                break;
            }
            draft_append(draft, field->key, bytes, expected[i].size, expected[i].number);
            break;
        }
    }
    /* integers that are the length of another field */
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *counted = counted_by(signature, &signature->fields[i]);
        if (counted != NULL) {
            size_t nth = (size_t)(counted - signature->fields);
            expected[i].number = expected[nth].number;
            draft_number(draft, signature->fields[i].key, expected[nth].number);
        }
    }
}

static void check_value(const struct signature *signature, size_t nth, const struct value *value,
                        const struct event *event, const struct expected *expected, bool is_unread)
{
    const struct field *field = &signature->fields[nth];
    bool is_right;

    switch (field->kind) {
    case FIELD_UNSIGNED:
    case FIELD_TIED:
    case FIELD_STAMP:
        is_right = value->number == expected->number;
        break;
    case FIELD_SIGNED: {
        unsigned unused_bits = 64 - 8u * field->width;
        is_right = value->integer == (int64_t)(expected->number << unused_bits) >> unused_bits;
        break;
    }
    default:
        is_right = value->bytes == (is_unread ? NULL : event->bytes + expected->offset) &&
                   value->size == expected->size;
        if (is_variable(field))
            is_right = is_right && value->full_size == expected->number;
        break;
    }
    if (!is_right)
        fail_msg("%s: %s is decoded wrong", signature->declaration, field->key);
}

/*
 * Runs a test for each signature, with and without application data, with short and long values.
 */
static void with_each(void (*test)(const struct signature *signature, bool application_data,
                                   size_t length))
{
    static const size_t lengths[] = {0, 1, 5, 300, 2000};

    for (size_t i = 0; i != num_signatures; ++i) {
        for (size_t j = 0; j != sizeof(lengths) / sizeof(lengths[0]); ++j) {
            test(&signatures[i], false, lengths[j]);
            test(&signatures[i], true, lengths[j]);
        }
    }
}

static void test_values(const struct signature *signature, bool application_data, size_t length)
{
    struct expected expected[RECORD_FIELDS_MAX];
    struct value values[RECORD_FIELDS_MAX];
    struct event_head head;
    struct draft draft;
    struct event event;

    fill(&draft, signature, application_data, length, expected);
    draft_head(&draft, 0, 0x87654321);
    for (size_t i = 0; i != signature->num_fields; ++i) {
        if (signature->fields[i].place == offsetof(struct event_head, conn))
            expected[i].number = 0x87654321;
    }
    event = draft_event(&draft);
    event = fenced(&event, draft.size);
    if (record_decode(signature, application_data, &event, &head, values) != 0)
        fail_msg("%s: a valid event is refused", signature->declaration);
    assert_int_equal(head.id, 0x1234);
    assert_int_equal(head.flags, 0);
    assert_int_equal(head.conn, 0x87654321);
    for (size_t i = 0; i != signature->num_fields; ++i) {
        if (!signature->fields[i].application_data || application_data)
            check_value(signature, i, &values[i], &event, &expected[i], false);
    }
}

static void decodes_every_field(void **state)
{
    (void)state;
    with_each(test_values);
}

/* Events that are too short or too long by any size. */
static void test_sizes(const struct signature *signature, bool application_data, size_t length)
{
    struct expected expected[RECORD_FIELDS_MAX];
    struct value values[RECORD_FIELDS_MAX];
    struct event_head head;
    struct draft draft;
    struct event whole;

    fill(&draft, signature, application_data, length, expected);
    whole = draft_event(&draft);
    for (size_t size = 0; size <= draft.size + 64;
         size += size < 100 || size + 40 > draft.size ? 1 : 37) {
        struct event event = fenced(&whole, size);
        int result = record_decode(signature, application_data, &event, &head, values);
        if (result != (size == draft.size ? 0 : -1))
            fail_msg("%s: %zu bytes of %zu are %s", signature->declaration, size, draft.size,
                     result == 0 ? "accepted" : "refused");
    }
}

static void other_sizes_are_malformed(void **state)
{
    (void)state;
    with_each(test_sizes);
}

/* Lengths that are larger than the event, in each width. */
static void test_lies(const struct signature *signature, bool application_data, size_t length)
{
    static const uint64_t lies[] = {0x80,           0xff,       0x7fff,      0xffff,
                                    0x7fffffff,     0xffffffff, 0x100000000, 0x7fffffffffffffff,
                                    UINT64_MAX - 7, UINT64_MAX};
    struct expected expected[RECORD_FIELDS_MAX];
    struct value values[RECORD_FIELDS_MAX];
    struct event_head head;

    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        if (!is_variable(field) || (field->application_data && !application_data))
            continue;
        for (size_t j = 0; j != sizeof(lies) / sizeof(lies[0]); ++j) {
            struct draft draft;
            struct event event;
            uint64_t is, claimed = field->counter_width < 8
                                       ? lies[j] & ((1ull << 8 * field->counter_width) - 1)
                                       : lies[j];
            fill(&draft, signature, application_data, length, expected);
            /* nothing of an unknown struct is captured, so its bytes are too many */
            is = expected[i].size;
            if ((claimed < field->max ? claimed : field->max) == is)
                continue;
            draft_append(&draft, field->key, NULL, 0, claimed);
            event = draft_event(&draft);
            event = fenced(&event, draft.size);
            if (record_decode(signature, application_data, &event, &head, values) != -1)
                fail_msg("%s: %s of %zu bytes is accepted with the length %llu",
                         signature->declaration, field->key, (size_t)is,
                         (unsigned long long)claimed);
        }
    }
}

static void too_large_lengths_are_malformed(void **state)
{
    (void)state;
    with_each(test_lies);
}

/* Values above the limit have truncated bytes and the full size. */
static void test_cut(const struct signature *signature, bool application_data, size_t length)
{
    static const uint64_t beyond[] = {1, 7, 1000, 0xffff, 0x100000000, UINT64_MAX / 2};
    struct expected expected[RECORD_FIELDS_MAX];
    struct value values[RECORD_FIELDS_MAX];
    struct event_head head;
    uint8_t bytes[EVENT_TEXT_MAX];

    if (length != 0)
        return;
    memset(bytes, 0x5a, sizeof(bytes));
    for (size_t i = 0; i != signature->num_fields; ++i) {
        const struct field *field = &signature->fields[i];
        if (!is_variable(field) || field->kind == FIELD_STATS || field->counter_width < 8 ||
            (field->application_data && !application_data))
            continue;
        for (size_t j = 0; j != sizeof(beyond) / sizeof(beyond[0]); ++j) {
            struct draft draft;
            struct event event;
            fill(&draft, signature, application_data, 0, expected);
            /* values before it are unchanged, those after it are empty */
            draft.size = expected[i].offset;
            draft_append(&draft, field->key, bytes, field->max, field->max + beyond[j]);
            for (size_t k = i + 1; k != signature->num_fields; ++k) {
                if (is_variable(&signature->fields[k]))
                    draft_append(&draft, signature->fields[k].key, NULL, 0, 0);
            }
            event = draft_event(&draft);
            event = fenced(&event, draft.size);
            assert_int_equal(record_decode(signature, application_data, &event, &head, values), 0);
            assert_ptr_equal(values[i].bytes, event.bytes + expected[i].offset);
            assert_int_equal(values[i].size, field->max);
            assert_true(values[i].full_size == field->max + beyond[j]);
        }
    }
}

static void long_values_are_truncated(void **state)
{
    (void)state;
    with_each(test_cut);
}

/* Each flag marks one unreadable value. */
static void test_unread(const struct signature *signature, bool application_data, size_t length)
{
    unsigned num_variable = 0;

    for (size_t i = 0; i != signature->num_fields; ++i)
        num_variable += is_variable(&signature->fields[i]);
    for (unsigned bit = 0; bit != PROBE_VARIABLE_MAX; ++bit) {
        struct expected expected[RECORD_FIELDS_MAX];
        struct value values[RECORD_FIELDS_MAX];
        struct event_head head;
        struct draft draft;
        struct event event;
        unsigned nth = 0;
        if (bit > num_variable)
            break;
        fill(&draft, signature, application_data, length, expected);
        draft_head(&draft, (uint16_t)(1u << bit), 7);
        for (size_t i = 0; i != signature->num_fields; ++i) {
            if (signature->fields[i].place == offsetof(struct event_head, conn))
                expected[i].number = 7;
        }
        event = draft_event(&draft);
        event = fenced(&event, draft.size);
        assert_int_equal(record_decode(signature, application_data, &event, &head, values), 0);
        assert_int_equal(head.flags, 1u << bit);
        for (size_t i = 0; i != signature->num_fields; ++i) {
            bool is_unread = is_variable(&signature->fields[i]) && nth++ == bit;
            if (!signature->fields[i].application_data || application_data)
                check_value(signature, i, &values[i], &event, &expected[i], is_unread);
        }
    }
}

static void unreadable_values_are_marked(void **state)
{
    (void)state;
    with_each(test_unread);
}

/* EVENT_TIED does not mark a value as unreadable. */
static void test_tied(const struct signature *signature, bool application_data, size_t length)
{
    struct expected expected[RECORD_FIELDS_MAX];
    struct value values[RECORD_FIELDS_MAX];
    struct event_head head;
    struct draft draft;
    struct event event;

    fill(&draft, signature, application_data, length, expected);
    draft_head(&draft, EVENT_TIED, 7);
    event = draft_event(&draft);
    assert_int_equal(record_decode(signature, application_data, &event, &head, values), 0);
    assert_int_equal(head.flags, EVENT_TIED);
    for (size_t i = 0; i != signature->num_fields; ++i) {
        if (is_variable(&signature->fields[i]) &&
            (!signature->fields[i].application_data || application_data))
            assert_non_null(values[i].bytes);
    }
}

static void ties_mark_no_value(void **state)
{
    (void)state;
    with_each(test_tied);
}

/* Nothing of a struct with an unknown layout is captured. */
static void unknown_stats_are_empty(void **state)
{
    static const uint64_t sizes[] = {0,    1,    935,  937,        1031,
                                     1033, 1040, 4096, UINT32_MAX, UINT64_MAX};
    const struct signature *signature = signature_on("quicly:conn_stats", 20260629);
    struct value values[RECORD_FIELDS_MAX];
    struct event_head head;
    struct draft draft;

    (void)state;
    for (size_t i = 0; i != sizeof(sizes) / sizeof(sizes[0]); ++i) {
        struct event event;
        size_t nth;
        draft_open(&draft, signature, 0);
        nth = (size_t)(draft_field(&draft, "stats") - signature->fields);
        draft_number(&draft, "size", sizes[i]);
        event = draft_event(&draft);
        event = fenced(&event, draft.size);
        assert_int_equal(record_decode(signature, 0, &event, &head, values), 0);
        assert_int_equal(values[nth].size, 0);
        assert_true(values[nth].full_size == sizes[i]);
        /* has bytes, so it is not from our program */
        draft_append(&draft, "stats", draft.bytes, 8, sizes[i]);
        event = draft_event(&draft);
        event = fenced(&event, draft.size);
        assert_int_equal(record_decode(signature, 0, &event, &head, values), -1);
    }
}

/* An event is malformed if it is shorter than its head, or if no probe has its id. */
static void short_events_are_malformed(void **state)
{
    const uint8_t zeros[sizeof(struct event_head)] = {0};
    const struct event whole = {zeros, sizeof(zeros)};
    const struct signature empty = {
        .provider = "h2o", .probe = "empty", .declaration = "", .size = sizeof(zeros)};
    const struct server_probe probe = {.signature = &empty};
    struct decoder decoder;
    struct record record;
    struct event_head head = {.id = 1};
    const struct event unknown = {(const uint8_t *)&head, sizeof(head)};

    (void)state;
    decoder_open(&decoder, &probe, 1, 1, false);
    assert_int_equal(decoder_decode(&decoder, &whole, &record), 0);
    assert_int_equal(record.id, 0);
    assert_int_equal(record.connection, 0);
    for (size_t size = 0; size != sizeof(zeros); ++size) {
        struct event event = fenced(&whole, size);
        assert_int_equal(decoder_decode(&decoder, &event, &record), -1);
    }
    assert_int_equal(decoder_decode(&decoder, &unknown, &record), -1);
    decoder_close(&decoder);
}

/* ROLE_TIME is the time of the kernel, not quicly's own. */
static void time_of_the_kernel(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct server_probe probe = {.signature = &signatures[i]};
        struct decoder decoder;
        int8_t nth;
        decoder_open(&decoder, &probe, 1, 1, false);
        nth = decoder.probes[0].roles[ROLE_TIME];
        for (size_t j = 0; j != signatures[i].num_fields; ++j)
            assert_int_equal(j == (size_t)nth, signatures[i].fields[j].kind == FIELD_STAMP);
        decoder_close(&decoder);
    }
}

/* The roles of a request are found in every signature of h2o. */
static void roles_are_found(void **state)
{
    static const struct {
        const char *probe;
        enum record_kind kind;
        enum record_role roles[2];
    } cases[] = {
        {"receive_request", RECORD_REQUEST, {ROLE_HTTP_VERSION, ROLE_CONNECTION}},
        {"receive_request_header", RECORD_REQUEST_HEADER, {ROLE_NAME, ROLE_VALUE}},
        {"send_response", RECORD_STATUS, {ROLE_STATUS, ROLE_REQUEST}},
        {"send_response_status", RECORD_STATUS, {ROLE_STATUS, ROLE_REQUEST}},
        {"send_response_header", RECORD_RESPONSE_HEADER, {ROLE_NAME, ROLE_VALUE}},
        {"h3_stream_set_state", RECORD_STREAM_STATE, {ROLE_STATE, ROLE_REQUEST}},
        {"h3s_stream_set_state", RECORD_STREAM_STATE, {ROLE_STATE, ROLE_REQUEST}},
        {"h3s_stream_stats", RECORD_STREAM_STATS, {ROLE_BODY_BYTES, ROLE_REQUEST}},
        {"h1_close", RECORD_CONNECTION_CLOSED, {ROLE_CONNECTION, ROLE_TIME}},
        {"h3_close", RECORD_CONNECTION_CLOSED, {ROLE_CONNECTION, ROLE_TIME}},
        {"h3s_destroy", RECORD_CONNECTION_CLOSED, {ROLE_CONNECTION, ROLE_TIME}},
    };
    size_t found = 0;

    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct server_probe probe = {.signature = &signatures[i]};
        enum record_kind kind = RECORD_OTHER;
        struct decoder decoder;
        decoder_open(&decoder, &probe, 1, 1, false);
        for (size_t j = 0; j != sizeof(cases) / sizeof(cases[0]); ++j) {
            if (strcmp(signatures[i].provider, "h2o") != 0 ||
                strcmp(signatures[i].probe, cases[j].probe) != 0)
                continue;
            kind = cases[j].kind;
            ++found;
            for (size_t k = 0; k != 2; ++k)
                assert_true(decoder.probes[0].roles[cases[j].roles[k]] >= 0);
        }
        assert_int_equal(decoder.probes[0].kind, kind);
        decoder_close(&decoder);
    }
    assert_true(found >= sizeof(cases) / sizeof(cases[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(decodes_every_field),
        cmocka_unit_test(other_sizes_are_malformed),
        cmocka_unit_test(too_large_lengths_are_malformed),
        cmocka_unit_test(long_values_are_truncated),
        cmocka_unit_test(unreadable_values_are_marked),
        cmocka_unit_test(ties_mark_no_value),
        cmocka_unit_test(unknown_stats_are_empty),
        cmocka_unit_test(short_events_are_malformed),
        cmocka_unit_test(roles_are_found),
        cmocka_unit_test(time_of_the_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
