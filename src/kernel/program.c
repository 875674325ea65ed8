#include "kernel/program.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "kernel/embedded.h"
#include "memory.h"

static void print_defines(FILE *text, const struct program_settings *settings,
                          const struct program_maps *maps)
{
    const struct {
        const char *name;
        uint64_t value;
    } defines[] = {
        {"RING_MAP", (uint64_t)maps->ring},
        {"LOST_MAP", (uint64_t)maps->lost},
        {"SCRATCH_MAP", (uint64_t)maps->scratch},
        {"TIES_MAP", (uint64_t)maps->ties},
        {"ENTRIES_MAP", (uint64_t)maps->entries},
        {"GATE_MAP", (uint64_t)maps->gate},
        {"NUM_PROBES", settings->num_probes},
        {"WATERMARK", settings->watermark},
        {"APPLICATION_DATA", settings->application_data},
        {"TIE_CONNECTIONS", settings->additions.connections},
        {"WITH_STAMPS", settings->additions.times},
        {"WITH_THREADS", settings->additions.threads != THREADS_NONE},
        {"THREADS_OF_SERVER", settings->additions.threads == THREADS_SERVER},
        {"NAMESPACE_DEVICE", settings->pid_device},
        {"NAMESPACE_INODE", settings->pid_inode},
    };

    fputs("#define H2OLOG_BPF 1\n", text);
    for (size_t i = 0; i != sizeof(defines) / sizeof(defines[0]); ++i)
        fprintf(text, "#define %s %" PRIu64 "\n", defines[i].name, defines[i].value);
    fprintf(text, "\n#include <linux/types.h>\n#include <uapi/linux/ptrace.h>\n\n%s\n%s\n",
            embedded_get("event.h"), embedded_get("capture.h"));
}

/*
 * Compares 8 bytes at a time. For letters, it first sets the bit that distinguishes upper and lower
 * case.
 */
static void print_comparison(FILE *text, const char *name, size_t length)
{
    for (size_t at = 0; at < length; at += 8) {
        uint64_t wanted = 0, mask = 0;
        for (size_t i = 0; i != 8 && at + i != length; ++i) {
            int byte = tolower((unsigned char)name[at + i]);
            wanted |= (uint64_t)byte << (8 * i);
            mask |= (uint64_t)(isalpha(byte) ? 0x20 : 0) << (8 * i);
        }
        fprintf(text, "%s(words[%zu] | 0x%" PRIx64 "ULL) == 0x%" PRIx64 "ULL",
                at != 0 ? " && " : "", at / 8, mask, wanted);
    }
}

/* Writes a function that compares the name of a header with those that are wanted. */
static void print_header_filter(FILE *text, const char *function,
                                const struct needs_headers *headers)
{
    fprintf(text, "INLINE int %s(u64 name, u64 length)\n{\n    u64 words[%d];\n\n", function,
            EVENT_NAME_MAX / 8);
    for (size_t i = 0; i != headers->count; ++i) {
        const char *name = headers->names[i];
        size_t length = strlen(name);
        fprintf(text,
                "    if (length == %zu) {\n"
                "        words[%zu] = 0;\n"
                "        probe_read_user(words, %zu, (const void *)name);\n"
                "        if (",
                length, (length - 1) / 8, length);
        print_comparison(text, name, length);
        fputs(")\n            return 1;\n    }\n", text);
    }
    fputs("    return 0;\n}\n\n", text);
}

/*
 * Writes keep(), see bpf/capture.h. To add a filter, print its condition here; if it needs to know
 * more of an event, add a member to struct candidate, which misc/layouts.py fills in.
 */
static void print_keep(FILE *text, const struct program_settings *settings)
{
    const struct needs *needs = settings->needs;
    const struct {
        const char *kind, *function;
        const struct needs_headers *headers; /* NULL: all are wanted */
    } filters[] = {
        {"REQUEST_HEADER", "request_header_wanted",
         needs != NULL && !needs->request.all ? &needs->request : NULL},
        {"RESPONSE_HEADER", "response_header_wanted",
         needs != NULL && !needs->response.all ? &needs->response : NULL},
    };

    for (size_t i = 0; i != 2; ++i) {
        if (filters[i].headers != NULL)
            print_header_filter(text, filters[i].function, filters[i].headers);
    }
    fputs("INLINE int keep(const struct candidate *candidate)\n{\n", text);
    if (settings->additions.http3_only)
        fputs("    if ((candidate->kind & ANY_HTTP) != 0 && (candidate->flags & EVENT_TIED) == 0)\n"
              "        return 0;\n",
              text);
    for (size_t i = 0; i != 2; ++i) {
        if (filters[i].headers != NULL)
            fprintf(text,
                    "    if ((candidate->kind & %s) != 0 &&\n"
                    "        !%s(candidate->name, candidate->name_length))\n"
                    "        return 0;\n",
                    filters[i].kind, filters[i].function);
    }
    fputs("    return 1;\n}\n\n", text);
}

/*
 * Declares the arguments that the capture reads, with the expressions of their operands. Returns -1
 * if one cannot be read.
 */
static int print_arguments(FILE *text, enum operand_arch arch, const struct signature *signature,
                           const char *operands, bool application_data)
{
    unsigned reads = signature->reads | (application_data ? signature->reads_application_data : 0u);

    for (size_t i = 0; i != signature->num_arguments; ++i) {
        struct operand operand;
        char expression[128];
        if (operand_parse(arch, &operands, &operand) != 0)
            return -1;
        operand_expression(&operand, expression, sizeof(expression));
        if ((reads >> i & 1) != 0)
            fprintf(text, "    const %s arg%zu = %s;\n", operand.is_signed ? "s64" : "u64", i,
                    expression);
        else if ((signature->reads_application_data >> i & 1) != 0)
            fprintf(text, "    const u64 arg%zu = 0;\n", i);
    }
    return 0;
}

/*
 * Returns the length of the operands for which the signature has arguments. The operands of unknown
 * arguments follow.
 */
static int known_length(enum operand_arch arch, const struct signature *signature,
                        const char *operands)
{
    const char *end = operands;
    struct operand operand;

    for (size_t i = 0; i != signature->num_arguments; ++i) {
        if (operand_parse(arch, &end, &operand) != 0)
            break;
    }
    return (int)(end - operands);
}

static int print_function(FILE *text, enum operand_arch arch,
                          const struct program_settings *settings,
                          const struct program_function *function)
{
    const struct signature *signature = function->server_probe->signature;
    const size_t id = (size_t)(function->server_probe - settings->probes);
    const char *operands = function->locations[0]->arguments;

    fprintf(text, "/* %s\n * %.*s */\n", signature->declaration,
            known_length(arch, signature, operands), operands);
    fprintf(text, "int %s(struct pt_regs *ctx)\n{\n    enum { id = %zu, silent = %d };\n",
            function->name, id, function->silent);
    if (!settings->one_link) /* with one link, PROGRAM_DISPATCH checks the gate */
        fputs("    if (!GATE->is_open)\n        return 0;\n", text);
    if (print_arguments(text, arch, signature, operands, settings->application_data) != 0)
        return -1;
    fprintf(text, "%s}\n\n", signature->capture);
    return 0;
}

/* Finds the function for these operands, from index `first`, or adds one. */
static struct program_function *find_function(struct program *program, size_t first,
                                              const struct server_probe *server_probe,
                                              const char *arguments)
{
    struct program_function *function;

    for (size_t i = first; i != program->num_functions; ++i) {
        function = &program->functions[i];
        if (strcmp(function->locations[0]->arguments, arguments) == 0)
            return function;
    }
    program->functions =
        memory_grow(program->functions, program->num_functions + 1, sizeof(*function));
    function = &program->functions[program->num_functions];
    *function = (struct program_function){.server_probe = server_probe};
    snprintf(function->name, sizeof(function->name), "probe_%zu", program->num_functions);
    ++program->num_functions;
    return function;
}

static void add_functions(struct program *program, enum operand_arch arch,
                          const struct server_probe *server_probe,
                          void (*skipped)(const struct server_probe *, const struct location *))
{
    size_t first = program->num_functions;

    for (size_t i = 0; i != server_probe->probe->num_locations; ++i) {
        const struct location *location = &server_probe->probe->locations[i];
        struct program_function *function;
        if (!version_reads(arch, server_probe, location)) {
            skipped(server_probe, location);
            continue;
        }
        function = find_function(program, first, server_probe, location->arguments);
        function->locations = memory_grow(function->locations, function->num_locations + 1,
                                          sizeof(function->locations[0]));
        function->locations[function->num_locations++] = location;
    }
}

void program_open(struct program *program, enum operand_arch arch,
                  const struct program_settings *settings, const struct program_maps *maps,
                  void (*skipped)(const struct server_probe *server_probe,
                                  const struct location *location))
{
    size_t size;
    FILE *text;

    *program = (struct program){0};
    for (size_t i = 0; i != settings->num_probes; ++i)
        add_functions(program, arch, &settings->probes[i], skipped);
    for (size_t i = 0; i != program->num_functions; ++i) {
        struct program_function *function = &program->functions[i];
        const size_t id = (size_t)(function->server_probe - settings->probes);
        function->printed = id < settings->num_printed;
        function->silent = id >= settings->num_printed + settings->num_followed;
    }
    text = open_memstream(&program->text, &size);
    if (text == NULL)
        abort();
    print_defines(text, settings, maps);
    print_keep(text, settings);
    for (size_t i = 0; i != program->num_functions; ++i)
        print_function(text, arch, settings, &program->functions[i]);
    fputs("/* All locations share one link. The cookie of a location selects its function. */\n"
          "int " PROGRAM_DISPATCH "(struct pt_regs *ctx)\n{\n"
          "    if (GATE->is_open)\n"
          "        tail_call(ctx, MAP(ENTRIES_MAP), get_attach_cookie(ctx));\n"
          "    return 0;\n}\n",
          text);
    fclose(text);
}

void program_dispose(struct program *program)
{
    for (size_t i = 0; i != program->num_functions; ++i)
        free(program->functions[i].locations);
    free(program->functions);
    free(program->text);
}
