/* Selects the probes to trace: those of the mode, or those that -t names. */
#ifndef H2OLOG_SERVER_SELECTION_H
#define H2OLOG_SERVER_SELECTION_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "event/needs.h"
#include "options.h"
#include "server/version.h"

struct selection {
    const struct options *options;
    const struct needs *needs;   /* NULL: the probes of the view, as they are */
    struct server_probe *probes; /* the index of a probe is the id of its events */
    size_t num_probes;
    size_t num_printed; /* the first ones, which are printed */
    /*
     * After these, probes that tell the reader when a connection begins or ends. The rest tie h2o's
     * connections to quicly's in the kernel.
     */
    size_t num_followed;
    bool needs_ties;  /* events of h2o's connections are printed, with quicly's number */
    bool needs_lives; /* events of any connection are printed, with h2olog's number */
};

/*
 * Selects the probes: those of the mode or of -t, except those that nobody needs, and those that
 * the stages need as well. `options` and `needs` must outlive the selection. Returns 0, or -1 with
 * `error` set and no probes: there is nothing to trace, or a glob of -t matches no probe. Call
 * selection_dispose in either case.
 */
int selection_open(struct selection *selection, const struct options *options,
                   const struct needs *needs, const struct version *version, struct error *error);

void selection_dispose(struct selection *selection);

/* Whether a glob of -t matches a probe. */
bool selection_names(const struct options *options, const char *provider, const char *probe);

/* Whether a probe of the server is to be traced because of -t, of the mode, or of a stage. */
bool selection_wants(const struct selection *selection, const struct server_probe *server_probe);

/*
 * Whether a probe is enough to start tracing: it matches what the mode needs. With -t, every probe
 * is.
 */
bool selection_is_main(const struct options *options, const struct probe *probe);

/*
 * Whether the probe is needed for numbers of connections: it tells that a connection begins or
 * ends, or which connection of quicly belongs to a connection of h2o.
 */
bool selection_needs(const struct selection *selection, const char *provider, const char *probe);

#endif
