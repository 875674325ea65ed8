#include "server/selection.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "print/text.h"
#include "memory.h"
#include "print/escape.h"

/* What `quic` means: QUIC, and of h2o what ties it to HTTP/3. */
static const char *const quic_probes[] = {
    "quicly:*",     "h2o:h3_accept",   "h2o:h3s_accept",
    "h2o:h3_close", "h2o:h3s_destroy", "h2o:send_response_header",
    NULL,
};
static const char *const all_probes[] = {"h2o:*", "quicly:*", "picotls:*", NULL};

/* What ties h2o's connections to quicly's and unties them. */
static const char *const tie_probes[] = {
    "h2o:h3_accept", "h2o:h3s_accept", "h2o:h3_close", "h2o:h3s_destroy", NULL,
};

/* What says that quicly's connection begins and ends. */
static const char *const life_probes[] = {
    "quicly:accept",
    "quicly:connect",
    "quicly:free",
    NULL,
};

/* Free-form text of the developers of quicly, not an event. */
#define NOT_IN_QUIC "quicly:debug_message"

/*
 * What a mode promises: any of the probes gives it. What h2o had no probe for at first is said of
 * an old server.
 */
enum { OF_HTTP = 1 << MODE_HTTP, OF_QUIC = 1 << MODE_QUIC, OF_ALL = 1 << MODE_ALL };

static const struct promise {
    unsigned modes;
    const char *what;
    const char *tag, *type; /* of the lines, in text and in JSON */
    const char *probes[3];
    bool of_quic; /* nothing that a server without QUIC could do */
} promises[] = {
    {OF_HTTP | OF_ALL, "requests", "RxProtocol", "receive-request", {"h2o:receive_request"}, false},
    {OF_HTTP | OF_ALL,
     "request headers",
     "RxHeader",
     "receive-request-header",
     {"h2o:receive_request_header"},
     false},
    {OF_HTTP | OF_ALL,
     "the status of responses",
     "TxStatus",
     "send-response",
     {"h2o:send_response", "h2o:send_response_status"},
     false},
    {OF_HTTP | OF_QUIC | OF_ALL,
     "response headers",
     "TxHeader",
     "send-response-header",
     {"h2o:send_response_header"},
     false},
    {OF_QUIC | OF_ALL,
     "accepted HTTP/3 connections",
     "",
     "h3s-accept",
     {"h2o:h3_accept", "h2o:h3s_accept"},
     true},
    {OF_ALL, "QUIC", "", "quicly", {"quicly:*"}, false},
    {OF_ALL, "TLS", "", "picotls", {"picotls:*"}, false},
};

/* From here on h2o fires the probes of requests and responses for HTTP/3, too; no list says so. */
#define HTTP3_SINCE 20200120

#define BUILD_WITH_LISTS                                                                           \
    "build h2olog with the lists of this h2o: cmake -DH2O_SOURCE_DIR=/path/to/h2o"

static bool matches_any(const char *const *globs, const char *provider, const char *probe)
{
    for (; *globs != NULL; ++globs) {
        if (version_matches(*globs, provider, probe))
            return true;
    }
    return false;
}

static bool is_in_mode(enum options_mode mode, const char *provider, const char *probe)
{
    switch (mode) {
    case MODE_HTTP:
        return matches_any(http_probes, provider, probe);
    case MODE_QUIC:
        return matches_any(quic_probes, provider, probe) &&
               !version_matches(NOT_IN_QUIC, provider, probe);
    default:
        return matches_any(all_probes, provider, probe);
    }
}

static bool is_named(const struct options *options, const char *provider, const char *probe)
{
    for (size_t i = 0; i != options->tracepoints.count; ++i) {
        if (version_matches(options->tracepoints.words[i], provider, probe))
            return true;
    }
    return false;
}

/* Whether the server has a probe that a glob means, with whatever arguments. */
static bool server_has(const struct version *version, const char *glob)
{
    for (size_t i = 0; i != version->num_traced; ++i) {
        const struct probe *probe = version->traced[i].probe;
        if (version_matches(glob, probe->provider, probe->name))
            return true;
    }
    return false;
}

/* The first date on which the lists have a probe that one of the globs means. */
static uint32_t known_since(const char *const *globs)
{
    uint32_t first = 0;

    for (size_t i = 0; i != num_signatures; ++i) {
        if (matches_any(globs, signatures[i].provider, signatures[i].probe) &&
            (first == 0 || signatures[i].since < first))
            first = signatures[i].since;
    }
    return first;
}

/* A probe that no list knows is traced when it is named. */
static bool is_chosen(const struct options *options, const struct server_probe *traced)
{
    const char *provider = traced->probe->provider, *probe = traced->probe->name;

    if (options->tracepoints.count != 0)
        return is_named(options, provider, probe);
    return traced->guess == NULL && is_in_mode(options->mode, provider, probe);
}

/* How many letters to change, add or drop to make b of a (Levenshtein's distance). */
static size_t distance(const char *a, const char *b)
{
    size_t width = strlen(b) + 1;
    size_t *row = memory_grow(NULL, width, sizeof(row[0])), last;

    for (size_t j = 0; j != width; ++j)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j != width; ++j) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    last = row[width - 1];
    free(row);
    return last;
}

/* The name that is nearest to a glob that matches nothing; NULL if none is near. */
static const struct server_probe *find_near(const char *glob, const struct version *version)
{
    const char *colon = strchr(glob, ':');
    char *wanted = memory_format("%s", colon != NULL ? colon + 1 : glob);
    const struct server_probe *near = NULL;
    size_t nearest = strlen(wanted) / 2 + 1;

    for (char *at = wanted; *at != '\0'; ++at)
        *at = (char)(*at == '-' ? '_' : *at);
    for (size_t i = 0; i != version->num_traced; ++i) {
        const struct server_probe *traced = &version->traced[i];
        size_t far = distance(wanted, traced->probe->name);
        if (strstr(traced->probe->name, wanted) != NULL && far > 1)
            far = 1;
        if (far < nearest) {
            nearest = far;
            near = traced;
        }
    }
    free(wanted);
    return near;
}

static int check_globs(const struct options *options, const struct version *version,
                       struct error *error)
{
    for (size_t i = 0; i != options->tracepoints.count; ++i) {
        const char *glob = options->tracepoints.words[i];
        const struct server_probe *near;
        char *escaped;
        bool found = false;
        for (size_t j = 0; j != version->num_traced && !found; ++j)
            found = version_matches(glob, version->traced[j].probe->provider,
                                    version->traced[j].probe->name);
        if (found)
            continue;
        escaped = escape_string(glob);
        near = find_near(glob, version);
        if (near != NULL)
            error_set(error, ERROR_FAILED,
                      "this server has no tracepoint '%s'; did you mean %s:%s? h2olog -l -p PID "
                      "lists them",
                      escaped, near->probe->provider, near->probe->name);
        else
            error_set(
                error, ERROR_FAILED,
                "this server has no tracepoint '%s'; h2olog -l -p PID lists those that it has",
                escaped);
        free(escaped);
        return -1;
    }
    return 0;
}

static void add(struct selection *selection, const struct server_probe *traced)
{
    selection->probes =
        memory_grow(selection->probes, selection->num_probes + 1, sizeof(selection->probes[0]));
    selection->probes[selection->num_probes++] = *traced;
}

/* Of h2o, which a tie gives quicly's connection. */
static bool has_tie(const struct signature *signature)
{
    return strcmp(signature->provider, "h2o") == 0 && signature->num_arguments != 0 &&
           strcmp(signature->arguments[0].name, "conn_id") == 0;
}

static int explain_nothing(const struct options *options, const struct version *version,
                           struct error *error)
{
    static const char *const quic[] = {"quicly:*", NULL};
    char since[32];

    if (options->mode == MODE_QUIC && !server_has(version, quic[0])) {
        version_date(known_since(quic), since, sizeof(since));
        error_set(error, ERROR_FAILED,
                  "this server has no probes of QUIC: it was built without HTTP/3, or is of before "
                  "%s, when h2o got them; http traces its requests",
                  since);
    } else {
        error_set(error, ERROR_FAILED,
                  "this server has none of the probes to trace; h2olog -l -p PID lists those that "
                  "it has");
    }
    return -1;
}

/* Whether what the mode is for can be traced: `quic` is for more than h2o's response headers. */
static bool has_main_probes(const struct options *options, const struct selection *selection)
{
    if (options->mode != MODE_QUIC || options->tracepoints.count != 0)
        return selection->num_probes != 0;
    for (size_t i = 0; i != selection->num_probes; ++i) {
        if (strcmp(selection->probes[i].probe->provider, "quicly") == 0)
            return true;
    }
    return false;
}

static bool has_connection(const struct signature *signature)
{
    return has_tie(signature) || strcmp(signature->provider, "quicly") == 0;
}

/* Adds those of `globs` that are not chosen, to be traced without being printed. */
static void add_unprinted(struct selection *selection, const struct options *options,
                          const struct version *version, const char *const *globs)
{
    for (size_t i = 0; i != version->num_traced; ++i) {
        const struct server_probe *traced = &version->traced[i];
        if (traced->guess == NULL && !is_chosen(options, traced) &&
            matches_any(globs, traced->probe->provider, traced->probe->name))
            add(selection, traced);
    }
}

int selection_open(struct selection *selection, const struct options *options,
                   const struct version *version, struct error *error)
{
    bool needs_lives = false;

    *selection = (struct selection){0};
    if (check_globs(options, version, error) != 0)
        return -1;
    for (size_t i = 0; i != version->num_traced; ++i) {
        const struct server_probe *traced = &version->traced[i];
        if (is_chosen(options, traced)) {
            selection->needs_ties |= options->mode != MODE_HTTP && has_tie(traced->signature);
            needs_lives |= has_connection(traced->signature);
            add(selection, traced);
        }
    }
    selection->num_printed = selection->num_probes;
    if (!has_main_probes(options, selection))
        return explain_nothing(options, version, error);
    if (options->mode == MODE_HTTP)
        return 0;
    if (needs_lives)
        add_unprinted(selection, options, version, life_probes);
    selection->num_followed = selection->num_probes - selection->num_printed;
    if (selection->needs_ties)
        add_unprinted(selection, options, version, tie_probes);
    return 0;
}

void selection_dispose(struct selection *selection)
{
    free(selection->probes);
}

/* Whether a probe would be traced, if its arguments were known. */
static bool is_missed(const struct selection *selection, const struct options *options,
                      const struct server_probe *traced)
{
    const char *provider = traced->probe->provider, *probe = traced->probe->name;

    if (traced->guess == NULL || is_chosen(options, traced))
        return false;
    return (options->tracepoints.count == 0 && is_in_mode(options->mode, provider, probe)) ||
           (selection->needs_ties && matches_any(tie_probes, provider, probe));
}

static void print_missed(FILE *file, const struct server_probe *traced)
{
    fprintf(file,
            "h2olog: %s:%s is not traced: its arguments have changed, and nothing says what they "
            "mean; here it is %s; h2olog all -t %s:%s traces it raw; to read it, " BUILD_WITH_LISTS
            "\n",
            traced->probe->provider, traced->probe->name, traced->signature->declaration,
            traced->probe->provider, traced->probe->name);
}

static void print_read_otherwise(FILE *file, const struct version *version,
                                 const struct server_probe *traced)
{
    const struct signature *signature = traced->signature;
    char since[32], until[32], known_as[128];

    if (traced->num_ignored != 0) {
        fprintf(file,
                "h2olog: %s:%s has %zu arguments here; the first %zu fit %s and are read as these, "
                "the others are not read; to read them, " BUILD_WITH_LISTS "\n",
                signature->provider, signature->probe,
                signature->num_arguments + traced->num_ignored, signature->num_arguments,
                signature->declaration);
    } else if (!version_is_of_version(version, signature)) {
        version_date(signature->since, since, sizeof(since));
        version_date(signature->until, until, sizeof(until));
        version_name(version, known_as, sizeof(known_as));
        fprintf(file,
                "h2olog: %s:%s is read as %s, which h2o had %s %s%s%s; the other probes are those "
                "of %s; if that is wrong, " BUILD_WITH_LISTS "\n",
                signature->provider, signature->probe, signature->declaration,
                signature->until != 0 ? "from" : "since", since,
                signature->until != 0 ? " to " : "", signature->until != 0 ? until : "", known_as);
    }
}

/* New probes, in one line: there can be many. */
static void print_new(FILE *file, const struct selection *selection, const struct options *options,
                      const struct version *version)
{
    enum { SHOWN_MAX = 8 };
    size_t count = 0;

    for (size_t i = 0; i != version->num_traced; ++i) {
        const struct server_probe *traced = &version->traced[i];
        if (!is_missed(selection, options, traced) || version_knows(traced->probe))
            continue;
        if (count < SHOWN_MAX)
            fprintf(file, "%s%s",
                    count == 0 ? "h2olog: not traced, as no list of this h2olog has them: " : ", ",
                    traced->signature->declaration);
        ++count;
    }
    if (count > SHOWN_MAX)
        fprintf(file, " and %zu more", count - SHOWN_MAX);
    if (count != 0)
        fputs("; h2olog all -t NAME traces one raw; to read them, " BUILD_WITH_LISTS "\n", file);
}

void selection_print_changed(FILE *file, const struct selection *selection,
                             const struct options *options, const struct version *version)
{
    for (size_t i = 0; i != version->num_traced; ++i) {
        const struct server_probe *traced = &version->traced[i];
        if (is_missed(selection, options, traced) && version_knows(traced->probe))
            print_missed(file, traced);
    }
    for (size_t i = 0; i != selection->num_probes; ++i) {
        if (selection->probes[i].guess == NULL)
            print_read_otherwise(file, version, &selection->probes[i]);
    }
    print_new(file, selection, options, version);
}

static void print_broken_promise(FILE *file, const struct promise *promise, bool text,
                                 const struct version *version, const char *known_as)
{
    const uint32_t first = known_since(promise->probes);
    char since[32];

    version_date(first, since, sizeof(since));
    fprintf(file, "h2olog: this server (%s) has no probe for %s: %s %s are missing; %s%s\n",
            known_as, promise->what, text ? promise->tag : promise->type, text ? "lines" : "events",
            first > version->since ? "h2o has had it since " : "it is not in this build of h2o",
            first > version->since ? since : "");
}

/* In how many places a probe of h2o stands. */
static size_t num_places(const struct version *version, const char *name)
{
    for (size_t i = 0; i != version->num_traced; ++i) {
        const struct probe *probe = version->traced[i].probe;
        if (strcmp(probe->provider, "h2o") == 0 && strcmp(probe->name, name) == 0)
            return probe->num_locations;
    }
    return 0;
}

/*
 * h2o got the probes of requests and responses for HTTP/3 later than those of HTTP/1 and HTTP/2, of
 * the same names. Each known_as of HTTP has a place of its own.
 */
static void print_no_http3(FILE *file, const struct version *version, const char *known_as)
{
    char since[32];

    if (version->since >= HTTP3_SINCE || !server_has(version, "quicly:*") ||
        num_places(version, "receive_request") >= 3)
        return;
    version_date(HTTP3_SINCE, since, sizeof(since));
    fprintf(file,
            "h2olog: this server (%s) has no probes for requests of HTTP/3: these are missing; h2o "
            "has had them since %s\n",
            known_as, since);
}

void selection_print_missing(FILE *file, const struct options *options,
                             const struct version *version)
{
    const bool has_quic = server_has(version, "quicly:*");
    char known_as[128];

    if (options->tracepoints.count != 0)
        return;
    version_name(version, known_as, sizeof(known_as));
    for (size_t i = 0; i != sizeof(promises) / sizeof(promises[0]); ++i) {
        const struct promise *promise = &promises[i];
        bool kept = (promise->modes & 1u << options->mode) == 0 || (promise->of_quic && !has_quic);
        for (size_t j = 0; promise->probes[j] != NULL && !kept; ++j)
            kept = server_has(version, promise->probes[j]);
        if (!kept)
            print_broken_promise(file, promise, options->mode == MODE_HTTP, version, known_as);
    }
    if (options->mode != MODE_QUIC)
        print_no_http3(file, version, known_as);
}

void selection_print_lacking(FILE *file, const struct options *options,
                             const struct version *version)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        bool found = false;
        if (signature->since > version->since ||
            (signature->until != 0 && signature->until <= version->since) ||
            !(options->tracepoints.count != 0
                  ? is_named(options, signature->provider, signature->probe)
                  : is_in_mode(options->mode, signature->provider, signature->probe)))
            continue;
        for (size_t j = 0; j != version->num_traced && !found; ++j)
            found = strcmp(version->traced[j].probe->name, signature->probe) == 0 &&
                    strcmp(version->traced[j].probe->provider, signature->provider) == 0;
        if (!found)
            fprintf(file, "this server lacks %s:%s\n", signature->provider, signature->probe);
    }
}

static bool is_listed(const struct options *options, const struct signature *signature)
{
    return options->tracepoints.count == 0 ||
           is_named(options, signature->provider, signature->probe);
}

size_t selection_print_list(FILE *file, const struct options *options,
                            const struct version *version)
{
    size_t count = 0;

    for (size_t i = 0; version != NULL && i != version->num_traced; ++i) {
        const struct server_probe *traced = &version->traced[i];
        const char *declaration = traced->signature->declaration;
        if (is_listed(options, traced->signature)) {
            if (traced->num_ignored != 0)
                fprintf(file, "%.*s, ...)\n", (int)strlen(declaration) - 1, declaration);
            else
                fprintf(file, "%s\n", declaration);
            ++count;
        }
    }
    for (size_t i = 0; version == NULL && i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        bool newest = true;
        for (size_t j = 0; j != num_signatures && newest; ++j)
            newest = strcmp(signatures[j].probe, signature->probe) != 0 ||
                     strcmp(signatures[j].provider, signature->provider) != 0 ||
                     signatures[j].since <= signature->since;
        if (newest && is_listed(options, signature)) {
            fprintf(file, "%s\n", signature->declaration);
            ++count;
        }
    }
    return count;
}
