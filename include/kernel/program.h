/*
 * Writes the text of one BPF program for the selected probes. It reads each argument as the notes
 * of the server's binary say.
 */
#ifndef H2OLOG_KERNEL_PROGRAM_H
#define H2OLOG_KERNEL_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/needs.h"
#include "server/version.h"

/* Descriptors of the maps that the program uses. They are numbers in its text. */
struct program_maps {
    int ring;    /* the ring buffer for events */
    int lost;    /* one entry: lost events of each probe, then of all probes */
    int scratch; /* memory in which large events are built */
    int ties;    /* h2o's conn_id -> struct tie: quicly's connection */
    int entries; /* index of a function -> the function */
    int gate;    /* one entry: struct gate */
};

/* The number of the server's thread in an event. */
enum program_threads {
    THREADS_NONE,
    THREADS_KEY,    /* any number that no other thread has: cheaper */
    THREADS_SERVER, /* the number in the pid namespace of the server */
};

/* What the capture adds to the arguments of the probes, and which events it leaves out. */
struct program_additions {
    bool connections; /* add the QUIC connection to events of h2o */
    bool http3_only;  /* leave out events of h2o without a QUIC connection */
    bool times;       /* add the time to events whose probe does not have it */
    enum program_threads threads;
};

/* What the program captures. */
struct program_settings {
    const struct server_probe *probes; /* the id of an event is the index of its probe */
    size_t num_probes;
    size_t num_printed;    /* the first ones, which are printed */
    size_t num_followed;   /* after these, probes that only the reader needs; the rest only tie */
    bool application_data; /* -a */
    struct program_additions additions;
    bool one_link;                  /* all locations are attached to PROGRAM_DISPATCH */
    uint64_t pid_device, pid_inode; /* of the server's pid namespace, for thread ids */
    size_t watermark;               /* see ring_watermark */
    const struct needs *needs;      /* the headers that are wanted; NULL: all */
};

/* A function of the program: one probe, at all locations with the same operands. */
struct program_function {
    char name[16];
    const struct server_probe *traced;
    bool printed; /* its events are printed */
    bool silent;  /* it only ties connections, and writes no event */
    const struct location **locations;
    size_t num_locations;
};

struct program {
    char *text;
    struct program_function *functions; /* the index of a function is its index in `entries` */
    size_t num_functions;
};

/*
 * With one link, all locations call this function. It finds the right one by the cookie of the
 * location.
 */
#define PROGRAM_DISPATCH "dispatch"

/*
 * The function that puts an event into the ring (see bpf/capture.h), and the number by which the
 * other functions call it, as if it were a helper of the kernel.
 */
#define PROGRAM_PUT      "put_event"
#define PROGRAM_PUT_CALL 10000

/*
 * Writes the program. Leaves out locations that cannot fire, or have an operand that cannot be
 * read, and calls `skipped` for each. Call program_dispose.
 */
void program_open(struct program *program, enum operand_arch arch,
                  const struct program_settings *settings, const struct program_maps *maps,
                  void (*skipped)(const struct server_probe *server_probe,
                                  const struct location *location));

void program_dispose(struct program *program);

#endif
