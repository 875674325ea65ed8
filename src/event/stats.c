#include "event/stats.h"

#include <string.h>

#include "event/record.h"

bool stats_is_known_size(uint64_t size)
{
    for (size_t i = 0; i != num_stats_layouts; ++i) {
        if (stats_layouts[i].size == size)
            return true;
    }
    return false;
}

/* Whether the 8 bytes at an offset can be a pointer to an object in one of the files. */
static bool is_pointer(const uint8_t *bytes, size_t offset, const struct address_range *files,
                       size_t num_files)
{
    const uint64_t address = record_unsigned(bytes + offset, 8);

    if (address % 8 != 0) /* the object begins with a pointer */
        return false;
    for (size_t i = 0; i != num_files; ++i) {
        if (address >= files[i].begin && address < files[i].end)
            return true;
    }
    return false;
}

static bool has_pointer(const uint8_t *bytes, size_t size, const struct address_range *files,
                        size_t num_files)
{
    for (size_t offset = 0; offset + 8 <= size; offset += 8) {
        if (is_pointer(bytes, offset, files, num_files))
            return true;
    }
    return false;
}

size_t stats_find(const uint8_t *bytes, size_t size, const struct address_range *files,
                  size_t num_files, const struct stats_layout *found[STATS_LAYOUTS_MAX])
{
    /* if no pointer into the files is found, the pointer cannot be used to choose */
    const bool pointer_tells = has_pointer(bytes, size, files, num_files);
    size_t count = 0;

    for (size_t i = 0; i != num_stats_layouts; ++i) {
        const struct stats_layout *layout = &stats_layouts[i];
        if (layout->size != size || count == STATS_LAYOUTS_MAX)
            continue;
        if (layout->pointer != 0 && pointer_tells &&
            !is_pointer(bytes, layout->pointer, files, num_files))
            continue;
        if ((layout->zero != 0 && record_unsigned(bytes + layout->zero, 4) != 0) ||
            (layout->nonzero != 0 && record_unsigned(bytes + layout->nonzero, 4) == 0))
            continue;
        found[count++] = layout;
    }
    return count;
}

static bool has_field(const struct stats_layout *layout, const struct stats_field *field)
{
    for (size_t i = 0; i != layout->num_fields; ++i) {
        const struct stats_field *other = &layout->fields[i];
        if (other->offset == field->offset && other->width == field->width &&
            other->is_signed == field->is_signed && strcmp(other->key, field->key) == 0)
            return true;
    }
    return false;
}

bool stats_is_common(const struct stats_field *field, const struct stats_layout *const *layouts,
                     size_t num_layouts)
{
    for (size_t i = 0; i != num_layouts; ++i) {
        if (!has_field(layouts[i], field))
            return false;
    }
    return true;
}
