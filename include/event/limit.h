/*
 * A stage that passes on a number of records or requests, and no more (-n).
 */
#ifndef H2OLOG_EVENT_LIMIT_H
#define H2OLOG_EVENT_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "print/sink.h"

struct limit {
    uint64_t left;
    struct sink next;
};

/* Opens the stage for `count` records or requests. `limit` is its state, and must outlive it. */
struct sink limit_open(struct limit *limit, uint64_t count, struct sink next);

#endif
