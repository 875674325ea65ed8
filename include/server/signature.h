/*
 * What the probe lists say, as tables: every signature that h2o has had, how it is captured, and
 * what to print of it. The tables are written at build time by misc/gen_quic_bpf.py from bpf/
 * *-probes.d.
 */
#ifndef H2OLOG_SERVER_SIGNATURE_H
#define H2OLOG_SERVER_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_UNSIGNED, /* an integer of `width` bytes at `place` */
    FIELD_SIGNED,
    FIELD_TIED,  /* event_head.conn, where EVENT_TIED says that it is known; else there is no field
                  */
    FIELD_STAMP, /* CLOCK_MONOTONIC in nanoseconds, 8 bytes at `place`, printed as wall-clock time
                  */
    FIELD_ADDRESS, /* a struct sockaddr_in or sockaddr_in6 at `place` */
    FIELD_TEXT,    /* of no fixed size, see below */
    FIELD_BYTES,
    FIELD_STATS, /* struct st_quicly_stats_t: see stats_layouts */
};

/*
 * A field of a printed event. The value of a TEXT, BYTES or STATS field stands behind the fixed
 * part of the event; the integer of `counter_width` bytes at `place` counts it, and of that at most
 * `max` bytes were captured.
 */
struct field {
    const char *key; /* its JSON name */
    enum field_kind kind;
    uint8_t width;
    bool application_data; /* captured with -a only */
    uint16_t place;        /* offset in the event */
    uint8_t counter_width;
    uint16_t max;
    uint16_t
        unread; /* of one of fixed size behind a pointer: bit of event_head.flags if it is not there */
};

/* An argument as declared; `width` in bytes. */
struct argument {
    const char *name;
    uint8_t width;
    bool is_signed;
    bool is_pointer;
    bool is_loose; /* h2o passes another integer type than the one that it declares */
};

/* At most so many arguments has a probe, and values of no fixed size an event. */
#define PROBE_ARGUMENTS_MAX 16
#define PROBE_VARIABLE_MAX  15

/* The date of what a source tree has that the lists have not (-DH2O_SOURCE_DIR): after all else. */
#define PROBE_SOURCE_DATE 99991231

/* A probe as h2o declared it between two dates. */
struct signature {
    const char *provider;
    const char *probe;
    const char *declaration; /* "provider:probe(type name, ...)" */
    uint32_t since,
        until; /* YYYYMMDD; until is the first day that it was not so, 0 if it is current */
    const struct argument *arguments;
    size_t num_arguments;
    const struct field *fields; /* in the order in which they are printed */
    size_t num_fields;
    uint16_t size;                   /* of the fixed part of an event */
    uint16_t reads;                  /* bit I: the capture reads argument I */
    uint16_t reads_application_data; /* the same, of what it reads with -a only */
    const char *capture;             /* body of the BPF function that captures it */
};

extern const struct signature signatures[];
extern const size_t num_signatures;

/*
 * For probes that no list knows, by number of arguments: all are unsigned integers of 8 bytes, named
 * arg1, arg2, ... These rows have no provider, probe, and declaration.
 */
extern const struct signature generic_signatures[PROBE_ARGUMENTS_MAX + 1];

/* A field of struct st_quicly_stats_t. */
struct stats_field {
    const char *key;
    uint16_t offset;
    uint8_t width;
    bool is_signed;
};

/*
 * A layout of struct st_quicly_stats_t. The probe's argument `size` gives the size; two layouts can
 * have the same size, and then the content of the struct tells which one it is: see stats.h. The
 * three offsets are 0 where there is nothing of the kind.
 */
struct stats_layout {
    size_t size;
    uint16_t pointer;       /* of the only pointer, to an object in a file of the server */
    uint16_t zero, nonzero; /* of a uint32_t that is always 0; of one that is never 0 */
    const struct stats_field *fields; /* in the order in which they are printed */
    size_t num_fields;
};

extern const struct stats_layout stats_layouts[];
extern const size_t num_stats_layouts;

#endif
