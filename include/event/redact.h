/*
 * A stage that hides what must not be shown: values of headers (--redact), what follows '?' in paths
 * (--strip-query), and headers that were not asked for (-s, -R) but that the query needs. It stands
 * behind the query, so a query sees everything.
 */
#ifndef H2OLOG_EVENT_REDACT_H
#define H2OLOG_EVENT_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#include "print/sink.h"

/* The headers that are shown. */
struct redact_headers {
    bool all;
    const char *const *names; /* the case does not matter */
    size_t count;
};

struct redaction {
    const char *const *names; /* of headers whose values are hidden, lower case */
    size_t num_names;
    bool strips_query;
    struct redact_headers request, response;
    bool keeps_pseudo; /* shows :method, :path ... of requests in any case */
};

/* The names that --redact hides by default. */
extern const char *const redact_default_names[];
extern const size_t redact_num_default_names;

/* Opens the stage. It closes `next`. `redaction` must outlive it. */
struct sink redact_open(const struct redaction *redaction, struct sink next);

#endif
