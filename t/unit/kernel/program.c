#include "support.h"

#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "event.h"
#include "kernel/program.h"
#include "memory.h"
#include "server/selection.h"

static const struct program_maps maps = {
    .ring = 1001, .lost = 1002, .scratch = 1003, .ties = 1004, .entries = 1005, .gate = 1006};

/* Skipped locations. */
static size_t num_skipped;
static const struct location *last_skipped;
static const struct server_probe *last_skipped_probe;

static void note_skipped(const struct server_probe *server_probe, const struct location *location)
{
    ++num_skipped;
    last_skipped_probe = server_probe;
    last_skipped = location;
}

/* A program for a server and a mode. */
struct bench {
    enum operand_arch arch;
    struct notes notes;
    struct version version;
    struct selection selection;
    struct program_settings wanted;
    struct program program;
};

static void choose(struct bench *bench, enum operand_arch arch, const char *notes, const char *mode,
                   const char *glob)
{
    const char *words[] = {glob};
    const struct options options = {.view = view_find(mode), .tracepoints = {words, glob != NULL}};
    struct error error;

    *bench = (struct bench){.arch = arch};
    num_skipped = 0;
    notes_open(&bench->notes, notes);
    version_open(&bench->version, arch, &bench->notes);
    if (selection_open(&bench->selection, &options, NULL, &bench->version, &error) != 0)
        fail_msg("%s", error.text);
    bench->wanted = (struct program_settings){
        .probes = bench->selection.probes,
        .num_probes = bench->selection.num_probes,
        .num_printed = bench->selection.num_printed,
        .num_followed = bench->selection.num_followed,
        .additions = view_find(mode)->capture,
        .watermark = 65536,
    };
}

static void write_program(struct bench *bench)
{
    program_open(&bench->program, bench->arch, &bench->wanted, &maps, note_skipped);
}

static void bench_close(struct bench *bench)
{
    program_dispose(&bench->program);
    selection_dispose(&bench->selection);
    version_dispose(&bench->version);
    notes_close(&bench->notes);
}

/* Returns the text of a function, from its name to its end. Free it with free(). */
static char *function_text(const struct program *program, const char *name)
{
    char *head = memory_format("\nint %s(struct pt_regs *ctx)\n{\n", name);
    const char *begin = strstr(program->text, head), *end;

    if (begin == NULL)
        fail_msg("the program has no %s", name);
    assert_null(strstr(begin + 1, head));
    end = strstr(begin, "\n}\n");
    assert_non_null(end);
    free(head);
    return memory_format("%.*s", (int)(end - begin), begin);
}

/*
 * There is one function for each set of operands of a probe, and it has the locations with these
 * operands.
 */
static void check_functions(const struct bench *bench)
{
    size_t num_locations = 0;

    for (size_t i = 0; i != bench->program.num_functions; ++i) {
        const struct program_function *function = &bench->program.functions[i];
        char *text = function_text(&bench->program, function->name);
        assert_true(function->num_locations != 0);
        for (size_t j = 0; j != function->num_locations; ++j) {
            const struct location *location = function->locations[j],
                                  *all = function->server_probe->probe->locations;
            assert_true(location >= all &&
                        location < all + function->server_probe->probe->num_locations);
            check_string(function->name, location->arguments, function->locations[0]->arguments);
            for (size_t k = 0; k != j; ++k)
                assert_true(function->locations[k] != location);
        }
        for (size_t j = 0; j != i; ++j) {
            const struct program_function *other = &bench->program.functions[j];
            assert_string_not_equal(other->name, function->name);
            if (other->server_probe == function->server_probe)
                assert_string_not_equal(other->locations[0]->arguments,
                                        function->locations[0]->arguments);
        }
        num_locations += function->num_locations;
        free(text);
    }
    for (size_t i = 0; i != bench->selection.num_probes; ++i)
        num_locations -= bench->selection.probes[i].probe->num_locations;
    assert_int_equal(num_locations, 0);
    assert_int_equal(num_skipped, 0);
}

static void check_ids(const struct bench *bench)
{
    for (size_t i = 0; i != bench->program.num_functions; ++i) {
        const struct program_function *function = &bench->program.functions[i];
        size_t id = (size_t)(function->server_probe - bench->selection.probes);
        char *text = function_text(&bench->program, function->name), expected[64];
        assert_true(id < bench->selection.num_probes);
        snprintf(expected, sizeof(expected), "id = %zu, silent = %d ", id,
                 id >= bench->selection.num_printed + bench->selection.num_followed);
        if (strstr(text, expected) == NULL)
            fail_msg("%s is not '%s': %s", function->name, expected, text);
        free(text);
    }
}

/*
 * Returns the C expression of an operand from the tables of t/data, which are independent of
 * operand.c. Free it with free().
 */
static char *expected_expression(enum operand_arch arch, const char *operand, size_t length)
{
    static char *texts[2];
    const char *name = arch == OPERAND_X86_64 ? "operands-x86_64.tsv" : "operands-aarch64.tsv";
    char *key = memory_format("\n%.*s\t", (int)length, operand), *found;

    if (texts[arch] == NULL)
        texts[arch] = data_read(name);
    found = strstr(texts[arch], key);
    if (found == NULL)
        fail_msg("%s has no %s", name, key + 1);
    found += strlen(key);
    free(key);
    return memory_format("%.*s", (int)strcspn(found, "\n"), found);
}

/* Takes the first operand of a text. */
static const char *next_operand(const char **text, size_t *length)
{
    const char *begin = *text, *bracket = strchr(begin, '['), *end = begin + strcspn(begin, " ");

    if (bracket != NULL && bracket < end)
        end = strchr(bracket, ']') + 1;
    *length = (size_t)(end - begin);
    *text = end + strspn(end, " ");
    return begin;
}

static bool is_secret(const struct argument *argument)
{
    return strcmp(argument->name, "secret") == 0 || strcmp(argument->name, "secret_hex") == 0;
}

/*
 * Each needed argument is read with the expression of its operand, and no other argument is read.
 */
static void check_arguments(const struct bench *bench, const struct program_function *function,
                            const char *text)
{
    const struct signature *signature = function->server_probe->signature;
    const char *operands = function->locations[0]->arguments;
    unsigned reads = signature->reads |
                     (bench->wanted.application_data ? signature->reads_application_data : 0u);

    for (size_t i = 0; i != signature->num_arguments; ++i) {
        size_t length;
        const char *operand = next_operand(&operands, &length), *at;
        char *expression = expected_expression(bench->arch, operand, length), name[32];
        char *expected = memory_format(" arg%zu = %s;\n", i, expression);
        snprintf(name, sizeof(name), "arg%zu", i);
        if ((reads >> i & 1) != 0) {
            at = strstr(text, expected);
            if (at == NULL)
                fail_msg("%s: '%s' is missing in %s", signature->declaration, expected, text);
            /* wide enough to keep the sign */
            assert_int_equal(strncmp(at - 4, operand[0] == '-' ? " s64" : " u64", 4), 0);
            assert_false(is_secret(&signature->arguments[i]));
        } else {
            if (strstr(text, expected) != NULL)
                fail_msg("%s: %s is read", signature->declaration, signature->arguments[i].name);
            if (is_secret(&signature->arguments[i]))
                assert_true(strstr(text, name) == NULL ||
                            isdigit((unsigned char)strstr(text, name)[strlen(name)]));
        }
        free(expected);
        free(expression);
    }
    assert_int_equal(*operands, '\0');
}

static void check_program(struct bench *bench)
{
    write_program(bench);
    check_functions(bench);
    check_ids(bench);
    for (size_t i = 0; i != bench->program.num_functions; ++i) {
        const struct program_function *function = &bench->program.functions[i];
        char *text = function_text(&bench->program, function->name);
        check_arguments(bench, function, text);
        free(text);
    }
    program_dispose(&bench->program);
}

static void check_server(enum operand_arch arch, const char *notes)
{
    static const char *const modes[] = {"http", "quic", "all"};

    for (size_t i = 0; i != 3; ++i) {
        struct bench bench;
        choose(&bench, arch, notes, modes[i], NULL);
        check_program(&bench);
        bench.wanted.application_data = true;
        check_program(&bench);
        bench.program = (struct program){0};
        bench_close(&bench);
    }
}

static void programs_of_2020_06(void **state)
{
    (void)state;
    check_server(OPERAND_X86_64, "usdt-notes-2020-06.tsv");
}

static void programs_of_2024_10(void **state)
{
    (void)state;
    check_server(OPERAND_X86_64, "usdt-notes-2024-10.tsv");
}

static void programs_of_2026_06(void **state)
{
    (void)state;
    check_server(OPERAND_X86_64, "usdt-notes-2026-06.tsv");
}

static void programs_of_2026_06_on_aarch64(void **state)
{
    (void)state;
    check_server(OPERAND_AARCH64, "usdt-notes-2026-06-aarch64.tsv");
}

/* The expected numbers of functions were counted in the notes. */
static void one_function_for_the_same_operands(void **state)
{
    static const struct {
        const char *notes;
        const char *mode;
        size_t num_functions;
    } cases[] = {
        {"usdt-notes-2020-06.tsv", "http",
         8}, /* 3 for the request, 3 for the response, and one per header probe */
        {"usdt-notes-2026-06.tsv", "http", 8},
        {"usdt-notes-2020-06.tsv", "all", 83},
        {"usdt-notes-2026-06.tsv", "all", 144},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct bench bench;
        choose(&bench, OPERAND_X86_64, cases[i].notes, cases[i].mode, NULL);
        write_program(&bench);
        assert_int_equal(bench.program.num_functions, cases[i].num_functions);
        bench_close(&bench);
    }
}

/* A function that only ties is marked. */
static void ties_are_silent(void **state)
{
    struct bench bench;

    (void)state;
    choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "quic", "send_response_header");
    write_program(&bench);
    assert_int_equal(bench.selection.num_printed, 1);
    assert_int_equal(bench.selection.num_followed, 3);
    assert_int_equal(bench.program.num_functions, 6);
    check_ids(&bench);
    bench_close(&bench);
}

/* The text depends on each setting, and has the maps. */
static void text_depends_on_settings(void **state)
{
    struct bench bench;
    char *plain, number[16];
    bool *const flags[] = {&bench.wanted.application_data, &bench.wanted.additions.connections,
                           &bench.wanted.additions.http3_only, &bench.wanted.additions.times,
                           &bench.wanted.one_link};

    (void)state;
    choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "all", NULL);
    bench.wanted.additions.http3_only = false;
    bench.wanted.pid_inode = 4026531836;
    bench.wanted.pid_device = UINT64_MAX;
    write_program(&bench);
    plain = bench.program.text;
    bench.program.text = NULL;
    program_dispose(&bench.program);
    for (int map = maps.ring; map <= maps.gate; ++map) {
        snprintf(number, sizeof(number), " %d\n", map);
        assert_non_null(strstr(plain, number));
    }
    assert_non_null(strstr(plain, " 4026531836\n"));
    assert_non_null(strstr(plain, " 18446744073709551615\n"));
    assert_non_null(strstr(plain, " 65536\n"));
    assert_non_null(strstr(plain, "int " PROGRAM_DISPATCH "(struct pt_regs *ctx)"));
    for (size_t i = 0; i != sizeof(flags) / sizeof(flags[0]); ++i) {
        *flags[i] = !*flags[i];
        write_program(&bench);
        assert_string_not_equal(bench.program.text, plain);
        program_dispose(&bench.program);
        *flags[i] = !*flags[i];
    }
    for (int threads = THREADS_NONE; threads != THREADS_SERVER; ++threads) {
        bench.wanted.additions.threads = (enum program_threads)threads;
        write_program(&bench);
        assert_string_not_equal(bench.program.text, plain);
        program_dispose(&bench.program);
    }
    bench.wanted.additions.threads = THREADS_SERVER;
    write_program(&bench); /* the first settings again */
    assert_string_equal(bench.program.text, plain);
    free(plain);
    bench_close(&bench);
}

/* libbcc's rewriter parses /proc/kallsyms for each of these names. */
static void helpers_are_not_named(void **state)
{
    struct bench bench;

    (void)state;
    choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "all", NULL);
    write_program(&bench);
    for (const char *at = bench.program.text; (at = strstr(at, "bpf_probe_read")) != NULL; ++at) {
        const char *comment = at; /* in a comment, it has no cost */
        while (comment > bench.program.text && strncmp(comment, "/*", 2) != 0 &&
               strncmp(comment, "*/", 2) != 0)
            --comment;
        assert_int_equal(strncmp(comment, "/*", 2), 0);
    }
    bench_close(&bench);
}

static void unreadable_operands_are_skipped(void **state)
{
    static const char *const unreadable[] = {
        "8@32(%rdi) 8@foo(%rip) -4@%eax",   "8@32(%rdi) 8@%rsi",
        "8@32(%rdi) 8@%rsi -4@%eax 8@%rdx", "",
        "8@32(%rdi) 8@%rsi 4f@%xmm0",
    };

    (void)state;
    for (size_t i = 0; i != sizeof(unreadable) / sizeof(unreadable[0]); ++i) {
        const struct probe *probe;
        struct bench bench;
        size_t num_functions, num_locations;
        choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "http", NULL);
        write_program(&bench);
        num_functions = bench.program.num_functions;
        bench_close(&bench);

        /* add a location to it: the others are unchanged */
        choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "http", NULL);
        notes_add(&bench.notes, "h2o", "receive_request", unreadable[i]);
        write_program(&bench);
        assert_int_equal(num_skipped, 1);
        probe = last_skipped_probe->probe;
        assert_string_equal(probe->name, "receive_request");
        num_locations = probe->num_locations;
        assert_ptr_equal(last_skipped, &probe->locations[num_locations - 1]);
        assert_int_equal(bench.program.num_functions, num_functions);
        for (size_t j = 0; j != bench.program.num_functions; ++j) {
            for (size_t k = 0; k != bench.program.functions[j].num_locations; ++k)
                assert_true(bench.program.functions[j].locations[k] != last_skipped);
        }
        assert_null(strstr(bench.program.text, "foo(%rip)"));
        bench_close(&bench);
    }
}

/* Operands after the known arguments are ignored, and are not in the program. */
static void unknown_arguments_are_not_in_the_text(void **state)
{
    static const struct {
        const char *more;
        size_t count;
    } cases[] = {
        {"8@%rcx", 1}, {"8@*/int_evil(void);/*", 1}, {"8@foo(%rip) -4@%ecx 4f@%xmm0 x", 3}};

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        char *operands = memory_format("8@32(%%rdi) 8@%%rsi -4@%%eax %s", cases[i].more);
        const struct options options = {.view = view_find("http")};
        struct bench bench = {.arch = OPERAND_X86_64};
        const struct server_probe *server_probe;
        struct error error;
        char *text;
        num_skipped = 0;
        notes_open(&bench.notes, "usdt-notes-2026-06.tsv");
        notes_remove(&bench.notes, "h2o", "receive_request");
        notes_add(&bench.notes, "h2o", "receive_request", operands);
        version_open(&bench.version, OPERAND_X86_64, &bench.notes);
        assert_int_equal(selection_open(&bench.selection, &options, NULL, &bench.version, &error),
                         0);
        assert_int_equal(bench.selection.num_probes, 4);
        bench.wanted = (struct program_settings){
            .probes = bench.selection.probes, .num_probes = 4, .num_printed = 4};
        write_program(&bench);
        assert_int_equal(num_skipped, 0);
        server_probe = bench.program.functions[bench.program.num_functions - 1].server_probe;
        assert_string_equal(server_probe->probe->name,
                            "receive_request"); /* which was added last */
        assert_int_equal(server_probe->num_ignored, cases[i].count);
        text = function_text(&bench.program,
                             bench.program.functions[bench.program.num_functions - 1].name);
        assert_non_null(strstr(text, "    const s64 arg2 = (s32)ctx->ax;\n"));
        assert_null(strstr(text, "arg3"));
        assert_null(strstr(bench.program.text, operands));
        free(text);
        free(operands);
        bench_close(&bench);
    }
}

/* A location that cannot fire is left out, whatever its operands are. */
static void flawed_locations_are_skipped(void **state)
{
    (void)state;
    for (size_t i = 0; i != 2; ++i) {
        struct bench bench;
        struct probe *probe;
        choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "http", NULL);
        probe = &bench.notes.probes[bench.selection.probes[0].probe - bench.notes.probes];
        probe->locations[0].flaw = i == 0 ? LOCATION_NOT_CODE : LOCATION_NO_SEMAPHORE;
        write_program(&bench);
        assert_int_equal(num_skipped, 1);
        assert_ptr_equal(last_skipped, &probe->locations[0]);
        bench_close(&bench);
    }
}

/* If all locations of a probe are unreadable, it has no function, but others have. */
static void a_probe_can_be_unreadable(void **state)
{
    struct notes notes;
    struct version version;
    struct selection selection;
    struct program program;
    struct program_settings wanted = {0};
    const struct options options = {.view = view_find("http")};
    struct error error;

    (void)state;
    num_skipped = 0;
    notes_open(&notes, NULL);
    notes_add(&notes, "h2o", "receive_request", "8@foo(%rip) 8@%rsi -4@%eax");
    notes_add(&notes, "h2o", "receive_request", "8@bar(%rip) 8@%rsi -4@%eax");
    notes_add(&notes, "h2o", "send_response", "8@%rdi 8@%rsi -4@%eax");
    version_open(&version, OPERAND_X86_64, &notes);
    assert_int_equal(selection_open(&selection, &options, NULL, &version, &error), 0);
    wanted.probes = selection.probes;
    wanted.num_probes = wanted.num_printed = selection.num_probes;
    program_open(&program, OPERAND_X86_64, &wanted, &maps, note_skipped);
    assert_int_equal(num_skipped, 2);
    assert_int_equal(program.num_functions, 1);
    assert_string_equal(program.functions[0].server_probe->probe->name, "send_response");
    assert_ptr_equal(program.functions[0].server_probe,
                     &selection.probes[1]); /* its id is unchanged */
    program_dispose(&program);
    selection_dispose(&selection);
    version_dispose(&version);
    notes_close(&notes);
}

#define KEEP "INLINE int keep(const struct candidate *candidate)\n{\n"

/* keep() of a program, to call for a response header. */
typedef int (*wanted_function)(unsigned long long name, unsigned long long length);

static void *filter_open(const char *const *names, size_t count, wanted_function *wanted)
{
    struct bench bench;
    struct needs needs = {.request.all = true, .response.all = count == 0};
    char *begin, *source;
    void *library;

    choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "http", NULL);
    for (size_t i = 0; i != count; ++i)
        needs_add(&needs.response, names[i]);
    bench.wanted.needs = &needs;
    write_program(&bench);
    needs_dispose(&needs);
    begin = strstr(bench.program.text, "\nstruct candidate {\n");
    assert_non_null(begin);
    *(strstr(strstr(begin, KEEP), "\n}\n") + 3) = '\0';
    source = memory_format(
        "typedef unsigned long long u64;\n"
        "typedef unsigned u32;\n"
        "typedef unsigned short u16;\n"
        "#define INLINE static\n"
        "#define EVENT_TIED 0x8000\n"
        /* like the kernel, reads exactly `size` bytes */
        "static long probe_read_user(void *to, unsigned size, const void *from)\n"
        "{\n    __builtin_memcpy(to, from, size);\n    return 0;\n}\n"
        "%s\n"
        "static int dirty(unsigned char byte)\n"
        "{\n    volatile unsigned char stack[1024];\n"
        "    for (int i = 0; i != 1024; ++i)\n        stack[i] = byte;\n    return stack[7];\n}\n"
        /* old content of the stack must not matter */
        "int wanted(u64 name, u64 length)\n"
        "{\n    const struct candidate header = {\n"
        "        .kind = ANY_HTTP | RESPONSE_HEADER, .name = name, .name_length = length};\n"
        "    int first, second;\n    dirty(0);\n    first = keep(&header);\n"
        "    dirty(0xff);\n    second = keep(&header);\n"
        "    return first == second ? first : -1;\n}\n",
        begin);
    library = library_open(source);
    *wanted = (wanted_function)(uintptr_t)dlsym(library, "wanted");
    assert_non_null(*wanted);
    free(source);
    bench_close(&bench);
    return library;
}

static void check_wanted(wanted_function wanted, const char *const *names, size_t count,
                         const char *name)
{
    int expected = 0;
    char *exact = memory_format("%s", name); /* exact size, for ASan */

    for (size_t i = 0; i != count; ++i)
        expected |= strcasecmp(names[i], name) == 0;
    if (wanted((uintptr_t)exact, strlen(exact)) != expected)
        fail_msg("the header '%s' is %s", name,
                 expected != 0 ? "wanted, and left out" : "not wanted, and let through");
    free(exact);
}

static void header_filter(void **state)
{
    static const char *const names[] = {
        "server",     "Content-Type",     "x",          "ab",
        "seven77",    "eight888",         "nine-9999",  "x_under_score",
        "x-`quoted`", "X-Sixteen-Bytes!", "set-cookie", "etag",
        "date",       "grpc-status",      "A",          "z~|^",
        ":status",
    };
    const size_t count = sizeof(names) / sizeof(names[0]);
    wanted_function wanted;
    void *library = filter_open(names, count, &wanted);

    (void)state;
    check_wanted(wanted, names, count, "");
    for (size_t i = 0; i != count; ++i) {
        const size_t length = strlen(names[i]);
        char name[64];
        check_wanted(wanted, names, count, names[i]);
        for (size_t j = 0; j != length; ++j) { /* every wrong byte at every place */
            for (unsigned byte = 1; byte != 256; ++byte) {
                strcpy(name, names[i]);
                name[j] = (char)byte;
                check_wanted(wanted, names, count, name);
            }
        }
        for (size_t j = 0; j != length; ++j)
            name[j] = (char)toupper((unsigned char)names[i][j]);
        check_wanted(wanted, names, count, name);
        for (size_t j = 0; j != length; ++j)
            name[j] = (char)tolower((unsigned char)names[i][j]);
        check_wanted(wanted, names, count, name);
        snprintf(name, sizeof(name), "%.*s", (int)length - 1, names[i]); /* shorter, and longer */
        check_wanted(wanted, names, count, name);
        snprintf(name, sizeof(name), "%sx", names[i]);
        check_wanted(wanted, names, count, name);
        for (size_t j = 0; j != length; ++j)
            name[j] = (char)(names[i][j] ^ 0x20); /* '-' and 0x0d, '_' and 0x7f, '@' and '`' */
        name[length] = '\0';
        if (strlen(name) == length)
            check_wanted(wanted, names, count, name);
    }
    dlclose(library);
}

static void header_filter_of_long_names(void **state)
{
    char longest[EVENT_NAME_MAX + 1], other[EVENT_NAME_MAX + 1];
    const char *const names[] = {longest, "x"};
    wanted_function wanted;
    void *library;

    (void)state;
    for (size_t i = 0; i != EVENT_NAME_MAX; ++i)
        longest[i] = (char)('a' + i % 26);
    longest[EVENT_NAME_MAX] = '\0';
    library = filter_open(names, 2, &wanted);
    check_wanted(wanted, names, 2, longest);
    for (size_t i = 0; i != EVENT_NAME_MAX; ++i) {
        strcpy(other, longest);
        other[i] = '-';
        check_wanted(wanted, names, 2, other);
        other[i] = (char)toupper((unsigned char)longest[i]);
        check_wanted(wanted, names, 2, other);
        other[i] = '\0';
        check_wanted(wanted, names, 2, other);
    }
    dlclose(library);
}

/* The same name twice, and two of one length. */
static void header_filter_of_similar_names(void **state)
{
    static const char *const names[] = {"etag", "ETag", "date", "link"};
    wanted_function wanted;
    void *library = filter_open(names, 4, &wanted);

    (void)state;
    check_wanted(wanted, names, 4, "etag");
    check_wanted(wanted, names, 4, "Date");
    check_wanted(wanted, names, 4, "LINK");
    check_wanted(wanted, names, 4, "vary");
    dlclose(library);
}

static void no_header_filter(void **state)
{
    wanted_function wanted;
    void *library = filter_open(NULL, 0, &wanted);

    (void)state;
    assert_int_equal(wanted((uintptr_t) "anything", 8), 1);
    assert_int_equal(wanted(0, 0), 1);
    dlclose(library);
}

/* Only keep() selects: every function calls it once, and has no other condition. */
static void every_function_calls_keep(void **state)
{
    static const char *const modes[] = {"http", "quic", "all"};

    (void)state;
    for (size_t i = 0; i != 3; ++i) {
        struct bench bench;
        choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", modes[i], NULL);
        write_program(&bench);
        assert_true(bench.program.num_functions != 0);
        for (size_t j = 0; j != bench.program.num_functions; ++j) {
            char *text = function_text(&bench.program, bench.program.functions[j].name);
            const char *asked = strstr(text, "    if (!keep(&candidate))\n        return 0;\n");
            const char *head = strstr(text, "event->head.flags = ");
            assert_non_null(asked);
            assert_null(strstr(strstr(asked, "return 0;"), "keep("));
            assert_null(strstr(text, "HTTP3"));
            assert_null(strstr(text, "header_wanted"));
            assert_true(head != NULL && head > asked); /* nothing is copied before it */
            free(text);
        }
        bench_close(&bench);
    }
}

/* Without a selection, keep() has no condition. */
static void keep_has_the_conditions(void **state)
{
    (void)state;
    for (unsigned i = 0; i != 8; ++i) {
        struct bench bench;
        struct needs needs = {.request.all = (i & 2) == 0, .response.all = (i & 4) == 0};
        char *keep, *end;
        needs_add(&needs.request, ":path");
        needs_add(&needs.response, "etag");
        choose(&bench, OPERAND_X86_64, "usdt-notes-2026-06.tsv", "http", NULL);
        bench.wanted.additions.http3_only = (i & 1) != 0;
        bench.wanted.needs = &needs;
        write_program(&bench);
        keep = strstr(bench.program.text, KEEP);
        assert_non_null(keep);
        keep += strlen(KEEP);
        end = strstr(keep, "    return 1;\n}\n");
        assert_non_null(end);
        assert_int_equal(keep == end, i == 0);
        *end = '\0';
        assert_int_equal(strstr(keep, "ANY_HTTP") != NULL, i & 1);
        assert_int_equal(strstr(keep, "request_header_wanted(candidate->name") != NULL, i >> 1 & 1);
        assert_int_equal(strstr(keep, "response_header_wanted(candidate->name") != NULL, i >> 2);
        bench_close(&bench);
        needs_dispose(&needs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_calls_keep),
        cmocka_unit_test(keep_has_the_conditions),
        cmocka_unit_test(programs_of_2020_06),
        cmocka_unit_test(programs_of_2024_10),
        cmocka_unit_test(programs_of_2026_06),
        cmocka_unit_test(programs_of_2026_06_on_aarch64),
        cmocka_unit_test(one_function_for_the_same_operands),
        cmocka_unit_test(ties_are_silent),
        cmocka_unit_test(text_depends_on_settings),
        cmocka_unit_test(helpers_are_not_named),
        cmocka_unit_test(unreadable_operands_are_skipped),
        cmocka_unit_test(unknown_arguments_are_not_in_the_text),
        cmocka_unit_test(flawed_locations_are_skipped),
        cmocka_unit_test(a_probe_can_be_unreadable),
        cmocka_unit_test(header_filter),
        cmocka_unit_test(header_filter_of_long_names),
        cmocka_unit_test(header_filter_of_similar_names),
        cmocka_unit_test(no_header_filter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
