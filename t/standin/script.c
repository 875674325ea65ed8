#include "script.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_THREADS 256
/* Longer than any word or name of the format, so that a truncated word matches none. */
#define MAX_WORD 128

/* Memory for arguments. It lives as long as the script. */
struct script_memory {
    struct script_memory *next;
    uint64_t bytes[]; /* aligned for any struct */
};

/* The object of a connection. All lines with the same name use the same object. */
struct object {
    struct object *next;
    char label[MAX_WORD];
    uint32_t master_id; /* for objects without a label, and for objects of threads */
    char *bytes;        /* NULL: each thread has its own */
    size_t thread_object;
};

/* The syntax of an argument, which depends on its type. */
enum kind {
    KIND_INTEGER,
    KIND_CONN,
    KIND_STREAM,
    KIND_RTT,
    KIND_SOCKADDR,
    KIND_BYTES,
    KIND_OPAQUE
};

enum form { FORM_NUMBERS, FORM_BYTES, FORM_POINTER, FORM_LIVE };

/* A value in the script. */
struct value {
    enum form form;
    bool is_quoted; /* "bytes", not x"6279746573" */
    uint64_t numbers[4];
    bool is_negative; /* the first number is negative */
    size_t num_numbers;
    char label[MAX_WORD]; /* NUMBER@LABEL; else empty */
    unsigned char *bytes;
    size_t num_bytes;
    enum script_source source;
};

struct parser {
    const char *path;
    unsigned line_number;
    const char *at; /* the rest of the line */
    struct script *script;
    struct object *objects;
    size_t max_steps; /* capacity */
    size_t open_repeats[SCRIPT_MAX_NESTING];
    size_t num_open_repeats;
};

/* Returns false, so that callers can return the result. */
__attribute__((format(printf, 2, 3))) static bool fail(const struct parser *parser,
                                                       const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%s:%u: ", parser->path, parser->line_number);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return false;
}

static void *must(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "standin: out of memory\n");
        exit(1);
    }
    return memory;
}

/* Zeroed. */
static void *keep(struct parser *parser, size_t size)
{
    struct script_memory *memory = must(calloc(1, sizeof(*memory) + size));

    memory->next = parser->script->memory;
    parser->script->memory = memory;
    return memory->bytes;
}

static void skip_space(struct parser *parser)
{
    while (isspace((unsigned char)*parser->at))
        ++parser->at;
}

static bool at_end_of_value(const struct parser *parser)
{
    return *parser->at == '\0' || isspace((unsigned char)*parser->at);
}

/* Takes the rest of a word, up to a space or one of `stops`. */
static void take_word(struct parser *parser, const char *stops, char word[MAX_WORD])
{
    size_t len = 0;

    while (!at_end_of_value(parser) && strchr(stops, *parser->at) == NULL) {
        if (len < MAX_WORD - 1)
            word[len++] = *parser->at;
        ++parser->at;
    }
    word[len] = '\0';
}

/* Takes `word` if it comes next. */
static bool take(struct parser *parser, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(parser->at, word, len) != 0)
        return false;
    parser->at += len;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Returns the byte of two hex digits, or -1. */
static int take_hex_byte(struct parser *parser)
{
    int high = hex_digit(parser->at[0]);
    int low = high < 0 ? -1 : hex_digit(parser->at[1]);

    if (low < 0)
        return -1;
    parser->at += 2;
    return high * 16 + low;
}

/* Takes a number, which may be negative or hexadecimal. */
static bool take_number(struct parser *parser, uint64_t *number, bool *is_negative)
{
    char *end;

    *is_negative = take(parser, "-");
    if (!isdigit((unsigned char)*parser->at))
        return fail(parser, "expected a number at '%s'", parser->at);
    bool is_hex = parser->at[0] == '0' && (parser->at[1] == 'x' || parser->at[1] == 'X');
    errno = 0;
    *number = strtoull(parser->at, &end, is_hex ? 16 : 10);
    if (errno != 0 || (*is_negative && *number > (uint64_t)INT64_MAX + 1))
        return fail(parser, "a number does not fit into 64 bits");
    if (*is_negative)
        *number = -*number;
    parser->at = end;
    return true;
}

static bool take_escape(struct parser *parser, unsigned char *byte)
{
    static const char letters[] = "nrt0\\\"", bytes[] = "\n\r\t\0\\\"";
    char letter = *parser->at;
    const char *found = letter == '\0' ? NULL : strchr(letters, letter);

    if (found != NULL) {
        *byte = (unsigned char)bytes[found - letters];
        ++parser->at;
        return true;
    }
    if (take(parser, "x")) {
        int hex = take_hex_byte(parser);
        *byte = (unsigned char)hex;
        return hex >= 0 || fail(parser, "\\x wants two hex digits");
    }
    return fail(parser, "unknown escape '\\%c': there are \\n \\r \\t \\0 \\\\ \\\" \\xNN", letter);
}

/* Takes the bytes up to the closing quote, after the opening one, and appends a NUL. */
static bool take_quoted(struct parser *parser, bool is_hex, struct value *value)
{
    value->form = FORM_BYTES;
    value->is_quoted = !is_hex;
    value->bytes = keep(parser, strlen(parser->at) + 1);
    while (*parser->at != '"') {
        unsigned char *byte = &value->bytes[value->num_bytes++];
        if (*parser->at == '\0')
            return fail(parser, "a closing quote is missing");
        if (is_hex) {
            int hex = take_hex_byte(parser);
            if (hex < 0)
                return fail(parser, "x\"...\" wants pairs of hex digits");
            *byte = (unsigned char)hex;
        } else if (take(parser, "\\")) {
            if (!take_escape(parser, byte))
                return false;
        } else {
            *byte = (unsigned char)*parser->at++;
        }
    }
    ++parser->at;
    return true;
}

static bool take_numbers(struct parser *parser, struct value *value)
{
    bool is_negative;

    value->form = FORM_NUMBERS;
    if (!take_number(parser, &value->numbers[0], &value->is_negative))
        return false;
    if (take(parser, "@")) {
        take_word(parser, ",", value->label);
        if (value->label[0] == '\0')
            return fail(parser, "NUMBER@ wants the name of an object");
    }
    for (value->num_numbers = 1; take(parser, ","); ++value->num_numbers) {
        if (value->num_numbers == sizeof(value->numbers) / sizeof(value->numbers[0]))
            return fail(parser, "too many numbers in one value");
        if (!take_number(parser, &value->numbers[value->num_numbers], &is_negative))
            return false;
    }
    return true;
}

static bool take_live(struct parser *parser, struct value *value)
{
    static const struct {
        const char *word;
        enum script_source source;
    } sources[] = {
        {"#", SCRIPT_COUNTER},
        {"now", SCRIPT_NOW},
        {"tid", SCRIPT_TID},
        {"thread", SCRIPT_THREAD},
    };
    const char *start = parser->at;
    char word[MAX_WORD];

    take_word(parser, "", word);
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); ++i) {
        if (strcmp(word, sources[i].word) == 0) {
            value->form = FORM_LIVE;
            value->source = sources[i].source;
            return true;
        }
    }
    parser->at = start;
    return false;
}

static bool take_value(struct parser *parser, struct value *value)
{
    bool is_negative;

    *value = (struct value){.form = FORM_POINTER};
    if (take(parser, "\""))
        return take_quoted(parser, false, value);
    if (take(parser, "x\""))
        return take_quoted(parser, true, value);
    if (take(parser, "NULL"))
        return true;
    if (take(parser, "ptr:"))
        return take_number(parser, &value->numbers[0], &is_negative);
    if (take_live(parser, value))
        return true;
    return take_numbers(parser, value);
}

static enum kind kind_of(const char *type)
{
    static const struct {
        const char *type;
        enum kind kind;
    } kinds[] = {
        {"struct st_quicly_conn_t *", KIND_CONN},
        {"struct st_quicly_stream_t *", KIND_STREAM},
        {"struct quicly_rtt_t *", KIND_RTT},
        {"struct sockaddr *", KIND_SOCKADDR},
        {"const char *", KIND_BYTES},
        {"const void *", KIND_BYTES},
        {"uint8_t *", KIND_BYTES},
        {"struct st_quicly_stats_t *", KIND_BYTES},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); ++i)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].kind;
    return strchr(type, '*') != NULL ? KIND_OPAQUE : KIND_INTEGER;
}

static unsigned bits_of(const char *type)
{
    static const struct {
        const char *type;
        unsigned bits;
    } widths[] = {
        {"int8_t", 8},    {"uint8_t", 8},       {"int16_t", 16}, {"uint16_t", 16}, {"int", 32},
        {"unsigned", 32}, {"unsigned int", 32}, {"int32_t", 32}, {"uint32_t", 32}, {"pid_t", 32},
    };

    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); ++i)
        if (strcmp(type, widths[i].type) == 0)
            return widths[i].bits;
    return 64;
}

/* As in C, -1 is all ones for an unsigned type. A value that does not fit is an error. */
static bool fits(const struct value *value, unsigned bits)
{
    if (bits == 64)
        return true;
    if (value->is_negative)
        return -value->numbers[0] <= UINT64_C(1) << (bits - 1);
    return value->numbers[0] >> bits == 0;
}

static bool lay_out_sockaddr(struct parser *parser, const struct value *value, uint64_t *argument)
{
    char text[MAX_WORD];
    const char *bytes = (const char *)value->bytes, *colon = strrchr(bytes, ':');
    struct sockaddr_in6 *ipv6 = keep(parser, sizeof(*ipv6));
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)ipv6;

    *argument = (uintptr_t)ipv6;
    if (colon != NULL && (size_t)(colon - bytes) < sizeof(text)) {
        char *end;
        unsigned long port = strtoul(colon + 1, &end, 10);
        bool is_port = isdigit((unsigned char)colon[1]) && *end == '\0' && port <= UINT16_MAX;
        size_t len = (size_t)(colon - bytes);
        memcpy(text, bytes, len);
        text[len] = '\0';
        ipv4->sin_family = AF_INET;
        ipv4->sin_port = htons((uint16_t)port);
        if (is_port && inet_pton(AF_INET, text, &ipv4->sin_addr) == 1)
            return true;
        ipv6->sin6_family = AF_INET6;
        if (is_port && text[0] == '[' && text[len - 1] == ']') {
            text[len - 1] = '\0';
            if (inet_pton(AF_INET6, text + 1, &ipv6->sin6_addr) == 1)
                return true;
        }
    }
    return fail(parser, "'%s' is no ADDRESS:PORT or [ADDRESS]:PORT", bytes);
}

static struct script_live *add_live(struct script_firing *firing, size_t argument,
                                    enum script_source source, enum kind kind)
{
    struct script_live *live = &firing->live[firing->num_live++];

    live->argument = argument;
    live->source = source;
    live->thread_object = SCRIPT_ANY_OBJECT;
    live->target = kind == KIND_CONN     ? SCRIPT_TO_MASTER_ID
                   : kind == KIND_STREAM ? SCRIPT_TO_STREAM_ID
                                         : SCRIPT_TO_ARGUMENT;
    return live;
}

/* There is one object per label; without a label, or with `@thread`, one per number. */
static bool is_called(const struct object *object, const char *label, uint32_t master_id)
{
    bool is_named = label[0] != '\0' && strcmp(label, "thread") != 0;

    return strcmp(object->label, label) == 0 && (is_named || object->master_id == master_id);
}

static struct object *find_object(struct parser *parser, const char *label, uint32_t master_id)
{
    struct object *object = parser->objects;

    while (object != NULL && !is_called(object, label, master_id))
        object = object->next;
    if (object != NULL)
        return object;
    object = keep(parser, sizeof(*object));
    *object = (struct object){.next = parser->objects, .master_id = master_id};
    snprintf(object->label, sizeof(object->label), "%s", label);
    if (strcmp(label, "thread") == 0) {
        object->thread_object = parser->script->num_thread_objects++;
    } else {
        object->bytes = keep(parser, SCRIPT_STRUCT_SIZE);
        memcpy(object->bytes + SCRIPT_MASTER_ID_OFFSET, &master_id, sizeof(master_id));
    }
    parser->objects = object;
    return object;
}

/* Parses a connection: finds its object by the number or the label. */
static bool lay_out_connection(struct parser *parser, struct script_firing *firing, size_t place,
                               const struct value *value)
{
    const struct object *object;
    struct script_live *live;

    if (value->num_numbers != 1)
        return fail(parser, "expected one number");
    if (!fits(value, 32))
        return fail(parser, "a connection's master_id has 32 bits");
    object = find_object(parser, value->label, (uint32_t)value->numbers[0]);
    firing->arguments[place] = (uintptr_t)object->bytes;
    if (value->label[0] == '\0')
        return true;
    live = add_live(firing, place, SCRIPT_NUMBER, KIND_CONN);
    live->number = value->numbers[0];
    live->object = object->bytes;
    live->thread_object = object->thread_object;
    return true;
}

/* Makes the struct of a stream or rtt from its numbers. */
static bool lay_out_struct(struct parser *parser, enum kind kind, const struct value *value,
                           uint64_t *argument)
{
    char *fake = keep(parser, SCRIPT_STRUCT_SIZE);

    *argument = (uintptr_t)fake;
    if (kind == KIND_RTT) {
        for (size_t i = 0; i < 4; ++i) {
            uint32_t milliseconds = (uint32_t)value->numbers[i];
            memcpy(fake + i * sizeof(milliseconds), &milliseconds, sizeof(milliseconds));
        }
        return value->num_numbers == 4 ||
               fail(parser, "an rtt is four numbers: minimum,smoothed,variance,latest");
    }
    if (value->num_numbers != 1)
        return fail(parser, "expected one number");
    memcpy(fake + SCRIPT_STREAM_ID_OFFSET, &value->numbers[0], sizeof(int64_t));
    return true;
}

static bool lay_out_numbers(struct parser *parser, const struct probe_argument *declared,
                            const struct value *value, uint64_t *argument)
{
    enum kind kind = kind_of(declared->type);

    if (value->label[0] != '\0')
        return fail(parser, "%s is no connection: only these have NUMBER@NAME", declared->name);
    if (kind == KIND_STREAM || kind == KIND_RTT)
        return lay_out_struct(parser, kind, value, argument);
    if (kind == KIND_BYTES || kind == KIND_SOCKADDR)
        return fail(parser, "%s is a '%s': write \"...\", x\"...\", NULL or ptr:NUMBER",
                    declared->name, declared->type);
    if (value->num_numbers != 1)
        return fail(parser, "%s takes one number", declared->name);
    if (kind == KIND_INTEGER && !fits(value, bits_of(declared->type)))
        return fail(parser, "the value of %s does not fit into its type, %s", declared->name,
                    declared->type);
    *argument = value->numbers[0];
    return true;
}

static bool lay_out(struct parser *parser, struct script_firing *firing, size_t place,
                    const struct value *value)
{
    const struct probe_argument *declared = &firing->probe->arguments[place];
    enum kind kind = kind_of(declared->type);
    uint64_t *argument = &firing->arguments[place];

    if (value->form == FORM_NUMBERS && kind == KIND_CONN)
        return lay_out_connection(parser, firing, place, value);
    if (value->form == FORM_NUMBERS)
        return lay_out_numbers(parser, declared, value, argument);
    if (value->form == FORM_LIVE) {
        if (kind == KIND_BYTES || kind == KIND_SOCKADDR || kind == KIND_RTT)
            return fail(parser, "%s is a '%s', no number", declared->name, declared->type);
        add_live(firing, place, value->source, kind);
        return true;
    }
    if (kind == KIND_INTEGER)
        return fail(parser, "%s is a number: its type is %s", declared->name, declared->type);
    if (value->form == FORM_POINTER)
        *argument = value->numbers[0];
    else if (kind == KIND_SOCKADDR && value->is_quoted)
        return lay_out_sockaddr(parser, value, argument);
    else
        *argument = (uintptr_t)value->bytes;
    return true;
}

static struct script_step *add_step(struct parser *parser, enum script_step_kind kind,
                                    uint64_t number)
{
    struct script *script = parser->script;

    if (script->num_steps == parser->max_steps) {
        parser->max_steps = parser->max_steps * 2 + 64;
        script->steps = must(realloc(script->steps, parser->max_steps * sizeof(script->steps[0])));
    }
    struct script_step *step = &script->steps[script->num_steps++];
    *step = (struct script_step){.kind = kind, .number = number};
    return step;
}

static bool no_such_argument(const struct parser *parser, const struct probe *probe,
                             const char *name)
{
    fail(parser, "%s:%s has no argument '%s'; it has:", probe->provider, probe->name, name);
    for (size_t i = 0; i < probe->num_arguments; ++i)
        fprintf(stderr, "    %s (%s)\n", probe->arguments[i].name, probe->arguments[i].type);
    return false;
}

/* NAME=VALUE */
static bool parse_argument(struct parser *parser, struct script_firing *firing,
                           bool is_given[PROBE_MAX_ARGUMENTS])
{
    const struct probe *probe = firing->probe;
    char name[MAX_WORD];
    struct value value;

    take_word(parser, "=", name);
    if (!take(parser, "="))
        return fail(parser, "expected NAME=VALUE at '%s'", name);
    int place = probe_find_argument(probe, name);
    if (place < 0)
        return no_such_argument(parser, probe, name);
    if (is_given[place])
        return fail(parser, "argument '%s' is given twice", name);
    is_given[place] = true;
    if (!take_value(parser, &value) || !lay_out(parser, firing, (size_t)place, &value))
        return false;
    return at_end_of_value(parser) || fail(parser, "unexpected '%s'", parser->at);
}

/* PROVIDER:PROBE NAME=VALUE... */
static bool parse_firing(struct parser *parser)
{
    char provider[MAX_WORD], name[MAX_WORD];
    bool is_given[PROBE_MAX_ARGUMENTS] = {false};

    take_word(parser, ":", provider);
    if (!take(parser, ":"))
        return fail(parser, "'%s' is neither a directive nor PROVIDER:PROBE", provider);
    take_word(parser, "", name);
    const struct probe *probe = probe_find(provider, name);
    if (probe == NULL)
        return fail(parser, "no probe '%s:%s' in this version of h2o", provider, name);

    struct script_firing *firing = keep(parser, sizeof(*firing));
    firing->probe = probe;
    add_step(parser, SCRIPT_FIRE, 0)->firing = firing;
    for (skip_space(parser); *parser->at != '\0'; skip_space(parser))
        if (!parse_argument(parser, firing, is_given))
            return false;
    return true;
}

static bool parse_end(struct parser *parser)
{
    if (parser->num_open_repeats == 0)
        return fail(parser, "'end' without a 'repeat'");
    size_t repeat = parser->open_repeats[--parser->num_open_repeats];
    size_t end = parser->script->num_steps;
    add_step(parser, SCRIPT_END, 0)->partner = repeat;
    parser->script->steps[repeat].partner = end;
    return true;
}

static bool parse_threads(struct parser *parser, uint64_t number)
{
    struct script *script = parser->script;

    if (parser->num_open_repeats != 0)
        return fail(parser, "'threads' cannot be inside of 'repeat'");
    if (script->num_threads != 0)
        return fail(parser, "'threads' can be given once only");
    if (number < 1 || number > MAX_THREADS)
        return fail(parser, "'threads' takes a number from 1 to %d", MAX_THREADS);
    script->num_threads = (unsigned)number;
    script->threads_from = script->num_steps;
    return true;
}

static bool parse_repeat(struct parser *parser, uint64_t number)
{
    if (parser->num_open_repeats == SCRIPT_MAX_NESTING)
        return fail(parser, "'repeat' is nested more than %d deep", SCRIPT_MAX_NESTING);
    parser->open_repeats[parser->num_open_repeats++] = parser->script->num_steps;
    add_step(parser, SCRIPT_REPEAT, number);
    return true;
}

/* Parses the number of a directive, which must end the line. */
static bool take_last_number(struct parser *parser, uint64_t *number)
{
    bool is_negative;

    skip_space(parser);
    if (!take_number(parser, number, &is_negative))
        return false;
    skip_space(parser);
    if (is_negative || *parser->at != '\0')
        return fail(parser, "expected one number, not negative");
    return true;
}

/* `word` is the first word of the line, which was taken. */
static bool parse_directive(struct parser *parser, const char *word)
{
    uint64_t number;

    skip_space(parser);
    if (*parser->at == '\0' && strcmp(word, "end") == 0)
        return parse_end(parser);
    if (*parser->at == '\0' && strcmp(word, "hop") == 0)
        return add_step(parser, SCRIPT_HOP, 0) != NULL;
    if (strcmp(word, "end") == 0 || (strcmp(word, "hop") == 0 && !take(parser, "every ")))
        return fail(parser, "unexpected '%s' behind '%s'", parser->at, word);
    if (!take_last_number(parser, &number))
        return false;

    if (strcmp(word, "repeat") == 0)
        return parse_repeat(parser, number);
    if (strcmp(word, "threads") == 0)
        return parse_threads(parser, number);
    enum script_step_kind kind = strcmp(word, "rate") == 0    ? SCRIPT_RATE
                                 : strcmp(word, "sleep") == 0 ? SCRIPT_SLEEP
                                                              : SCRIPT_HOP_EVERY;
    add_step(parser, kind, number);
    return true;
}

static bool parse_line(struct parser *parser, const char *line)
{
    static const char *const directives[] = {"repeat", "end", "rate", "sleep", "threads", "hop"};
    char word[MAX_WORD];

    parser->at = line;
    skip_space(parser);
    if (*parser->at == '\0' || *parser->at == '#')
        return true;

    const char *start = parser->at;
    take_word(parser, "", word);
    for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); ++i)
        if (strcmp(word, directives[i]) == 0)
            return parse_directive(parser, word);
    parser->at = start;
    return parse_firing(parser);
}

static bool parse_file(struct parser *parser, FILE *file)
{
    char *line = NULL;
    size_t size = 0;
    bool is_good = true;

    while (is_good && getline(&line, &size, file) >= 0) {
        ++parser->line_number;
        line[strcspn(line, "\r\n")] = '\0';
        is_good = parse_line(parser, line);
    }
    free(line);
    if (is_good && ferror(file))
        is_good = fail(parser, "cannot read: %s", strerror(errno));
    if (is_good && parser->num_open_repeats != 0)
        is_good = fail(parser, "a 'repeat' has no 'end'");
    return is_good;
}

struct script *script_read(const char *path)
{
    struct parser parser = {.path = path};
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(stderr, "%s: cannot open the script: %s\n", path, strerror(errno));
        return NULL;
    }

    parser.script = must(calloc(1, sizeof(*parser.script)));
    bool is_good = parse_file(&parser, file);
    fclose(file);
    if (!is_good) {
        script_free(parser.script);
        return NULL;
    }
    if (parser.script->num_threads == 0)
        parser.script->threads_from = parser.script->num_steps;
    return parser.script;
}

void script_free(struct script *script)
{
    while (script->memory != NULL) {
        struct script_memory *next = script->memory->next;
        free(script->memory);
        script->memory = next;
    }
    free(script->steps);
    free(script);
}
