/*
 * The table of modes. A row says what a mode traces, what the capture adds to the arguments of the
 * probes, and where records go. No other module knows a mode by name. src/views.def has the rows.
 */
#ifndef H2OLOG_VIEW_H
#define H2OLOG_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "event/needs.h"
#include "kernel/program.h"
#include "print/sink.h"

#define VIEW_GLOBS_MAX 8

/* What a view can do: options that need one of these features apply to it. */
enum view_features {
    VIEW_EVENTS = 1,   /* each line is an event, with all that its probe says */
    VIEW_TEXT = 2,     /* each line is text about an event */
    VIEW_REQUESTS = 4, /* it can print requests as a whole */
    VIEW_JSON = 8,     /* it can print JSON */
    VIEW_FORMAT = 16,  /* it can print formats of access logs */
    VIEW_COLOR = 32,   /* it can print colours */
    VIEW_ANY = 63,
};

struct view {
    const char *name; /* as on the command line */
    const char *help; /* for --help and the manual */
    /* Globs of the traced probes ("quicly:*"), and of exceptions. Each list ends with NULL. */
    const char *probes[VIEW_GLOBS_MAX], *except[VIEW_GLOBS_MAX];
    const char *needs; /* glob; the view fails if no probe matches; NULL: no such condition */
    enum view_features features;
    bool assembles; /* the sink takes requests, not records */
    bool layers;    /* lines have the members provider and tid */
    struct program_additions capture;
    /* The printer, and what it needs. */
    struct sink (*sink)(const struct sink_settings *settings);
    void (*add_needs)(struct needs *needs);
    /* The same for -j; NULL: no other. */
    struct sink (*json_sink)(const struct sink_settings *settings);
    void (*json_add_needs)(struct needs *needs);
};

/* Returns the view with this name, NULL if there is none. The name NULL is the default view. */
const struct view *view_find(const char *name);

/* All rows, in the order of --help. */
extern const struct view views[];
extern const size_t num_views;

/* Whether the view traces a probe if the command line has no -t. */
bool view_traces(const struct view *view, const char *provider, const char *probe);

#endif
