#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "memory.h"
#include "server/version.h"

static const struct server_probe *find_probe(const struct version *version, const char *provider,
                                             const char *probe)
{
    for (size_t i = 0; i != version->num_probes; ++i) {
        if (strcmp(version->probes[i].probe->provider, provider) == 0 &&
            strcmp(version->probes[i].probe->name, probe) == 0)
            return &version->probes[i];
    }
    fail_msg("%s:%s is not traced", provider, probe);
    return NULL;
}

static void check_declaration(const struct version *version, const char *provider,
                              const char *probe, const char *expected)
{
    check_string(probe, find_probe(version, provider, probe)->signature->declaration, expected);
}

/*
 * Returns the declaration of a probe in a file of signatures, NULL if there is none. Free it with
 * free().
 */
static char *find_declaration(const char *name, const struct probe *probe)
{
    char *text = data_read(name), *rest = text, *column, *found = NULL;
    char *begin = memory_format("%s:%s(", probe->provider, probe->name);

    while (found == NULL && data_row(&rest, &column, 1) == 1) {
        if (strncmp(column, begin, strlen(begin)) == 0)
            found = memory_format("%s", column);
    }
    free(begin);
    free(text);
    return found;
}

static void check_server(enum operand_arch arch, const char *file, const char *expected)
{
    struct notes notes;
    struct version version;

    notes_open(&notes, file);
    version_open(&version, arch, &notes);
    assert_int_equal(version.num_probes, notes.num_probes);
    assert_int_equal(version.num_matching, notes.num_probes);
    for (size_t i = 0; i != version.num_probes; ++i) {
        const struct server_probe *server_probe = &version.probes[i];
        char *declaration = find_declaration(expected, &notes.probes[i]);
        if (declaration == NULL)
            fail_msg("%s has no %s:%s", expected, notes.probes[i].provider, notes.probes[i].name);
        assert_ptr_equal(server_probe->probe, &notes.probes[i]);
        check_string(file, server_probe->signature->declaration, declaration);
        assert_false(server_probe->guess != NULL);
        free(declaration);
    }
    version_dispose(&version);
    notes_close(&notes);
}

static void signatures_of_2020_06(void **state)
{
    (void)state;
    check_server(OPERAND_X86_64, "usdt-notes-2020-06.tsv", "signatures-2020-06.txt");
}

static void signatures_of_2024_10(void **state)
{
    (void)state;
    check_server(OPERAND_X86_64, "usdt-notes-2024-10.tsv", "signatures-2024-10.txt");
}

static void signatures_of_2026_06(void **state)
{
    (void)state;
    check_server(OPERAND_X86_64, "usdt-notes-2026-06.tsv", "signatures-2026-06.txt");
}

static void signatures_of_2026_06_on_aarch64(void **state)
{
    (void)state;
    check_server(OPERAND_AARCH64, "usdt-notes-2026-06-aarch64.tsv", "signatures-2026-06.txt");
}

/* Signatures with the same operands, but other meanings. */
static void names_follow_the_version(void **state)
{
    struct notes notes;
    struct version version;

    (void)state;
    notes_open(&notes, "usdt-notes-2020-06.tsv");
    version_open(&version, OPERAND_X86_64, &notes);
    check_declaration(&version, "quicly", "packet_acked",
                      "quicly:packet_acked(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, "
                      "int newly_acked)");
    check_declaration(
        &version, "quicly", "max_data_send",
        "quicly:max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit)");
    version_dispose(&version);
    notes_close(&notes);

    notes_open(&notes, "usdt-notes-2024-10.tsv");
    version_open(&version, OPERAND_X86_64, &notes);
    check_declaration(&version, "quicly", "packet_acked",
                      "quicly:packet_acked(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, "
                      "int is_late_ack)");
    check_declaration(&version, "quicly", "stream_on_receive",
                      "quicly:stream_on_receive(struct st_quicly_conn_t *conn, int64_t at, struct "
                      "st_quicly_stream_t *stream, size_t off, const void *src, size_t src_len)");
    version_dispose(&version);
    notes_close(&notes);

    notes_open(&notes, "usdt-notes-2026-06.tsv");
    version_open(&version, OPERAND_X86_64, &notes);
    check_declaration(
        &version, "quicly", "max_data_send",
        "quicly:max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum)");
    check_declaration(
        &version, "quicly", "stream_on_receive",
        "quicly:stream_on_receive(struct st_quicly_conn_t *conn, int64_t at, struct "
        "st_quicly_stream_t *stream, size_t buf_off, size_t apply_off, size_t apply_len)");
    version_dispose(&version);
    notes_close(&notes);
}

/* Returns the first date after `date` in the lists, 0 if there is none. */
static uint32_t date_after(uint32_t date)
{
    uint32_t found = 0;

    for (size_t i = 0; i != 2 * num_signatures; ++i) {
        uint32_t other = i % 2 == 0 ? signatures[i / 2].since : signatures[i / 2].until;
        if (other > date && (found == 0 || other < found))
            found = other;
    }
    return found;
}

static void versions(void **state)
{
    static const struct {
        const char *notes;
        enum operand_arch arch;
        uint32_t since, until; /* 0: current, unless the lists are newer */
        const char *text;
    } servers[] = {
        {"usdt-notes-2020-06.tsv", OPERAND_X86_64, 20200321, 20200605,
         "h2o 2020-03-21 to 2020-06-05"},
        {"usdt-notes-2024-10.tsv", OPERAND_X86_64, 20240728, 20241218,
         "h2o 2024-07-28 to 2024-12-18"},
        {"usdt-notes-2026-06.tsv", OPERAND_X86_64, 20260610, 0, "h2o since 2026-06-10"},
        {"usdt-notes-2026-06-aarch64.tsv", OPERAND_AARCH64, 20260610, 0, "h2o since 2026-06-10"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(servers) / sizeof(servers[0]); ++i) {
        struct notes notes;
        struct version version;
        char text[128];
        notes_open(&notes, servers[i].notes);
        version_open(&version, servers[i].arch, &notes);
        assert_int_equal(version.since, servers[i].since);
        assert_int_equal(version.until,
                         servers[i].until != 0 ? servers[i].until : date_after(servers[i].since));
        version.until = servers[i].until;
        version_name(&version, text, sizeof(text));
        check_string(servers[i].notes, text, servers[i].text);
        version_dispose(&version);
        notes_close(&notes);
    }
}

/* Lists of a source tree have no date. */
static void versions_of_a_source_tree(void **state)
{
    const struct version newer = {.since = PROBE_SOURCE_DATE, .earliest = PROBE_SOURCE_DATE};
    const struct version older = {
        .since = 20260610, .earliest = 20260610, .until = PROBE_SOURCE_DATE};
    char text[128];

    (void)state;
    version_name(&newer, text, sizeof(text));
    check_string("newer", text, "the source tree that this h2olog was built with");
    version_name(&older, text, sizeof(text));
    check_string("older", text,
                 "h2o since 2026-06-10, up to the source tree that this h2olog was built with");
}

static bool is_current(const struct signature *signature, uint32_t date)
{
    return signature->since <= date && (signature->until == 0 || date < signature->until);
}

/* Dates on which the lists changed, each once. */
static size_t list_dates(uint32_t *dates, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i != num_signatures; ++i) {
        size_t j = 0;
        while (j != count && dates[j] != signatures[i].since)
            ++j;
        if (j == count) {
            assert_true(count != max);
            dates[count++] = signatures[i].since;
        }
    }
    return count;
}

static const struct signature *find_signature(const char *provider, const char *probe,
                                              uint32_t date)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        if (is_current(&signatures[i], date) && strcmp(signatures[i].probe, probe) == 0 &&
            strcmp(signatures[i].provider, provider) == 0)
            return &signatures[i];
    }
    return NULL;
}

static bool has_same_shape(const struct signature *signature, const struct signature *other)
{
    if (signature->num_arguments != other->num_arguments)
        return false;
    for (size_t i = 0; i != signature->num_arguments; ++i) {
        if (signature->arguments[i].width != other->arguments[i].width)
            return false;
    }
    return true;
}

/* Whether two versions differ in names only. */
static bool look_the_same(uint32_t date, uint32_t other_date)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        const char *provider = signatures[i].provider, *probe = signatures[i].probe;
        const struct signature *signature = find_signature(provider, probe, date);
        const struct signature *other = find_signature(provider, probe, other_date);
        if ((signature == NULL) != (other == NULL) ||
            (signature != NULL && !has_same_shape(signature, other)))
            return false;
    }
    return true;
}

/*
 * For a server of every version, with all probes, each probe has its declaration of that version.
 * If two versions look the same, the newer one is taken.
 */
static void reads_every_version(void **state)
{
    uint32_t dates[128];
    size_t num_dates = list_dates(dates, 128), num_found = 0;

    (void)state;
    for (size_t i = 0; i != num_dates; ++i) {
        struct notes notes;
        struct version version;
        notes_open(&notes, NULL);
        for (size_t j = 0; j != num_signatures; ++j) {
            if (is_current(&signatures[j], dates[i]))
                notes_add_signature(&notes, &signatures[j]);
        }
        version_open(&version, OPERAND_X86_64, &notes);
        assert_int_equal(version.num_matching, notes.num_probes);
        if (version.since == dates[i])
            ++num_found;
        else if (version.since < dates[i] || !look_the_same(dates[i], version.since))
            fail_msg("a server of %u is identified as one of %u", dates[i], version.since);
        for (size_t j = 0; j != version.num_probes; ++j)
            assert_true(is_current(version.probes[j].signature, version.since));
        version_dispose(&version);
        notes_close(&notes);
    }
    assert_true(num_found >= 40);
}

/*
 * Missing probes, which were compiled out or are unused, do not change the version.
 */
static void a_server_can_lack_probes(void **state)
{
    static const char *const lacking[] = {"max_data_send", "packet_lost", "stream_send",
                                          "ping_send", "accept"};
    struct notes notes;
    struct version version;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    for (size_t i = 0; i != sizeof(lacking) / sizeof(lacking[0]); ++i)
        notes_remove(&notes, "quicly", lacking[i]);
    notes_remove(&notes, "picotls", "client_random");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(version.since, 20260610);
    assert_int_equal(version.num_probes, notes.num_probes);
    assert_int_equal(version.num_matching, notes.num_probes);
    for (size_t i = 0; i != version.num_probes; ++i) {
        assert_false(version.probes[i].guess != NULL);
        assert_true(is_current(version.probes[i].signature, 20260629));
    }
    version_dispose(&version);
    notes_close(&notes);
}

/*
 * Also with few probes, no version fits better than the server's own.
 */
static void a_server_can_lack_most_probes(void **state)
{
    uint32_t dates[128], seed = random_seed();
    size_t num_dates = list_dates(dates, 128);

    (void)state;
    for (size_t i = 0; i != num_dates * 8; ++i) {
        const uint32_t date = dates[i % num_dates], one_of = 2u << i / num_dates; /* 2 to 256 */
        struct notes notes;
        struct version version;
        notes_open(&notes, NULL);
        for (size_t j = 0; j != num_signatures; ++j) {
            const uint32_t number = random_next(&seed);
            if (is_current(&signatures[j], date) && number % one_of == 0)
                notes_add_signature(&notes, &signatures[j]);
        }
        if (notes.num_probes != 0) {
            version_open(&version, OPERAND_X86_64, &notes);
            if (version.num_matching != notes.num_probes)
                fail_msg("a server of %u with %zu probes is identified as one of %u that has %zu "
                         "of them",
                         date, notes.num_probes, version.since, version.num_matching);
            version_dispose(&version);
        }
        notes_close(&notes);
    }
}

/* For example without QUIC: the other probes have their declarations. */
static void a_server_can_have_few_probes(void **state)
{
    struct notes notes;
    struct version version;

    (void)state;
    notes_open(&notes, NULL);
    notes_add(&notes, "h2o", "receive_request", "8@32(%rax) 8@%r12 -4@600(%r13)");
    notes_add(&notes, "h2o", "send_response", "8@32(%rax) 8@-112(%rbp) -4@920(%r13)");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(version.num_matching, 2);
    check_declaration(&version, "h2o", "receive_request",
                      "h2o:receive_request(uint64_t conn_id, uint64_t req_id, int http_version)");
    check_declaration(&version, "h2o", "send_response",
                      "h2o:send_response(uint64_t conn_id, uint64_t req_id, int status)");
    version_dispose(&version);
    notes_close(&notes);
}

/* A probe that is in no list: integers of 8 bytes, with the signs of the operands. */
static void an_unknown_probe_is_guessed(void **state)
{
    static const enum field_kind expected[] = {
        FIELD_UNSIGNED, FIELD_SIGNED, FIELD_SIGNED,   FIELD_UNSIGNED, FIELD_UNSIGNED,
        FIELD_SIGNED,   FIELD_SIGNED, FIELD_UNSIGNED, FIELD_SIGNED,
    };
    struct notes notes;
    struct version version;
    const struct server_probe *server_probe;
    const struct signature *signature;
    size_t end = sizeof(struct event_head);

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_add(&notes, "h2o", "brand_new",
              "8@%rdi -8@3256(%rdi) -4@%eax 4@12(%rsp) 2@%ax -2@(%rbx) -1@%al 1@%ah -4@$-7");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(version.since, 20260610);
    assert_int_equal(version.num_matching, notes.num_probes - 1);
    server_probe = find_probe(&version, "h2o", "brand_new");
    signature = server_probe->signature;
    assert_true(server_probe->guess != NULL);
    assert_string_equal(signature->provider, "h2o");
    assert_string_equal(signature->probe, "brand_new");
    check_string("declaration", signature->declaration,
                 "h2o:brand_new(uint64_t arg1, int64_t arg2, int32_t arg3, uint32_t arg4, uint16_t "
                 "arg5, int16_t arg6, "
                 "int8_t arg7, uint8_t arg8, int32_t arg9)");
    assert_int_equal(signature->num_arguments, 9);
    assert_int_equal(signature->reads, 0x1ff);
    assert_int_equal(signature->reads_application_data, 0);
    for (size_t i = 0; i != 9; ++i) {
        const struct field *field = &signature->fields[i];
        char key[8];
        snprintf(key, sizeof(key), "arg%zu", i + 1);
        assert_string_equal(field->key, key);
        assert_int_equal(field->kind, expected[i]);
        assert_int_equal(field->width, 8); /* the operand is extended */
        assert_false(signature->arguments[i].is_pointer);
        assert_false(field->application_data);
        /* aligned, after the head, in the event, without overlap */
        assert_int_equal(field->place % field->width, 0);
        assert_true(field->place >= end);
        end = (size_t)field->place + field->width;
    }
    assert_true(end <= signature->size);
    assert_ptr_equal(signature->capture, generic_signatures[9].capture);
    assert_true(signature->num_fields <= RECORD_FIELDS_MAX);
    for (size_t i = 9; i != signature->num_fields; ++i)
        assert_true(strncmp(signature->fields[i].key, "arg", 3) != 0);
    for (size_t i = 0; i != version.num_probes; ++i)
        assert_int_equal(version.probes[i].guess != NULL, &version.probes[i] == server_probe);
    version_dispose(&version);
    notes_close(&notes);
}

static void guesses_at_the_limits(void **state)
{
    struct notes notes;
    struct version version;
    const struct signature *signature;

    (void)state;
    notes_open(&notes, NULL);
    notes_add(&notes, "quicly", "nothing", "");
    notes_add(
        &notes, "quicly", "twelve", /* the limit of systemtap's sys/sdt.h */
        "8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax");
    notes_add(&notes, "quicly", "seventeen",
              "8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax 8@%rax "
              "8@%rax 8@%rax "
              "8@%rax 8@%rax 8@%rax");
    notes_add(&notes, "quicly", "unreadable", "8@%rax 8@foo(%rip) 8@%rbx");
    version_open(&version, OPERAND_X86_64, &notes);
    signature = find_probe(&version, "quicly", "nothing")->signature;
    check_string("declaration", signature->declaration, "quicly:nothing()");
    assert_int_equal(signature->num_arguments, 0);
    assert_int_equal(signature->reads, 0);
    signature = find_probe(&version, "quicly", "twelve")->signature;
    assert_int_equal(signature->num_arguments, 12);
    assert_int_equal(signature->reads, 0xfff);
    signature = find_probe(&version, "quicly", "seventeen")->signature;
    assert_int_equal(signature->num_arguments, PROBE_ARGUMENTS_MAX);
    assert_true(signature->num_fields <= RECORD_FIELDS_MAX);
    assert_true(find_probe(&version, "quicly", "unreadable")->guess != NULL);
    version_dispose(&version);
    notes_close(&notes);
}

/*
 * A known probe with more or fewer arguments than in the version: the arguments of the version if
 * they are the first ones, else another signature, else a guess.
 */
static void a_known_probe_with_other_arguments(void **state)
{
    struct notes notes;
    struct version version;
    const struct server_probe *server_probe;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_remove(&notes, "h2o", "send_response");
    notes_add(&notes, "h2o", "send_response",
              "8@32(%rax) 8@%r13 -4@728(%rbx) 8@%rdx"); /* as in 2021 */
    notes_remove(&notes, "quicly", "accept");
    notes_add(&notes, "quicly", "accept", "8@%r13 -8@%r15"); /* in no version */
    notes_remove(&notes, "quicly", "receive");
    notes_add(&notes, "quicly", "receive",
              "8@%r14 -8@%r13 8@%rax 8@(%rbx) 8@8(%rbx)"); /* in two versions */
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(version.since, 20260610);
    assert_int_equal(version.num_matching, notes.num_probes - 3);
    server_probe = find_probe(&version, "h2o", "send_response");
    assert_false(server_probe->guess != NULL);
    check_string("send_response", server_probe->signature->declaration,
                 "h2o:send_response(uint64_t conn_id, uint64_t req_id, int status)");
    assert_int_equal(server_probe->num_ignored, 1);
    server_probe = find_probe(&version, "quicly", "accept");
    assert_true(server_probe->guess != NULL);
    check_string("accept", server_probe->signature->declaration,
                 "quicly:accept(uint64_t arg1, int64_t arg2)");
    server_probe = find_probe(&version, "quicly", "receive");
    assert_false(server_probe->guess != NULL);
    assert_int_equal(server_probe->signature->since, 20200605); /* the newer of the two */
    assert_int_equal(server_probe->num_ignored, 0);
    assert_false(version_is_of_version(&version, server_probe->signature));
    version_dispose(&version);
    notes_close(&notes);
}

/* The servers with notes in t/data. */
static const struct {
    const char *notes;
    enum operand_arch arch;
    const char *operands[4]; /* operands that the notes lack, of -4, 4, -8 and 8 bytes */
} real_servers[] = {
    {"usdt-notes-2020-06.tsv", OPERAND_X86_64, {"-4@%eax", "4@%eax", "-8@%rax", "8@%rax"}},
    {"usdt-notes-2024-10.tsv", OPERAND_X86_64, {"-4@%eax", "4@%eax", "-8@%rax", "8@%rax"}},
    {"usdt-notes-2026-06.tsv", OPERAND_X86_64, {"-4@%eax", "4@%eax", "-8@%rax", "8@%rax"}},
    {"usdt-notes-2026-06-aarch64.tsv", OPERAND_AARCH64, {"-4@w1", "4@w1", "-8@x1", "8@x1"}},
};
#define NUM_REAL_SERVERS (sizeof(real_servers) / sizeof(real_servers[0]))

/* Returns the start of an operand; after the last one, the end. */
static char *find_operand(enum operand_arch arch, char *arguments, size_t index)
{
    const char *at = arguments;
    struct operand operand;

    for (size_t i = 0; i != index; ++i)
        assert_int_equal(operand_parse(arch, &at, &operand), 0);
    return arguments + (at - arguments);
}

/* Inserts or replaces an operand at all locations of a probe. */
static void change_operands(struct probe *probe, enum operand_arch arch, size_t index, bool replace,
                            const char *operand)
{
    for (size_t i = 0; i != probe->num_locations; ++i) {
        char **arguments = &probe->locations[i].arguments;
        char *begin = find_operand(arch, *arguments, index);
        char *rest = replace ? find_operand(arch, *arguments, index + 1) : begin;
        char *changed = memory_format("%.*s%s%s%s%s", (int)(begin - *arguments), *arguments,
                                      begin != *arguments && begin[-1] != ' ' ? " " : "", operand,
                                      *rest != '\0' ? " " : "", rest);
        free(*arguments);
        *arguments = changed;
    }
}

/*
 * Additional operands do not matter. They are added to every 16th probe at a time, so that the
 * others still show the version.
 */
static void arguments_can_be_appended(void **state)
{
    (void)state;
    for (size_t i = 0; i != NUM_REAL_SERVERS * 16; ++i) {
        const size_t nth = i / 16;
        const enum operand_arch arch = real_servers[nth].arch;
        struct notes notes;
        struct version version, before;
        notes_open(&notes, real_servers[nth].notes);
        version_open(&before, arch, &notes);
        for (size_t j = i % 16; j < notes.num_probes; j += 16)
            change_operands(&notes.probes[j], arch, before.probes[j].signature->num_arguments,
                            false, real_servers[nth].operands[j / 16 % 4]);
        version_open(&version, arch, &notes);
        for (size_t j = 0; j != notes.num_probes; ++j) {
            const struct signature *declared = before.probes[j].signature;
            const struct server_probe *server_probe = &version.probes[j];
            if (server_probe->signature != declared ||
                server_probe->num_ignored != (j % 16 == i % 16))
                fail_msg("%s of %s is read as %s and %zu more", declared->declaration,
                         real_servers[nth].notes, server_probe->signature->declaration,
                         server_probe->num_ignored);
        }
        version_dispose(&version);
        version_dispose(&before);
        notes_close(&notes);
    }
}

/* How a probe is read after a change of its operands. */
static void check_change(const char *provider, const char *name, size_t index, bool replace,
                         const char *operand, const char *expected, size_t num_ignored)
{
    struct notes notes;
    struct version version;
    const struct server_probe *server_probe;

    notes_open(&notes, "usdt-notes-2026-06.tsv");
    for (size_t i = 0; i != notes.num_probes; ++i) {
        if (strcmp(notes.probes[i].provider, provider) == 0 &&
            strcmp(notes.probes[i].name, name) == 0)
            change_operands(&notes.probes[i], OPERAND_X86_64, index, replace, operand);
    }
    version_open(&version, OPERAND_X86_64, &notes);
    server_probe = find_probe(&version, provider, name);
    check_string(operand,
                 server_probe->guess != NULL ? "a guess" : server_probe->signature->declaration,
                 expected != NULL ? expected : "a guess");
    assert_int_equal(server_probe->num_ignored, num_ignored);
    assert_int_equal(version.since, 20260610);
    assert_int_equal(version.num_matching,
                     notes.num_probes - (expected == NULL || num_ignored != 0));
    version_dispose(&version);
    notes_close(&notes);
}

#define REQUEST_HEADER                                                                             \
    "h2o:receive_request_header(uint64_t conn_id, uint64_t req_id, const char *name, size_t "      \
    "name_len, const char *value, size_t value_len)"
#define RESPONSE "h2o:send_response(uint64_t conn_id, uint64_t req_id, int status)"
#define PACKET_LOST                                                                                \
    "quicly:packet_lost(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, uint8_t "          \
    "packet_type)"

/* An inserted operand with another size or sign changes the known arguments. */
static void arguments_can_be_inserted(void **state)
{
    (void)state;
    check_change("h2o", "receive_request_header", 6, false, "-4@%eax", REQUEST_HEADER, 1);
    for (size_t i = 0; i != 6; ++i) {
        check_change("h2o", "receive_request_header", i, false, "-4@%eax", NULL, 0);
        check_change("h2o", "receive_request_header", i, false, "1@%al", NULL, 0);
        check_change("h2o", "receive_request_header", i, false, "-8@%rax", NULL, 0);
    }
    for (size_t i = 0; i != 3; ++i) {
        check_change("h2o", "send_response", i, false, "8@%rax", NULL, 0);
        check_change("quicly", "packet_lost", i, false, "8@%rax", NULL, 0);
    }
}

/* The same number of arguments, one of which is changed. */
static void arguments_can_be_replaced(void **state)
{
    (void)state;
    /* not a pointer */
    check_change("h2o", "receive_request_header", 2, true, "-4@%eax", NULL, 0);
    check_change("h2o", "receive_request_header", 2, true, "-8@%rax", NULL, 0);
    check_change("h2o", "receive_request_header", 4, true, "4@12(%rsp)", NULL, 0);
    check_change("quicly", "packet_lost", 0, true, "8@$77", NULL, 0);
    /* NULL is one */
    check_change("quicly", "packet_lost", 0, true, "8@$0", PACKET_LOST, 0);
    check_change("h2o", "receive_request_header", 2, true, "-4@$0", REQUEST_HEADER, 0);
    /* too large for an int */
    check_change("h2o", "send_response", 2, true, "8@%rax", NULL, 0);
    check_change("h2o", "send_response", 2, true, "-8@%rax", NULL, 0);
    check_change("quicly", "packet_lost", 3, true, "8@%rax", NULL, 0);
    /* a narrower operand, and constants, which have the size of an int */
    check_change("h2o", "send_response", 0, true, "4@%eax", RESPONSE, 0);
    check_change("h2o", "send_response", 2, true, "2@%ax", RESPONSE, 0);
    check_change("h2o", "receive_request_header", 3, true, "-4@$4", REQUEST_HEADER, 0);
}

/* A change at one location only: the whole probe is unknown. */
static void one_location_can_differ(void **state)
{
    struct notes notes;
    struct version version;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_add(&notes, "h2o", "send_response", "8@%rax 8@%rbx 8@%rcx");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_non_null(find_probe(&version, "h2o", "send_response")->guess);
    version_dispose(&version);
    notes_close(&notes);
}

/* Probes with unreadable operands get no signature only by their number of arguments. */
static void unreadable_operands_are_not_compared(void **state)
{
    static const struct {
        const char *places[2];
        const char *expected; /* NULL: a guess */
        size_t num_ignored;
        bool is_traceable;
    } cases[] = {
        {{"8@c(%rip) 8@r(%rip) -4@s(%rip) 8@x(%rip)", NULL}, NULL, 0, false},
        {{"8@%rax 8@%rbx -4@s(%rip) 8@x(%rip)", NULL}, NULL, 0, false},
        {{"8@c(%rip) 8@r(%rip)", NULL}, NULL, 0, false},
        {{"8@c(%rip) 8@r(%rip) -4@s(%rip)", NULL}, RESPONSE, 0, false}, /* as many */
        {{"8@%rax 8@%rbx -4@%ecx 8@x(%rip)", NULL}, RESPONSE, 1, true},
        /* readable locations stand for the others */
        {{"8@c(%rip) 8@r(%rip) -4@s(%rip) 8@x(%rip)", "8@%rax 8@%rbx -4@%ecx 8@%rdx"},
         RESPONSE,
         1,
         true},
        {{"8@c(%rip) 8@r(%rip)", "8@%rax 8@%rbx"}, NULL, 0, true},
        {{"8@c(%rip) 8@r(%rip)", "8@%rax 8@%rbx -4@%ecx"}, RESPONSE, 0, true},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct notes notes;
        struct version version;
        const struct server_probe *server_probe;
        notes_open(&notes, "usdt-notes-2026-06.tsv");
        notes_remove(&notes, "h2o", "send_response");
        for (size_t j = 0; j != 2 && cases[i].places[j] != NULL; ++j)
            notes_add(&notes, "h2o", "send_response", cases[i].places[j]);
        version_open(&version, OPERAND_X86_64, &notes);
        server_probe = find_probe(&version, "h2o", "send_response");
        check_string(cases[i].places[0],
                     server_probe->guess != NULL ? "a guess" : server_probe->signature->declaration,
                     cases[i].expected != NULL ? cases[i].expected : "a guess");
        assert_int_equal(server_probe->num_ignored, cases[i].num_ignored);
        assert_int_equal(server_probe->is_traceable, cases[i].is_traceable);
        version_dispose(&version);
        notes_close(&notes);
    }
}

/* They get no signature of another version, either. */
static void unreadable_operands_are_of_no_other_version(void **state)
{
    struct notes notes;
    struct version version;
    const struct server_probe *server_probe;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_remove(&notes, "quicly", "receive");
    notes_add(&notes, "quicly", "receive", /* as many as of 2020 */
              "8@c(%rip) -8@t(%rip) 8@d(%rip) 8@b(%rip) 8@n(%rip)");
    version_open(&version, OPERAND_X86_64, &notes);
    server_probe = find_probe(&version, "quicly", "receive");
    assert_non_null(server_probe->guess);
    assert_false(server_probe->is_traceable);
    check_string("receive", server_probe->signature->declaration, "quicly:receive(...)");
    version_dispose(&version);
    notes_close(&notes);
}

/* A probe is not traced at locations where it cannot fire. */
static void flawed_locations_are_not_traceable(void **state)
{
    struct notes notes;
    struct version version;

    (void)state;
    for (int flaw = LOCATION_SOUND; flaw <= LOCATION_NO_SEMAPHORE; ++flaw) {
        notes_open(&notes, NULL);
        notes_add(&notes, "h2o", "send_response", "8@%rax 8@%rbx -4@%ecx");
        notes.probes[0].locations[0].flaw = (enum location_flaw)flaw;
        version_open(&version, OPERAND_X86_64, &notes);
        assert_int_equal(version.probes[0].is_traceable, flaw == LOCATION_SOUND);
        version_dispose(&version);
        notes_close(&notes);
    }
}

static void fewer_arguments(void **state)
{
    struct notes notes;
    struct version version;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_remove(&notes, "h2o", "receive_request_header");
    notes_add(&notes, "h2o", "receive_request_header", "8@%rax 8@%rbx 8@%rcx 8@%rdx 8@%rsi");
    notes_add(&notes, "h2o", "brand_new", "8@%rdi");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_non_null(find_probe(&version, "h2o", "receive_request_header")->guess);
    assert_true(version_knows(find_probe(&version, "h2o", "receive_request_header")->probe));
    assert_false(version_knows(find_probe(&version, "h2o", "brand_new")->probe));
    version_dispose(&version);
    notes_close(&notes);
}

/* Operand sizes of real servers that differ from the declarations do not matter. */
static void operands_are_a_hint_only(void **state)
{
    struct notes notes;
    struct version version, before;

    (void)state;
    notes_open(&notes, "usdt-notes-2020-06.tsv");
    version_open(&before, OPERAND_X86_64, &notes);
    for (size_t i = 0; i != notes.num_probes; ++i) {
        const struct signature *signature = before.probes[i].signature;
        for (size_t j = 0; j != signature->num_arguments; ++j) {
            if (!signature->arguments[j].is_pointer)
                change_operands(&notes.probes[i], OPERAND_X86_64, j, true, "4@%eax");
        }
    }
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(version.since, 20200321);
    assert_int_equal(version.num_matching, notes.num_probes);
    for (size_t i = 0; i != version.num_probes; ++i)
        assert_ptr_equal(version.probes[i].signature, before.probes[i].signature);
    version_dispose(&version);
    version_dispose(&before);
    notes_close(&notes);
}

static void globs(void **state)
{
    static const struct {
        const char *glob, *provider, *probe;
        bool matches;
    } cases[] = {
        {"quicly:accept", "quicly", "accept", true},
        {"accept", "quicly", "accept", true},
        {"quicly:*", "quicly", "accept", true},
        {"*", "quicly", "accept", true},
        {"*", "h2o", "_private_socket_lookup_flags", true},
        {"*:*", "picotls", "new", true},
        {"*:accept", "quicly", "accept", true},
        {"h2o:h3s_*", "h2o", "h3s_accept", true},
        {"h2o:h3s-*", "h2o", "h3s_accept", true},
        {"h3s-stream-set_state", "h2o", "h3s_stream_set_state", true},
        {"packet-sent", "quicly", "packet_sent", true},
        {"packet_sent", "quicly", "packet_sent", true},
        {"packet-*", "quicly", "packet_sent", true},
        {"packet?sent", "quicly", "packet_sent", true},
        {"packet_[st]*", "quicly", "packet_sent", true},
        {"quic*:new", "quicly", "new", true},
        {"*_sent", "quicly", "packet_sent", true},
        {"quicly:accept", "h2o", "accept", false},
        {"h2o:*", "quicly", "accept", false},
        {"accept", "h2o", "h3_accept", false},
        {"accep", "quicly", "accept", false},
        {"accept ", "quicly", "accept", false},
        {"ACCEPT", "quicly", "accept", false},
        {"quicly", "quicly", "accept", false},
        {"quicly:", "quicly", "accept", false},
        {":accept", "quicly", "accept", false},
        {"quicly:*:*", "quicly", "accept", false},
        {"quicly*", "quicly", "accept", false}, /* without ':', it is the name of the probe */
        {"packet[st]*", "quicly", "packet_sent", false},
        {"", "quicly", "accept", false},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        if (version_matches(cases[i].glob, cases[i].provider, cases[i].probe) != cases[i].matches)
            fail_msg("'%s' must %s %s:%s", cases[i].glob, cases[i].matches ? "match" : "pass over",
                     cases[i].provider, cases[i].probe);
    }
}

/* Long patterns are compared completely. */
static void long_globs(void **state)
{
    char glob[1024];

    (void)state;
    for (size_t length = 4; length != sizeof(glob); ++length) {
        memset(glob, '*', length);
        strcpy(glob + length - 3, "zzz");
        assert_false(version_matches(glob, "quicly", "accept"));
    }
    memset(glob, 'x', sizeof(glob) - 1);
    glob[sizeof(glob) - 1] = '\0';
    assert_false(version_matches(glob, "quicly", "accept"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_of_2020_06),
        cmocka_unit_test(signatures_of_2024_10),
        cmocka_unit_test(signatures_of_2026_06),
        cmocka_unit_test(signatures_of_2026_06_on_aarch64),
        cmocka_unit_test(names_follow_the_version),
        cmocka_unit_test(versions),
        cmocka_unit_test(versions_of_a_source_tree),
        cmocka_unit_test(reads_every_version),
        cmocka_unit_test(a_server_can_lack_probes),
        cmocka_unit_test(a_server_can_lack_most_probes),
        cmocka_unit_test(a_server_can_have_few_probes),
        cmocka_unit_test(an_unknown_probe_is_guessed),
        cmocka_unit_test(guesses_at_the_limits),
        cmocka_unit_test(a_known_probe_with_other_arguments),
        cmocka_unit_test(arguments_can_be_appended),
        cmocka_unit_test(arguments_can_be_inserted),
        cmocka_unit_test(arguments_can_be_replaced),
        cmocka_unit_test(one_location_can_differ),
        cmocka_unit_test(unreadable_operands_are_not_compared),
        cmocka_unit_test(unreadable_operands_are_of_no_other_version),
        cmocka_unit_test(flawed_locations_are_not_traceable),
        cmocka_unit_test(fewer_arguments),
        cmocka_unit_test(operands_are_a_hint_only),
        cmocka_unit_test(globs),
        cmocka_unit_test(long_globs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
