#include "memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void *must(void *memory)
{
    if (memory == NULL) {
        fputs("h2olog: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

void *memory_grow(void *array, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return must(NULL);
    return must(realloc(array, count * size != 0 ? count * size : 1));
}

char *memory_format(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return must(length < 0 ? NULL : text);
}
