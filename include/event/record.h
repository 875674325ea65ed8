/*
 * Event -> the values of its fields. No length or offset in an event is believed: it is made of
 * what a process said that strangers talk to.
 */
#ifndef H2OLOG_EVENT_RECORD_H
#define H2OLOG_EVENT_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "server/signature.h"

/* An event as it comes out of the stream. */
struct event {
    const uint8_t *bytes;
    size_t size;
};

/* The value of a field. */
struct value {
    union {
        uint64_t number; /* UNSIGNED, TIED, STAMP */
        int64_t integer; /* SIGNED */
        struct {
            const uint8_t *bytes; /* the others: in the event; NULL if they could not be read */
            size_t size;          /* captured */
            uint64_t full_size;   /* in the server */
        };
    };
};

/*
 * At most so many fields has a signature: rtt makes four of one argument, and there can be conn and
 * time.
 */
#define DECODE_FIELDS_MAX (PROBE_ARGUMENTS_MAX + 6)

/* Which probe an event is of; `num_probes` or more if its bytes do not even say that. */
uint16_t decode_id(const struct event *event);

/*
 * Decodes the fields of an event: as many values as the signature has fields. Fields of application
 * data have a value only if it was captured. Returns 0, or -1 if the event is malformed: its size
 * is not what its fields say.
 */
int decode(const struct signature *signature, int application_data, const struct event *event,
           struct event_head *head, struct value *values);

/* An unsigned integer of 1, 2, 4 or 8 bytes in this machine's order; and with its sign. */
uint64_t decode_unsigned(const uint8_t *bytes, size_t width);
int64_t decode_signed(const uint8_t *bytes, size_t width);

#endif
