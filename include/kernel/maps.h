/*
 * The BPF maps of a run: the ring, the counters of lost events, the gate, and the maps that only
 * the programs use. The counters and the gate are mapped into memory. Reading and writing them
 * needs no system call, so it works after root is given up.
 */
#ifndef H2OLOG_KERNEL_MAPS_H
#define H2OLOG_KERNEL_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "kernel/program.h"

struct maps {
    struct program_maps fds;
    size_t num_probes;
    /* lost events of each probe, by its id, then the total; NULL: not mapped */
    const uint64_t *lost;
    struct gate *gate; /* NULL: not mapped */
};

/* No maps: maps_close does nothing. */
#define MAPS_NONE                                                                                  \
    {                                                                                              \
        .fds = { -1, -1, -1, -1, -1, -1 }                                                          \
    }

/*
 * Creates the maps for `num_probes` probes, with a ring of `ring_size` bytes. Returns 0, or -1 with
 * `error` set. Call maps_close in either case.
 */
int maps_open(struct maps *maps, size_t num_probes, size_t ring_size, struct error *error);

/*
 * The gate: the programs send events only while it is open. Open it once everything is attached,
 * close it before the first probe is detached.
 */
void maps_open_gate(struct maps *maps);
void maps_close_gate(struct maps *maps);

/* Returns how many events of a probe were lost, by its id. */
uint64_t maps_lost(const struct maps *maps, size_t id);

void maps_close(struct maps *maps);

#endif
