/* Compares the tables of misc/gen_quic_bpf.py with independent data. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"

static const struct signature *find_signature(const char *full_name, uint32_t since)
{
    const struct signature *signature = signature_on(full_name, since);

    if (signature->since != since)
        fail_msg("%s has no signature since %u", full_name, since);
    return signature;
}

/* A field of t/data/fields.tsv. */
static void spell_field(const struct field *field, char *text, size_t size)
{
    const char *mark = field->application_data ? "*" : "";

    switch (field->kind) {
    case FIELD_UNSIGNED:
    case FIELD_SIGNED:
        snprintf(text, size, "%s=%c%u%s", field->key, field->kind == FIELD_SIGNED ? 's' : 'u',
                 field->width, mark);
        break;
    case FIELD_TIED:
        snprintf(text, size, "%s=tied%s", field->key, mark);
        break;
    case FIELD_STAMP:
        snprintf(text, size, "%s=stamp%s", field->key, mark);
        break;
    case FIELD_ADDRESS:
        snprintf(text, size, "%s=address%s", field->key, mark);
        break;
    case FIELD_TEXT:
        snprintf(text, size, "%s=text%s/%u", field->key, mark, field->max);
        break;
    case FIELD_BYTES:
        snprintf(text, size, "%s=bytes%s/%u", field->key, mark, field->max);
        break;
    case FIELD_STATS:
        snprintf(text, size, "%s=stats%s/%u", field->key, mark, field->max);
        break;
    }
}

static void spell_fields(const struct signature *signature, char *text, size_t size)
{
    size_t used = 0;

    snprintf(text, size, "-");
    for (size_t i = 0; i != signature->num_fields; ++i) {
        char field[128];
        spell_field(&signature->fields[i], field, sizeof(field));
        used += (size_t)snprintf(text + used, size - used, "%s%s", i != 0 ? "," : "", field);
        assert_true(used < size);
    }
}

static void spell_bits(unsigned bits, char *text, size_t size)
{
    size_t used = 0;

    snprintf(text, size, "-");
    for (unsigned i = 0; i != 16; ++i) {
        if ((bits >> i & 1) != 0)
            used += (size_t)snprintf(text + used, size - used, "%s%u", used != 0 ? "," : "", i);
    }
}

/* Names, kinds, widths, signs, order and limits of the fields, and which arguments are read. */
static void fields_match_the_data(void **state)
{
    char *text = data_read("fields.tsv"), *rest = text, *columns[5];
    size_t count = 0, later = 0;
    uint32_t newest = 0;

    (void)state;
    while (data_row(&rest, columns, 5) == 5) {
        uint32_t since = (uint32_t)strtoul(columns[1], NULL, 10);
        const struct signature *signature = find_signature(columns[0], since);
        newest = since > newest ? since : newest;
        char spelled[2048];
        spell_fields(signature, spelled, sizeof(spelled));
        check_string(signature->declaration, spelled, columns[2]);
        spell_bits(signature->reads, spelled, sizeof(spelled));
        check_string(signature->declaration, spelled, columns[3]);
        spell_bits(signature->reads_application_data, spelled, sizeof(spelled));
        check_string(signature->declaration, spelled, columns[4]);
        ++count;
    }
    free(text);
    assert_int_equal(count, 208); /* those of t/data/probes.json */
    for (size_t i = 0; i != num_signatures; ++i)
        later += signatures[i].since > newest;
    assert_int_equal(num_signatures, count + later);
}

static void secrets_are_never_read(void **state)
{
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        for (size_t j = 0; j != signatures[i].num_arguments; ++j) {
            const char *name = signatures[i].arguments[j].name;
            if (strstr(name, "secret") == NULL)
                continue;
            if (((signatures[i].reads | signatures[i].reads_application_data) >> j & 1) != 0)
                fail_msg("%s of %s is read", name, signatures[i].declaration);
            for (size_t k = 0; k != signatures[i].num_fields; ++k)
                assert_null(strstr(signatures[i].fields[k].key, "secret"));
            ++count;
        }
    }
    assert_int_equal(count, 9); /* new_secret, and two signatures of each of four of quicly */
}

struct integer {
    const char *type;
    uint8_t width;
    bool is_signed;
};

/* Returns the integer type at the start of a text, NULL if there is none. */
static const struct integer *find_integer(const char *text)
{
    static const struct integer integers[] = {
        {"int8_t", 1, true},  {"uint8_t", 1, false},  {"int16_t", 2, true}, {"uint16_t", 2, false},
        {"int32_t", 4, true}, {"uint32_t", 4, false}, {"int64_t", 8, true}, {"uint64_t", 8, false},
        {"int", 4, true},     {"unsigned", 4, false}, {"size_t", 8, false}, {"ssize_t", 8, true},
        {"pid_t", 4, true},
    };
    size_t length = strcspn(text, " ");

    for (size_t i = 0; i != sizeof(integers) / sizeof(integers[0]); ++i) {
        if (strlen(integers[i].type) == length && strncmp(text, integers[i].type, length) == 0)
            return &integers[i];
    }
    return NULL;
}

/* The declaration of each argument. */
static void arguments_are_as_declared(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        char *declaration = strdup(signatures[i].declaration), *rest = strchr(declaration, '(') + 1,
             *declared;
        size_t nth = 0;
        *strrchr(declaration, ')') = '\0';
        for (; (declared = strsep(&rest, ",")) != NULL && declared[0] != '\0'; ++nth) {
            const struct argument *argument = &signatures[i].arguments[nth];
            const char *name = declared + strlen(declared);
            const struct integer *integer;
            declared += strspn(declared, " ");
            assert_true(nth < signatures[i].num_arguments);
            while (name != declared && name[-1] != ' ' && name[-1] != '*')
                --name;
            check_string(signatures[i].declaration, argument->name, name);
            assert_int_equal(argument->is_pointer, strchr(declared, '*') != NULL);
            integer = argument->is_pointer ? NULL : find_integer(declared);
            if (!argument->is_pointer && integer == NULL)
                fail_msg("%s: the type of %s is unknown", signatures[i].declaration, name);
            assert_int_equal(argument->width, integer != NULL ? integer->width : 8);
            if (integer != NULL)
                assert_int_equal(argument->is_signed, integer->is_signed);
        }
        assert_int_equal(nth, signatures[i].num_arguments);
        free(declaration);
    }
}

/* A member of the struct that a capture fills. */
struct member {
    char name[64];
    size_t place, width, count;
};

/* The members of `struct event` in the text of a capture, with the layout of a C compiler. */
static size_t parse_members(const char *capture, struct member *members, size_t max)
{
    size_t count = 0, place = sizeof(struct event_head);
    const char *line = strstr(capture, "struct event_head head;");

    assert_non_null(line);
    line = strchr(line, '\n') + 1;
    for (; line[strspn(line, " ")] != '}'; line = strchr(line, '\n') + 1) {
        struct member *member = &members[count++];
        unsigned bits;
        assert_true(count < max);
        *member = (struct member){.count = 1};
        assert_true(
            sscanf(line, " %*1[us]%u %63[a-z0-9_][%zu]", &bits, member->name, &member->count) >= 2);
        member->width = bits / 8;
        place = (place + member->width - 1) / member->width * member->width;
        member->place = place;
        place += member->width * member->count;
    }
    return count;
}

/* Returns the member that has a value of `width` bytes at `place`. */
static const struct member *find_member(const struct member *members, size_t count, size_t place,
                                        size_t width)
{
    for (size_t i = 0; i != count; ++i) {
        if (place < members[i].place ||
            place + width > members[i].place + members[i].width * members[i].count)
            continue;
        if (width == members[i].width * members[i].count ||
            (width == members[i].width && (place - members[i].place) % width == 0))
            return &members[i];
    }
    return NULL;
}

/* Kernel side and user side have the same layout. */
static void offsets_match_the_capture(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        struct member members[32];
        size_t count = parse_members(signature->capture, members, 32),
               end = sizeof(struct event_head);
        for (size_t j = 0; j != count; ++j) {
            if (members[j].place + members[j].width * members[j].count > end)
                end = members[j].place + members[j].width * members[j].count;
        }
        if (signature->size != end)
            fail_msg("%s: the fixed part has %zu bytes, not %u", signature->declaration, end,
                     signature->size);
        for (size_t j = 0; j != signature->num_fields; ++j) {
            const struct field *field = &signature->fields[j];
            size_t width = field->counter_width != 0 ? field->counter_width : field->width;
            if (field->place == offsetof(struct event_head, conn)) {
                assert_string_equal(field->key, "conn");
                assert_int_equal(width, 4);
                continue;
            }
            if (find_member(members, count, field->place, width) == NULL)
                fail_msg("%s: no member of %zu bytes is at %u; %s is expected there",
                         signature->declaration, width, field->place, field->key);
        }
        /* a member with the name of an argument is at the place of its field */
        for (size_t j = 0; j != signature->num_fields; ++j) {
            const struct field *field = &signature->fields[j];
            for (size_t k = 0; k != count; ++k) {
                char key[sizeof(members[k].name)];
                strcpy(key, members[k].name);
                for (char *at = key; *at != '\0'; ++at)
                    *at = *at == '_' ? '-' : *at;
                if (strcmp(key, field->key) == 0 && field->counter_width == 0)
                    assert_int_equal(field->place, members[k].place);
            }
        }
    }
}

/*
 * The largest event fits into its memory, and the flags have a bit for each value of variable size.
 */
static void largest_events_fit(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        size_t largest = signature->size, variable = 0;
        assert_true(signature->size >= sizeof(struct event_head));
        assert_true(signature->num_arguments <= PROBE_ARGUMENTS_MAX);
        assert_true(signature->num_fields <= RECORD_FIELDS_MAX);
        for (size_t j = 0; j != signature->num_fields; ++j) {
            largest += signature->fields[j].max;
            variable += signature->fields[j].counter_width != 0;
            assert_true(signature->fields[j].place + signature->fields[j].width <= signature->size);
        }
        assert_true(variable <= PROBE_VARIABLE_MAX);
        if (largest > EVENT_MAX)
            fail_msg("an event of %s can have %zu bytes", signature->declaration, largest);
    }
}

/* A probe has at most one signature on a day, and the name of its declaration. */
static void periods_do_not_overlap(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        char name[256];
        snprintf(name, sizeof(name), "%s:%s(", signature->provider, signature->probe);
        assert_int_equal(strncmp(signature->declaration, name, strlen(name)), 0);
        assert_true(signature->since >= 20190827 && signature->since < 21000000);
        assert_true(signature->until == 0 || signature->until > signature->since);
        for (size_t j = 0; j != i; ++j) {
            const struct signature *other = &signatures[j];
            if (strcmp(other->probe, signature->probe) == 0 &&
                strcmp(other->provider, signature->provider) == 0 &&
                (other->until == 0 || other->until > signature->since) &&
                (signature->until == 0 || signature->until > other->since))
                fail_msg("%s and %s have days in common", signature->declaration,
                         other->declaration);
        }
    }
}

/* The layouts of struct st_quicly_stats_t, row by row. */
static void stats_layouts_match_the_data(void **state)
{
    char *text = data_read("conn-stats-layouts.tsv"), *rest = text, *columns[7];
    const char *from = "";
    size_t layout = 0, count = 0, total = 0;

    (void)state;
    while (data_row(&rest, columns, 7) == 7) {
        const struct stats_field *field;
        if (strcmp(columns[1], from) != 0) { /* the first row of the next layout */
            assert_true(total == 0 || count == stats_layouts[layout].num_fields);
            layout = total == 0 ? 0 : layout + 1;
            from = columns[1];
            count = 0;
        }
        assert_true(layout < num_stats_layouts && count < stats_layouts[layout].num_fields);
        field = &stats_layouts[layout].fields[count++];
        ++total;
        assert_int_equal(stats_layouts[layout].size, strtoul(columns[0], NULL, 10));
        check_string("name", field->key, columns[3]);
        assert_int_equal(field->offset, strtoul(columns[4], NULL, 10));
        assert_int_equal(field->width, strtoul(columns[5], NULL, 10));
        assert_int_equal(field->is_signed, strtoul(columns[6], NULL, 10));
        assert_true(field->offset + field->width <= (int)stats_layouts[layout].size);
    }
    free(text);
    assert_int_equal(count, stats_layouts[layout].num_fields);
    assert_int_equal(layout + 1, num_stats_layouts);
    assert_true(num_stats_layouts >= 17 && total >= 1365);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_match_the_data),        cmocka_unit_test(secrets_are_never_read),
        cmocka_unit_test(arguments_are_as_declared),    cmocka_unit_test(offsets_match_the_capture),
        cmocka_unit_test(largest_events_fit),           cmocka_unit_test(periods_do_not_overlap),
        cmocka_unit_test(stats_layouts_match_the_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
