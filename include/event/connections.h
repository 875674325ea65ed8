/*
 * h2olog's numbers of QUIC connections: 1, 2, 3 and so on, in the order in which they appear.
 *
 * quicly's own number (master_id, printed as `conn`) is counted per thread or listener, so several
 * connections can have the same one. The address of quicly's connection object is unique while the
 * connection lives. Later connections can have the same address.
 */
#ifndef H2OLOG_EVENT_CONNECTIONS_H
#define H2OLOG_EVENT_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A connection, by the address of quicly's object. */
struct connection {
    uint64_t address; /* 0: the slot is free */
    uint64_t number;  /* h2olog's number; 0: none yet */
    uint64_t freed;   /* number of its end among all ends, from 1; 0: it lives */
    uint64_t last;    /* number of its latest event among all events, from 1 */
    uint32_t conn;    /* quicly's number, if `has_conn` */
    bool has_conn;
    bool is_made;   /* the event of its first path was seen; `conn` is 0 until accept or connect */
    bool has_begun; /* the event accept or connect was seen */
};

/* Ended connections that are kept, because `free` is not the last event of a connection. */
#define CONNECTIONS_FREED 1024

/*
 * The most connections that are kept: 20 MiB. If events of ends are lost, the table grows; at this
 * limit, connections without an event for the longest time are forgotten.
 */
#define CONNECTIONS_MAX ((size_t)1 << 18)

struct connections {
    struct connection *slots; /* hash table with open addressing; num_slots is a power of two */
    size_t num_slots, count;
    uint64_t numbered;                           /* the latest number that was given */
    uint64_t events;                             /* number of events so far */
    uint64_t freed;                              /* number of ends so far */
    uint64_t freed_addresses[CONNECTIONS_FREED]; /* a ring, by number of the end */
};

/* What an event says about its connection. */
enum connections_step {
    CONNECTIONS_GOES_ON,
    CONNECTIONS_FIRST_PATH, /* quicly is creating the connection; it has no number yet */
    CONNECTIONS_BEGINS,     /* accept, connect */
    CONNECTIONS_ENDS,       /* free */
};

void connections_open(struct connections *connections);

void connections_close(struct connections *connections);

/*
 * Takes the next event of the object at `address` (not 0). `conn` is quicly's number in the event,
 * NULL if it could not be read. Returns the connection of the event. The pointer is valid until the
 * next call.
 */
struct connection *connections_follow(struct connections *connections, enum connections_step step,
                                      uint64_t address, const uint32_t *conn);

/* Returns the number of a connection. Gives it the next number if it has none yet. */
uint64_t connections_number(struct connections *connections, struct connection *connection);

#endif
