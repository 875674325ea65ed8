/*
 * Passes notes with arbitrary bytes through the version and the selection to the text of a BPF
 * program and the keys of JSON. Only names that are identifiers and operands that were parsed may
 * get there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/program.h"
#include "memory.h"
#include "print/json.h"
#include "server/report.h"
#include "server/selection.h"
#include "server/version.h"
#include "support.h"

/* The first byte of an input. */
enum {
    MODE = 3,
    BY_MODE = 4,
    APPLICATION_DATA = 8,
    AARCH64 = 16,
    SOME_NAMED = 32,
    LISTS = 64,
    ONE_LINK = 128
};

#define NOTES_MAX 16

static struct output output;
static size_t num_skipped;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    printed_open(&output);
    return 0;
}

static bool is_identifier(const char *text)
{
    return text[0] != '\0' && strlen(text) < 128 &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] ==
               '\0';
}

static void add_note(struct notes *notes, const char *provider, const char *name,
                     const char *arguments)
{
    struct probe *probe = NULL;

    for (size_t i = 0; i != notes->num_probes && probe == NULL; ++i) {
        if (strcmp(notes->probes[i].provider, provider) == 0 &&
            strcmp(notes->probes[i].name, name) == 0)
            probe = &notes->probes[i];
    }
    if (probe == NULL) {
        notes->probes = memory_grow(notes->probes, notes->num_probes + 1, sizeof(notes->probes[0]));
        probe = &notes->probes[notes->num_probes++];
        *probe = (struct probe){.provider = memory_format("%s", provider),
                                .name = memory_format("%s", name)};
    }
    probe->locations =
        memory_grow(probe->locations, probe->num_locations + 1, sizeof(probe->locations[0]));
    probe->locations[probe->num_locations++] =
        (struct location){.arguments = memory_format("%s", arguments)};
}

/* One line per note: NAME, tab, operands. A single capital letter means a name from the lists. */
static void read_notes(struct notes *notes, char *text)
{
    char *line;

    *notes = (struct notes){0};
    for (size_t i = 0; i != NOTES_MAX && (line = strsep(&text, "\n")) != NULL; ++i) {
        const char *name = strsep(&line, "\t"), *provider = "h2o";
        if (name[0] >= 'A' && name[0] <= 'Z' && name[1] == '\0') {
            const struct signature *signature =
                &signatures[(size_t)(name[0] - 'A') % num_signatures];
            provider = signature->provider;
            name = signature->probe;
        }
        if (is_identifier(name))
            add_note(notes, provider, name, line != NULL ? line : "");
    }
}

static void forget_notes(struct notes *notes)
{
    for (size_t i = 0; i != notes->num_probes; ++i) {
        struct probe *probe = &notes->probes[i];
        for (size_t j = 0; j != probe->num_locations; ++j)
            free(probe->locations[j].arguments);
        free(probe->locations);
        free(probe->provider);
        free(probe->name);
    }
    free(notes->probes);
}

static void count_skipped(const struct server_probe *server_probe, const struct location *location)
{
    check(server_probe != NULL && location != NULL);
    ++num_skipped;
}

/* Skips a text that must be there. */
static void expect(const char **at, const char *text)
{
    size_t length = strlen(text);

    check(strncmp(*at, text, length) == 0);
    *at += length;
}

static void expect_number(const char **at, size_t number)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%zu", number);
    expect(at, digits);
}

/* "    const s64 arg0 = EXPRESSION;" */
static void expect_argument(const char **at, size_t number, bool is_read)
{
    char expression[128];
    size_t length;

    expect(at, "    const ");
    check(**at == 's' || **at == 'u');
    ++*at;
    expect(at, "64 arg");
    expect_number(at, number);
    expect(at, " = ");
    length = strcspn(*at, ";\n");
    check(length < sizeof(expression));
    memcpy(expression, *at, length);
    expression[length] = '\0';
    check(is_read ? is_expression(expression) : strcmp(expression, "0") == 0);
    *at += length;
    expect(at, ";\n");
}

/*
 * The signature of a probe that no list knows: generic C, and a declaration of its name and
 * numbers.
 */
static void check_guess(const struct probe *probe, const struct signature *signature)
{
    const char *at = signature->declaration;

    expect(&at, probe->provider);
    expect(&at, ":");
    expect(&at, probe->name);
    expect(&at, "(");
    check(strcmp(at + strspn(at, "uint0123456789_arg, ."), ")") == 0);
    check(signature->num_arguments <= PROBE_ARGUMENTS_MAX);
    check(signature->capture == generic_signatures[signature->num_arguments].capture);
}

static bool is_location_of(const struct location *location, const struct probe *probe,
                           const char *operands)
{
    return location >= probe->locations && location < probe->locations + probe->num_locations &&
           strcmp(location->arguments, operands) == 0;
}

/* The length of the operands of known arguments. The program must not have later ones. */
static size_t known_length(enum operand_arch arch, const struct server_probe *server_probe,
                           const char *operands)
{
    const char *end = operands;
    struct operand operand;

    for (size_t i = 0; i != server_probe->signature->num_arguments; ++i)
        check(operand_parse(arch, &end, &operand) == 0);
    check(server_probe->num_ignored != 0 || end[strspn(end, " ")] == '\0');
    return (size_t)(end - operands);
}

static void expect_function(const char **at, enum operand_arch arch,
                            const struct program_settings *selection,
                            const struct program_function *function)
{
    const struct server_probe *server_probe = function->server_probe;
    const struct signature *signature = server_probe->signature;
    const size_t id = (size_t)(server_probe - selection->probes);
    const char *operands = function->locations[0]->arguments;
    char *known = memory_format("%.*s", (int)known_length(arch, server_probe, operands), operands);

    if (server_probe->guess != NULL)
        check_guess(server_probe->probe, signature);
    check(is_operands(known, strlen(known)));
    for (size_t i = 0; i != function->num_locations; ++i)
        check(is_location_of(function->locations[i], server_probe->probe, operands));
    expect(at, "/* ");
    expect(at, signature->declaration);
    expect(at, "\n * ");
    expect(at, known);
    expect(at, " */\nint ");
    free(known);
    expect(at, function->name);
    expect(at, "(struct pt_regs *ctx)\n{\n    enum { id = ");
    expect_number(at, id);
    expect(at, ", silent = ");
    expect(at, id < selection->num_printed + selection->num_followed ? "0" : "1");
    expect(at, " };\n");
    check(function->silent == (id >= selection->num_printed + selection->num_followed));
    check(function->printed == (id < selection->num_printed));
    if (!selection->one_link)
        expect(at, "    if (!GATE->is_open)\n        return 0;\n");
    for (size_t i = 0; i != signature->num_arguments; ++i) {
        bool is_data = (signature->reads_application_data >> i & 1) != 0;
        bool is_read = (signature->reads >> i & 1) != 0 || (is_data && selection->application_data);
        if (is_read || is_data)
            expect_argument(at, i, is_read);
    }
    expect(at, signature->capture);
    expect(at, "}\n\n");
}

/* Checks the whole text of the program from the first function on. */
static void check_program(enum operand_arch arch, const struct program_settings *selection,
                          const struct program *program)
{
    const char *at =
        strstr(program->text, "INLINE int keep(const struct candidate *candidate)\n{\n");
    size_t num_locations = 0;

    check(at != NULL);
    at = strstr(at, "\n}\n\n");
    check(at != NULL);
    expect(&at, "\n}\n\n");
    for (size_t i = 0; i != program->num_functions; ++i) {
        expect_function(&at, arch, selection, &program->functions[i]);
        num_locations += program->functions[i].num_locations;
    }
    expect(&at,
           "/* All locations share one link. The cookie of a location selects its function. */\n"
           "int " PROGRAM_DISPATCH "(struct pt_regs *ctx)\n{\n");
    check(strchr(at, '}') != NULL && strcmp(strchr(at, '}'), "}\n") == 0);
    for (size_t i = 0; i != selection->num_probes; ++i)
        num_skipped -= selection->probes[i].probe->num_locations; /* may wrap, and back */
    check(num_skipped + num_locations == 0);                      /* none is missing */
}

/* Prints an event of each probe, with zeros only, as JSON. */
static void check_keys(const struct program_settings *selection)
{
    const struct clock clock = {0};
    const struct sink_settings settings = {.output = &output,
                                           .messages = &output,
                                           .probes = selection->probes,
                                           .num_probes = selection->num_probes,
                                           .clock = &clock,
                                           .application_data = selection->application_data,
                                           .layers = true};
    struct sink json = json_open(&settings);
    struct decoder decoder;

    decoder_open(&decoder, selection->probes, selection->num_probes, selection->num_probes,
                 selection->application_data);
    for (uint16_t i = 0; i != selection->num_probes; ++i) {
        const size_t size = selection->probes[i].signature->size;
        uint8_t *bytes = calloc(1, size); /* exact size, for ASan */
        const struct event event = {bytes, size};
        struct record record;
        check(bytes != NULL && size >= sizeof(struct event_head));
        memcpy(bytes, &i, sizeof(i));
        check(decoder_decode(&decoder, &event, &record) == 0);
        check(json.record(json.state, &record) == 0);
        check(is_tame(output.buffer, output.used - 1, false));
        check(is_json(output.buffer, output.used - 1));
        printed_forget(&output);
        free(bytes);
    }
    json.close(json.state);
    decoder_close(&decoder);
}

static void check_choice(const struct selection *selection, enum operand_arch arch, uint8_t flags)
{
    const struct program_maps maps = {3, 4, 5, 6, 7, 8};
    const struct program_settings wanted = {
        .probes = selection->probes,
        .num_probes = selection->num_probes,
        .num_printed = selection->num_printed,
        .num_followed = selection->num_followed,
        .application_data = (flags & APPLICATION_DATA) != 0,
        .one_link = (flags & ONE_LINK) != 0,
        .watermark = 4096,
    };
    struct program program;

    num_skipped = 0;
    program_open(&program, arch, &wanted, &maps, count_skipped);
    check_program(arch, &wanted, &program);
    program_dispose(&program);
    check_keys(&wanted);
}

/* The output of -l and -d about the server's probes. */
static void check_lists(const struct options *options, const struct version *version,
                        const struct selection *selection)
{
    size_t size;
    char *text = NULL, *rest, *line;
    FILE *file = open_memstream(&text, &size);

    check(file != NULL);
    report_list(file, options, version);
    report_lacking(file, options, version);
    report_changed(file, selection, options, version);
    report_missing(file, options, version);
    fclose(file);
    rest = text;
    while ((line = strsep(&rest, "\n")) != NULL)
        check(is_tame(line, strlen(line), false));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t flags = size != 0 ? data[0] : 0;
    const enum operand_arch arch = flags & AARCH64 ? OPERAND_AARCH64 : OPERAND_X86_64;
    const char *globs[] = {flags & SOME_NAMED ? "*re*" : "*:*"};
    const struct options options = {
        .view = &views[(flags & MODE) % num_views],
        .tracepoints = {globs, flags & BY_MODE ? 0 : 1},
    };
    struct notes notes;
    struct version version;
    struct selection selection;
    struct error error = {0};
    char known_as[128], *text = string_of(data + 1, size != 0 ? size - 1 : 0);

    read_notes(&notes, text);
    version_open(&version, arch, &notes);
    version_name(&version, known_as, sizeof(known_as));
    check(is_tame(known_as, strlen(known_as), false));
    check(version.num_matching <= version.num_probes);
    if (selection_open(&selection, &options, NULL, &version, &error) == 0)
        check_choice(&selection, arch, flags);
    else
        check(error.text[0] != '\0' && is_tame(error.text, strlen(error.text), false));
    if (flags & LISTS)
        check_lists(&options, &version, &selection);
    selection_dispose(&selection);
    version_dispose(&version);
    forget_notes(&notes);
    free(text);
    return 0;
}
