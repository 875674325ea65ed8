#include "event/needs.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

void needs_add(struct needs_headers *headers, const char *name)
{
    char *lower = memory_format("%s", name);

    for (char *letter = lower; *letter != '\0'; ++letter) {
        if (*letter >= 'A' && *letter <= 'Z')
            *letter |= 0x20;
    }
    for (size_t i = 0; i != headers->count; ++i) {
        if (strcmp(headers->names[i], lower) == 0) {
            free(lower);
            return;
        }
    }
    headers->names = memory_grow(headers->names, headers->count + 1, sizeof(headers->names[0]));
    headers->names[headers->count++] = lower;
}

static void dispose_headers(struct needs_headers *headers)
{
    for (size_t i = 0; i != headers->count; ++i)
        free(headers->names[i]);
    free(headers->names);
}

void needs_dispose(struct needs *needs)
{
    dispose_headers(&needs->request);
    dispose_headers(&needs->response);
    *needs = (struct needs){0};
}
