/*
 * The layouts of struct st_quicly_stats_t. Several layouts can have the same size, because h2o has
 * reordered the fields without changing the size.
 */
#ifndef H2OLOG_EVENT_STATS_H
#define H2OLOG_EVENT_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/process.h"
#include "server/signature.h"

/* The most layouts with the same size. */
#define STATS_LAYOUTS_MAX 4

/* Whether a layout with this size is known. */
bool stats_is_known_size(uint64_t size);

/*
 * Finds the layouts that fit the size and the content of a struct, and puts them into `found`.
 * `files` are the addresses of the server's mapped files, empty if unknown. Returns the number of
 * layouts: 1 if the layout is certain, 0 if no known layout fits.
 */
size_t stats_find(const uint8_t *bytes, size_t size, const struct address_range *files,
                  size_t num_files, const struct stats_layout *found[STATS_LAYOUTS_MAX]);

/*
 * Whether all layouts have the field at the same place. Such a field can be read although the
 * layout is not certain.
 */
bool stats_is_common(const struct stats_field *field, const struct stats_layout *const *layouts,
                     size_t num_layouts);

#endif
