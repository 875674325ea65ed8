/*
 * Decodes an event to a record, in which values are found by their role. No length or offset in an
 * event is trusted, because the event comes from the memory of an untrusted process.
 */
#ifndef H2OLOG_EVENT_RECORD_H
#define H2OLOG_EVENT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "event/connections.h"
#include "event/source.h"
#include "server/signature.h"
#include "server/version.h"

/* What an event says about a request. */
enum record_kind {
    RECORD_OTHER,
    RECORD_REQUEST,           /* a request begins: ROLE_HTTP_VERSION */
    RECORD_REQUEST_HEADER,    /* ROLE_NAME, ROLE_VALUE */
    RECORD_STATUS,            /* a response begins: ROLE_STATUS */
    RECORD_RESPONSE_HEADER,   /* ROLE_NAME, ROLE_VALUE */
    RECORD_STREAM_STATE,      /* an HTTP/3 stream gets another state: ROLE_STATE */
    RECORD_STREAM_STATS,      /* numbers of an HTTP/3 stream at its end: ROLE_BODY_BYTES */
    RECORD_CONNECTION_CLOSED, /* it has no ROLE_REQUEST */
    NUM_RECORD_KINDS
};

/* The meaning of a value, independent of its place in the signature. */
enum record_role {
    ROLE_CONNECTION, /* h2o's number of the connection */
    ROLE_REQUEST,    /* h2o's number of the request in the connection */
    ROLE_HTTP_VERSION,
    ROLE_NAME,
    ROLE_VALUE,
    ROLE_STATUS,
    ROLE_PATH_INDEX, /* number of a path of a QUIC connection */
    ROLE_CONN,       /* quicly's number of the connection */
    ROLE_STATE,
    ROLE_BODY_BYTES, /* bytes of the response body that were sent */
    ROLE_TIME,       /* the time of the event, a FIELD_STAMP */
    NUM_ROLES
};

/* The value of a field. */
struct value {
    union {
        uint64_t number; /* UNSIGNED, TIED, STAMP */
        int64_t integer; /* SIGNED */
        struct {
            /* other kinds: points into the event; NULL: could not be read, or was not captured */
            const uint8_t *bytes;
            size_t size;        /* bytes captured */
            uint64_t full_size; /* bytes in the server */
        };
    };
};

/* The most fields of a signature: rtt becomes four fields, and conn and time can be added. */
#define RECORD_FIELDS_MAX (PROBE_ARGUMENTS_MAX + 6)

struct record {
    unsigned id;     /* index of the probe among the traced ones */
    bool is_printed; /* false: the event only says when a connection begins or ends */
    enum record_kind kind;
    const struct signature *signature;
    const int8_t *roles; /* by enum record_role: index of the value, -1 if there is none */
    uint64_t connection; /* h2olog's number of the QUIC connection; 0 if it belongs to none */
    struct event_head head;
    struct value values[RECORD_FIELDS_MAX]; /* in the order of the signature's fields */
};

/* The table of the traced probes, made before the first event, and the known connections. */
struct decoder {
    size_t num_probes;
    bool application_data; /* -a: fields with application data are captured, too */
    struct decoder_probe {
        const struct signature *signature;
        bool is_printed;
        enum record_kind kind;
        int8_t roles[NUM_ROLES];
        enum connections_step step; /* what the probe says about its connection, if it has one */
        uint16_t conn_unread;       /* bit of event_head.flags: quicly's number could not be read */
    } * probes;                     /* by the ids of the events */
    struct connections connections;
};

/*
 * Makes the table for `num_probes` probes; the first `num_printed` are printed. Call decoder_close.
 */
void decoder_open(struct decoder *decoder, const struct server_probe *probes, size_t num_printed,
                  size_t num_probes, bool application_data);

void decoder_close(struct decoder *decoder);

/*
 * Decodes an event; the record points into its bytes. To be called for each event, in order.
 * Returns 0, or -1 if the event is malformed: its size is not what its fields say.
 */
int decoder_decode(struct decoder *decoder, const struct event *event, struct record *record);

/* Returns the value with a role; NULL if the signature has none. */
static inline const struct value *record_value(const struct record *record, enum record_role role)
{
    return record->roles[role] < 0 ? NULL : &record->values[record->roles[role]];
}

/*
 * The values of an event by its signature alone: as many as that has fields. Returns as
 * decoder_decode does.
 */
int record_decode(const struct signature *signature, bool application_data,
                  const struct event *event, struct event_head *head, struct value *values);

/* Read an integer of 1, 2, 4 or 8 bytes in native byte order. */
uint64_t record_unsigned(const uint8_t *bytes, size_t width);
int64_t record_signed(const uint8_t *bytes, size_t width);

#endif
