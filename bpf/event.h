/*
 * What the kernel side and the user side share: the layout of an event, and the gate.
 *
 * An event is a head, the values of fixed size (each at the offset that its probe's table row
 * gives, aligned to its width), and then, one after the other without padding, the values of no
 * fixed size: texts and bytes, in the order of the arguments. It has the size of what it carries.
 */
#ifndef H2OLOG_EVENT_H
#define H2OLOG_EVENT_H

#ifndef H2OLOG_BPF
#include <stdint.h>
#endif

struct event_head {
    uint16_t id;    /* of the probe, among those that this run traces */
    uint16_t flags; /* EVENT_TIED, and what could not be read, see below */
    uint32_t
        conn; /* quicly's id of the connection (master_id), where the probe or a tie gives it */
    uint32_t
        lost; /* how many events had been lost, in all, when this one was put down; it may wrap */
    uint32_t tid; /* thread, as the server itself numbers it; 0 where nobody asked */
    uint64_t
        connection; /* address of quicly's connection object, where the probe or a tie gives it */
};

/* What the kernel side keeps of a connection of HTTP/3, by h2o's conn_id. */
struct tie {
    uint64_t connection; /* the same two */
    uint32_t conn;
    uint32_t unused; /* no padding: the kernel copies all of it */
};

/*
 * Bit I of the flags: the Ith value of no fixed size could not be read. From bit 14 downwards: a value of
 * fixed size behind a pointer, as its probe's table row says.
 */

/* `conn` is valid: an accept event has tied quicly's connection to h2o's conn_id. */
#define EVENT_TIED 0x8000

/* How much of a value of no fixed size is captured, in bytes. */
#define EVENT_NAME_MAX   256  /* a header's name */
#define EVENT_TEXT_MAX   4096 /* text or bytes whose length an argument gives */
#define EVENT_STRING_MAX 1024 /* text that ends with a NUL, the NUL included */

/* Fixed values, and three strings or a name and a text: what the largest signature needs. */
#define EVENT_MAX 8192

/*
 * A record of the ring: its head (length and two flags, and an offset that is the kernel's own), and
 * the event, filled up to a multiple of 8 bytes.
 */
#define RECORD_HEAD 8

/*
 * Two words that both sides read and write, without a system call. Probes are attached and detached
 * one after the other; requests of that time would have some of their lines only.
 */
struct gate {
    uint32_t is_open;      /* written by the user side; while it is 0, the programs do nothing */
    uint32_t reader_waits; /* set by the reader before it waits; cleared by who wakes it */
};

#endif
