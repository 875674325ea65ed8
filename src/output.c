#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

/* A write of this size costs little a line; a line in the making may follow it. */
#define BATCH_SIZE (size_t)(128 * 1024)

/* The longest line: every captured byte as six characters, and the names of all fields. */
#define LINE_MAX_SIZE (size_t)(128 * 1024)

int output_open(struct output *output, const char *name)
{
    *output = (struct output){.fd = STDOUT_FILENO, .name = name};
    if (name != NULL) {
        output->fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
        if (output->fd < 0)
            return -1;
    }
    output->buffer = memory_grow(NULL, BATCH_SIZE + LINE_MAX_SIZE, 1);
    return 0;
}

char *output_reserve(struct output *output, size_t size)
{
    /* a line longer than any can be is cut rather than written behind the buffer */
    if (output->used + size > BATCH_SIZE + LINE_MAX_SIZE)
        output->used = output->line;
    return output->buffer + output->used;
}

void output_advance(struct output *output, size_t size)
{
    output->used += size;
}

void output_bytes(struct output *output, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    memcpy(output_reserve(output, size), bytes, size);
    output_advance(output, size);
}

void output_string(struct output *output, const char *text)
{
    output_bytes(output, text, strlen(text));
}

void output_unsigned(struct output *output, uint64_t value)
{
    char digits[20];
    size_t first = sizeof(digits);

    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    output_bytes(output, digits + first, sizeof(digits) - first);
}

void output_signed(struct output *output, int64_t value)
{
    if (value >= 0) {
        output_unsigned(output, (uint64_t)value);
        return;
    }
    output_bytes(output, "-", 1);
    output_unsigned(output, 0 - (uint64_t)value);
}

void output_hex(struct output *output, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char *text = output_reserve(output, size * 2);

    for (size_t i = 0; i != size; ++i) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    output_advance(output, size * 2);
}

void output_end_line(struct output *output)
{
    output_bytes(output, "\n", 1);
    output->line = output->used;
    ++output->lines;
    if (output->used >= BATCH_SIZE)
        output_flush(output);
}

void output_drop_line(struct output *output)
{
    output->used = output->line;
}

int output_flush(struct output *output)
{
    size_t done = 0;

    while (done != output->line && output->error == 0) {
        ssize_t written = write(output->fd, output->buffer + done, output->line - done);
        if (written >= 0)
            done += (size_t)written;
        else if (errno != EINTR)
            output->error = errno;
    }
    for (const char *at = output->buffer + done; at != output->buffer + output->line; ++at)
        output->dropped += *at == '\n';
    memmove(output->buffer, output->buffer + output->line, output->used - output->line);
    output->used -= output->line;
    output->line = 0;
    return output->error == 0 ? 0 : -1;
}

void output_close(struct output *output)
{
    free(output->buffer);
    output->buffer = NULL;
    if (output->name != NULL)
        close(output->fd);
}
