/*
 * Memory that is there: a command-line program that has no memory to start with ends with a
 * sentence.
 */
#ifndef H2OLOG_MEMORY_H
#define H2OLOG_MEMORY_H

#include <stddef.h>

/* Resizes an array (NULL: makes one) to `count` elements of `size` bytes. */
void *memory_grow(void *array, size_t count, size_t size);

/* What printf would print, as a string to be freed. */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
