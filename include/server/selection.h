/*
 * Which of the server's probes are traced: what the mode means, or what -t says.
 */
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
    struct server_probe *probes; /* their order gives the ids of the events */
    size_t num_probes;
    size_t num_printed;  /* the first so many */
    size_t num_followed; /* so many more tell the reader when a connection begins and ends; the rest
                            tie h2o's connections to quicly's in the kernel */
    bool needs_ties;     /* events of connections of h2o are printed as JSON */
    bool needs_lives;    /* events of any connections are */
};

/*
 * Selects the probes: those of the view, or of -t, without those that nobody needs, and those that
 * the stages need besides. `options` and `needs` must outlive the selection. Returns 0, or -1 with
 * a sentence in `error` and no probes: there is nothing to trace, or a glob of -t matches nothing.
 * Call selection_dispose in either case.
 */
int selection_open(struct selection *selection, const struct options *options,
                   const struct needs *needs, const struct version *version, struct error *error);

void selection_dispose(struct selection *selection);

/* Whether -t names a probe. */
bool selection_names(const struct options *options, const char *provider, const char *probe);

/* Whether a probe of the server is traced because of -t, of the view, or of a stage. */
bool selection_wants(const struct selection *selection, const struct server_probe *traced);

/* Whether a probe is one of those without which the mode is of no use. With -t, each is. */
bool selection_is_main(const struct options *options, const struct probe *probe);

/*
 * Whether the output needs a probe for the connections: it says that one begins or ends, or which
 * connection of quicly a connection of h2o is.
 */
bool selection_needs(const struct selection *selection, const char *provider, const char *probe);

#endif
