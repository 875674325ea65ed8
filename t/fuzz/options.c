/*
 * Command lines with arbitrary bytes. Messages must be escaped, accepted values must be within
 * their limits, globs of -t must match the right names, and names of -s must reach the BPF program
 * as numbers only.
 */
#include "options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "kernel/program.h"
#include "memory.h"
#include "server/selection.h"
#include "server/version.h"
#include "support.h"

#define WORDS_MAX 32

/* A server with a few probes; one is in no list. */
static const char *const names[][2] = {
    {"h2o", "receive_request"}, {"h2o", "send_response_header"}, {"h2o", "h3s_accept"},
    {"h2o", "h3s_destroy"},     {"quicly", "packet_sent"},       {"quicly", "debug_message"},
    {"picotls", "new"},         {"h2o", "of_tomorrow"},
};

#define NUM_NAMES (sizeof(names) / sizeof(names[0]))

static struct notes notes;
static struct version version;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char arguments[] = "8@%rax";
    static struct location location = {.arguments = arguments};

    (void)argc;
    (void)argv;
    notes.probes = memory_grow(NULL, NUM_NAMES, sizeof(notes.probes[0]));
    notes.num_probes = NUM_NAMES;
    for (size_t i = 0; i != NUM_NAMES; ++i)
        notes.probes[i] = (struct probe){memory_format("%s", names[i][0]),
                                         memory_format("%s", names[i][1]), &location, 1};
    version_open(&version, OPERAND_X86_64, &notes);
    check(version.num_probes == NUM_NAMES && version.probes[NUM_NAMES - 1].guess != NULL);
    return 0;
}

/* --- messages --- */

static void check_error(const char *error)
{
    check(error[0] != '\0' && is_tame(error, strlen(error), true));
}

/* --- -t --- */

/* Matches a glob with letters, '*' and '?' only; '-' and '_' are the same. */
static bool matches(const char *glob, const char *name)
{
    const char *star = NULL, *tried = NULL;

    while (*name != '\0') {
        char wanted = *glob == '-' ? '_' : *glob;
        if (wanted == '*') {
            star = glob++;
            tried = name;
        } else if (wanted == '?' || wanted == *name) {
            ++glob;
            ++name;
        } else if (star != NULL) {
            glob = star + 1;
            name = ++tried;
        } else {
            return false;
        }
    }
    return glob[strspn(glob, "*")] == '\0';
}

static void check_glob(const char *glob)
{
    for (size_t i = 0; i != NUM_NAMES; ++i) {
        char full[64] = "";
        bool got = version_matches(glob, names[i][0], names[i][1]);
        if (strlen(glob) > 255) /* longer than any name */
            check(!got);
        if (strlen(glob) > 255 || strpbrk(glob, "[\\") != NULL)
            continue;
        strcat(strcat(strcat(full, names[i][0]), ":"), names[i][1]);
        check(got == matches(glob, strchr(glob, ':') != NULL ? full : names[i][1]));
    }
}

static void check_choice(const struct options *options)
{
    struct selection selection;
    struct error error = {0};

    if (selection_open(&selection, options, NULL, &version, &error) == 0) {
        check(selection.num_printed != 0 && selection.num_printed <= selection.num_probes);
        check(selection.num_probes <= NUM_NAMES);
    } else {
        check_error(error.text);
    }
    selection_dispose(&selection);
}

/* --- -s --- */

/* Whether it is a token (RFC 9110, 5.6.2), after a colon for a pseudo-header. */
static bool is_header_name(const char *name)
{
    const char *token = name[0] == ':' ? name + 1 : name;

    for (const char *at = token; *at != '\0'; ++at) {
        if (*at <= ' ' || *at >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", *at) != NULL)
            return false;
    }
    return token[0] != '\0' && strlen(name) <= EVENT_NAME_MAX;
}

/* Copies a line with '#' instead of each number. Returns the start of the next line. */
static const char *read_line(const char *at, char *line, size_t size)
{
    size_t length = 0;
    char last = ' ';

    for (; *at != '\n'; last = *at++) {
        check(*at != '\0' && length + 1 != size);
        if (isdigit((unsigned char)*at) && !isalnum((unsigned char)last) && last != '_') {
            line[length++] = '#';
            at += strspn(at, "0123456789abcdefxULL") - 1;
        } else {
            line[length++] = *at;
        }
    }
    line[length] = '\0';
    return at + 1;
}

/* "if ((words[#] | #) == # && ...)" */
static bool is_comparison(const char *line)
{
    const char first[] = "        if (", word[] = "(words[#] | #) == #", next[] = " && ";

    if (strncmp(line, first, strlen(first)) != 0)
        return false;
    for (line += strlen(first); strncmp(line, word, strlen(word)) == 0; line += strlen(next)) {
        line += strlen(word);
        if (strcmp(line, ")") == 0)
            return true;
        if (strncmp(line, next, strlen(next)) != 0)
            return false;
    }
    return false;
}

static bool is_filter_line(const char *line)
{
    static const char *const lines[] = {
        "    u64 words[#];",
        "",
        "    if (length == #) {",
        "        words[#] = #;",
        "        probe_read_user(words, #, (const void *)name);",
        "            return #;",
        "    }",
        "    return #;",
    };

    for (size_t i = 0; i != sizeof(lines) / sizeof(lines[0]); ++i) {
        if (strcmp(line, lines[i]) == 0)
            return true;
    }
    return is_comparison(line);
}

static void skipped(const struct server_probe *server_probe, const struct location *location)
{
    (void)server_probe;
    (void)location;
}

static void check_filter(const struct options *options)
{
    const struct program_maps maps = {3, 4, 5, 6, 7, 8};
    struct needs needs = {.request.all = true};
    const struct program_settings selection = {.needs = &needs};
    char line[4096] = "";
    struct program program;
    const char *at;

    for (size_t i = 0; i != options->response_headers.count; ++i)
        needs_add(&needs.response, options->response_headers.words[i]);
    program_open(&program, OPERAND_X86_64, &selection, &maps, skipped);
    needs_dispose(&needs);
    at = strstr(program.text, "INLINE int response_header_wanted(u64 name, u64 length)\n{\n");
    check(at != NULL);
    at = strchr(at, '{') + 2;
    while (strncmp(at, "}\n", 2) != 0) {
        at = read_line(at, line, sizeof(line));
        check(is_filter_line(line));
    }
    check(strncmp(at, "}\n\nINLINE int keep(", 19) == 0);
    program_dispose(&program);
}

/* --- */

static void check_options(const struct options *options)
{
    check(options->pid >= 0 && options->debug >= 0);
    check(options->view >= views && options->view < views + num_views);
    check(options->buffer == 0 || (options->buffer >= 4096 && options->buffer <= 1 << 30));
    check(options->write == NULL || options->write[0] != '\0');
    for (size_t i = 0; i != options->tracepoints.count; ++i) {
        check(options->tracepoints.words[i][0] != '\0');
        check_glob(options->tracepoints.words[i]);
    }
    for (size_t i = 0; i != options->response_headers.count; ++i)
        check(is_header_name(options->response_headers.words[i]));
    for (size_t i = 0; i != options->request_headers.count; ++i)
        check(is_header_name(options->request_headers.words[i]));
    for (size_t i = 0; i != options->redacted.count; ++i)
        check(is_header_name(options->redacted.words[i]));
    check(options->limits.requests != 0 && options->limits.bytes >= 65536);
    check(options->limits.age_ns >= 1000000);
    check_choice(options);
    if (options->response_headers.count != 0)
        check_filter(options);
}

/* Words end with a NUL or a newline. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = string_of(data, size), *rest = text, name[] = "h2olog";
    char *words[WORDS_MAX + 2] = {name, NULL};
    struct error error = {0};
    struct options options;
    int count = 1;

    for (size_t i = 0; i != size; ++i)
        text[i] = text[i] == '\0' ? '\n' : text[i];
    while (count <= WORDS_MAX && (words[count] = strsep(&rest, "\n")) != NULL)
        ++count;
    words[count] = NULL;
    if (options_parse(&options, count, words, &error) == 0)
        check_options(&options);
    else
        check_error(error.text);
    options_dispose(&options);
    free(text);
    return 0;
}
