#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "server/report.h"
#include "server/selection.h"

/* A server, and a selection of its probes. */
struct chosen {
    struct notes notes;
    struct version version;
    struct options options;
    struct selection selection;
    int result;
    struct error error;
};

/* The words of -t; NULL: none. */
static void choose_words(struct chosen *chosen, const char *notes, const char *mode,
                         const char *const *globs)
{
    *chosen = (struct chosen){.options = {.view = view_find(mode)}};
    notes_open(&chosen->notes, notes);
    for (; *globs != NULL; ++globs) {
        struct options_words *words = &chosen->options.tracepoints;
        words->words = memory_grow(words->words, words->count + 1, sizeof(words->words[0]));
        words->words[words->count++] = *globs;
    }
    version_open(&chosen->version, OPERAND_X86_64, &chosen->notes);
    chosen->result = selection_open(&chosen->selection, &chosen->options, NULL, &chosen->version,
                                    &chosen->error);
}

#define CHOOSE(chosen, notes, mode, ...)                                                           \
    choose_words(chosen, notes, mode, (const char *const[]){__VA_ARGS__, NULL})

static void chosen_close(struct chosen *chosen)
{
    selection_dispose(&chosen->selection);
    version_dispose(&chosen->version);
    notes_close(&chosen->notes);
    free(chosen->options.tracepoints.words);
}

/* Returns the names from the probe `first` on, separated by spaces. Free it with free(). */
static char *names_of(const struct selection *selection, size_t first, size_t end)
{
    char *names = memory_format("%s", "");

    for (size_t i = first; i != end; ++i) {
        char *longer =
            memory_format("%s%s%s:%s", names, i != first ? " " : "",
                          selection->probes[i].probe->provider, selection->probes[i].probe->name);
        free(names);
        names = longer;
    }
    return names;
}

/* Checks the probes that are printed, those that only the reader needs, and those that only tie. */
static void check_chosen(const struct chosen *chosen, const char *printed, const char *followed,
                         const char *silent)
{
    const struct selection *selection = &chosen->selection;
    const size_t num_read = selection->num_printed + selection->num_followed;
    char *names;

    if (chosen->result != 0)
        fail_msg("%s", chosen->error.text);
    assert_true(num_read <= selection->num_probes);
    names = names_of(selection, 0, selection->num_printed);
    check_string("printed", names, printed);
    free(names);
    names = names_of(selection, selection->num_printed, num_read);
    check_string("followed", names, followed);
    free(names);
    names = names_of(selection, num_read, selection->num_probes);
    check_string("silent", names, silent);
    free(names);
}

/* The probes of quicly's connections, in the order of the servers' notes. */
#define LIVES "quicly:accept quicly:connect quicly:free"

static const char *const servers[] = {"2020-06", "2024-10", "2026-06"};

static void probes_of_http(void **state)
{
    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        char *notes = memory_format("usdt-notes-%s.tsv", servers[i]);
        struct chosen chosen;
        CHOOSE(&chosen, notes, "http", NULL);
        check_chosen(&chosen,
                     "h2o:receive_request h2o:receive_request_header h2o:send_response "
                     "h2o:send_response_header",
                     "", "");
        chosen_close(&chosen);
        free(notes);
    }
}

/* A server of 2019 has send_response_status. */
static void probes_of_http_in_2019(void **state)
{
    struct notes notes;
    struct version version;
    struct selection selection;
    const struct options options = {.view = view_find("http")};
    struct error error;
    char *names;

    (void)state;
    notes_open(&notes, NULL);
    notes_add(&notes, "h2o", "h1_close", "8@%rdi");
    notes_add(&notes, "h2o", "receive_request", "8@%rdi 8@%rsi -4@%edx");
    notes_add(&notes, "h2o", "send_response_status", "8@%rdi 8@%rsi -4@%edx");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(selection_open(&selection, &options, NULL, &version, &error), 0);
    names = names_of(&selection, 0, selection.num_probes);
    check_string("http", names, "h2o:receive_request h2o:send_response_status");
    free(names);
    selection_dispose(&selection);
    version_dispose(&version);
    notes_close(&notes);
}

/* Returns the names in a file of t/data, separated by spaces. Free it with free(). */
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

static void probes_of_quic(void **state)
{
    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        char *notes = memory_format("usdt-notes-%s.tsv", servers[i]);
        char *data = memory_format("selection-quic-%s.txt", servers[i]),
             *expected = expected_names(data);
        struct chosen chosen;
        CHOOSE(&chosen, notes, "quic", NULL);
        check_chosen(&chosen, expected, "", "");
        assert_null(strstr(expected, "debug_message"));
        chosen_close(&chosen);
        free(expected);
        free(data);
        free(notes);
    }
}

static void probes_of_all(void **state)
{
    static const size_t counts[] = {74, 131, 132}; /* number of different probes in the notes */

    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        char *notes = memory_format("usdt-notes-%s.tsv", servers[i]);
        struct chosen chosen;
        CHOOSE(&chosen, notes, "all", NULL);
        assert_int_equal(chosen.result, 0);
        assert_int_equal(chosen.selection.num_probes, counts[i]);
        assert_int_equal(chosen.selection.num_printed, counts[i]);
        for (size_t j = 0; j != counts[i]; ++j)
            assert_ptr_equal(chosen.selection.probes[j].probe, &chosen.notes.probes[j]);
        chosen_close(&chosen);
        free(notes);
    }
}

static void globs_select(void **state)
{
    struct chosen chosen;

    (void)state;
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "quicly:accept");
    check_chosen(&chosen, "quicly:accept", "quicly:connect quicly:free", "");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "all", "accept");
    check_chosen(&chosen, "quicly:accept", "quicly:connect quicly:free", "");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "quicly:*-close_send", "ping-send");
    check_chosen(&chosen,
                 "quicly:application_close_send quicly:ping_send quicly:transport_close_send",
                 LIVES, "");
    chosen_close(&chosen);
    /* -t can name probes that are not in the mode */
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "debug_message", "picotls:new");
    check_chosen(&chosen, "picotls:new quicly:debug_message", LIVES, "");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "picotls:*");
    check_chosen(
        &chosen,
        "picotls:client_random picotls:ech_selection picotls:free picotls:new picotls:new_secret "
        "picotls:receive_message",
        "", "");
    chosen_close(&chosen);
    /* the same probe twice counts once */
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "accept", "quicly:accept", "accep*");
    check_chosen(&chosen, "quicly:accept", "quicly:connect quicly:free", "");
    chosen_close(&chosen);
}

/*
 * Events of h2o's connections need the probes that tie them, and those that follow quicly's
 * connections.
 */
static void ties_are_added(void **state)
{
    struct chosen chosen;

    (void)state;
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "h2o:send_response_header");
    check_chosen(&chosen, "h2o:send_response_header", LIVES, "h2o:h3s_accept h2o:h3s_destroy");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2020-06.tsv", "quic", "send_response*");
    check_chosen(&chosen, "h2o:send_response h2o:send_response_header", LIVES,
                 "h2o:h3_accept h2o:h3_close");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "all", "h2o:receive_request", "h3s_accept");
    check_chosen(&chosen, "h2o:h3s_accept h2o:receive_request", LIVES, "h2o:h3s_destroy");
    chosen_close(&chosen);
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "h2o:h3s_*");
    check_chosen(&chosen,
                 "h2o:h3s_accept h2o:h3s_destroy h2o:h3s_stream_set_state h2o:h3s_stream_stats",
                 LIVES, "");
    chosen_close(&chosen);
    /* of h2o, but not of a connection */
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "all", "h2o:h3_packet_receive", "h2o:socket_write");
    check_chosen(&chosen, "h2o:h3_packet_receive h2o:socket_write", "", "");
    chosen_close(&chosen);
}

/* A probe that is in no list is traced only if -t names it. */
static void unknown_probes_must_be_named(void **state)
{
    struct notes notes;
    struct version version;
    struct selection selection;
    const char *words[] = {"h2o:brand-*"};
    const struct options named = {.view = view_find("quic"), .tracepoints = {words, 1}},
                         all = {.view = view_find("all")};
    struct error error;
    char *names;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_add(&notes, "h2o", "brand_new", "8@%rdi");
    notes_add(&notes, "quicly", "brand_new", "8@%rdi");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(selection_open(&selection, &named, NULL, &version, &error), 0);
    assert_int_equal(selection.num_printed, 1);
    names = names_of(&selection, 0, selection.num_probes);
    check_string("named", names, "h2o:brand_new");
    assert_true(selection.probes[0].guess != NULL);
    free(names);
    selection_dispose(&selection);
    assert_int_equal(selection_open(&selection, &all, NULL, &version, &error), 0);
    assert_int_equal(selection.num_probes, 132);
    for (size_t i = 0; i != selection.num_probes; ++i)
        assert_false(selection.probes[i].guess != NULL);
    selection_dispose(&selection);
    version_dispose(&version);
    notes_close(&notes);
}

static void refuse(const char *notes, const char *glob, const char *part)
{
    struct chosen chosen;

    CHOOSE(&chosen, notes, "quic", "accept", glob);
    assert_int_equal(chosen.result, -1);
    if (strstr(chosen.error.text, part) == NULL)
        fail_msg("'%s': the message lacks '%s': %s", glob, part, chosen.error.text);
    assert_true(is_tame(chosen.error.text, false));
    chosen_close(&chosen);
}

static void glob_without_match_is_an_error(void **state)
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

/* No suggestion for a name that is similar to none. */
static void only_similar_names_are_suggested(void **state)
{
    struct chosen chosen;

    (void)state;
    CHOOSE(&chosen, "usdt-notes-2026-06.tsv", "quic", "xyzzy");
    assert_int_equal(chosen.result, -1);
    assert_null(strstr(chosen.error.text, "did you mean"));
    chosen_close(&chosen);
}

static void nothing_to_trace(void **state)
{
    struct notes notes;
    struct version version;
    struct selection selection;
    const struct options http = {.view = view_find("http")};
    struct error error = {0};

    (void)state;
    notes_open(&notes, NULL);
    notes_add(&notes, "picotls", "free", "8@%rdi");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(selection_open(&selection, &http, NULL, &version, &error), -1);
    assert_non_null(strstr(error.text, "h2olog -l")); /* says what to do */
    selection_dispose(&selection);
    version_dispose(&version);
    notes_close(&notes);
}

static void reports_lacking_probes(void **state)
{
    struct notes notes;
    struct version version;
    const char *words[] = {"quicly:p*"};
    const struct options http = {.view = view_find("http")}, quic = {.view = view_find("quic")},
                         globs = {.view = view_find("quic"), .tracepoints = {words, 1}};
    char *text = NULL;
    size_t size;
    FILE *file;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_remove(&notes, "h2o", "send_response");
    notes_remove(&notes, "h2o", "h3s_accept");
    notes_remove(&notes, "quicly", "accept");
    notes_remove(&notes, "quicly", "pto");
    notes_remove(&notes, "quicly", "debug_message");
    notes_remove(&notes, "picotls", "new");
    version_open(&version, OPERAND_X86_64, &notes);

    file = open_memstream(&text, &size);
    report_lacking(file, &http, &version);
    fclose(file);
    check_string("http", text, "this server lacks h2o:send_response\n");
    free(text);

    /* the notes of the real server lack more probes */
    file = open_memstream(&text, &size);
    report_lacking(file, &quic, &version);
    fclose(file);
    assert_non_null(strstr(text, "this server lacks h2o:h3s_accept\n"));
    assert_non_null(strstr(text, "this server lacks quicly:accept\n"));
    assert_non_null(strstr(text, "this server lacks quicly:pto\n"));
    assert_null(strstr(text, "debug_message"));
    assert_null(strstr(text, "send_response"));
    assert_null(strstr(text, "picotls"));
    assert_null(strstr(text, "packet_commit")); /* only in older versions */
    free(text);

    file = open_memstream(&text, &size);
    report_lacking(file, &globs, &version);
    fclose(file);
    check_string("globs", text, "this server lacks quicly:pto\n");
    free(text);
    version_dispose(&version);
    notes_close(&notes);
}

/* Returns the output of report_changed and report_missing. Free it with free(). */
static char *said_of(const struct chosen *chosen)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    report_changed(file, &chosen->selection, &chosen->options, &chosen->version);
    if (chosen->result == 0)
        report_missing(file, &chosen->options, &chosen->version);
    fclose(file);
    assert_true(is_tame(text, true));
    return text;
}

/* The same for a server, which is then disposed of. */
static char *said_of_target(struct notes *notes, const char *mode, const char *glob)
{
    struct chosen chosen = {.notes = *notes, .options = {.view = view_find(mode)}};
    const char *words[] = {glob};
    char *text;

    chosen.options.tracepoints = (struct options_words){words, glob != NULL};
    version_open(&chosen.version, OPERAND_X86_64, &chosen.notes);
    chosen.result =
        selection_open(&chosen.selection, &chosen.options, NULL, &chosen.version, &chosen.error);
    text = said_of(&chosen);
    selection_dispose(&chosen.selection);
    version_dispose(&chosen.version);
    return text;
}

static const char *const modes[] = {"http", "quic", "all"};

static void real_servers_are_silent(void **state)
{
    (void)state;
    for (size_t i = 0; i != 9; ++i) {
        char *notes = memory_format("usdt-notes-%s.tsv", servers[i / 3]), *said;
        struct chosen chosen;
        CHOOSE(&chosen, notes, modes[i % 3], NULL);
        said = said_of(&chosen);
        check_string(notes, said, "");
        free(said);
        chosen_close(&chosen);
        free(notes);
    }
}

#define WITH_LISTS "build h2olog with the lists of this h2o: cmake -DH2O_SOURCE_DIR=/path/to/h2o\n"
#define HEADER_IS_MISSED                                                                           \
    "h2olog: h2o:receive_request_header is not traced: its arguments have changed, and "           \
    "their meaning is unknown; here it is h2o:receive_request_header(uint64_t arg1, uint64_t "     \
    "arg2, int32_t arg3); h2olog all -t h2o:receive_request_header prints its raw arguments; "     \
    "to read it, " WITH_LISTS
#define RESPONSE_IS_LONGER                                                                         \
    "h2olog: h2o:send_response has 4 arguments here; the first 3 fit h2o:send_response(uint64_t "  \
    "conn_id, uint64_t req_id, int status) and are read as these, the others are not read; to "    \
    "read them, " WITH_LISTS

/* A server of a later h2o. */
static void later_open(struct notes *notes)
{
    notes_open(notes, "usdt-notes-2026-06.tsv");
    notes_remove(notes, "h2o", "receive_request_header");
    notes_add(notes, "h2o", "receive_request_header", "8@%rax 8@%rbx -4@%ecx");
    notes_remove(notes, "h2o", "send_response");
    notes_add(notes, "h2o", "send_response", "8@%rax 8@%rbx -4@%ecx 8@foo(%rip)");
    notes_remove(notes, "h2o", "h3s_accept");
    notes_add(notes, "h2o", "h3s_accept", "8@%rax");
    notes_remove(notes, "quicly", "receive");
    notes_add(notes, "quicly", "receive", "8@%r14 -8@%r13 8@%rax 8@(%rbx) 8@8(%rbx)");
    notes_add(notes, "quicly", "brand_new", "8@%rdi -4@%eax");
}

static void changed_probes_are_reported(void **state)
{
    struct notes notes;
    char *said;

    (void)state;
    later_open(&notes);
    said = said_of_target(&notes, "http", NULL);
    check_string("http", said, HEADER_IS_MISSED RESPONSE_IS_LONGER);
    free(said);

    said = said_of_target(&notes, "quic", NULL);
    check_string(
        "quic", said,
        "h2olog: h2o:h3s_accept is not traced: its arguments have changed, and their meaning is "
        "unknown; here it is h2o:h3s_accept(uint64_t arg1); h2olog all -t h2o:h3s_accept prints "
        "its raw arguments; to read it, " WITH_LISTS
        "h2olog: quicly:receive is read as quicly:receive(struct st_quicly_conn_t *conn, int64_t "
        "at, const char *dcid, const void *bytes, size_t bytes_len), which h2o had from 2020-06-05 "
        "to 2026-01-19; the other probes are those of h2o since 2026-06-10; if that is "
        "wrong, " WITH_LISTS
        "h2olog: not traced, because no list of this h2olog has them: quicly:brand_new(uint64_t "
        "arg1, int32_t arg2); h2olog all -t NAME prints the raw arguments of one; to read "
        "them, " WITH_LISTS);
    free(said);

    said = said_of_target(&notes, "all", NULL);
    assert_non_null(strstr(said, HEADER_IS_MISSED));
    assert_non_null(strstr(said, RESPONSE_IS_LONGER));
    assert_non_null(strstr(said, "h2olog: h2o:h3s_accept is not traced"));
    assert_non_null(strstr(said, "quicly:brand_new(uint64_t arg1, int32_t arg2)"));
    free(said);
    notes_close(&notes);
}

/* Probes of -t are traced; other probes that they need are reported. */
static void changed_probes_of_t_are_traced(void **state)
{
    struct notes notes;
    char *said;

    (void)state;
    later_open(&notes);
    said = said_of_target(&notes, "all", "brand_new");
    check_string("brand_new", said, "");
    free(said);
    said = said_of_target(&notes, "all", "receive_request_header");
    check_string("receive_request_header", said, "");
    free(said);
    said = said_of_target(&notes, "quic", "send_response_header");
    assert_true(strncmp(said, "h2olog: h2o:h3s_accept is not traced: ", 38) == 0);
    assert_int_equal(strcspn(said, "\n"), strlen(said) - 1);
    free(said);
    notes_close(&notes);
}

/*
 * A probe that cannot be traced at all is selected. The program then reports each of its locations;
 * there is no other report.
 */
static void unreadable_probes_are_selected(void **state)
{
    struct notes notes;
    struct chosen chosen;
    char *said;

    (void)state;
    notes_open(&notes, NULL);
    for (int i = 0; i != 3; ++i) /* one of HTTP/3, too */
        notes_add(&notes, "h2o", "receive_request", "8@%rax 8@%rbx -4@%ecx");
    notes_add(&notes, "h2o", "receive_request_header",
              "8@c(%rip) -4@x(%rip) 8@r(%rip) 8@n(%rip) 8@nl(%rip) 8@v(%rip) 8@vl(%rip)");
    notes_add(&notes, "h2o", "send_response", "8@c(%rip) 8@r(%rip)");
    notes_add(&notes, "h2o", "send_response_header", "8@%rax");
    notes.probes[3].locations[0].flaw = LOCATION_NOT_CODE;
    notes_add(&notes, "h2o", "brand_new", "8@c(%rip) -4@x(%rip)");
    notes_add(&notes, "h2o", "h3s_accept", "8@c(%rip)");
    notes_add(&notes, "quicly", "accept", "8@c(%rip)");
    notes_add(&notes, "picotls", "free", "8@%rax");
    for (size_t i = 0; i != 2; ++i) {
        said = said_of_target(&notes, modes[2 * i], NULL);
        check_string(modes[2 * i], said, "");
        free(said);
        chosen = (struct chosen){.options = {.view = view_find(modes[2 * i])}};
        version_open(&chosen.version, OPERAND_X86_64, &notes);
        chosen.result = selection_open(&chosen.selection, &chosen.options, NULL, &chosen.version,
                                       &chosen.error);
        check_chosen(&chosen,
                     i == 0 ? "h2o:receive_request h2o:receive_request_header h2o:send_response "
                              "h2o:send_response_header"
                            : "h2o:receive_request h2o:receive_request_header h2o:send_response "
                              "h2o:send_response_header h2o:brand_new h2o:h3s_accept quicly:accept "
                              "picotls:free",
                     "", "");
        selection_dispose(&chosen.selection);
        version_dispose(&chosen.version);
    }
    notes_close(&notes);
}

/* Changed probes are reported, too, if only the reader needs them. */
static void changed_followed_probes_are_reported(void **state)
{
    static const char *const lives[] = {"accept", "connect", "free"};

    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        char *said, *expected = memory_format(
                        "h2olog: quicly:%s is not traced: its arguments have changed, and their "
                        "meaning is unknown; here it is quicly:%s(int32_t arg1); h2olog all -t "
                        "quicly:%s prints its raw arguments; to read it, " WITH_LISTS,
                        lives[i], lives[i], lives[i]);
        struct notes notes;
        notes_open(&notes, "usdt-notes-2026-06.tsv");
        notes_remove(&notes, "quicly", lives[i]);
        notes_add(&notes, "quicly", lives[i], "-4@%eax");
        said = said_of_target(&notes, "quic", "packet_sent");
        check_string("of quicly", said, expected);
        free(said);
        said = said_of_target(&notes, "all", "send_response");
        check_string("of h2o", said, expected);
        free(said);
        said = said_of_target(&notes, "all", "picotls:*"); /* no connections */
        check_string("of picotls", said, "");
        free(said);
        said = said_of_target(&notes, "http", NULL);
        check_string("http", said, "");
        free(said);
        said = said_of_target(&notes, "quic", lives[i]); /* raw */
        check_string("named", said, "");
        free(said);
        free(expected);
        notes_close(&notes);
    }
}

static void many_new_probes_are_one_line(void **state)
{
    struct notes notes;
    char *said;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    for (int i = 0; i != 20; ++i) {
        char name[16];
        snprintf(name, sizeof(name), "new_%d", i);
        notes_add(&notes, "quicly", name, "");
    }
    said = said_of_target(&notes, "quic", NULL);
    check_string("said", said,
                 "h2olog: not traced, because no list of this h2olog has them: quicly:new_0(), "
                 "quicly:new_1(), quicly:new_2(), quicly:new_3(), quicly:new_4(), quicly:new_5(), "
                 "quicly:new_6(), quicly:new_7() and 12 more; h2olog all -t NAME prints the raw "
                 "arguments of one; to read them, " WITH_LISTS);
    free(said);
    notes_close(&notes);
}

/* Makes a server with all probes that h2o had on a day. */
static void old_open(struct notes *notes, uint32_t date)
{
    notes_open(notes, NULL);
    for (size_t i = 0; i != num_signatures; ++i) {
        if (signatures[i].since <= date && (signatures[i].until == 0 || date < signatures[i].until))
            notes_add_signature(notes, &signatures[i]);
    }
}

#define NO_STATUS(name_of_version, what)                                                           \
    "h2olog: this server (" name_of_version ") has no probe for the status of responses: " what    \
    " are missing; h2o has had it since 2019-11-26\n"
#define NO_HEADERS(name_of_version, what)                                                          \
    "h2olog: this server (" name_of_version ") has no probe for response headers: " what           \
    " are missing; h2o has had it since 2019-12-15\n"
#define NO_TIES(name_of_version)                                                                   \
    "h2olog: this server (" name_of_version                                                        \
    ") has no probe for accepted HTTP/3 connections: h3s-accept events are "                       \
    "missing; h2o has had it since 2019-12-18\n"
#define NO_QUIC(name_of_version)                                                                   \
    "h2olog: this server (" name_of_version                                                        \
    ") has no probe for QUIC: quicly events are missing; h2o has had it since 2019-09-24\n"
#define NO_HTTP3(name_of_version)                                                                  \
    "h2olog: this server (" name_of_version                                                        \
    ") has no probes for requests of HTTP/3, so they are not printed; "                            \
    "h2o has had these probes since 2020-01-20\n"
#define NO_HEADERS_OF_HTTP3(name_of_version)                                                       \
    "h2olog: this server (" name_of_version                                                        \
    ") has no probe for response headers of HTTP/3: send-response-header events are missing; "     \
    "h2o has had it since 2020-01-20\n"
static void old_servers_lack_output(void **state)
{
    static const struct {
        uint32_t date;
        const char *mode;
        const char *said;
    } cases[] = {
        {20190827, "http",
         NO_STATUS("h2o 2019-08-27 to 2019-09-24", "TxStatus lines")
             NO_HEADERS("h2o 2019-08-27 to 2019-09-24", "TxHeader lines")},
        {20190827, "all",
         NO_STATUS("h2o 2019-08-27 to 2019-09-24", "send-response events")
             NO_HEADERS("h2o 2019-08-27 to 2019-09-24", "send-response-header events")
                 NO_QUIC("h2o 2019-08-27 to 2019-09-24")},
        {20191001, "http",
         NO_STATUS("h2o 2019-09-24 to 2019-11-26", "TxStatus lines")
             NO_HEADERS("h2o 2019-09-24 to 2019-11-26", "TxHeader lines")
                 NO_HTTP3("h2o 2019-09-24 to 2019-11-26")},
        {20191001, "quic",
         NO_HEADERS_OF_HTTP3("h2o 2019-09-24 to 2019-11-26")
             NO_TIES("h2o 2019-09-24 to 2019-11-26")},
        {20191130, "http",
         NO_HEADERS("h2o 2019-11-26 to 2019-12-06", "TxHeader lines")
             NO_HTTP3("h2o 2019-11-26 to 2019-12-06")},
        {20191216, "http", NO_HTTP3("h2o 2019-12-15 to 2019-12-18")},
        {20191218, "http", NO_HTTP3("h2o 2019-12-18 to 2020-01-31")},
        {20191216, "quic",
         NO_HEADERS_OF_HTTP3("h2o 2019-12-15 to 2019-12-18")
             NO_TIES("h2o 2019-12-15 to 2019-12-18")},
        {20191218, "quic", NO_HEADERS_OF_HTTP3("h2o 2019-12-18 to 2020-01-31")},
        {20191218, "all", NO_HTTP3("h2o 2019-12-18 to 2020-01-31")},
        {20200131, "http", ""},
        {20200131, "quic", ""},
        {20200131, "all", ""},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct notes notes;
        char *said;
        old_open(&notes, cases[i].date);
        said = said_of_target(&notes, cases[i].mode, NULL);
        check_string("said", said, cases[i].said);
        free(said);
        notes_close(&notes);
    }
}

/* From 2019-12-18 to 2020-01-31, the lists are the same. HTTP/3 shows as a third location. */
static void http3_has_a_third_location(void **state)
{
    struct notes notes;
    char *said;

    (void)state;
    old_open(&notes, 20191218);
    notes_add(&notes, "h2o", "receive_request", "8@%rax 8@%rbx -4@%ecx");
    said = said_of_target(&notes, "http", NULL);
    check_string("two places", said, NO_HTTP3("h2o 2019-12-18 to 2020-01-31"));
    free(said);
    said = said_of_target(&notes, "quic", NULL);
    check_string("quic", said, NO_HEADERS_OF_HTTP3("h2o 2019-12-18 to 2020-01-31"));
    free(said);
    notes_add(&notes, "h2o", "receive_request", "8@%rax 8@%rbx -4@%edx");
    said = said_of_target(&notes, "http", NULL);
    check_string("three places", said, "");
    free(said);
    said = said_of_target(&notes, "quic", NULL);
    check_string("three places", said, "");
    free(said);
    said = said_of_target(&notes, "quic", "send_response*");
    check_string("three places", said, "");
    free(said);
    notes_close(&notes);
}

/* `quic` prints only events of HTTP/3, also with -t. */
static void http3_can_be_missing_with_t(void **state)
{
    struct notes notes;
    char *said;

    (void)state;
    old_open(&notes, 20191218);
    said = said_of_target(&notes, "quic", "send-response-header");
    check_string("quic", said, NO_HEADERS_OF_HTTP3("h2o 2019-12-18 to 2020-01-31"));
    free(said);
    said = said_of_target(&notes, "quic", "quicly:*");
    check_string("quic", said, "");
    free(said);
    said = said_of_target(&notes, "all", "send-response-header");
    check_string("all", said, "");
    free(said);
    notes_close(&notes);
}

/* Versions since 2020-02 have all probes. */
static void newer_servers_lack_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i != num_signatures; ++i) {
        struct notes notes;
        if (signatures[i].since < 20200131 ||
            (i != 0 && signatures[i].since == signatures[i - 1].since))
            continue;
        for (size_t j = 0; j != 3; ++j) {
            char *said;
            old_open(&notes, signatures[i].since);
            said = said_of_target(&notes, modes[j], NULL);
            check_string(signatures[i].declaration, said, "");
            free(said);
            notes_close(&notes);
        }
    }
}

/* Probes of the version that were not compiled in. */
static void builds_can_lack_probes(void **state)
{
    struct notes notes;
    char *said;

    (void)state;
    notes_open(&notes, "usdt-notes-2026-06.tsv");
    notes_remove(&notes, "h2o", "send_response");
    said = said_of_target(&notes, "http", NULL);
    check_string("said", said,
                 "h2olog: this server (h2o since 2026-06-10) has no probe for the status of "
                 "responses: TxStatus lines are missing; it is not in this build of h2o\n");
    free(said);
    said = said_of_target(&notes, "all", "receive_request");
    check_string("with -t", said, "");
    free(said);
    notes_close(&notes);
}

/* `quic` fails if a server has only probes of h2o. */
static void quic_needs_quic(void **state)
{
    const struct options quic = {.view = view_find("quic")};
    const char *words[] = {"send_response_header"};
    const struct options named = {.view = view_find("quic"), .tracepoints = {words, 1}};
    struct notes notes;
    struct version version;
    struct selection selection;
    struct error error = {0};

    (void)state;
    notes_open(&notes, NULL);
    notes_add(&notes, "h2o", "receive_request", "8@%rdi 8@%rsi -4@%edx");
    notes_add(&notes, "h2o", "send_response_header", "8@%rdi 8@%rsi 8@%rax 8@%rbx 8@%rcx 8@%rdx");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(selection_open(&selection, &quic, NULL, &version, &error), -1);
    check_string("quic", error.text,
                 "this server has no probes of QUIC: it was built without HTTP/3, or it is older "
                 "than 2019-09-24, when h2o got them; to trace its requests, use http");
    selection_dispose(&selection);
    assert_int_equal(selection_open(&selection, &named, NULL, &version, &error), 0);
    selection_dispose(&selection);
    version_dispose(&version);
    notes_close(&notes);
}

static size_t count_lines(const char *text)
{
    size_t count = 0;

    for (; (text = strchr(text, '\n')) != NULL; ++text)
        ++count;
    return count;
}

/* If all probes that a mode needs have changed, this is an error; no probe is reported as read. */
static void needed_probes_can_be_unknown(void **state)
{
    static const struct {
        const char *mode;
        const char *probes[3][3]; /* the last one is reported as changed */
    } cases[] = {
        {"http", {{"h2o", "send_response", "8@%rdi 8@%rsi"}}},
        {"quic",
         {{"h2o", "h3s_accept", "8@%rdi 8@%rax 8@%rbx -4@%ecx"}, /* can be read */
          {"quicly", "accept", "8@%rdi 8@%rax 8@%rbx"}}},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct chosen chosen = {.options = {.view = view_find(cases[i].mode)}};
        char *said, *sentence;
        size_t count = 0;
        notes_open(&chosen.notes, NULL);
        for (; cases[i].probes[count][0] != NULL; ++count)
            notes_add(&chosen.notes, cases[i].probes[count][0], cases[i].probes[count][1],
                      cases[i].probes[count][2]);
        version_open(&chosen.version, OPERAND_X86_64, &chosen.notes);
        chosen.result = selection_open(&chosen.selection, &chosen.options, NULL, &chosen.version,
                                       &chosen.error);
        assert_int_equal(chosen.result, -1);
        assert_int_equal(chosen.selection.num_probes, 0);
        sentence = memory_format("none of the probes of this server that %s needs can be read, for "
                                 "the reasons above",
                                 cases[i].mode);
        check_string("error", chosen.error.text, sentence);
        free(sentence);
        said = said_of(&chosen);
        assert_int_equal(count_lines(said), 1);
        sentence = memory_format("h2olog: %s:%s is not traced: its arguments have changed",
                                 cases[i].probes[count - 1][0], cases[i].probes[count - 1][1]);
        assert_int_equal(strncmp(said, sentence, strlen(sentence)), 0);
        free(sentence);
        free(said);
        chosen_close(&chosen);
    }
}

/* -l -p: the server's probes, as its name_of_version declares them. */
static void lists_a_server(void **state)
{
    struct notes notes;
    struct version version;
    const struct options options = {.view = view_find("http")};
    const char *words[] = {"packet-*"};
    const struct options globs = {.view = view_find("http"), .tracepoints = {words, 1}};
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);

    (void)state;
    notes_open(&notes, "usdt-notes-2020-06.tsv");
    version_open(&version, OPERAND_X86_64, &notes);
    report_list(file, &options, &version);
    fclose(file);
    assert_int_equal(count_lines(text), 74);
    for (size_t i = 0; i != version.num_probes; ++i)
        assert_non_null(strstr(text, version.probes[i].signature->declaration));
    assert_non_null(strstr(
        text,
        "\nquicly:max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t limit)\n"));
    free(text);

    file = open_memstream(&text, &size);
    report_list(file, &globs, &version);
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
    version_dispose(&version);
    notes_close(&notes);
}

/* Counts all probes, each once, whatever their signatures. */
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
    assert_true(count >= 160); /* the number in t/data/probes.json */
    return count;
}

/* -l alone: each probe once, with its newest declaration. */
static void lists_all_probes(void **state)
{
    const struct options options = {.view = view_find("http")};
    char *text = NULL, *rest, *line, last[128] = "";
    size_t size, count = 0;
    FILE *file = open_memstream(&text, &size);

    (void)state;
    report_list(file, &options, NULL);
    fclose(file);
    assert_non_null(strstr(
        text,
        "quicly:max_data_send(struct st_quicly_conn_t *conn, int64_t at, uint64_t maximum)\n"));
    assert_null(strstr(text, "uint64_t limit"));
    assert_non_null(strstr(text, "h2o:h3_accept(")); /* removed, but some servers have it */
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL && line[0] != '\0') {
        char name[128];
        snprintf(name, sizeof(name), "%.*s(", (int)strcspn(line, "("), line);
        assert_string_not_equal(name, last);
        for (size_t i = 0; i != num_signatures; ++i) { /* none is newer than the printed one */
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
        cmocka_unit_test(probes_of_http),
        cmocka_unit_test(probes_of_http_in_2019),
        cmocka_unit_test(probes_of_quic),
        cmocka_unit_test(probes_of_all),
        cmocka_unit_test(globs_select),
        cmocka_unit_test(ties_are_added),
        cmocka_unit_test(unknown_probes_must_be_named),
        cmocka_unit_test(glob_without_match_is_an_error),
        cmocka_unit_test(only_similar_names_are_suggested),
        cmocka_unit_test(nothing_to_trace),
        cmocka_unit_test(reports_lacking_probes),
        cmocka_unit_test(real_servers_are_silent),
        cmocka_unit_test(changed_probes_are_reported),
        cmocka_unit_test(changed_probes_of_t_are_traced),
        cmocka_unit_test(unreadable_probes_are_selected),
        cmocka_unit_test(changed_followed_probes_are_reported),
        cmocka_unit_test(many_new_probes_are_one_line),
        cmocka_unit_test(old_servers_lack_output),
        cmocka_unit_test(http3_has_a_third_location),
        cmocka_unit_test(http3_can_be_missing_with_t),
        cmocka_unit_test(newer_servers_lack_nothing),
        cmocka_unit_test(builds_can_lack_probes),
        cmocka_unit_test(quic_needs_quic),
        cmocka_unit_test(needed_probes_can_be_unknown),
        cmocka_unit_test(lists_a_server),
        cmocka_unit_test(lists_all_probes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
