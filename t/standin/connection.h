#ifndef STANDIN_CONNECTION_H
#define STANDIN_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "h2o_events.h"
#include "pages.h"

/* A request head has to fit in; the rest of the input only passes through. */
#define CONNECTION_INPUT_SIZE  65536
#define CONNECTION_OUTPUT_SIZE 65536

/* What the connections of a thread have in common. */
struct connection_world {
    const struct h2o_events *events;
    const char *filler; /* what bodies are made of */
    size_t filler_size;
    time_t date_second; /* the second that `date` was written for */
    char date[sizeof("Sun, 22 Nov 2026 12:23:01 GMT")];
};

enum connection_phase {
    CONNECTION_HEAD,  /* waits for a request head */
    CONNECTION_BODY,  /* waits for the rest of a request body; then it answers */
    CONNECTION_LAST,  /* over once the output is sent */
    CONNECTION_REFUSE /* the same, but the client may still be sending: hear it out */
};

struct connection {
    struct connection *next, *previous; /* for the owner */
    struct connection_world *world;
    int fd;
    uint64_t id;
    uint64_t num_requests;
    enum connection_phase phase;

    uint64_t body_left;   /* of the request, to come */
    struct page page;     /* what the request is answered with */
    uint64_t filler_left; /* of the response, to be sent after the output */
    bool is_head, keep_alive;
    bool is_shut; /* for writing */

    size_t input_start, input_end;
    size_t output_start, output_end;
    char input[CONNECTION_INPUT_SIZE];
    char output[CONNECTION_OUTPUT_SIZE];
};

/* Takes over `fd`, a connected socket that does not block. NULL if there is no memory; `fd` is then
 * closed. */
struct connection *connection_new(struct connection_world *world, int fd, uint64_t id);
void connection_free(struct connection *connection);

/* Goes on as far as it can without waiting. False: the connection is over, free it. */
bool connection_run(struct connection *connection);

/* Whether it waits for room to send; else it waits for input. */
bool connection_has_output(const struct connection *connection);

#endif
