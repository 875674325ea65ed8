/*
 * Which of the server's probes are traced: what the mode means, or what -t says.
 */
#ifndef H2OLOG_SERVER_SELECTION_H
#define H2OLOG_SERVER_SELECTION_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "options.h"
#include "server/version.h"

struct selection {
    struct server_probe *probes; /* their order gives the ids of the events */
    size_t num_probes;
    size_t num_printed;  /* the first so many */
    size_t num_followed; /* so many more tell the reader when a connection begins and ends; the rest
                            tie h2o's connections to quicly's in the kernel */
    bool needs_ties;     /* events of connections of h2o are printed as JSON */
    bool needs_lives;    /* events of any connections are */
};

/*
 * Chooses. Returns 0, or -1 with a sentence in `error` and no probes: nothing to trace, or a glob of
 * -t that matches nothing, with names that are near. selection_dispose is due in either case.
 */
int selection_open(struct selection *selection, const struct options *options,
                   const struct version *version, struct error *error);

void selection_dispose(struct selection *selection);

/* Whether -t names a probe. */
bool selection_names(const struct options *options, const char *provider, const char *probe);

/* Whether -t, or the view without it, means a probe of the server. */
bool selection_wants(const struct options *options, const struct server_probe *server_probe);

/* Whether a probe is one of those without which the mode is of no use. With -t, each is. */
bool selection_is_main(const struct options *options, const struct probe *probe);

/*
 * Whether what is printed needs a probe for the connections: it says that one begins or ends, or which
 * connection of quicly's one of h2o's is.
 */
bool selection_needs(const struct selection *selection, const char *provider, const char *probe);

#endif
