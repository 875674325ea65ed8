/*
 * A stage that hides what must not be shown: values of headers (--redact), and what follows '?' in
 * paths (--strip-query). It stands behind the query, so a query sees the true values.
 */
#ifndef H2OLOG_EVENT_REDACT_H
#define H2OLOG_EVENT_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#include "print/sink.h"

struct redaction {
    const char *const *names; /* of headers whose values are hidden, lower case */
    size_t num_names;
    bool strips_query;
};

/* Opens the stage. It closes `next`. `redaction` must outlive it. */
struct sink redact_open(const struct redaction *redaction, struct sink next);

#endif
