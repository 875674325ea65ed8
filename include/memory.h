/*
 * Allocation that does not fail: if memory runs out, the program ends with a message and status 1.
 */
#ifndef H2OLOG_MEMORY_H
#define H2OLOG_MEMORY_H

#include <stddef.h>

/*
 * Resizes an array to `count` elements of `size` bytes. NULL allocates a new one. Free it with
 * free().
 */
void *memory_grow(void *array, size_t count, size_t size);

/* Formats text as printf does. Returns a new string. Free it with free(). */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
