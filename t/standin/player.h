#ifndef STANDIN_PLAYER_H
#define STANDIN_PLAYER_H

#include <stdatomic.h>
#include <stdint.h>

#include "script.h"

struct player_result {
    uint64_t num_fired;
    uint64_t num_skipped; /* probes that were not enabled */
    double seconds;
};

/* Plays the whole script, or until `*stop`. */
void player_play(const struct script *script, const atomic_bool *stop,
                 struct player_result *result);

#endif
