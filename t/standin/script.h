#ifndef STANDIN_SCRIPT_H
#define STANDIN_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#include "probes.h"

/* A script: which probes to fire, with what, and how fast. README.md has the format. All of it is
 * parsed and laid out in memory when it is read, so that playing it costs next to nothing. */

#define SCRIPT_MAX_NESTING 16

/* Where the pointers of quicly's probes lead to. A tracer reads no more of these than one field, at
 * a place that has been the same in every h2o since 2019-08. */
#define SCRIPT_STRUCT_SIZE      64
#define SCRIPT_MASTER_ID_OFFSET 16 /* of struct st_quicly_conn_t, uint32_t */
#define SCRIPT_STREAM_ID_OFFSET 8  /* of struct st_quicly_stream_t, int64_t */

/* A value that is another at each firing. */
enum script_source {
    SCRIPT_COUNTER, /* how many firings the thread has behind it */
    SCRIPT_NOW,     /* milliseconds since the epoch */
    SCRIPT_TID,
    SCRIPT_THREAD, /* from 1 for those of `threads N`, 0 before */
    SCRIPT_NUMBER  /* `number`: the object has it from this firing on */
};

/* What that value becomes: the argument, or the field of the struct that the argument points to. */
enum script_target { SCRIPT_TO_ARGUMENT, SCRIPT_TO_MASTER_ID, SCRIPT_TO_STREAM_ID };

struct script_live {
    size_t argument;
    enum script_source source;
    enum script_target target;
    uint64_t number;
    char *object;         /* that the argument points to; NULL: one of the thread's own */
    size_t thread_object; /* which of them; SCRIPT_ANY_OBJECT: the one for values like `#` */
};

#define SCRIPT_ANY_OBJECT SIZE_MAX

struct script_firing {
    const struct probe *probe;
    uint64_t arguments[PROBE_MAX_ARGUMENTS];
    struct script_live live[PROBE_MAX_ARGUMENTS];
    size_t num_live;
};

enum script_step_kind {
    SCRIPT_FIRE,
    SCRIPT_REPEAT,   /* `number` times the steps up to `partner`, its SCRIPT_END */
    SCRIPT_END,      /* `partner` is its SCRIPT_REPEAT */
    SCRIPT_RATE,     /* from here on `number` firings a second, all threads together; 0: no limit */
    SCRIPT_SLEEP,    /* `number` milliseconds */
    SCRIPT_HOP,      /* to another CPU */
    SCRIPT_HOP_EVERY /* from here on after each `number` firings; 0: no more */
};

struct script_step {
    enum script_step_kind kind;
    uint64_t number;
    size_t partner;
    const struct script_firing *firing;
};

struct script {
    struct script_step *steps;
    size_t num_steps;
    /* The steps from here on are played by so many threads at once. */
    size_t threads_from;
    unsigned num_threads;      /* 0: all is played by one */
    size_t num_thread_objects; /* connections that each thread has an object of its own for */
    struct script_memory *memory;
};

/* NULL on error, which is told on stderr. */
struct script *script_read(const char *path);
void script_free(struct script *script);

#endif
