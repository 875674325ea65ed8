/*
 * struct st_quicly_stats_t -> its layouts. Its size does not always tell which one it is: h2o has
 * reordered it without a change of the size.
 */
#ifndef H2OLOG_EVENT_STATS_H
#define H2OLOG_EVENT_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/process.h"
#include "server/signature.h"

/* At most so many layouts have the same size. */
#define STATS_LAYOUTS_MAX 4

/* Whether there is a layout of that size. */
bool stats_is_known_size(uint64_t size);

/*
 * Finds the layouts that a struct of `size` bytes can have, by what it holds: `files` are the
 * addresses at which the server has files mapped, none if that is not known. Puts them to `found`
 * and returns their number: 1 if the layout is certain, 0 if the struct has none that is known.
 */
size_t stats_find(const uint8_t *bytes, size_t size, const struct address_range *files,
                  size_t num_files, const struct stats_layout *found[STATS_LAYOUTS_MAX]);

/*
 * Whether all of the layouts have the field at the same place. What is read there is right, whichever
 * layout the struct has.
 */
bool stats_is_common(const struct stats_field *field, const struct stats_layout *const *layouts,
                     size_t num_layouts);

#endif
