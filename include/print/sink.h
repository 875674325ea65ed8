/*
 * Where records go: a printer, or a stage that passes them on to another sink. A sink does not know
 * where records come from.
 */
#ifndef H2OLOG_PRINT_SINK_H
#define H2OLOG_PRINT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/clock.h"
#include "event/record.h"
#include "event/request.h"
#include "print/output.h"
#include "server/process.h"

/* A sink takes records or requests, or both. What it does not take is NULL. */
struct sink {
    void *state;
    /* Takes a record, which is valid during the call. Returns 0, or -1 if it cannot be printed. */
    int (*record)(void *state, const struct record *record);
    /* Takes a request, which is valid during the call. A stage can redact and shorten its headers. */
    void (*request)(void *state, struct request *request);
    /* `count` events are missing between the last record and the next one. */
    void (*lost)(void *state, uint64_t count);
    /* Called after each drain of the source, at least every 50 ms; NULL: not needed. */
    void (*tick)(void *state, uint64_t now_ns);
    /* Called after the last record: prints records that were kept back; NULL: not needed. */
    void (*finish)(void *state);
    /* Frees the state. */
    void (*close)(void *state);
};

/* Settings of a sink. They, and what they point to, must outlive the sink. */
struct sink_settings {
    struct output *output;             /* for lines; the caller flushes it */
    struct output *messages;           /* standard error */
    const struct server_probe *probes; /* by the ids of the records */
    size_t num_probes;
    const struct clock *clock;           /* clock of the source */
    bool application_data;               /* -a: print application data */
    bool layers;                         /* print provider and tid */
    bool timestamps;                     /* -T: lines begin with the local time */
    bool colors;                         /* the status is coloured */
    const struct access_log *access_log; /* -F */
    const struct address_range *files;   /* the server's mapped files, ascending */
    size_t num_files;
};

#endif
