#include "choice.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "memory.h"
#include "text.h"

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

static bool matches_any(const char *const *globs, const char *provider, const char *probe)
{
    for (; *globs != NULL; ++globs) {
        if (catalog_matches(*globs, provider, probe))
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
               !catalog_matches(NOT_IN_QUIC, provider, probe);
    default:
        return matches_any(all_probes, provider, probe);
    }
}

static bool is_named(const struct options *options, const char *provider, const char *probe)
{
    for (size_t i = 0; i != options->tracepoints.count; ++i) {
        if (catalog_matches(options->tracepoints.words[i], provider, probe))
            return true;
    }
    return false;
}

/* A probe that no list knows is traced when it is named. */
static bool is_chosen(const struct options *options, const struct traced *traced)
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
static const struct traced *find_near(const char *glob, const struct catalog *catalog)
{
    const char *colon = strchr(glob, ':');
    char *wanted = memory_format("%s", colon != NULL ? colon + 1 : glob);
    const struct traced *near = NULL;
    size_t nearest = strlen(wanted) / 2 + 1;

    for (char *at = wanted; *at != '\0'; ++at)
        *at = (char)(*at == '-' ? '_' : *at);
    for (size_t i = 0; i != catalog->num_traced; ++i) {
        const struct traced *traced = &catalog->traced[i];
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

static int check_globs(const struct options *options, const struct catalog *catalog, char *error,
                       size_t error_size)
{
    for (size_t i = 0; i != options->tracepoints.count; ++i) {
        const char *glob = options->tracepoints.words[i];
        const struct traced *near;
        char *escaped;
        bool found = false;
        for (size_t j = 0; j != catalog->num_traced && !found; ++j)
            found = catalog_matches(glob, catalog->traced[j].probe->provider,
                                    catalog->traced[j].probe->name);
        if (found)
            continue;
        escaped = text_escape(glob);
        near = find_near(glob, catalog);
        if (near != NULL)
            snprintf(error, error_size,
                     "this server has no tracepoint '%s'; did you mean %s:%s? h2olog -l -p PID "
                     "lists them",
                     escaped, near->probe->provider, near->probe->name);
        else
            snprintf(error, error_size,
                     "this server has no tracepoint '%s'; h2olog -l -p PID lists those that it has",
                     escaped);
        free(escaped);
        text_mend(error);
        return -1;
    }
    return 0;
}

static void add(struct choice *choice, const struct traced *traced)
{
    choice->probes = memory_grow(choice->probes, choice->num_probes + 1, sizeof(choice->probes[0]));
    choice->probes[choice->num_probes++] = *traced;
}

/* Of h2o, which a tie gives quicly's connection. */
static bool has_tie(const struct signature *signature)
{
    return strcmp(signature->provider, "h2o") == 0 && signature->num_arguments != 0 &&
           strcmp(signature->arguments[0].name, "conn_id") == 0;
}

static bool has_connection(const struct signature *signature)
{
    return has_tie(signature) || strcmp(signature->provider, "quicly") == 0;
}

/* Adds those of `globs` that are not chosen, to be traced without being printed. */
static void add_unprinted(struct choice *choice, const struct options *options,
                          const struct catalog *catalog, const char *const *globs)
{
    for (size_t i = 0; i != catalog->num_traced; ++i) {
        const struct traced *traced = &catalog->traced[i];
        if (traced->guess == NULL && !is_chosen(options, traced) &&
            matches_any(globs, traced->probe->provider, traced->probe->name))
            add(choice, traced);
    }
}

int choice_open(struct choice *choice, const struct options *options, const struct catalog *catalog,
                char *error, size_t error_size)
{
    bool needs_ties = false, needs_lives = false;

    *choice = (struct choice){0};
    if (check_globs(options, catalog, error, error_size) != 0)
        return -1;
    for (size_t i = 0; i != catalog->num_traced; ++i) {
        const struct traced *traced = &catalog->traced[i];
        if (is_chosen(options, traced)) {
            needs_ties |= has_tie(traced->signature);
            needs_lives |= has_connection(traced->signature);
            add(choice, traced);
        }
    }
    choice->num_printed = choice->num_probes;
    if (choice->num_probes == 0) {
        snprintf(error, error_size,
                 "this server has none of the probes to trace; h2olog -l -p PID lists those that "
                 "it has");
        return -1;
    }
    if (options->mode == MODE_HTTP)
        return 0;
    if (needs_lives)
        add_unprinted(choice, options, catalog, life_probes);
    choice->num_followed = choice->num_probes - choice->num_printed;
    if (needs_ties)
        add_unprinted(choice, options, catalog, tie_probes);
    return 0;
}

void choice_dispose(struct choice *choice)
{
    free(choice->probes);
}

void choice_print_lacking(FILE *file, const struct options *options, const struct catalog *catalog)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        bool found = false;
        if (signature->since > catalog->since ||
            (signature->until != 0 && signature->until <= catalog->since) ||
            !(options->tracepoints.count != 0
                  ? is_named(options, signature->provider, signature->probe)
                  : is_in_mode(options->mode, signature->provider, signature->probe)))
            continue;
        for (size_t j = 0; j != catalog->num_traced && !found; ++j)
            found = strcmp(catalog->traced[j].probe->name, signature->probe) == 0 &&
                    strcmp(catalog->traced[j].probe->provider, signature->provider) == 0;
        if (!found)
            fprintf(file, "this server lacks %s:%s\n", signature->provider, signature->probe);
    }
}

static bool is_listed(const struct options *options, const struct signature *signature)
{
    return options->tracepoints.count == 0 ||
           is_named(options, signature->provider, signature->probe);
}

size_t choice_print_list(FILE *file, const struct options *options, const struct catalog *catalog)
{
    size_t count = 0;

    for (size_t i = 0; catalog != NULL && i != catalog->num_traced; ++i) {
        if (is_listed(options, catalog->traced[i].signature)) {
            fprintf(file, "%s\n", catalog->traced[i].signature->declaration);
            ++count;
        }
    }
    for (size_t i = 0; catalog == NULL && i != num_signatures; ++i) {
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
