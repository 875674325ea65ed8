/*
 * The numbers that this run gives to QUIC connections: 1, 2, 3, in the order in which they appear.
 *
 * quicly's own number (master_id, printed as `conn`) is of a thread or of a listener, so that
 * several connections of a server have the same one. The address of quicly's connection object is
 * unique from the connection's begin to its end. Afterwards the server uses it for others.
 */
#ifndef H2OLOG_EVENT_CONNECTIONS_H
#define H2OLOG_EVENT_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection object at its address. */
struct connection {
    uint64_t address; /* 0: the slot is free */
    uint64_t number;  /* 0: none yet */
    uint64_t freed;   /* which end of a connection was its own, from 1; 0: it lives */
    uint64_t last;    /* which event was its last one, from 1 */
    uint32_t conn;    /* quicly's number, where `has_conn` */
    bool has_conn;
    bool is_made;   /* its first path was seen: before quicly gives it a number, `conn` is 0 */
    bool has_begun; /* its accept or connect was seen */
};

/* So many are kept behind their end: `free` is not the last event of a connection. */
#define CONNECTIONS_FREED 1024

/*
 * So many at most are kept at all: 20 MiB. Where ends were lost, there can be more: those that are
 * silent for longest are forgotten then.
 */
#define CONNECTIONS_MAX ((size_t)1 << 18)

struct connections {
    struct connection *slots; /* open addressing; their number is a power of two */
    size_t num_slots, count;
    uint64_t numbered;                           /* the last number that was given */
    uint64_t events;                             /* so far */
    uint64_t freed;                              /* ends of connections so far */
    uint64_t freed_addresses[CONNECTIONS_FREED]; /* a ring, by the number of the end */
};

/* What an event tells of its connection. */
enum connections_step {
    CONNECTIONS_GOES_ON,
    CONNECTIONS_FIRST_PATH, /* the object is being made, and has no number of quicly's yet */
    CONNECTIONS_BEGINS,     /* accept, connect */
    CONNECTIONS_ENDS,       /* free */
};

void connections_open(struct connections *connections);

void connections_close(struct connections *connections);

/*
 * Follows an event of the object at `address`, which is not 0, in the order of the events. `conn`
 * is quicly's number in it, NULL if that could not be read. Returns the event's connection, which is
 * valid until the next call.
 */
struct connection *connections_follow(struct connections *connections, enum connections_step step,
                                      uint64_t address, const uint32_t *conn);

/* The number of a connection; the next one if it has none yet. */
uint64_t connections_number(struct connections *connections, struct connection *connection);

#endif
