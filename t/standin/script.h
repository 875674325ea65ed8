#ifndef STANDIN_SCRIPT_H
#define STANDIN_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#include "probes.h"

/*
 * A script: which probes to fire, with which arguments, and how fast. README.md documents the
 * format. It is parsed completely when it is read, so that playing it is cheap.
 */

#define SCRIPT_MAX_NESTING 16

/*
 * Objects to which arguments of quicly's probes point. A tracer reads only one field of each, which
 * has been at the same place in every h2o since 2019-08.
 */
#define SCRIPT_STRUCT_SIZE      64
#define SCRIPT_MASTER_ID_OFFSET 16 /* of struct st_quicly_conn_t, uint32_t */
#define SCRIPT_STREAM_ID_OFFSET 8  /* of struct st_quicly_stream_t, int64_t */

/* A value that changes each time a probe is fired. */
enum script_source {
    SCRIPT_COUNTER, /* how many probes the thread has fired */
    SCRIPT_NOW,     /* milliseconds since the epoch */
    SCRIPT_TID,
    SCRIPT_THREAD, /* from 1 for those of `threads N`, 0 before */
    SCRIPT_NUMBER  /* `number`: changes the object from here on */
};

/* What is set to the value: the argument, or a field of the struct that it points to. */
enum script_target { SCRIPT_TO_ARGUMENT, SCRIPT_TO_MASTER_ID, SCRIPT_TO_STREAM_ID };

struct script_live {
    size_t argument;
    enum script_source source;
    enum script_target target;
    uint64_t number;
    char *object;         /* the argument points to it; NULL: an object of the thread */
    size_t thread_object; /* its index; SCRIPT_ANY_OBJECT: the object for values like `#` */
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
    SCRIPT_REPEAT, /* play the steps up to `partner`, its SCRIPT_END, `number` times */
    SCRIPT_END,    /* `partner` is its SCRIPT_REPEAT */
    SCRIPT_RATE,   /* from here on, `number` probes per second, all threads together; 0: no limit */
    SCRIPT_SLEEP,  /* `number` milliseconds */
    SCRIPT_HOP,    /* to another CPU */
    SCRIPT_HOP_EVERY /* from here on, after every `number` probes; 0: stop */
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
    /* The steps from here on are played by several threads. */
    size_t threads_from;
    unsigned num_threads;      /* 0: one thread plays everything */
    size_t num_thread_objects; /* connections for which each thread has its own object */
    struct script_memory *memory;
};

/* Returns NULL on error, with a message on stderr. */
struct script *script_read(const char *path);
void script_free(struct script *script);

#endif
