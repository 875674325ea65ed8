/*
 * The table of the requests that are not complete yet: found by their key or by their connection,
 * and listed from the oldest to the newest.
 */
#ifndef H2OLOG_EVENT_OPEN_REQUESTS_H
#define H2OLOG_EVENT_OPEN_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "event/record.h"
#include "event/request.h"

/* What identifies a request. */
struct request_key {
    uint64_t conn, req;
};

/* Makes the key of a record that has ROLE_CONNECTION; req is 0 if it has no ROLE_REQUEST. */
static inline struct request_key request_key_of(const struct record *record)
{
    const struct value *req = record_value(record, ROLE_REQUEST);

    return (struct request_key){.conn = record_value(record, ROLE_CONNECTION)->number,
                                .req = req != NULL ? req->number : 0};
}

struct open_connection;
struct assembler_thread;

/* A request in the table. The assembler owns the members at the end. */
struct open_request {
    struct request request;
    struct open_request *next_in_slot; /* of the hash table, or of the pool */
    struct open_connection *connection;
    TAILQ_ENTRY(open_request) by_age, in_connection, waiting;
    uint64_t since_ns;               /* when it was added */
    uint64_t latest_ns;              /* time of the latest event of its response */
    uint64_t num_losses;             /* losses of the trace when it was added */
    struct assembler_thread *thread; /* whose current request it is; NULL: of none */
    bool is_waiting;                 /* it is complete if no event of it follows */
    bool has_response, has_ended;    /* a response began; its stream ended */
    bool is_closed;                  /* its connection ended */
};

TAILQ_HEAD(open_request_list, open_request);

/* A connection with open requests. */
struct open_connection {
    uint64_t conn;
    struct open_connection *next_in_slot;
    struct open_request_list requests; /* in the order in which they were added */
};

struct open_requests {
    uint64_t seed[2]; /* random, so that clients cannot choose numbers with the same hash */
    struct open_request **requests;       /* slots by key */
    struct open_connection **connections; /* slots by connection */
    unsigned slot_bits;                   /* both have 1 << slot_bits slots */
    size_t count;
    size_t bytes; /* memory of the requests, with their headers */
    struct open_request_list by_age;
    /* Freed ones for reuse. They are not in `bytes`. */
    struct open_request *unused;
    struct open_connection *unused_connections;
    size_t num_unused, num_unused_connections;
    struct dropped_requests *dropped; /* NULL: none yet */
};

void open_requests_open(struct open_requests *table);

void open_requests_close(struct open_requests *table);

/* Returns the request with a key, NULL if it is not there. */
struct open_request *open_requests_find(const struct open_requests *table,
                                        const struct request_key *key);

/* Returns the connection with this number, NULL if it has no open request. */
struct open_connection *open_requests_find_connection(const struct open_requests *table,
                                                      uint64_t conn);

/* Adds a request, whose key is not there yet, as the newest. Its other members are 0. */
struct open_request *open_requests_add(struct open_requests *table, const struct request_key *key);

/* Adds a header to a request of the table. */
void open_requests_add_header(struct open_requests *table, struct open_request *open,
                              enum request_side side, const struct value *name,
                              const struct value *value);

/* Removes a request, and its connection if that was the last one. */
void open_requests_remove(struct open_requests *table, struct open_request *open);

/*
 * Remembers a key whose request was removed too early: its later events belong to no request. A
 * table that drops very many forgets the oldest.
 */
void open_requests_remember(struct open_requests *table, const struct request_key *key);
bool open_requests_is_remembered(const struct open_requests *table, const struct request_key *key);

#endif
