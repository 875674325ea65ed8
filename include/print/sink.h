/*
 * Where records go: a printer, or a stage that passes them on to another sink. A sink does not know where
 * records come from.
 */
#ifndef H2OLOG_PRINT_SINK_H
#define H2OLOG_PRINT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/clock.h"
#include "event/record.h"
#include "print/output.h"
#include "server/process.h"

struct sink {
    void *state;
    /* Takes a record, which is valid during the call. Returns 0, or -1 if it cannot be printed. */
    int (*record)(void *state, const struct record *record);
    /* `count` events are missing between the last record and the next one. */
    void (*lost)(void *state, uint64_t count);
    /* Called after each round of the source, at least every 50 ms; NULL if the sink has no use for it. */
    void (*tick)(void *state, uint64_t now_ns);
    /* No more records come: prints what was kept back; NULL if nothing ever is. */
    void (*finish)(void *state);
    /* Frees the state. */
    void (*close)(void *state);
};

/* What a sink is opened with. It has to outlive the sink, and so has all that it points to. */
struct sink_settings {
    struct output *output;             /* for lines; the caller flushes it */
    struct output *messages;           /* standard error */
    const struct server_probe *probes; /* by the ids of the records */
    size_t num_probes;
    const struct clock *clock;         /* of the source */
    bool application_data;             /* -a: print it */
    bool layers;                       /* each line says which layer and thread it is of */
    const struct address_range *files; /* where the server has files mapped, ascending */
    size_t num_files;
};

#endif
