/*
 * Event -> a line of JSON. One function over the tables: what is printed of a probe is what its
 * signature's fields say.
 */
#ifndef H2OLOG_PRINT_JSON_H
#define H2OLOG_PRINT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/version.h"
#include "event/connections.h"
#include "event/record.h"
#include "print/output.h"

struct json_probe;

struct json {
    struct output *output;
    const struct server_probe *probes; /* by the ids of the events */
    size_t num_probes;
    size_t num_followed; /* so many more probes are not printed: they tell of connections */
    bool application_data;
    bool layers;                              /* each line also says its `provider` and `tid` */
    const struct address_range *mapped_files; /* of the server, see target.h; to tell layouts */
    size_t num_mapped_files;
    uint64_t seq;
    int64_t wall_ns;            /* what makes CLOCK_REALTIME of CLOCK_MONOTONIC, at present */
    uint64_t last_ns;           /* CLOCK_MONOTONIC of the latest event that was stamped */
    struct json_probe *spelled; /* by the ids, what is the same in every line of a probe */
    struct connections connections;
};

/* Spells the probes' keys; the fields above `seq` are the caller's to fill in. */
void json_open(struct json *json);

/* Prints the line of an event, if it is one to print. Returns 0, or -1 if it is malformed. */
int json_print(struct json *json, const struct event *event);

/* Prints the line that says how many events were lost here. */
void json_print_lost(struct json *json, uint64_t time_ns, uint64_t count);

void json_close(struct json *json);

#endif
