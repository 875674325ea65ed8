#ifndef STANDIN_PROBES_H
#define STANDIN_PROBES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* <sys/sdt.h> has macros for no more, so no probe of h2o can have more. */
#define PROBE_MAX_ARGUMENTS 12

struct probe_argument {
    const char *type; /* as in the probe list: "const char *", "uint64_t" */
    const char *name;
};

/* A USDT probe of one version of h2o. t/gen_standin.py writes the table of them. */
struct probe {
    const char *provider;
    const char *name;
    size_t num_arguments;
    struct probe_argument arguments[PROBE_MAX_ARGUMENTS];
    /* Whether somebody traces the probe: whether its semaphore is raised. */
    bool (*enabled)(void);
    /* Fires the probe if it is enabled, as h2o does, and says whether it was. Pointers are handed
     * over as integers; each value is cast to the type of its argument. */
    bool (*fire)(const uint64_t *arguments);
};

extern const struct probe probe_table[];
extern const size_t probe_table_size;

/* NULL if this version of h2o has no such probe. */
const struct probe *probe_find(const char *provider, const char *name);

/* The place of the argument called `name` among the probe's arguments, or -1. */
int probe_find_argument(const struct probe *probe, const char *name);

#endif
