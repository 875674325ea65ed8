#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "memory.h"
#include "print/escape.h"

/* What getopt_long returns for an option: OPTION_PID and so on. */
enum option_id {
    OPTION_FIRST = 256, /* above all letters */
#define OPTION(id, letter, name, argument, views, help) OPTION_##id,
#include "options.def"
#undef OPTION
};

static const struct option_row {
    enum option_id id;
    char letter; /* 0: none */
    const char *name;
    const char *argument; /* NULL: none; "[WORD]": it is optional */
    enum view_features views;
    const char *help;
} rows[] = {
#define OPTION(id, letter, name, argument, views, help)                                            \
    {OPTION_##id, letter, name, argument, views, help},
#include "options.def"
#undef OPTION
};

#define NUM_ROWS (sizeof(rows) / sizeof(rows[0]))

static int fail(struct error *error, const char *format, const char *word)
{
    char *escaped = escape_string(word);

    error_set(error, ERROR_USAGE, format, escaped);
    free(escaped);
    return -1;
}

static void add_word(struct options_words *words, const char *word)
{
    words->words = memory_grow(words->words, words->count + 1, sizeof(words->words[0]));
    words->words[words->count++] = word;
}

static int parse_pid(const char *text, pid_t *pid, struct error *error)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 ||
        value > INT_MAX)
        return fail(error, "-p takes a process id, not '%s'; h2olog --servers lists the servers",
                    text);
    *pid = (pid_t)value;
    return 0;
}

static int parse_port(const char *text, uint16_t *port, struct error *error)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 ||
        value > UINT16_MAX)
        return fail(error, "--port takes a number from 1 to 65535, not '%s'", text);
    *port = (uint16_t)value;
    return 0;
}

/*
 * Parses a size in bytes: 512K, 4M, 1G, or a number. `what` is the option; the message for a size
 * that is not in the limits is `limits`.
 */
static int parse_size(const char *text, const char *what, size_t min, size_t max,
                      const char *limits, size_t *size, struct error *error)
{
    static const char units[] = "KMG";
    unsigned long long value;
    const char *unit;
    char *end, *format;
    int result;

    errno = 0;
    value = strtoull(text, &end, 10);
    unit = *end != '\0' ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    if (text[0] < '0' || text[0] > '9' || errno != 0 ||
        (*end != '\0' && (unit == NULL || end[1] != '\0'))) {
        format = memory_format("%s takes a size such as 512K or 4M, not '%%s'", what);
    } else {
        for (int power = unit != NULL ? (int)(unit - units) + 1 : 0; power != 0; --power)
            value = value > ULLONG_MAX / 1024 ? ULLONG_MAX : value * 1024;
        *size = (size_t)value;
        if (value >= min && value <= max)
            return 0;
        format = memory_format("%s takes a size from %s, not %%s", what, limits);
    }
    result = fail(error, format, text);
    free(format);
    return result;
}

/* Parses a number from 1. */
static int parse_count(const char *text, const char *what, uint64_t *count, struct error *error)
{
    char *end, *format;
    int result;

    errno = 0;
    *count = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *count != 0)
        return 0;
    format = memory_format("%s takes a number from 1, not '%%s'", what);
    result = fail(error, format, text);
    free(format);
    return result;
}

/* Parses a time: 500ms, 30s, 5m, 1h, 1d, or a number of seconds, which can have decimals. */
static int parse_duration(const char *text, const char *what, uint64_t *ns, struct error *error)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1}, {"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    const char *unit = text + strspn(text, "0123456789."); /* no exponent, no hex */
    char *end, *format;
    double value = strtod(text, &end);
    int result;

    for (size_t i = 0; unit == end && unit != text && i != sizeof(units) / sizeof(units[0]); ++i) {
        if (strcmp(units[i].name, unit) != 0)
            continue;
        value *= units[i].seconds;
        if (value < 0.001 || value > 1e9)
            break;
        *ns = (uint64_t)(value * 1e9);
        return 0;
    }
    format = memory_format("%s takes a time such as 500ms, 30s, 5m or 1h, not '%%s'", what);
    result = fail(error, format, text);
    free(format);
    return result;
}

/* Checks that it is a field name of HTTP (RFC 9110, 5.6.2), or the name of a pseudo-header. */
static int check_header(const char *name, const char *what, struct error *error)
{
    size_t length = strlen(name), pseudo = name[0] == ':';
    char *format = NULL;
    int result;

    if (length == pseudo)
        format = memory_format("%s takes the name of a header, such as content-type%%s", what);
    else if (length > EVENT_NAME_MAX)
        format = memory_format("%s takes a name of at most 256 bytes, not '%%s'", what);
    else if (strspn(name + pseudo, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   "!#$%&'*+-.^_`|~") != length - pseudo)
        format =
            memory_format("'%%s' cannot be the name of a header; give %s the name alone", what);
    if (format == NULL)
        return 0;
    result = fail(error, format, length == pseudo ? "" : name);
    free(format);
    return result;
}

/* Parses the names of --redact, which are separated by commas. */
static int parse_redacted(struct options *options, const char *names, struct error *error)
{
    options->redacts = true;
    while (names != NULL) {
        const size_t length = strcspn(names, ",");
        char *name = memory_format("%.*s", (int)length, names);
        for (char *at = name; *at != '\0'; ++at)
            *at = (char)tolower((unsigned char)*at);
        add_word(&options->redacted, name);
        if (check_header(name, "--redact", error) != 0)
            return -1;
        names = names[length] == ',' ? names + length + 1 : NULL;
    }
    return 0;
}

static int parse_color(const char *word, enum options_color *color, struct error *error)
{
    static const char *const words[] = {"auto", "always", "never"};

    for (size_t i = 0; i != sizeof(words) / sizeof(words[0]); ++i) {
        *color = (enum options_color)i;
        if (strcmp(words[i], word) == 0)
            return 0;
    }
    return fail(error, "--color takes always, never or auto, not '%s'", word);
}

/* Sets a text that must not be empty. */
static int parse_text(const char *word, const char *format, const char **text, struct error *error)
{
    *text = word;
    return word[0] != '\0' ? 0 : fail(error, format, "");
}

static int apply(struct options *options, const struct option_row *row, const char *argument,
                 struct error *error)
{
    switch (row->id) {
    case OPTION_PID:
        if (options->pid != 0)
            return fail(error, "-p takes only one process id; start another h2olog to trace '%s'",
                        argument);
        return parse_pid(argument, &options->pid, error);
    case OPTION_PORT:
        if (options->port != 0)
            return fail(error, "--port takes only one port; start another h2olog to trace '%s'",
                        argument);
        return parse_port(argument, &options->port, error);
    case OPTION_QUERY:
        if (options->query != NULL)
            return fail(error, "-q takes one query; join '%s' to the other one by and", argument);
        return parse_text(argument, "-q takes a query, such as 'status >= 500'%s", &options->query,
                          error);
    case OPTION_GROUP:
        options->group = true;
        return 0;
    case OPTION_TIMESTAMPS:
        options->timestamps = true;
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_FORMAT:
        return parse_text(argument, "-F takes a format, such as combined or '%%m %%U %%s'%s",
                          &options->format, error);
    case OPTION_RESPONSE_HEADER:
        add_word(&options->response_headers, argument);
        return check_header(argument, "-s", error);
    case OPTION_REQUEST_HEADER:
        add_word(&options->request_headers, argument);
        return check_header(argument, "-R", error);
    case OPTION_TRACEPOINT:
        add_word(&options->tracepoints, argument);
        return argument[0] != '\0'
                   ? 0
                   : fail(error, "-t takes a tracepoint, such as quicly:accept%s", "");
    case OPTION_APPLICATION_DATA:
        options->application_data = true;
        return 0;
    case OPTION_REDACT:
        return parse_redacted(options, argument, error);
    case OPTION_STRIP_QUERY:
        options->strip_query = true;
        return 0;
    case OPTION_COUNT:
        return parse_count(argument, "-n", &options->count, error);
    case OPTION_FOR:
        return parse_duration(argument, "--for", &options->for_ns, error);
    case OPTION_WRITE:
        if (argument[0] == '\0')
            return fail(error, "-w takes the name of a file%s", "");
        options->write = strcmp(argument, "-") != 0 ? argument : NULL;
        return 0;
    case OPTION_BUFFER:
        return parse_size(argument, "-b", 4096, (size_t)1 << 30, "4K to 1G", &options->buffer,
                          error);
    case OPTION_COLOR:
        return parse_color(argument, &options->color, error);
    case OPTION_MAX_REQUESTS:
        return parse_count(argument, "--max-requests", &options->limits.requests, error);
    case OPTION_MAX_MEMORY:
        return parse_size(argument, "--max-memory", (size_t)64 << 10, (size_t)64 << 30,
                          "64K to 64G", &options->limits.bytes, error);
    case OPTION_MAX_AGE:
        return parse_duration(argument, "--max-age", &options->limits.age_ns, error);
    case OPTION_KEEP_ROOT:
        options->keep_root = true;
        return 0;
    case OPTION_LIST:
        options->list = true;
        return 0;
    case OPTION_SERVERS:
        options->servers = true;
        return 0;
    case OPTION_DEBUG:
        ++options->debug;
        return 0;
    case OPTION_HELP:
        options->help = true;
        return 0;
    default:
        options->version = true;
        return 0;
    }
}

/* `value` is what getopt_long returns, or a letter. */
static const struct option_row *find_row(int value)
{
    for (size_t i = 0; i != NUM_ROWS; ++i) {
        if ((int)rows[i].id == value || (rows[i].letter != 0 && rows[i].letter == value))
            return &rows[i];
    }
    return NULL;
}

/* Makes the arguments of getopt_long from the table. */
static void make_getopt(char *letters, struct option *longs)
{
    *letters++ = ':'; /* getopt_long then returns ':' for a missing argument */
    for (size_t i = 0; i != NUM_ROWS; ++i) {
        const char *argument = rows[i].argument;
        if (rows[i].letter != 0) {
            *letters++ = rows[i].letter;
            if (argument != NULL)
                *letters++ = ':';
        }
        longs[i] = (struct option){rows[i].name,
                                   argument == NULL     ? no_argument
                                   : argument[0] == '[' ? optional_argument
                                                        : required_argument,
                                   NULL, (int)rows[i].id};
    }
    *letters = '\0';
    longs[NUM_ROWS] = (struct option){NULL, 0, NULL, 0};
}

/* Spells an option: "-p (--pid)", "--for". Free it with free(). */
static char *spell_option(const struct option_row *row)
{
    return row->letter != 0 ? memory_format("-%c (--%s)", row->letter, row->name)
                            : memory_format("--%s", row->name);
}

static int explain_getopt(int got, char **argv, struct error *error)
{
    const struct option_row *row = find_row(optopt);
    char letter[3] = {'-', (char)optopt, '\0'};
    const char *word = optopt != 0 && row == NULL ? letter : argv[optind - 1];

    if (got == ':' && row != NULL) {
        char *option = spell_option(row);
        error_set(error, ERROR_USAGE, "%s needs its %s%s", option,
                  row->argument != NULL ? row->argument : "argument",
                  row->id == OPTION_PID ? "; h2olog --servers lists the servers" : "");
        free(option);
        return -1;
    }
    if (row != NULL)
        return fail(error, "'%s': this option takes no argument", word);
    return fail(error, "there is no option '%s'; h2olog --help lists them", word);
}

/* Lists the views that have one of the features: "http, quic or all". Free it with free(). */
static char *list_views(enum view_features features)
{
    char *list = memory_format("%s", "");
    size_t left = 0;

    for (size_t i = 0; i != num_views; ++i)
        left += (views[i].features & features) != 0;
    for (size_t i = 0; i != num_views; ++i) {
        char *longer;
        if ((views[i].features & features) == 0)
            continue;
        --left;
        longer = memory_format("%s%s%s", list, views[i].name,
                               left > 1    ? ", "
                               : left == 1 ? " or "
                                           : "");
        free(list);
        list = longer;
    }
    return list;
}

static int parse_view(struct options *options, int argc, char **argv, struct error *error)
{
    const char *name = optind != argc ? argv[optind] : NULL;
    char *names, *escaped;

    options->view = view_find(name);
    if (options->view != NULL && optind + 1 < argc)
        return fail(error, "unexpected argument '%s'; see h2olog --help", argv[optind + 1]);
    if (options->view != NULL)
        return 0;
    names = list_views(VIEW_ANY);
    escaped = escape_string(name);
    error_set(error, ERROR_USAGE, "there is no mode '%s'; use %s, and -p before a process id",
              escaped, names);
    free(escaped);
    free(names);
    return -1;
}

/* Refuses options that do not apply to the view. `seen` has one bit per row. */
static int check_view(const struct options *options, uint64_t seen, struct error *error)
{
    _Static_assert(NUM_ROWS <= 64, "a bit for each option");

    for (size_t i = 0; i != NUM_ROWS; ++i) {
        char *names, *option;
        if ((seen >> i & 1) == 0 || (rows[i].views & options->view->features) != 0 || options->list)
            continue;
        names = list_views(rows[i].views);
        option = spell_option(&rows[i]);
        error_set(error, ERROR_USAGE, "%s applies to %s, not to %s", option, names,
                  options->view->name);
        free(option);
        free(names);
        return -1;
    }
    return 0;
}

/* Refuses options that contradict each other. */
static int check_together(const struct options *options, struct error *error)
{
    if (options->pid != 0 && options->port != 0)
        return error_set(error, ERROR_USAGE,
                         "-p and --port both say which server to trace; leave one of them out");
    if (options->servers && (options->list || options->pid != 0 || options->port != 0))
        return error_set(error, ERROR_USAGE,
                         "--servers lists all servers; leave -l, -p and --port out");
    if (options->json && options->format != NULL)
        return error_set(error, ERROR_USAGE, "-j and -F are two formats; choose one of them");
    if (options->redacts && options->application_data)
        return error_set(error, ERROR_USAGE,
                         "--redact cannot hide headers in the application data that -a prints; "
                         "leave one of them out");
    return 0;
}

int options_parse(struct options *options, int argc, char **argv, struct error *error)
{
    char letters[2 * NUM_ROWS + 2];
    struct option longs[NUM_ROWS + 1];
    uint64_t seen = 0;
    int got;

    *options = (struct options){.view = view_find(NULL), .limits = ASSEMBLER_LIMITS_DEFAULT};
    make_getopt(letters, longs);
    unsetenv("POSIXLY_CORRECT"); /* the mode may precede the options */
    opterr = 0;
    optind = 0; /* start from the beginning, also in a second call */
    while ((got = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct option_row *row = got == '?' || got == ':' ? NULL : find_row(got);
        if (row == NULL)
            return explain_getopt(got, argv, error);
        if (apply(options, row, optarg, error) != 0)
            return -1;
        seen |= (uint64_t)1 << (row - rows);
    }
    if (options->help || options->version)
        return 0;
    if (parse_view(options, argc, argv, error) != 0)
        return -1;
    if (check_view(options, seen, error) != 0)
        return -1;
    return check_together(options, error);
}

void options_dispose(struct options *options)
{
    free(options->tracepoints.words);
    free(options->response_headers.words);
    free(options->request_headers.words);
    for (size_t i = 0; i != options->redacted.count; ++i)
        free((char *)options->redacted.words[i]);
    free(options->redacted.words);
}

/* Prints text in a column from `indent` to 79. */
static void print_wrapped(FILE *file, const char *text, int indent)
{
    int column = indent;

    while (*text != '\0') {
        int length = (int)strcspn(text, " ");
        if (column != indent && column + 1 + length > 79) {
            fprintf(file, "\n%*s", indent, "");
            column = indent;
        }
        column += fprintf(file, "%s%.*s", column != indent ? " " : "", length, text);
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', file);
}

static void print_option_help(FILE *file, const struct option_row *row)
{
    const char *argument = row->argument;
    int width = row->letter != 0 ? fprintf(file, "  -%c, --%s", row->letter, row->name)
                                 : fprintf(file, "      --%s", row->name);

    if (argument != NULL && argument[0] == '[') /* an optional argument follows '=' */
        width += fprintf(file, "[=%s", argument + 1);
    else if (argument != NULL)
        width += fprintf(file, " %s", argument);
    fprintf(file, "%*s", width < 30 ? 30 - width : 1, "");
    print_wrapped(file, row->help, 30);
}

void options_print_help(FILE *file)
{
    fputs("Usage: h2olog [http|requests|quic|all] [OPTION]...\n"
          "Traces a running h2o server and prints its events, until it ends or Ctrl-C.\n"
          "If several servers run here, -p or --port says which one.\n\n",
          file);
    for (size_t i = 0; i != num_views; ++i) {
        fprintf(file, "  %-9s ", views[i].name);
        print_wrapped(file, views[i].help, 12);
    }
    fputc('\n', file);
    for (size_t i = 0; i != NUM_ROWS; ++i)
        print_option_help(file, &rows[i]);
    fputs("\nExamples:\n"
          "  sudo h2olog                       trace requests and responses\n"
          "  sudo h2olog --servers             list the running servers\n"
          "  sudo h2olog --port 443            trace the server that listens on this port\n"
          "  sudo h2olog requests              one line per request\n"
          "  sudo h2olog -q 'status >= 500'    only requests that fail, with all headers\n"
          "  sudo h2olog requests -q 'ttfb > 300ms'\n"
          "                                    only slow requests\n"
          "  sudo h2olog -s set-cookie         print only this response header\n"
          "  sudo h2olog quic | jq             trace QUIC, as JSON\n"
          "  h2olog -l                         list all tracepoints\n\n"
          "Exit status: 0 if the server ended, at Ctrl-C, or after -n or --for;\n"
          "1 if h2olog could not trace; 2 for wrong usage, or if it is not clear which\n"
          "server to trace.\n",
          file);
}
