/*
 * The plan of a run: the stages and the sink that the command line asks for, and what they need
 * from the capture.
 */
#ifndef H2OLOG_PLAN_H
#define H2OLOG_PLAN_H

#include <stdbool.h>

#include "error.h"
#include "event/limit.h"
#include "event/needs.h"
#include "event/query.h"
#include "event/redact.h"
#include "kernel/program.h"
#include "options.h"
#include "print/access_log.h"
#include "print/sink.h"

struct plan {
    const struct options *options;
    bool assembles; /* requests are assembled */
    bool no_color;  /* the environment has NO_COLOR */
    bool has_colors;
    struct query *query;           /* NULL: none */
    struct access_log *access_log; /* NULL: none */
    struct redaction redaction;
    struct limit limit;
    struct needs needs;
    struct program_additions additions;
};

/*
 * Makes the plan. `options` must outlive it. Returns 0, or -1 with `error` set (ERROR_USAGE): the
 * query or the format is wrong. Call plan_close in either case. Reads NO_COLOR, so call it before the
 * environment is cleared.
 */
int plan_open(struct plan *plan, const struct options *options, struct error *error);

void plan_close(struct plan *plan);

/* Opens the stages and the sink, and returns the first one. `settings` must outlive them. */
struct sink plan_sink(struct plan *plan, const struct sink_settings *settings);

/* Sets has_colors for output to this descriptor. */
void plan_choose_colors(struct plan *plan, int fd);

/* Whether as many lines or requests were printed as -n asks for. */
bool plan_is_done(const struct plan *plan);

#endif
