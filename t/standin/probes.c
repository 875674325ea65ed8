#include "probes.h"

#include <string.h>

const struct probe *probe_find(const char *provider, const char *name)
{
    for (size_t i = 0; i < probe_table_size; ++i) {
        const struct probe *probe = &probe_table[i];
        if (strcmp(probe->provider, provider) == 0 && strcmp(probe->name, name) == 0)
            return probe;
    }
    return NULL;
}

int probe_find_argument(const struct probe *probe, const char *name)
{
    for (size_t i = 0; i < probe->num_arguments; ++i)
        if (strcmp(probe->arguments[i].name, name) == 0)
            return (int)i;
    return -1;
}
