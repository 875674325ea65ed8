#ifndef STANDIN_CONNECTION_H
#define STANDIN_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "h2o_events.h"
#include "pages.h"

/* The largest request head. */
#define CONNECTION_INPUT_SIZE  65536
#define CONNECTION_OUTPUT_SIZE 65536

/* Shared by the connections of a thread. */
struct connection_world {
    const struct h2o_events *events;
    const char *filler; /* the content of bodies */
    size_t filler_size;
    time_t date_second; /* the second for which `date` was written */
    char date[sizeof("Sun, 22 Nov 2026 12:23:01 GMT")];
};

enum connection_phase {
    CONNECTION_HEAD,  /* waits for a request head */
    CONNECTION_BODY,  /* waits for the rest of a request body */
    CONNECTION_DELAY, /* waits until it is time to answer */
    CONNECTION_LAST,  /* ends when the output is sent */
    CONNECTION_REFUSE /* the same, but first reads what the client still sends */
};

struct connection {
    struct connection *next, *previous; /* for the owner */
    struct connection_world *world;
    int fd;
    uint64_t id;
    uint64_t num_requests;
    enum connection_phase phase;

    uint64_t body_left;   /* bytes of the request body to come */
    struct page page;     /* the response */
    uint64_t due_ns;      /* CONNECTION_DELAY: when it answers, on CLOCK_MONOTONIC */
    uint64_t filler_left; /* bytes of the response body to send after the output */
    bool is_head, keep_alive;
    bool is_shut; /* for writing */

    size_t input_start, input_end;
    size_t output_start, output_end;
    char input[CONNECTION_INPUT_SIZE];
    char output[CONNECTION_OUTPUT_SIZE];
};

/*
 * Takes over `fd`, a connected non-blocking socket. Returns NULL and closes `fd` if memory runs
 * out.
 */
struct connection *connection_new(struct connection_world *world, int fd, uint64_t id);
void connection_free(struct connection *connection);

/*
 * Continues as far as possible without waiting. Returns false if the connection has ended: free it.
 */
bool connection_run(struct connection *connection);

/* Whether it waits for room to send. Otherwise it waits for input. */
bool connection_has_output(const struct connection *connection);

/*
 * Returns when it answers, on CLOCK_MONOTONIC, if it waits for that; else 0. It must then be run at
 * that time, too.
 */
uint64_t connection_due_ns(const struct connection *connection);

#endif
