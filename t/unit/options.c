#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "options.h"

/* A command line, and its result. */
struct parsed {
    char *argv[32];
    int argc;
    struct options options;
    int result;
    struct error error;
};

static void parse_words(struct parsed *parsed, const char *const *words)
{
    *parsed = (struct parsed){.argc = 1};
    parsed->argv[0] = memory_format("%s", "h2olog");
    for (; *words != NULL; ++words)
        parsed->argv[parsed->argc++] = memory_format("%s", *words);
    parsed->result = options_parse(&parsed->options, parsed->argc, parsed->argv, &parsed->error);
}

/* The words after "h2olog"; NULL: none. */
#define PARSE(parsed, ...) parse_words(parsed, (const char *const[]){__VA_ARGS__, NULL})

static void parsed_close(struct parsed *parsed)
{
    options_dispose(&parsed->options);
    for (int i = 0; i != parsed->argc; ++i)
        free(parsed->argv[i]);
}

static void accept_words(struct parsed *parsed, const char *const *words)
{
    parse_words(parsed, words);
    if (parsed->result != 0)
        fail_msg("%s: %s", words[0] != NULL ? words[0] : "nothing", parsed->error.text);
}

#define ACCEPT(parsed, ...) accept_words(parsed, (const char *const[]){__VA_ARGS__, NULL})

/* It is an error, and the message has this part. */
static void refuse_words(const char *part, const char *const *words)
{
    struct parsed parsed;

    parse_words(&parsed, words);
    if (parsed.result != -1)
        fail_msg("'%s' is accepted; expected: an error with '%s'", words[0], part);
    if (strstr(parsed.error.text, part) == NULL)
        fail_msg("'%s': the message lacks '%s': %s", words[0], part, parsed.error.text);
    assert_true(is_tame(parsed.error.text, false));
    parsed_close(&parsed);
}

#define REFUSE(part, ...) refuse_words(part, (const char *const[]){__VA_ARGS__, NULL})

static void no_arguments(void **state)
{
    struct parsed parsed;

    (void)state;
    ACCEPT(&parsed, NULL);
    check_string("mode", parsed.options.view->name, "http");
    assert_int_equal(parsed.options.pid, 0);
    assert_int_equal(parsed.options.port, 0);
    assert_false(parsed.options.servers);
    assert_int_equal(parsed.options.tracepoints.count, 0);
    assert_int_equal(parsed.options.response_headers.count, 0);
    assert_false(parsed.options.application_data);
    assert_null(parsed.options.write);
    assert_int_equal(parsed.options.buffer, 0);
    assert_int_equal(parsed.options.debug, 0);
    assert_false(parsed.options.keep_root);
    assert_false(parsed.options.list);
    assert_false(parsed.options.help);
    assert_false(parsed.options.version);
    assert_null(parsed.options.query);
    assert_null(parsed.options.format);
    assert_false(parsed.options.group || parsed.options.timestamps || parsed.options.json);
    assert_false(parsed.options.redacts || parsed.options.strip_query);
    assert_int_equal(parsed.options.count, 0);
    assert_int_equal(parsed.options.for_ns, 0);
    assert_int_equal(parsed.options.color, COLOR_AUTO);
    assert_int_equal(parsed.options.limits.requests, 100000);
    assert_int_equal(parsed.options.limits.bytes, 64 << 20);
    assert_int_equal(parsed.options.limits.age_ns, 3600 * UINT64_C(1000000000));
    parsed_close(&parsed);
}

static void modes(void **state)
{
    static const struct {
        const char *word;
        const char *mode;
    } words[] = {{"http", "http"}, {"requests", "requests"}, {"quic", "quic"}, {"all", "all"}};
    struct parsed parsed;

    (void)state;
    for (size_t i = 0; i != sizeof(words) / sizeof(words[0]); ++i) {
        ACCEPT(&parsed, words[i].word, "-p", "12");
        check_string("mode", parsed.options.view->name, words[i].mode);
        assert_int_equal(parsed.options.pid, 12);
        parsed_close(&parsed);
        ACCEPT(&parsed, "-p", "12", words[i].word); /* before or after the mode */
        check_string("mode", parsed.options.view->name, words[i].mode);
        assert_int_equal(parsed.options.pid, 12);
        parsed_close(&parsed);
        ACCEPT(&parsed, "-p", "12", "--", words[i].word);
        check_string("mode", parsed.options.view->name, words[i].mode);
        parsed_close(&parsed);
    }
}

static void short_options(void **state)
{
    struct parsed parsed;

    (void)state;
    ACCEPT(&parsed, "quic", "-p", "12", "-t", "accept", "-s", "server", "-a", "-w", "file", "-b",
           "4M", "-r", "-l", "-d");
    check_string("mode", parsed.options.view->name, "quic");
    assert_int_equal(parsed.options.pid, 12);
    assert_int_equal(parsed.options.tracepoints.count, 1);
    assert_string_equal(parsed.options.tracepoints.words[0], "accept");
    assert_int_equal(parsed.options.response_headers.count, 1);
    assert_string_equal(parsed.options.response_headers.words[0], "server");
    assert_true(parsed.options.application_data);
    assert_string_equal(parsed.options.write, "file");
    assert_int_equal(parsed.options.buffer, 4 << 20);
    assert_true(parsed.options.keep_root);
    assert_true(parsed.options.list);
    assert_int_equal(parsed.options.debug, 1);
    parsed_close(&parsed);
}

static void long_options(void **state)
{
    struct parsed parsed;

    (void)state;
    ACCEPT(&parsed, "--pid", "12", "--tracepoint", "quicly:*", "--response-header", "etag",
           "--application-data", "--write", "file", "--buffer", "512K", "--keep-root", "--list",
           "--debug", "all");
    check_string("mode", parsed.options.view->name, "all");
    assert_int_equal(parsed.options.pid, 12);
    assert_int_equal(parsed.options.tracepoints.count, 1);
    assert_string_equal(parsed.options.tracepoints.words[0], "quicly:*");
    assert_int_equal(parsed.options.response_headers.count, 1);
    assert_string_equal(parsed.options.response_headers.words[0], "etag");
    assert_true(parsed.options.application_data);
    assert_string_equal(parsed.options.write, "file");
    assert_int_equal(parsed.options.buffer, 512 << 10);
    assert_true(parsed.options.keep_root);
    assert_true(parsed.options.list);
    assert_int_equal(parsed.options.debug, 1);
    parsed_close(&parsed);

    ACCEPT(&parsed, "quic", "--pid=12", "--tracepoint=accept", "--response-header=a", "--write=f",
           "--buffer=1G");
    assert_int_equal(parsed.options.pid, 12);
    assert_string_equal(parsed.options.tracepoints.words[0], "accept");
    assert_string_equal(parsed.options.response_headers.words[0], "a");
    assert_string_equal(parsed.options.write, "f");
    assert_int_equal(parsed.options.buffer, 1 << 30);
    parsed_close(&parsed);

    ACCEPT(&parsed, "quic", "-p12", "-ad", "-tx", "-ldtaccept"); /* the syntax of getopt */
    assert_int_equal(parsed.options.pid, 12);
    assert_true(parsed.options.application_data);
    assert_true(parsed.options.list);
    assert_int_equal(parsed.options.debug, 2);
    assert_int_equal(parsed.options.tracepoints.count, 2);
    assert_string_equal(parsed.options.tracepoints.words[1], "accept");
    parsed_close(&parsed);
}

static void options_of_requests(void **state)
{
    struct parsed parsed;

    (void)state;
    ACCEPT(&parsed, "-q", "status >= 500", "-g", "-T", "-R", ":path", "-n", "3", "--for", "1.5m",
           "--redact", "--strip-query", "--max-requests", "7", "--max-memory", "1M", "--max-age",
           "2h");
    check_string("query", parsed.options.query, "status >= 500");
    assert_true(parsed.options.group && parsed.options.timestamps && parsed.options.strip_query);
    assert_int_equal(parsed.options.request_headers.count, 1);
    check_string("header", parsed.options.request_headers.words[0], ":path");
    assert_int_equal(parsed.options.count, 3);
    assert_int_equal(parsed.options.for_ns, 90 * UINT64_C(1000000000));
    assert_true(parsed.options.redacts);
    assert_int_equal(parsed.options.redacted.count, 0);
    assert_int_equal(parsed.options.limits.requests, 7);
    assert_int_equal(parsed.options.limits.bytes, 1 << 20);
    assert_int_equal(parsed.options.limits.age_ns, 7200 * UINT64_C(1000000000));
    parsed_close(&parsed);

    ACCEPT(&parsed, "requests", "--json", "--redact=Cookie,x-token", "--color", "never");
    assert_true(parsed.options.json);
    assert_int_equal(parsed.options.redacted.count, 2);
    check_string("redacted", parsed.options.redacted.words[0], "cookie");
    check_string("redacted", parsed.options.redacted.words[1], "x-token");
    assert_int_equal(parsed.options.color, COLOR_NEVER);
    parsed_close(&parsed);

    ACCEPT(&parsed, "requests", "-F", "combined", "--color=always");
    check_string("format", parsed.options.format, "combined");
    assert_int_equal(parsed.options.color, COLOR_ALWAYS);
    parsed_close(&parsed);

    ACCEPT(&parsed, "quic", "-j"); /* it always prints JSON */
    parsed_close(&parsed);
}

static void durations(void **state)
{
    static const struct {
        const char *word;
        uint64_t ns;
    } good[] = {
        {"1", 1000000000},    {"30s", 30000000000},    {"500ms", 500000000},
        {"5m", 300000000000}, {"1h", 3600000000000},   {"1d", 86400000000000},
        {"0.5", 500000000},   {"1.5h", 5400000000000},
    };
    static const char *const bad[] = {"0",   "0s",   "-1",   "+1s",         "s",
                                      "",    "1x",   "1 s",  "1sm",         "nan",
                                      "inf", "0x10", "1e99", "99999999999", "1h30m"};
    struct parsed parsed;

    (void)state;
    for (size_t i = 0; i != sizeof(good) / sizeof(good[0]); ++i) {
        ACCEPT(&parsed, "--for", good[i].word);
        assert_int_equal(parsed.options.for_ns, good[i].ns);
        parsed_close(&parsed);
    }
    for (size_t i = 0; i != sizeof(bad) / sizeof(bad[0]); ++i) {
        REFUSE("--for takes a time", "--for", bad[i]);
        REFUSE("--max-age takes a time", "--max-age", bad[i]);
    }
}

static void wrong_options_of_requests(void **state)
{
    (void)state;
    REFUSE("-n takes a number from 1, not '0'", "-n", "0");
    REFUSE("-n", "-n", "x");
    REFUSE("-n", "-n", "-1");
    REFUSE("-n", "-n", "18446744073709551616");
    REFUSE("--max-requests", "--max-requests", "0");
    REFUSE("--max-memory takes a size from 64K to 64G, not 1K", "--max-memory", "1K");
    REFUSE("-q takes a query", "-q", "");
    REFUSE("-q takes one query", "-q", "status", "-q", "path");
    REFUSE("-F takes a format", "requests", "-F", "");
    REFUSE("--color takes", "requests", "--color", "red");
    REFUSE("--redact", "--redact=");
    REFUSE("--redact", "--redact=a,");
    REFUSE("'a b'", "--redact=a b");
    REFUSE("-R", "-R", "a b");
    REFUSE("-j (--json) applies to requests, quic or all, not to http", "-j");
    REFUSE("-F (--format) applies to requests, not to http", "-F", "common");
    REFUSE("--color applies to requests, not to quic", "quic", "--color", "never");
    REFUSE("-g (--group) applies to http, not to requests", "requests", "-g");
    REFUSE("-T (--timestamps) applies to http, not to all", "all", "-T");
    REFUSE("--max-age applies to http or requests, not to all", "all", "--max-age", "1h");
    REFUSE("choose one", "requests", "-j", "-F", "common");
    REFUSE("--redact cannot hide", "all", "-a", "--redact");
}

static void repeated_options(void **state)
{
    struct parsed parsed;

    (void)state;
    ACCEPT(&parsed, "quic", "-p", "1", "-s", "a", "-t", "x", "-s", "B", "-t", "quicly:y", "-s", "a",
           "-ddd");
    assert_int_equal(parsed.options.response_headers.count, 3);
    assert_string_equal(parsed.options.response_headers.words[0], "a");
    assert_string_equal(parsed.options.response_headers.words[1], "B");
    assert_string_equal(parsed.options.response_headers.words[2], "a");
    assert_int_equal(parsed.options.tracepoints.count, 2);
    assert_string_equal(parsed.options.tracepoints.words[0], "x");
    assert_string_equal(parsed.options.tracepoints.words[1], "quicly:y");
    assert_int_equal(parsed.options.debug, 3);
    parsed_close(&parsed);
}

/* --help and --version work with any other arguments. */
static void help_and_version(void **state)
{
    static const char *const words[] = {"-h", "--help", "-V", "--version"};
    struct parsed parsed;

    (void)state;
    for (size_t i = 0; i != 4; ++i) {
        ACCEPT(&parsed, words[i]);
        assert_int_equal(parsed.options.help, i < 2);
        assert_int_equal(parsed.options.version, i >= 2);
        parsed_close(&parsed);
        ACCEPT(&parsed, words[i], "what", "is", "this");
        parsed_close(&parsed);
    }
}

static void pids(void **state)
{
    static const char *const bad[] = {
        "abc",
        "0",
        "-1",
        "-0",
        "+1",
        "12x",
        "1 2",
        " 12",
        "12 ",
        "1.5",
        "0x10",
        "2147483648",
        "4294967297",
        "99999999999999999999",
        "18446744073709551617",
        "\xd9\xa1",
    };
    static const struct {
        const char *word;
        pid_t pid;
    } good[] = {{"1", 1}, {"4194304", 4194304}, {"2147483647", 2147483647}};
    struct parsed parsed;

    (void)state;
    for (size_t i = 0; i != sizeof(good) / sizeof(good[0]); ++i) {
        ACCEPT(&parsed, "-p", good[i].word);
        assert_int_equal(parsed.options.pid, good[i].pid);
        parsed_close(&parsed);
    }
    for (size_t i = 0; i != sizeof(bad) / sizeof(bad[0]); ++i) {
        REFUSE(bad[i], "-p", bad[i]);
        REFUSE("-p", "-p", bad[i]);
    }
    REFUSE("-p", "-p", ""); /* of a command that found no process */
}

static void ports(void **state)
{
    static const char *const bad[] = {"",    "0",  "-1", "+1",  "65536", "http",
                                      "80x", "1 ", " 1", "1.5", "0x50",  "18446744073709551696"};
    static const struct {
        const char *word;
        uint16_t port;
    } good[] = {{"1", 1}, {"443", 443}, {"0443", 443}, {"65535", 65535}};
    struct parsed parsed;

    (void)state;
    for (size_t i = 0; i != sizeof(good) / sizeof(good[0]); ++i) {
        ACCEPT(&parsed, "--port", good[i].word);
        assert_int_equal(parsed.options.port, good[i].port);
        assert_int_equal(parsed.options.pid, 0);
        parsed_close(&parsed);
    }
    for (size_t i = 0; i != sizeof(bad) / sizeof(bad[0]); ++i)
        REFUSE("--port takes a number from 1 to 65535", "--port", bad[i]);
    REFUSE("--port takes only one port", "--port", "80", "--port", "443");
    REFUSE("--port needs its PORT", "--port");
    REFUSE("-p and --port", "-p", "1", "--port", "443");
}

static void list_of_servers(void **state)
{
    struct parsed parsed;

    (void)state;
    ACCEPT(&parsed, "--servers");
    assert_true(parsed.options.servers);
    assert_false(parsed.options.list);
    parsed_close(&parsed);
    ACCEPT(&parsed, "-l", "--port", "443");
    assert_false(parsed.options.servers);
    parsed_close(&parsed);
    REFUSE("--servers lists all", "--servers", "-l");
    REFUSE("--servers lists all", "--servers", "-p", "1");
    REFUSE("--servers lists all", "--servers", "--port", "1");
}

static void buffer_sizes(void **state)
{
    static const struct {
        const char *word;
        size_t size;
    } good[] = {
        {"4096", 4096},          {"4K", 4096},    {"4k", 4096},       {"5000", 5000},
        {"512K", 512 << 10},     {"1M", 1 << 20}, {"4m", 4 << 20},    {"1023M", (size_t)1023 << 20},
        {"1G", 1 << 30},         {"1g", 1 << 30}, {"1024M", 1 << 30}, {"1048576K", 1 << 30},
        {"1073741824", 1 << 30},
    };
    static const char *const bad[] = {
        "0",
        "1",
        "4095",
        "3K",
        "0K",
        "0G",
        "2G",
        "1025M",
        "1073741825",
        "1048577K",
        "16777216T",
        "4X",
        "-1",
        "-4M",
        "+4M",
        " 4M",
        "4M ",
        "4 M",
        "4MB",
        "4KiB",
        "M",
        "K4",
        "abc",
        "0x1000",
        "1.5M",
        "4,5M",
        "4096B",
        "99999999999999999999",
        "18446744073709551616",
        "18446744073709551615",
        "18014398509481985K",
        "17592186044417M",
        "17179869185G",
        "18446744073709551615G",
    };
    struct parsed parsed;

    (void)state;
    for (size_t i = 0; i != sizeof(good) / sizeof(good[0]); ++i) {
        ACCEPT(&parsed, "-b", good[i].word);
        if (parsed.options.buffer != good[i].size)
            fail_msg("-b %s is %zu bytes, not %zu", good[i].word, good[i].size,
                     parsed.options.buffer);
        parsed_close(&parsed);
    }
    for (size_t i = 0; i != sizeof(bad) / sizeof(bad[0]); ++i) {
        REFUSE(bad[i], "-b", bad[i]);
        REFUSE("-b", "-b", bad[i]);
    }
    REFUSE("-b", "-b", "");
}

static void header_names(void **state)
{
    static const char *const good[] = {
        "server", "Content-Type", "x", "X-!#$%&'*+.^_`|~0", ":status", "x-a_b",
    };
    static const char *const bad[] = {
        "a b",   " a",   "a ",       "content-type: text/html",
        "a\tb",  "a\nb", "a\"b",     "a(b)",
        "a/b",   "a;b",  "a=b",      "a,b",
        "a[0]",  "a{b}", "a\\b",     "a@b",
        "a<b>",  "a?",   "\xc3\xa9", "a\x7f",
        "a\x80",
    };
    char name[258];
    struct parsed parsed;

    (void)state;
    for (size_t i = 0; i != sizeof(good) / sizeof(good[0]); ++i) {
        ACCEPT(&parsed, "-s", good[i]);
        assert_string_equal(parsed.options.response_headers.words[0], good[i]);
        parsed_close(&parsed);
    }
    for (size_t i = 0; i != sizeof(bad) / sizeof(bad[0]); ++i)
        REFUSE("-s", "-s", bad[i]);
    REFUSE("a b", "-s", "a b");
    REFUSE("-s", "-s", "");
    memset(name, 'n', 256); /* the limit of names */
    name[256] = '\0';
    ACCEPT(&parsed, "-s", name);
    parsed_close(&parsed);
    strcat(name, "n");
    REFUSE("256", "-s", name);
    REFUSE("-s", "-s", "good", "-s", "not good");
}

static void empty_values(void **state)
{
    (void)state;
    REFUSE("-t", "quic", "-t", "");
    REFUSE("-w", "-w", "");
    REFUSE("-s", "--response-header=");
    REFUSE("-w", "--write=");
}

static void missing_values(void **state)
{
    static const struct {
        const char *letter, *name, *value;
    } options[] = {
        {"-p", "--pid", "PID"},
        {"-t", "--tracepoint", "GLOB"},
        {"-s", "--response-header", "NAME"},
        {"-w", "--write", "FILE"},
        {"-b", "--buffer", "SIZE"},
        {"-q", "--query", "EXPR"},
        {"-n", "--count", "N"},
        {"--for", "--for", "DURATION"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(options) / sizeof(options[0]); ++i) {
        REFUSE(options[i].letter, "quic", options[i].letter);
        REFUSE(options[i].value, "quic", options[i].letter);
        REFUSE(options[i].name, "quic", options[i].name);
        REFUSE(options[i].value, "quic", options[i].name);
    }
    REFUSE("-p", "-dp");
}

static void unknown_options(void **state)
{
    (void)state;
    REFUSE("-x", "-x");
    REFUSE("-x", "-dx");
    REFUSE("-x", "-p", "1", "-dx", "quic");
    REFUSE("--pidd", "--pidd", "1");
    REFUSE("--unknown", "quic", "--unknown", "-d");
    REFUSE("--unknown=1", "--unknown=1");
    REFUSE("--help", "-x"); /* the message says what to do */
    REFUSE("-?", "-?");
    REFUSE("-:", "-:");
    REFUSE("-1", "-1");
    /* a single letter is not a long option */
    REFUSE("--x", "--x");
}

static void values_where_there_are_none(void **state)
{
    (void)state;
    REFUSE("--list=yes", "--list=yes");
    REFUSE("--help=all", "--help=all");
    REFUSE("--debug=2", "-p", "1", "--debug=2");
    REFUSE("--application-data=1", "quic", "--application-data=1");
}

static void leftover_words(void **state)
{
    (void)state;
    REFUSE("htpp", "htpp");
    REFUSE("1234", "1234"); /* a pid without -p */
    REFUSE("-p", "1234");
    REFUSE("QUIC", "QUIC");
    REFUSE("''", "");
    REFUSE("more", "quic", "more");
    REFUSE("more", "quic", "-p", "1", "more");
    REFUSE("1234", "quic", "1234");
    REFUSE("quic", "http", "quic");
    REFUSE("http", "http", "http");
    REFUSE("-d", "quic", "--", "-d");
}

static void options_that_do_not_go_with_http(void **state)
{
    struct parsed parsed;

    (void)state;
    REFUSE("-t", "-t", "accept");
    REFUSE("http", "-t", "accept");
    REFUSE("quic", "http", "-t", "accept");
    REFUSE("-a", "-a");
    REFUSE("-a", "-p", "1", "--application-data", "http");
    REFUSE("-t", "-p", "1", "--tracepoint", "x");
    ACCEPT(&parsed, "-l", "-t", "accept"); /* -l does not depend on the mode */
    parsed_close(&parsed);
    ACCEPT(&parsed, "quic", "-t", "accept", "-a");
    parsed_close(&parsed);
    ACCEPT(&parsed, "-a", "-t", "accept", "all");
    parsed_close(&parsed);
}

/* Words of the command line are escaped in messages. */
static void hostile_bytes_are_escaped(void **state)
{
    static const char hostile[] = "\x1b[2J\nforged\r\x07\x7f\xff\xc2\x9b"
                                  "2J\xe2\x82";
    static const char *const options[] = {"-p",    "-b",       "-s",
                                          "--pid", "--buffer", "--response-header"};
    char word[64];

    (void)state;
    for (size_t i = 0; i != sizeof(options) / sizeof(options[0]); ++i)
        REFUSE("\\x1b[2J\\x0aforged\\x0d\\x07\\x7f\\xff\\xc2\\x9b2J\\xe2\\x82", options[i],
               hostile);
    REFUSE("\\x1b[2J\\x0aforged", hostile);
    REFUSE("\\x1b[2J\\x0aforged", "quic", hostile);
    snprintf(word, sizeof(word), "--%s", hostile);
    REFUSE("\\x1b[2J\\x0aforged", word);
    snprintf(word, sizeof(word), "--list=%s", hostile);
    REFUSE("\\x1b[2J\\x0aforged", word);
    REFUSE("\\x1b", "-\x1b");
    REFUSE("\\x0a", "-d\n");
    REFUSE("\\xff", "-\xff");
    REFUSE("\\xc3", "-\xc3\xa9"); /* getopt takes one byte as the letter */
    REFUSE("%s%n", "%s%n");
    REFUSE("%s%n", "-p", "%s%n");
    REFUSE("%s%n", "--%s%n");
}

/* Each call parses the whole command line. */
static void parses_again(void **state)
{
    struct parsed parsed;

    (void)state;
    for (int i = 0; i != 3; ++i) {
        REFUSE("-x", "-dx", "quic");
        ACCEPT(&parsed, "-d", "quic", "-p", "7");
        assert_int_equal(parsed.options.debug, 1);
        assert_int_equal(parsed.options.pid, 7);
        parsed_close(&parsed);
    }
}

static void help_lists_all(void **state)
{
    static const char *const parts[] = {
        "Usage: h2olog",
        "http",
        "quic",
        "all",
        "-p, --pid PID",
        "-t, --tracepoint GLOB",
        "-s, --response-header NAME",
        "-a, --application-data",
        "-w, --write FILE",
        "-b, --buffer SIZE",
        "-l, --list",
        "-d, --debug",
        "-h, --help",
        "-V, --version",
        "-r, --keep-root",
        "-q, --query EXPR",
        "    --redact[=NAME,...]",
        "    --for DURATION",
    };
    char *text = NULL;
    size_t size, count = 0;
    FILE *file = open_memstream(&text, &size);

    (void)state;
    options_print_help(file);
    fclose(file);
    for (size_t i = 0; i != sizeof(parts) / sizeof(parts[0]); ++i) {
        if (strstr(text, parts[i]) == NULL)
            fail_msg("--help has no '%s'", parts[i]);
    }
    assert_true(is_tame(text, true));
    assert_int_equal(text[size - 1], '\n');
    for (const char *line = text; *line != '\0'; ++count) {
        size_t length = strcspn(line, "\n");
        if (length > 79)
            fail_msg("a line of --help has %zu columns: %.*s", length, (int)length, line);
        if (length != 0 && line[length - 1] == ' ')
            fail_msg("a line of --help ends with a blank: %.*s", (int)length, line);
        line += length + 1;
    }
    assert_true(count > 14);
    free(text);
}

/* The options are exactly those that --help lists. */
static void help_lists_no_more(void **state)
{
    char *text = NULL;
    size_t size, listed = 0;
    FILE *file = open_memstream(&text, &size);

    (void)state;
    options_print_help(file);
    fclose(file);
    for (int letter = '!'; letter <= '~'; ++letter) {
        char option[3] = {'-', (char)letter, '\0'}, row[8];
        struct parsed parsed;
        bool is_known, is_listed;
        if (letter == '-')
            continue;
        PARSE(&parsed, option, "1");
        is_known = strstr(parsed.error.text, "there is no option") == NULL;
        parsed_close(&parsed);
        snprintf(row, sizeof(row), "\n  -%c, ", letter);
        is_listed = strstr(text, row) != NULL;
        if (is_known != is_listed)
            fail_msg("-%c is %s by --help", letter,
                     is_known ? "not listed" : "listed, but not known");
        listed += is_listed;
    }
    assert_int_equal(listed, 18);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_arguments),
        cmocka_unit_test(modes),
        cmocka_unit_test(short_options),
        cmocka_unit_test(long_options),
        cmocka_unit_test(options_of_requests),
        cmocka_unit_test(durations),
        cmocka_unit_test(wrong_options_of_requests),
        cmocka_unit_test(repeated_options),
        cmocka_unit_test(help_and_version),
        cmocka_unit_test(pids),
        cmocka_unit_test(ports),
        cmocka_unit_test(list_of_servers),
        cmocka_unit_test(buffer_sizes),
        cmocka_unit_test(header_names),
        cmocka_unit_test(empty_values),
        cmocka_unit_test(missing_values),
        cmocka_unit_test(unknown_options),
        cmocka_unit_test(values_where_there_are_none),
        cmocka_unit_test(leftover_words),
        cmocka_unit_test(options_that_do_not_go_with_http),
        cmocka_unit_test(hostile_bytes_are_escaped),
        cmocka_unit_test(parses_again),
        cmocka_unit_test(help_lists_all),
        cmocka_unit_test(help_lists_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
