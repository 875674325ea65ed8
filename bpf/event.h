/*
 * Shared by the kernel side and the user side: the layout of an event, and the gate.
 *
 * An event has a head, then the values of fixed size (each at the offset in the table row of its
 * probe, aligned to its width), then the values of variable size (texts and bytes, in the order of
 * the arguments, without padding). It is as long as its values.
 */
#ifndef H2OLOG_EVENT_H
#define H2OLOG_EVENT_H

#ifndef H2OLOG_BPF
#include <stdint.h>
#endif

struct event_head {
    uint16_t id;    /* index of the probe among the traced probes */
    uint16_t flags; /* EVENT_TIED, and unread values, see below */
    uint32_t conn; /* quicly's number of the connection (master_id), if the probe or a tie has it */
    uint32_t lost; /* count of all lost events when this event was written; it may wrap */
    uint32_t tid;  /* thread id in the server's PID namespace; 0 if it is not captured */
    uint64_t connection; /* address of quicly's connection object, if the probe or a tie has it */
};

/* What the kernel side stores for an HTTP/3 connection. The key is h2o's conn_id. */
struct tie {
    uint64_t connection; /* as in event_head */
    uint32_t conn;
    uint32_t unused; /* instead of padding: the kernel would copy padding uninitialised */
};

/*
 * Flags. Bit I: value I of variable size could not be read. The bits from 14 downwards are for
 * values of fixed size behind a pointer that could not be read; the table row of the probe has the
 * bit.
 */

/* `conn` is valid: an accept event has tied quicly's connection to h2o's conn_id. */
#define EVENT_TIED 0x8000

/* Limits of values of variable size, in bytes. */
#define EVENT_NAME_MAX   256  /* a header's name */
#define EVENT_TEXT_MAX   4096 /* text or bytes whose length an argument gives */
#define EVENT_STRING_MAX 1024 /* NUL-terminated text, with the NUL */

/* Enough for the largest signature: fixed values and three strings, or a name and a text. */
#define EVENT_MAX 8192

/*
 * A record of the ring: a head (length, two flags, and an offset for the kernel), and the event,
 * padded to a multiple of 8 bytes.
 */
#define RECORD_HEAD 8

/*
 * Two words in shared memory. The gate is needed because probes are attached one after the other:
 * without it, requests at that time would have only some of their lines.
 */
struct gate {
    uint32_t is_open; /* set by the user side; while it is 0, the programs do nothing */
    /* set by the reader before it waits; cleared by the event that wakes it */
    uint32_t reader_waits;
};

#endif
