#ifndef STANDIN_PROBES_H
#define STANDIN_PROBES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The limit of <sys/sdt.h>, and so of every probe of h2o. */
#define PROBE_MAX_ARGUMENTS 12

struct probe_argument {
    const char *type; /* of the probe list: "const char *", "uint64_t" */
    const char *name;
};

/* A USDT probe of one version of h2o. t/gen_standin.py writes the table of them. */
struct probe {
    const char *provider;
    const char *name;
    size_t num_arguments;
    struct probe_argument arguments[PROBE_MAX_ARGUMENTS];
    /* Whether the probe is traced: its semaphore is not 0. */
    bool (*enabled)(void);
    /*
     * Fires the probe if it is enabled, as h2o does. Returns whether it was. Pointers are passed as
     * integers; each value is cast to the type of its argument.
     */
    bool (*fire)(const uint64_t *arguments);
};

extern const struct probe probe_table[];
extern const size_t probe_table_size;

/* Returns NULL if this version of h2o lacks the probe. */
const struct probe *probe_find(const char *provider, const char *name);

/* Returns the index of the argument `name`, or -1. */
int probe_find_argument(const struct probe *probe, const char *name);

#endif
