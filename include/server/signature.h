/*
 * The tables that misc/gen_quic_bpf.py generates from the probe lists (bpf/NAME-probes.d) at build
 * time. They have every signature that h2o has had, how to capture it, and what to print of it.
 */
#ifndef H2OLOG_SERVER_SIGNATURE_H
#define H2OLOG_SERVER_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_UNSIGNED, /* an integer of `width` bytes at `place` */
    FIELD_SIGNED,
    FIELD_TIED, /* event_head.conn; absent without EVENT_TIED */
    /* CLOCK_MONOTONIC, 8 bytes at `place`, in nanoseconds; printed as the time of day */
    FIELD_STAMP,
    FIELD_ADDRESS, /* a struct sockaddr_in or sockaddr_in6 at `place` */
    FIELD_TEXT,    /* of variable size, see below */
    FIELD_BYTES,
    FIELD_STATS, /* struct st_quicly_stats_t: see stats_layouts */
};

/*
 * A field of a printed event. The value of a TEXT, BYTES or STATS field is of variable size and
 * follows the part of fixed size. An integer of `counter_width` bytes at `place` is its size in the
 * server. The event has at most `max` bytes of it.
 */
struct field {
    const char *key; /* name in JSON */
    enum field_kind kind;
    uint8_t width;
    bool application_data; /* captured only with -a */
    uint16_t place;        /* offset in the event */
    uint8_t counter_width;
    uint16_t max;
    /*
     * For a field of fixed size behind a pointer: the bit of event_head.flags that is set if the
     * field could not be read.
     */
    uint16_t unread;
};

/* An argument as it is declared. `width` is in bytes. */
struct argument {
    const char *name;
    uint8_t width;
    bool is_signed;
    bool is_pointer;
    bool is_loose; /* h2o passes another integer type than the declared one */
};

/* Limits of a probe: arguments, and values of variable size in an event. */
#define PROBE_ARGUMENTS_MAX 16
#define PROBE_VARIABLE_MAX  15

/*
 * The date of signatures that only a source tree has (-DH2O_SOURCE_DIR). It is later than every
 * other date.
 */
#define PROBE_SOURCE_DATE 99991231

/* A probe as h2o declared it between two dates. */
struct signature {
    const char *provider;
    const char *probe;
    const char *declaration; /* "provider:probe(type name, ...)" */
    /* YYYYMMDD. `until` is the first day without this declaration; 0: it is current. */
    uint32_t since, until;
    const struct argument *arguments;
    size_t num_arguments;
    const struct field *fields; /* in the order of printing */
    size_t num_fields;
    uint16_t size;                   /* of the fixed part of an event */
    uint16_t reads;                  /* bit I: the capture reads argument I */
    uint16_t reads_application_data; /* the same, for arguments that are read only with -a */
    const char *capture;             /* body of the BPF function */
};

extern const struct signature signatures[];
extern const size_t num_signatures;

/*
 * Signatures for probes that are in no list, by number of arguments. All arguments are unsigned
 * integers of 8 bytes, with the names arg1, arg2, ... These rows have no provider, no probe and no
 * declaration.
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
 * A layout of struct st_quicly_stats_t. The probe's argument `size` gives the size. If several
 * layouts have the same size, the content of the struct tells them apart, see stats.h. An offset of
 * 0 means that the layout has no such field.
 */
struct stats_layout {
    size_t size;
    uint16_t pointer;       /* offset of the only pointer; it points into a file of the server */
    uint16_t zero, nonzero; /* offsets of a uint32_t that is always 0, and of one that never is */
    const struct stats_field *fields; /* in the order of printing */
    size_t num_fields;
};

extern const struct stats_layout stats_layouts[];
extern const size_t num_stats_layouts;

#endif
