#include "server/selection.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "event/assembler.h"
#include "memory.h"
#include "print/escape.h"

/* Probes that tell which connection of quicly belongs to a connection of h2o. */
static const char *const tie_probes[] = {
    "h2o:h3_accept", "h2o:h3s_accept", "h2o:h3_close", "h2o:h3s_destroy", NULL,
};

/* Probes that tell that a connection of quicly begins or ends. */
static const char *const life_probes[] = {
    "quicly:accept",
    "quicly:connect",
    "quicly:free",
    NULL,
};

bool selection_names(const struct options *options, const char *provider, const char *probe)
{
    for (size_t i = 0; i != options->tracepoints.count; ++i) {
        if (version_matches(options->tracepoints.words[i], provider, probe))
            return true;
    }
    return false;
}

/*
 * Whether a probe can be traced, but the meaning of its arguments is unknown. A probe that cannot
 * be traced at all does not count: it is selected, so that the reason is printed for each location.
 */
static bool is_unknown(const struct server_probe *server_probe)
{
    return server_probe->guess != NULL && server_probe->is_traceable;
}

/* Whether none of the headers that a probe reports is needed. */
static bool is_needless(const struct needs *needs, const char *provider, const char *probe)
{
    const struct {
        const char *probe;
        const struct needs_headers *headers;
    } rows[] = {
        {"h2o:receive_request_header", &needs->request},
        {"h2o:send_response_header", &needs->response},
    };

    for (size_t i = 0; i != sizeof(rows) / sizeof(rows[0]); ++i) {
        if (!rows[i].headers->all && rows[i].headers->count == 0 &&
            version_matches(rows[i].probe, provider, probe))
            return true;
    }
    return false;
}

/* A probe that is in no list is traced only if -t names it. */
bool selection_wants(const struct selection *selection, const struct server_probe *server_probe)
{
    const struct options *options = selection->options;
    const struct needs *needs = selection->needs;
    const char *provider = server_probe->probe->provider, *probe = server_probe->probe->name;

    if (options->tracepoints.count != 0)
        return selection_names(options, provider, probe);
    if (is_unknown(server_probe) || (needs != NULL && is_needless(needs, provider, probe)))
        return false;
    return view_traces(options->view, provider, probe) ||
           (needs != NULL && needs->requests &&
            version_matches_any(assembler_probes, provider, probe));
}

bool selection_needs(const struct selection *selection, const char *provider, const char *probe)
{
    return (selection->needs_ties && version_matches_any(tie_probes, provider, probe)) ||
           (selection->needs_lives && version_matches_any(life_probes, provider, probe));
}

/* Returns how many letters to change, add or drop to make `b` of `a` (Levenshtein distance). */
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

/*
 * Returns the probe whose name is most similar to a glob that matches nothing; NULL if none is
 * similar.
 */
static const struct server_probe *find_near(const char *glob, const struct version *version)
{
    const char *colon = strchr(glob, ':');
    char *wanted = memory_format("%s", colon != NULL ? colon + 1 : glob);
    const struct server_probe *near = NULL;
    size_t nearest = strlen(wanted) / 2 + 1;

    for (char *at = wanted; *at != '\0'; ++at)
        *at = (char)(*at == '-' ? '_' : *at);
    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct server_probe *server_probe = &version->probes[i];
        size_t far = distance(wanted, server_probe->probe->name);
        if (strstr(server_probe->probe->name, wanted) != NULL && far > 1)
            far = 1;
        if (far < nearest) {
            nearest = far;
            near = server_probe;
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
        for (size_t j = 0; j != version->num_probes && !found; ++j)
            found = version_matches(glob, version->probes[j].probe->provider,
                                    version->probes[j].probe->name);
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

static void add(struct selection *selection, const struct server_probe *server_probe)
{
    selection->probes =
        memory_grow(selection->probes, selection->num_probes + 1, sizeof(selection->probes[0]));
    selection->probes[selection->num_probes++] = *server_probe;
}

/* Whether the events are of a connection of h2o, for which a tie gives quicly's connection. */
static bool has_tie(const struct signature *signature)
{
    return strcmp(signature->provider, "h2o") == 0 && signature->num_arguments != 0 &&
           strcmp(signature->arguments[0].name, "conn_id") == 0;
}

bool selection_is_main(const struct options *options, const struct probe *probe)
{
    const char *needs = options->view->needs;

    return needs == NULL || options->tracepoints.count != 0 ||
           version_matches(needs, probe->provider, probe->name);
}

/*
 * Whether the server has probes that the mode needs, but the meaning of their arguments is unknown.
 */
static bool has_unknown(const struct options *options, const struct version *version)
{
    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct server_probe *server_probe = &version->probes[i];
        if (is_unknown(server_probe) && selection_is_main(options, server_probe->probe) &&
            view_traces(options->view, server_probe->probe->provider, server_probe->probe->name))
            return true;
    }
    return false;
}

static int explain_nothing(const struct options *options, const struct version *version,
                           struct error *error)
{
    const char *const needs[] = {options->view->needs, NULL};
    char since[32];

    if (has_unknown(options, version))
        return error_set(error, ERROR_FAILED,
                         "none of the probes of this server that %s needs can be read, for the "
                         "reasons above",
                         options->view->name);
    if (needs[0] == NULL || version_has(version, needs[0]))
        return error_set(error, ERROR_FAILED,
                         "this server has none of the probes to trace; h2olog -l -p PID lists "
                         "those that it has");
    version_date(version_known_since(needs), since, sizeof(since));
    return error_set(
        error, ERROR_FAILED,
        "this server has no probes of QUIC: it was built without HTTP/3, or it is older "
        "than %s, when h2o got them; to trace its requests, use http",
        since);
}

/* Whether one of the probes that the mode needs is selected. */
static bool has_main_probes(const struct options *options, const struct selection *selection)
{
    for (size_t i = 0; i != selection->num_probes; ++i) {
        if (selection_is_main(options, selection->probes[i].probe))
            return true;
    }
    return false;
}

static bool has_connection(const struct signature *signature)
{
    return has_tie(signature) || strcmp(signature->provider, "quicly") == 0;
}

/* Adds probes that match the globs and are not selected yet. They are traced, but not printed. */
static void add_unprinted(struct selection *selection, const struct version *version,
                          const char *const *globs)
{
    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct server_probe *server_probe = &version->probes[i];
        if (!is_unknown(server_probe) && !selection_wants(selection, server_probe) &&
            version_matches_any(globs, server_probe->probe->provider, server_probe->probe->name))
            add(selection, server_probe);
    }
}

int selection_open(struct selection *selection, const struct options *options,
                   const struct needs *needs, const struct version *version, struct error *error)
{
    const bool connections =
        options->view->capture.connections || (needs != NULL && needs->connections);

    *selection = (struct selection){.options = options, .needs = needs};
    if (check_globs(options, version, error) != 0)
        return -1;
    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct server_probe *server_probe = &version->probes[i];
        if (selection_wants(selection, server_probe)) {
            selection->needs_ties |= connections && has_tie(server_probe->signature);
            selection->needs_lives |= connections && has_connection(server_probe->signature);
            add(selection, server_probe);
        }
    }
    if (!has_main_probes(options, selection)) {
        selection->num_probes = 0;
        return explain_nothing(options, version, error);
    }
    selection->num_printed = selection->num_probes;
    if (selection->needs_lives)
        add_unprinted(selection, version, life_probes);
    selection->num_followed = selection->num_probes - selection->num_printed;
    if (selection->needs_ties)
        add_unprinted(selection, version, tie_probes);
    return 0;
}

void selection_dispose(struct selection *selection)
{
    free(selection->probes);
}
