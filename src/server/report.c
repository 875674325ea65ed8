#include "server/report.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* A kind of output that a mode has if it traces one of the probes. */
static const struct promise {
    const char *what;
    const char *tag, *type; /* as printed in text and in JSON */
    const char *probes[3];
    bool of_http; /* requests and responses of every version of HTTP */
    bool of_quic; /* needs QUIC: not reported for a server without it */
} promises[] = {
    {"requests", "RxProtocol", "receive-request", {"h2o:receive_request"}, true, false},
    {"request headers",
     "RxHeader",
     "receive-request-header",
     {"h2o:receive_request_header"},
     true,
     false},
    {"the status of responses",
     "TxStatus",
     "send-response",
     {"h2o:send_response", "h2o:send_response_status"},
     true,
     false},
    {"response headers",
     "TxHeader",
     "send-response-header",
     {"h2o:send_response_header"},
     true,
     false},
    {"accepted HTTP/3 connections",
     "",
     "h3s-accept",
     {"h2o:h3_accept", "h2o:h3s_accept"},
     false,
     true},
    {"QUIC", "", "quicly", {"quicly:*"}, false, false},
    {"TLS", "", "picotls", {"picotls:*"}, false, false},
};

/*
 * The date since when h2o fires the probes of requests and responses for HTTP/3, too. The lists do
 * not have it.
 */
#define HTTP3_SINCE 20200120

#define BUILD_WITH_LISTS                                                                           \
    "build h2olog with the lists of this h2o: cmake -DH2O_SOURCE_DIR=/path/to/h2o"

/* Whether a view traces a probe, or all probes of a provider ("quicly:*"). */
static bool traces(const struct view *view, const char *glob)
{
    const char *colon = strchr(glob, ':');
    char *provider = memory_format("%.*s", (int)(colon - glob), glob);
    bool found = view_traces(view, provider, colon + 1);

    free(provider);
    return found;
}

/* Whether a probe is not traced only because its arguments are unknown. */
static bool is_missed(const struct selection *selection, const struct options *options,
                      const struct server_probe *server_probe)
{
    const char *provider = server_probe->probe->provider, *probe = server_probe->probe->name;

    if (server_probe->guess == NULL || !server_probe->is_traceable ||
        selection_wants(selection, server_probe))
        return false;
    return (options->tracepoints.count == 0 && view_traces(options->view, provider, probe)) ||
           selection_needs(selection, provider, probe);
}

static void print_missed(FILE *file, const struct server_probe *server_probe)
{
    fprintf(
        file,
        "h2olog: %s:%s is not traced: its arguments have changed, and their meaning is unknown; "
        "here it is %s; h2olog all -t %s:%s prints its raw arguments; to read "
        "it, " BUILD_WITH_LISTS "\n",
        server_probe->probe->provider, server_probe->probe->name,
        server_probe->signature->declaration, server_probe->probe->provider,
        server_probe->probe->name);
}

static void print_read_otherwise(FILE *file, const struct version *version,
                                 const struct server_probe *server_probe)
{
    const struct signature *signature = server_probe->signature;
    char since[32], until[32], known_as[128];

    if (server_probe->num_ignored != 0) {
        fprintf(file,
                "h2olog: %s:%s has %zu arguments here; the first %zu fit %s and are read as these, "
                "the others are not read; to read them, " BUILD_WITH_LISTS "\n",
                signature->provider, signature->probe,
                signature->num_arguments + server_probe->num_ignored, signature->num_arguments,
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

/* Names new probes in one line, because there can be many. */
static void print_new(FILE *file, const struct selection *selection, const struct options *options,
                      const struct version *version)
{
    enum { SHOWN_MAX = 8 };
    size_t count = 0;

    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct server_probe *server_probe = &version->probes[i];
        if (!is_missed(selection, options, server_probe) || version_knows(server_probe->probe))
            continue;
        if (count < SHOWN_MAX)
            fprintf(file, "%s%s",
                    count == 0 ? "h2olog: not traced, because no list of this h2olog has them: "
                               : ", ",
                    server_probe->signature->declaration);
        ++count;
    }
    if (count > SHOWN_MAX)
        fprintf(file, " and %zu more", count - SHOWN_MAX);
    if (count != 0)
        fputs(
            "; h2olog all -t NAME prints the raw arguments of one; to read them, " BUILD_WITH_LISTS
            "\n",
            file);
}

void report_changed(FILE *file, const struct selection *selection, const struct options *options,
                    const struct version *version)
{
    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct server_probe *server_probe = &version->probes[i];
        if (is_missed(selection, options, server_probe) && version_knows(server_probe->probe))
            print_missed(file, server_probe);
    }
    for (size_t i = 0; i != selection->num_probes; ++i) {
        if (selection->probes[i].guess == NULL && selection->probes[i].is_traceable)
            print_read_otherwise(file, version, &selection->probes[i]);
    }
    print_new(file, selection, options, version);
}

/* Returns the number of locations of a probe of h2o. */
static size_t num_places(const struct version *version, const char *name)
{
    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct probe *probe = version->probes[i].probe;
        if (strcmp(probe->provider, "h2o") == 0 && strcmp(probe->name, name) == 0)
            return probe->num_locations;
    }
    return 0;
}

/*
 * Whether the probes of requests and responses fire for HTTP/3. They have the same names as for
 * HTTP/1 and HTTP/2, but came later. Each version of HTTP has its own location.
 */
static bool has_http3(const struct version *version)
{
    return version->since >= HTTP3_SINCE || num_places(version, "receive_request") >= 3;
}

/* Whether only events of HTTP/3 are printed. */
static bool is_of_http3(const struct options *options, const struct promise *promise)
{
    return promise->of_http && options->view->capture.http3_only;
}

static void print_broken_promise(FILE *file, const struct promise *promise,
                                 const struct options *options, const struct version *version,
                                 const char *known_as)
{
    const enum view_features features = options->view->features;
    const bool http3 = is_of_http3(options, promise);
    uint32_t first = version_known_since(promise->probes);
    char *missing, since[32];

    if (http3 && first < HTTP3_SINCE)
        first = HTTP3_SINCE;
    version_date(first, since, sizeof(since));
    missing = (features & VIEW_EVENTS) != 0
                  ? memory_format("%s events are missing; ", promise->type)
              : (features & VIEW_TEXT) != 0 ? memory_format("%s lines are missing; ", promise->tag)
                                            : memory_format("they are missing; ");
    fprintf(file, "h2olog: this server (%s) has no probe for %s%s: %s%s%s\n", known_as,
            promise->what, http3 ? " of HTTP/3" : "", missing,
            first > version->since ? "h2o has had it since " : "it is not in this build of h2o",
            first > version->since ? since : "");
    free(missing);
}

static void print_no_http3(FILE *file, const char *known_as)
{
    char since[32];

    version_date(HTTP3_SINCE, since, sizeof(since));
    fprintf(file,
            "h2olog: this server (%s) has no probes for requests of HTTP/3, so they are not "
            "printed; h2o has had these probes since %s\n",
            known_as, since);
}

/*
 * Whether the output is expected. A probe that -t names exists, else there was an error before. But
 * a probe of HTTP can lack the events of HTTP/3.
 */
static bool is_promised(const struct options *options, const struct promise *promise)
{
    bool named = false;

    if (options->tracepoints.count == 0)
        return traces(options->view, promise->probes[0]);
    for (size_t i = 0; promise->probes[i] != NULL && !named; ++i)
        named = selection_names(options, "h2o", strchr(promise->probes[i], ':') + 1);
    return named && is_of_http3(options, promise);
}

static bool is_kept(const struct options *options, const struct promise *promise,
                    const struct version *version)
{
    if (promise->of_quic && !version_has(version, "quicly:*"))
        return true;
    if (is_of_http3(options, promise) && !has_http3(version))
        return false;
    for (size_t i = 0; promise->probes[i] != NULL; ++i) {
        if (version_has(version, promise->probes[i]))
            return true;
    }
    return false;
}

void report_missing(FILE *file, const struct options *options, const struct version *version)
{
    char known_as[128];

    version_name(version, known_as, sizeof(known_as));
    for (size_t i = 0; i != sizeof(promises) / sizeof(promises[0]); ++i) {
        if (is_promised(options, &promises[i]) && !is_kept(options, &promises[i], version))
            print_broken_promise(file, &promises[i], options, version, known_as);
    }
    if (options->tracepoints.count == 0 && traces(options->view, "h2o:receive_request") &&
        version_has(version, "quicly:*") && !has_http3(version))
        print_no_http3(file, known_as);
}

void report_lacking(FILE *file, const struct options *options, const struct version *version)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        bool found = false;
        if (signature->since > version->since ||
            (signature->until != 0 && signature->until <= version->since) ||
            !(options->tracepoints.count != 0
                  ? selection_names(options, signature->provider, signature->probe)
                  : view_traces(options->view, signature->provider, signature->probe)))
            continue;
        for (size_t j = 0; j != version->num_probes && !found; ++j)
            found = strcmp(version->probes[j].probe->name, signature->probe) == 0 &&
                    strcmp(version->probes[j].probe->provider, signature->provider) == 0;
        if (!found)
            fprintf(file, "this server lacks %s:%s\n", signature->provider, signature->probe);
    }
}

static bool is_listed(const struct options *options, const struct signature *signature)
{
    return options->tracepoints.count == 0 ||
           selection_names(options, signature->provider, signature->probe);
}

size_t report_list(FILE *file, const struct options *options, const struct version *version)
{
    size_t count = 0;

    for (size_t i = 0; version != NULL && i != version->num_probes; ++i) {
        const struct server_probe *server_probe = &version->probes[i];
        const char *declaration = server_probe->signature->declaration;
        if (is_listed(options, server_probe->signature)) {
            if (server_probe->num_ignored != 0)
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
