#include "texts.h"

#include <stdlib.h>
#include <string.h>

const char *texts_get(const char *path)
{
    for (const struct text_file *file = text_files; file->path != NULL; ++file) {
        if (strcmp(file->path, path) == 0)
            return file->content;
    }
    abort(); /* the build embeds what the program asks for */
}
