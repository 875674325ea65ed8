/*
 * Catalog and process -> the text of one BPF program: just the probes that were asked for and that
 * this server has, with every argument read the way this binary's notes say.
 */
#ifndef H2OLOG_KERNEL_PROGRAM_H
#define H2OLOG_KERNEL_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/version.h"

/* Descriptors of the maps that the program uses, for its text. */
struct program_maps {
    int ring; /* where events go */
    int lost; /* one entry: of each probe, and then in all, the events that there was no room for */
    int scratch; /* where events are put together */
    int ties;    /* h2o's conn_id -> struct tie: quicly's connection */
    int entries; /* index of a function -> the function */
    int gate;    /* one entry: struct gate */
};

/* What the capture adds to the arguments of the probes, and leaves out. */
struct program_additions {
    bool connections; /* which QUIC connection an event of h2o belongs to */
    bool http3_only;  /* leave out events of h2o that belong to none */
    bool times;       /* when an event happened whose probe does not say so */
    bool threads;     /* in which thread of the server */
};

/* What is captured. */
struct program_settings {
    const struct server_probe *probes; /* their order gives the ids of the events */
    size_t num_probes;
    size_t num_printed;    /* the first so many are printed */
    size_t num_followed;   /* so many more reach the reader; the rest only tie connections */
    bool application_data; /* -a */
    struct program_additions additions;
    bool one_link;                  /* all locations hang on PROGRAM_DISPATCH */
    uint64_t pid_device, pid_inode; /* of the server's pid namespace, which numbers the threads */
    size_t watermark;               /* see ring_watermark */
    const char *const *response_headers; /* -s: names, in any case */
    size_t num_response_headers;         /* 0: all */
};

/* A function of the program: a probe at all the locations whose operands are the same. */
struct program_function {
    char name[16];
    const struct server_probe *traced;
    bool printed; /* its events are printed */
    bool silent;  /* it only ties connections: no event comes of it */
    const struct location **locations;
    size_t num_locations;
};

struct program {
    char *text;
    struct program_function *functions; /* their order gives the indices in `entries` */
    size_t num_functions;
};

/*
 * The function that finds the right one by the cookie of the location, where all hang on one link.
 */
#define PROGRAM_DISPATCH "dispatch"

/*
 * Writes the program. `skipped` is called for a location that cannot fire, or has an operand that
 * cannot be read: it is left out.
 */
void program_open(struct program *program, enum operand_arch arch,
                  const struct program_settings *selection, const struct program_maps *maps,
                  void (*skipped)(const struct server_probe *traced,
                                  const struct location *location));

void program_dispose(struct program *program);

#endif
