#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "memory.h"
#include "print/escape.h"

/* The views to which an option applies. */
enum option_views { ANY_VIEW, EVENT_VIEWS };

static const struct option_row {
    char letter;
    const char *name;
    const char *argument; /* NULL: none */
    enum option_views views;
    const char *help;
} rows[] = {
#define OPTION(letter, name, argument, views, help) {letter, name, argument, views, help},
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
        return fail(error, "-p takes a process id, not '%s'; h2olog without -p lists the servers",
                    text);
    *pid = (pid_t)value;
    return 0;
}

/* Parses a size: 512K, 4M, 1G, or a number of bytes. */
static int parse_size(const char *text, size_t *size, struct error *error)
{
    static const char units[] = "KMG";
    unsigned long long value;
    const char *unit;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 10);
    unit = *end != '\0' ? strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
    if (text[0] < '0' || text[0] > '9' || errno != 0 ||
        (*end != '\0' && (unit == NULL || end[1] != '\0')))
        return fail(error, "-b takes a size such as 512K or 4M, not '%s'", text);
    for (int power = unit != NULL ? (int)(unit - units) + 1 : 0; power != 0; --power) {
        if (value > ULLONG_MAX / 1024)
            return fail(error, "-b takes at most 1G, not %s", text);
        value *= 1024;
    }
    if (value < 4096 || value > (unsigned long long)1 << 30)
        return fail(error, "-b takes a size from 4K to 1G, not %s", text);
    *size = (size_t)value;
    return 0;
}

/* Checks that it is a field name of HTTP (RFC 9110, 5.6.2), or the name of a pseudo-header. */
static int check_header(const char *name, struct error *error)
{
    size_t length = strlen(name), pseudo = name[0] == ':';

    if (length == pseudo)
        return fail(error, "-s takes the name of a header, such as content-type%s", "");
    if (length > EVENT_NAME_MAX)
        return fail(error, "-s takes a name of at most 256 bytes, not '%s'", name);
    if (strspn(name + pseudo,
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") !=
        length - pseudo)
        return fail(error, "'%s' cannot be the name of a header; give -s the name alone", name);
    return 0;
}

static int apply(struct options *options, const struct option_row *row, const char *argument,
                 struct error *error)
{
    switch (row->letter) {
    case 'p':
        if (options->pid != 0)
            return fail(error, "-p takes only one process id; start another h2olog to trace '%s'",
                        argument);
        return parse_pid(argument, &options->pid, error);
    case 't':
        if (argument[0] == '\0')
            return fail(error, "-t takes a tracepoint, such as quicly:accept%s", "");
        add_word(&options->tracepoints, argument);
        return 0;
    case 's':
        add_word(&options->response_headers, argument);
        return check_header(argument, error);
    case 'b':
        return parse_size(argument, &options->buffer, error);
    case 'w':
        if (argument[0] == '\0')
            return fail(error, "-w takes the name of a file%s", "");
        options->write = strcmp(argument, "-") != 0 ? argument : NULL;
        return 0;
    case 'a':
        options->application_data = true;
        return 0;
    case 'r':
        options->keep_root = true;
        return 0;
    case 'l':
        options->list = true;
        return 0;
    case 'd':
        ++options->debug;
        return 0;
    case 'h':
        options->help = true;
        return 0;
    default:
        options->version = true;
        return 0;
    }
}

static const struct option_row *find_row(int letter)
{
    for (size_t i = 0; i != NUM_ROWS; ++i) {
        if (rows[i].letter == letter)
            return &rows[i];
    }
    return NULL;
}

/* Makes the arguments of getopt_long from the table. */
static void make_getopt(char *letters, struct option *longs)
{
    *letters++ = ':'; /* getopt_long then returns ':' for a missing argument */
    for (size_t i = 0; i != NUM_ROWS; ++i) {
        *letters++ = rows[i].letter;
        if (rows[i].argument != NULL)
            *letters++ = ':';
        longs[i] = (struct option){rows[i].name,
                                   rows[i].argument != NULL ? required_argument : no_argument, NULL,
                                   rows[i].letter};
    }
    *letters = '\0';
    longs[NUM_ROWS] = (struct option){NULL, 0, NULL, 0};
}

static int explain_getopt(int got, char **argv, struct error *error)
{
    const struct option_row *row = find_row(optopt);
    char letter[3] = {'-', (char)optopt, '\0'};
    const char *word = optopt != 0 && row == NULL ? letter : argv[optind - 1];

    if (got == ':' && row != NULL) {
        error_set(error, ERROR_USAGE, "-%c (--%s) needs its %s%s", row->letter, row->name,
                  row->argument != NULL ? row->argument : "argument",
                  row->letter == 'p' ? "; if it came from pgrep, no h2o is running" : "");
        return -1;
    }
    if (row != NULL)
        return fail(error, "'%s': this option takes no argument", word);
    return fail(error, "there is no option '%s'; h2olog --help lists them", word);
}

/* Lists the views, or those that print events: "http, quic or all". Free it with free(). */
static char *list_views(bool of_events_only)
{
    char *list = memory_format("%s", "");
    size_t left = 0;

    for (size_t i = 0; i != num_views; ++i)
        left += !of_events_only || views[i].prints_events;
    for (size_t i = 0; i != num_views; ++i) {
        char *longer;
        if (of_events_only && !views[i].prints_events)
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
    names = list_views(false);
    escaped = escape_string(name);
    error_set(error, ERROR_USAGE, "there is no mode '%s'; use %s, and -p before a process id",
              escaped, names);
    free(escaped);
    free(names);
    return -1;
}

/* Refuses options that do not apply to the view. `seen` has one bit per row. */
static int check_view(const struct options *options, unsigned seen, struct error *error)
{
    for (size_t i = 0; i != NUM_ROWS; ++i) {
        char *names;
        if ((seen >> i & 1) == 0 || rows[i].views == ANY_VIEW || options->view->prints_events ||
            options->list)
            continue;
        names = list_views(true);
        error_set(error, ERROR_USAGE, "-%c applies to %s, not to %s", rows[i].letter, names,
                  options->view->name);
        free(names);
        return -1;
    }
    return 0;
}

int options_parse(struct options *options, int argc, char **argv, struct error *error)
{
    char letters[2 * NUM_ROWS + 2];
    struct option longs[NUM_ROWS + 1];
    unsigned seen = 0;
    int got;

    *options = (struct options){.view = view_find(NULL)};
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
        seen |= 1u << (row - rows);
    }
    if (options->help || options->version)
        return 0;
    if (parse_view(options, argc, argv, error) != 0)
        return -1;
    return check_view(options, seen, error);
}

void options_dispose(struct options *options)
{
    free(options->tracepoints.words);
    free(options->response_headers.words);
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

void options_print_help(FILE *file)
{
    fputs("Usage: h2olog [http|quic|all] -p PID [OPTION]...\n"
          "Traces a running h2o server and prints its events, until it ends or Ctrl-C.\n\n",
          file);
    for (size_t i = 0; i != num_views; ++i) {
        fprintf(file, "  %-5s ", views[i].name);
        print_wrapped(file, views[i].help, 8);
    }
    fputc('\n', file);
    for (size_t i = 0; i != NUM_ROWS; ++i) {
        int width = fprintf(file, "  -%c, --%s%s%s", rows[i].letter, rows[i].name,
                            rows[i].argument != NULL ? " " : "",
                            rows[i].argument != NULL ? rows[i].argument : "");
        fprintf(file, "%*s", width < 30 ? 30 - width : 1, "");
        print_wrapped(file, rows[i].help, 30);
    }
    fputs("\nExamples:\n"
          "  sudo h2olog                       list the running servers\n"
          "  sudo h2olog -p PID                trace requests and responses\n"
          "  sudo h2olog -p PID -s set-cookie  print only this response header\n"
          "  sudo h2olog quic -p PID | jq      trace QUIC, as JSON\n"
          "  h2olog -l                         list all tracepoints\n\n"
          "Exit status: 0 if the server ended, or at Ctrl-C; 1 if h2olog could not trace;\n"
          "2 for wrong usage.\n",
          file);
}
