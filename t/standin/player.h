#ifndef STANDIN_PLAYER_H
#define STANDIN_PLAYER_H

#include <stdatomic.h>
#include <stdint.h>

#include "script.h"

struct player_result {
    uint64_t num_fired;
    uint64_t num_skipped; /* of probes that were not enabled */
    double seconds;
};

/* Plays the script from its start to its end, or until `*stop`. */
void player_play(const struct script *script, const atomic_bool *stop,
                 struct player_result *result);

#endif
