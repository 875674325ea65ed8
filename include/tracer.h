/*
 * The BPF side of a run: maps, the compiler, loading and attaching. Nothing else (but target, for
 * the notes) knows that there is a libbcc.
 */
#ifndef H2OLOG_TRACER_H
#define H2OLOG_TRACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "program.h"

struct tracer {
    struct program_maps maps;
    uint32_t kernel_version; /* as LINUX_VERSION_CODE */
    bool one_link;           /* a link holds all locations of a file; else each has an event */
    size_t num_probes;
    uint64_t *lost;    /* read-only: what the kernel side counts, by id, and then in all; mapped */
    struct gate *gate; /* mapped, too */
    void *module;      /* libbcc's, until the programs are loaded */
    int *programs;     /* descriptors, in the order of the program's functions */
    size_t num_programs;
    int dispatch; /* descriptor, -1 where each location has an event of its own */
    int *links;   /* what the probes hang on: closing them detaches */
    size_t num_links;
    int interrupt; /* readable when a signal has come that ends the run; -1: never; the caller's */
};

/* Whether a signal has come that ends the run. */
bool tracer_is_interrupted(const struct tracer *tracer);

/* Version of the running kernel, as LINUX_VERSION_CODE. */
uint32_t tracer_kernel_version(void);

/* Version of the libbcc that runs; of the one that this program was built with. */
void tracer_library_version(char *text, size_t size);
const char *tracer_built_with(void);

/*
 * Makes the maps: for `num_probes` probes, with a ring of `ring_size` bytes. This and what follows
 * return 0, or -1 with a sentence in `error`; tracer_close is due in either case.
 */
int tracer_open(struct tracer *tracer, size_t num_probes, size_t ring_size, char *error,
                size_t error_size);

/*
 * Compiles and loads the program, and lets the compiler go. What libbcc prints goes to stderr if
 * `verbose` or if it failed. If it was interrupted, there is no sentence; so with tracer_attach.
 */
int tracer_load(struct tracer *tracer, const struct program *program, int verbose, char *error,
                size_t error_size);

/*
 * Called for a location that the kernel refuses while it takes others. `held`: another tracer has a
 * uprobe there, without the probe's reference counter.
 */
typedef void tracer_refused(const struct traced *traced, const struct location *location,
                            bool held);

/*
 * Attaches all functions of the program to the process; what the kernel refuses is left out, unless
 * it is all. Until the gate opens, there are no events.
 */
int tracer_attach(struct tracer *tracer, const struct program *program, pid_t pid,
                  tracer_refused *refused, char *error, size_t error_size);

/* From here on, there are events; to be called once everything is attached. No system call. */
void tracer_open_gate(struct tracer *tracer);

/* Whether the reader of the ring is about to wait, and is to be woken for a batch. No system call. */
void tracer_set_waiting(struct tracer *tracer, bool waiting);

/* Events that there was no room for, by the id of the probe, and in all. */
uint64_t tracer_lost(const struct tracer *tracer, size_t id);
uint64_t tracer_lost_total(const struct tracer *tracer);

/*
 * Closes the gate, then detaches all, so that nothing is switched on in the server any more. What is
 * in the ring after that belongs to the trace.
 */
void tracer_detach(struct tracer *tracer);

void tracer_close(struct tracer *tracer);

#endif
