#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choice.h"
#include "memory.h"

/* A server, and what is chosen of it. */
struct chosen {
    struct target target;
    struct catalog catalog;
    struct options options;
    struct choice choice;
    int result;
    char error[512];
};

/* -t's words; NULL for none. */
static void choose_words(struct chosen *chosen, const char *notes, enum options_mode mode,
                         const char *const *globs)
{
    *chosen = (struct chosen){.options = {.mode = mode}};
    notes_open(&chosen->target, notes);
    for (; *globs != NULL; ++globs) {
        struct options_words *words = &chosen->options.tracepoints;
        words->words = memory_grow(words->words, words->count + 1, sizeof(words->words[0]));
        words->words[words->count++] = *globs;
    }
    catalog_open(&chosen->catalog, OPERAND_X86_64, &chosen->target);
    chosen->result = choice_open(&chosen->choice, &chosen->options, &chosen->catalog, chosen->error,
                                 sizeof(chosen->error));
}

#define CHOOSE(chosen, notes, mode, ...)                                                           \
    choose_words(chosen, notes, mode, (const char *const[]){__VA_ARGS__, NULL})

static void chosen_close(struct chosen *chosen)
{
    choice_dispose(&chosen->choice);
    catalog_dispose(&chosen->catalog);
    notes_close(&chosen->target);
    free(chosen->options.tracepoints.words);
}

/* The names from the probe `first` on, a blank between them, to be freed. */
static char *names_of(const struct choice *choice, size_t first, size_t end)
{
    char *names = memory_format("%s", "");

    for (size_t i = first; i != end; ++i) {
        char *longer =
            memory_format("%s%s%s:%s", names, i != first ? " " : "",
                          choice->probes[i].probe->provider, choice->probes[i].probe->name);
        free(names);
        names = longer;
    }
    return names;
}

/*
 * What is printed, what only tells the reader when connections begin and end, and what is traced for
 * its ties only.
 */
static void check_chosen(const struct chosen *chosen, const char *printed, const char *followed,
                         const char *silent)
{
    const struct choice *choice = &chosen->choice;
    const size_t num_read = choice->num_printed + choice->num_followed;
    char *names;

    if (chosen->result != 0)
        fail_msg("%s", chosen->error);
    assert_true(num_read <= choice->num_probes);
    names = names_of(choice, 0, choice->num_printed);
    check_string("printed", names, printed);
    free(names);
    names = names_of(choice, choice->num_printed, num_read);
    check_string("followed", names, followed);
    free(names);
    names = names_of(choice, num_read, choice->num_probes);
    check_string("silent", names, silent);
    free(names);
}

/* What tells of quicly's connections, in the order of the servers' notes. */
#define LIVES "quicly:accept quicly:connect quicly:free"

static const char *const servers[] = {"2020-06", "2024-10", "2026-06"};

static void what_http_traces(void **state)
{
    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        char *notes = memory_format("usdt-notes-%s.tsv", servers[i]);
        struct chosen chosen;
        CHOOSE(&chosen, notes, MODE_HTTP, NULL);
        check_chosen(&chosen,
                     "h2o:receive_request h2o:receive_request_header h2o:send_response "
                     "h2o:send_response_header",
                     "", "");
        chosen_close(&chosen);
        free(notes);
    }
}

/* A server of 2019 says send_response_status. */
static void what_http_traces_of_2019(void **state)
{
    struct target target;
    struct catalog catalog;
    struct choice choice;
    const struct options options = {.mode = MODE_HTTP};
    char error[512], *names;

    (void)state;
    notes_open(&target, NULL);
    notes_add(&target, "h2o", "h1_close", "8@%rdi");
    notes_add(&target, "h2o", "receive_request", "8@%rdi 8@%rsi -4@%edx");
    notes_add(&target, "h2o", "send_response_status", "8@%rdi 8@%rsi -4@%edx");
    catalog_open(&catalog, OPERAND_X86_64, &target);
    assert_int_equal(choice_open(&choice, &options, &catalog, error, sizeof(error)), 0);
    names = names_of(&choice, 0, choice.num_probes);
    check_string("http", names, "h2o:receive_request h2o:send_response_status");
    free(names);
    choice_dispose(&choice);
    catalog_dispose(&catalog);
    notes_close(&target);
}

/* Names of a file of t/data, a blank between them, to be freed. */
static char *expected_names(const char *name)
{
    char *text = data_read(name), *rest = text, *column, *names = memory_format("%s", "");

    while (data_row(&rest, &column, 1) == 1) {
        char *longer = memory_format("%s%s%s", names, names[0] != '\0' ? " " : "", column);
        free(names);
        names = longer;
    }
    free(text);
    return names;
}

static void what_quic_traces(void **state)
{
    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        char *notes = memory_format("usdt-notes-%s.tsv", servers[i]);
        char *data = memory_format("choice-quic-%s.txt", servers[i]),
             *expected = expected_names(data);
        struct chosen chosen;
        CHOOSE(&chosen, notes, MODE_QUIC, NULL);
        check_chosen(&chosen, expected, "", "");
        assert_null(strstr(expected, "debug_message"));
        chosen_close(&chosen);
        free(expected);
        free(data);
        free(notes);
    }
}

static void what_all_traces(void **state)
{
    static const size_t counts[] = {74, 131, 132}; /* probes in the notes, each counted once */

    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        char *notes = memory_format("usdt-notes-%s.tsv", servers[i]);
        struct chosen chosen;
        CHOOSE(&chosen, notes, MODE_ALL, NULL);
        assert_int_equal(chosen.result, 0);
        assert_int_equal(chosen.choice.num_probes, counts[i]);
        assert_int_equal(chosen.choice.num_printed, counts[i]);
        for (size_t j = 0; j != counts[i]; ++j)
            assert_ptr_equal(chosen.choice.probes[j].probe, &chosen.target.probes[j]);
        chosen_close(&chosen);
        free(notes);
    }
}

static void globs_choose(void **state)
{
    struct chosen chosen;

    (void)state;
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "quicly:accept");
    check_chosen(&chosen, "quicly:accept", "quicly:connect quicly:free", "");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_ALL, "accept");
    check_chosen(&chosen, "quicly:accept", "quicly:connect quicly:free", "");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "quicly:*-close_send", "ping-send");
    check_chosen(&chosen,
                 "quicly:application_close_send quicly:ping_send quicly:transport_close_send",
                 LIVES, "");
    chosen_close(&chosen);
    /* what the mode does not mean, -t can name: "in any mode but http" */
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "debug_message", "picotls:new");
    check_chosen(&chosen, "picotls:new quicly:debug_message", LIVES, "");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "picotls:*");
    check_chosen(
        &chosen,
        "picotls:client_random picotls:ech_selection picotls:free picotls:new picotls:new_secret "
        "picotls:receive_message",
        "", "");
    chosen_close(&chosen);
    /* twice the same is once */
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "accept", "quicly:accept", "accep*");
    check_chosen(&chosen, "quicly:accept", "quicly:connect quicly:free", "");
    chosen_close(&chosen);
}

/* Events of h2o's connections need quicly's, which other probes tie and say the life of. */
static void ties_come_along(void **state)
{
    struct chosen chosen;

    (void)state;
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "h2o:send_response_header");
    check_chosen(&chosen, "h2o:send_response_header", LIVES, "h2o:h3s_accept h2o:h3s_destroy");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2020-06.tsv", MODE_QUIC, "send_response*");
    check_chosen(&chosen, "h2o:send_response h2o:send_response_header", LIVES,
                 "h2o:h3_accept h2o:h3_close");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_ALL, "h2o:receive_request", "h3s_accept");
    check_chosen(&chosen, "h2o:h3s_accept h2o:receive_request", LIVES, "h2o:h3s_destroy");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "h2o:h3s_*");
    check_chosen(&chosen,
                 "h2o:h3s_accept h2o:h3s_destroy h2o:h3s_stream_set_state h2o:h3s_stream_stats",
                 LIVES, "");
    chosen_close(&chosen);
    /* h2o's, but not of a connection */
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_ALL, "h2o:h3_packet_receive",
           "h2o:socket_write");
    check_chosen(&chosen, "h2o:h3_packet_receive h2o:socket_write", "", "");
    chosen_close(&chosen);
}

/* A probe that no list knows is traced when -t names it, and only then. */
static void unknown_probes_are_named(void **state)
{
    struct target target;
    struct catalog catalog;
    struct choice choice;
    const char *words[] = {"h2o:brand-*"};
    const struct options named = {.mode = MODE_QUIC, .tracepoints = {words, 1}},
                         all = {.mode = MODE_ALL};
    char error[512], *names;

    (void)state;
    notes_open(&target, "usdt-notes-2026-06.tsv");
    notes_add(&target, "h2o", "brand_new", "8@%rdi");
    notes_add(&target, "quicly", "brand_new", "8@%rdi");
    catalog_open(&catalog, OPERAND_X86_64, &target);
    assert_int_equal(choice_open(&choice, &named, &catalog, error, sizeof(error)), 0);
    assert_int_equal(choice.num_printed, 1);
    names = names_of(&choice, 0, choice.num_probes);
    check_string("named", names, "h2o:brand_new");
    assert_true(choice.probes[0].guess != NULL);
    free(names);
    choice_dispose(&choice);
    assert_int_equal(choice_open(&choice, &all, &catalog, error, sizeof(error)), 0);
    assert_int_equal(choice.num_probes, 132);
    for (size_t i = 0; i != choice.num_probes; ++i)
        assert_false(choice.probes[i].guess != NULL);
    choice_dispose(&choice);
    catalog_dispose(&catalog);
    notes_close(&target);
}

static void refuse(const char *notes, const char *glob, const char *part)
{
    struct chosen chosen;

    CHOOSE(&chosen, notes, MODE_QUIC, "accept", glob);
    assert_int_equal(chosen.result, -1);
    if (strstr(chosen.error, part) == NULL)
        fail_msg("'%s': the sentence has no '%s': %s", glob, part, chosen.error);
    assert_true(is_tame(chosen.error, false));
    chosen_close(&chosen);
}

static void what_matches_nothing_is_an_error(void **state)
{
    (void)state;
    refuse("usdt-notes-2026-06.tsv", "quicly:acept", "'quicly:acept'");
    refuse("usdt-notes-2026-06.tsv", "quicly:acept", "quicly:accept?");
    refuse("usdt-notes-2026-06.tsv", "acceptt", "quicly:accept?");
    refuse("usdt-notes-2026-06.tsv", "packet_sennt", "quicly:packet_sent?");
    refuse("usdt-notes-2026-06.tsv", "h2o:packet_sent", "quicly:packet_sent?");
    refuse("usdt-notes-2026-06.tsv", "packet", "packet_");
    refuse("usdt-notes-2026-06.tsv", "h2o:h3_accept",
           "_accept?"); /* h3s_accept's name until 2020-07-21 */
    refuse("usdt-notes-2020-06.tsv", "h3s_accept", "h3_accept?");
    refuse("usdt-notes-2026-06.tsv", "xyzzy", "'xyzzy'");
    refuse("usdt-notes-2026-06.tsv", "xyzzy", "-l");
    refuse("usdt-notes-2026-06.tsv", "nginx:*", "'nginx:*'");
    refuse("usdt-notes-2026-06.tsv", "x\x1b[2J\nforged", "x\\x1b[2J\\x0aforged");
    refuse("usdt-notes-2026-06.tsv", "%n%s", "'%n%s'");
}

/* Nothing is suggested for what is near to nothing. */
static void what_is_far_is_not_suggested(void **state)
{
    struct chosen chosen;

    (void)state;
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", MODE_QUIC, "xyzzy");
    assert_int_equal(chosen.result, -1);
    assert_null(strstr(chosen.error, "did you mean"));
    chosen_close(&chosen);
}

static void nothing_to_trace(void **state)
{
    struct target target;
    struct catalog catalog;
    struct choice choice;
    const struct options http = {.mode = MODE_HTTP};
    char error[512] = "";

    (void)state;
    notes_open(&target, NULL);
    notes_add(&target, "picotls", "free", "8@%rdi");
    catalog_open(&catalog, OPERAND_X86_64, &target);
    assert_int_equal(choice_open(&choice, &http, &catalog, error, sizeof(error)), -1);
    assert_non_null(strstr(error, "h2olog -l")); /* what to do */
    choice_dispose(&choice);
    catalog_dispose(&catalog);
    notes_close(&target);
}

static void prints_what_is_lacking(void **state)
{
    struct target target;
    struct catalog catalog;
    const char *words[] = {"quicly:p*"};
    const struct options http = {.mode = MODE_HTTP}, quic = {.mode = MODE_QUIC},
                         globs = {.mode = MODE_QUIC, .tracepoints = {words, 1}};
    char *text = NULL;
    size_t size;
    FILE *file;

    (void)state;
    notes_open(&target, "usdt-notes-2026-06.tsv");
    notes_remove(&target, "h2o", "send_response");
    notes_remove(&target, "h2o", "h3s_accept");
    notes_remove(&target, "quicly", "accept");
    notes_remove(&target, "quicly", "pto");
    notes_remove(&target, "quicly", "debug_message");
    notes_remove(&target, "picotls", "new");
    catalog_open(&catalog, OPERAND_X86_64, &target);

    file = open_memstream(&text, &size);
    choice_print_lacking(file, &http, &catalog);
    fclose(file);
    check_string("http", text, "this server lacks h2o:send_response\n");
    free(text);

    /* the notes of the real server lack more: what is not compared with the lists would not show */
    file = open_memstream(&text, &size);
    choice_print_lacking(file, &quic, &catalog);
    fclose(file);
    assert_non_null(strstr(text, "this server lacks h2o:h3s_accept\n"));
    assert_non_null(strstr(text, "this server lacks quicly:accept\n"));
    assert_non_null(strstr(text, "this server lacks quicly:pto\n"));
    assert_null(strstr(text, "debug_message"));
    assert_null(strstr(text, "send_response"));
    assert_null(strstr(text, "picotls"));
    assert_null(strstr(text, "packet_commit")); /* of older versions only */
    free(text);

    file = open_memstream(&text, &size);
    choice_print_lacking(file, &globs, &catalog);
    fclose(file);
    check_string("globs", text, "this server lacks quicly:pto\n");
    free(text);
    catalog_dispose(&catalog);
    notes_close(&target);
}

static size_t count_lines(const char *text)
{
    size_t count = 0;

    for (; (text = strchr(text, '\n')) != NULL; ++text)
        ++count;
    return count;
}

/* -l -p: the server's probes, as its version declares them. */
static void lists_a_server(void **state)
{
    struct target target;
    struct catalog catalog;
    const struct options options = {.mode = MODE_HTTP};
    const char *words[] = {"packet-*"};
    const struct options globs = {.mode = MODE_HTTP, .tracepoints = {words, 1}};
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    (void)state;
    notes_open(&target, "usdt-notes-2020-06.tsv");
    catalog_open(&catalog, OPERAND_X86_64, &target);
    choice_print_list(file, &options, &catalog);
    fclose(file);
    assert_int_equal(count_lines(text), 74);
    for (size_t i = 0; i != catalog.num_traced; ++i)
        assert_non_null(strstr(text, catalog.traced[i].signature->declaration));
    assert_non_null(strstr(
        text,
        "\nquicly:max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit)\n"));
    free(text);

    file = open_memstream(&text, &size);
    choice_print_list(file, &globs, &catalog);
    fclose(file);
    check_string("packet-*", text,
                 "quicly:packet_acked(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, int "
                 "newly_acked)\n"
                 "quicly:packet_commit(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn, "
                 "size_t len, int "
                 "ack_only)\n"
                 "quicly:packet_lost(struct st_quicly_conn_t *conn, int64_t at, uint64_t pn)\n"
                 "quicly:packet_prepare(struct st_quicly_conn_t *conn, int64_t at, uint8_t "
                 "first_octet, const char "
                 "*dcid)\n");
    free(text);
    catalog_dispose(&catalog);
    notes_close(&target);
}

/* How many probes there have been, whatever their signatures. */
static size_t num_probes(void)
{
    size_t count = 0;

    for (size_t i = 0; i != num_signatures; ++i) {
        bool is_first = true;
        for (size_t j = 0; j != i && is_first; ++j)
            is_first = strcmp(signatures[i].provider, signatures[j].provider) != 0 ||
                       strcmp(signatures[i].probe, signatures[j].probe) != 0;
        count += is_first;
    }
    assert_true(count >= 160); /* so many has t/data/probes.json */
    return count;
}

/* -l alone: each probe that there has been, once, as it was last declared. */
static void lists_all_there_are(void **state)
{
    const struct options options = {.mode = MODE_HTTP};
    char *text = NULL, *rest, *line, last[128] = "";
    size_t size, count = 0;
    FILE *file = open_memstream(&text, &size);

    (void)state;
    choice_print_list(file, &options, NULL);
    fclose(file);
    assert_non_null(strstr(
        text,
        "quicly:max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum)\n"));
    assert_null(strstr(text, "uint64_t limit"));
    assert_non_null(strstr(text, "h2o:h3_accept(")); /* long gone, but of some server */
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL && line[0] != '\0') {
        char name[128];
        snprintf(name, sizeof(name), "%.*s(", (int)strcspn(line, "("), line);
        assert_string_not_equal(name, last);
        for (size_t i = 0; i != num_signatures; ++i) { /* no newer one than what is shown */
            const struct signature *signature = &signatures[i];
            if (strncmp(signature->declaration, name, strlen(name)) == 0 && signature->until == 0)
                check_string(name, line, signature->declaration);
        }
        strcpy(last, name);
        ++count;
    }
    assert_int_equal(count, num_probes());
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_http_traces),
        cmocka_unit_test(what_http_traces_of_2019),
        cmocka_unit_test(what_quic_traces),
        cmocka_unit_test(what_all_traces),
        cmocka_unit_test(globs_choose),
        cmocka_unit_test(ties_come_along),
        cmocka_unit_test(unknown_probes_are_named),
        cmocka_unit_test(what_matches_nothing_is_an_error),
        cmocka_unit_test(what_is_far_is_not_suggested),
        cmocka_unit_test(nothing_to_trace),
        cmocka_unit_test(prints_what_is_lacking),
        cmocka_unit_test(lists_a_server),
        cmocka_unit_test(lists_all_there_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
