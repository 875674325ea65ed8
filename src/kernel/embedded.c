#include "kernel/embedded.h"

#include <stdlib.h>
#include <string.h>

const char *embedded_get(const char *path)
{
    for (const struct embedded_file *file = embedded_files; file->path != NULL; ++file) {
        if (strcmp(file->path, path) == 0)
            return file->content;
    }
    abort(); /* the build embeds all files that the program uses */
}
