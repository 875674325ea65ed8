/*
 * What the stages and the sink of a run need from the capture: the sum of what each of them needs.
 * What nobody needs is not captured, because that is cheaper for the server.
 */
#ifndef H2OLOG_EVENT_NEEDS_H
#define H2OLOG_EVENT_NEEDS_H

#include <stdbool.h>
#include <stddef.h>

/* Names of headers, in lower case. */
struct needs_headers {
    bool all;
    char **names; /* if not all */
    size_t count;
};

struct needs {
    struct needs_headers request, response;
    bool requests;    /* the probes of the request assembler */
    bool times;       /* the time of each event */
    bool connections; /* the number of the QUIC connection */
};

/* Adds a name, in lower case, unless it is there. */
void needs_add(struct needs_headers *headers, const char *name);

void needs_dispose(struct needs *needs);

#endif
