#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"

/* A write of this size costs little a line; a line in the making may follow it. */
#define BATCH_SIZE (size_t)(128 * 1024)

/* The longest line: every captured byte as six characters, and the names of all fields. */
#define LINE_MAX_SIZE (size_t)(128 * 1024)

/* A folder where everybody can put something, and nobody can remove what is another's: /tmp. */
static bool is_shared(const struct stat *folder)
{
    return (folder->st_mode & (S_ISVTX | S_IWOTH)) == (S_ISVTX | S_IWOTH);
}

/*
 * What somebody else put into such a folder is not for us: a link would lead to a file of the
 * system, a file or a FIFO would hand them what we write. Nobody else can replace what is ours, the
 * folder's owner's, or the caller's; of the last, links are not followed either. The kernel has the
 * same rules (fs.protected_symlinks, _regular, _fifos), but not for a file that is opened without
 * O_CREAT.
 */
static bool is_trusted(const struct stat *folder, const struct stat *found, uid_t caller)
{
    if (!is_shared(folder) || S_ISDIR(found->st_mode))
        return true;
    if (S_ISREG(found->st_mode) && found->st_nlink > 1) { /* a link of the other kind */
        errno = EMLINK;
        return false;
    }
    if (found->st_uid == geteuid() || found->st_uid == folder->st_uid ||
        (found->st_uid == caller && !S_ISLNK(found->st_mode)))
        return true;
    errno = S_ISLNK(found->st_mode) ? ELOOP : EPERM;
    return false;
}

/*
 * Opens what is there, with its status: O_PATH, and a link itself. What is looked at is what is
 * opened, whatever somebody puts in its place meanwhile. Returns -1 with errno if it is not there or
 * not to be trusted.
 */
static int open_entry(int folder, const char *name, uid_t caller, struct stat *found)
{
    struct stat above;
    int code, entry = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (entry < 0)
        return -1;
    if (fstat(folder, &above) == 0 && fstat(entry, found) == 0 && is_trusted(&above, found, caller))
        return entry;
    code = errno;
    close(entry);
    errno = code;
    return -1;
}

/* Opens a folder, or what a link leads to that nobody else can have put there. */
static int open_folder(int folder, const char *name, uid_t caller)
{
    struct stat found;
    int entry = open_entry(folder, name, caller, &found);

    if (entry < 0 || !S_ISLNK(found.st_mode))
        return entry;
    close(entry);
    return openat(folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Opens the folder that a file is to be in, part by part. Returns -1 with errno. */
static int open_parent(const char *path, uid_t caller)
{
    int folder = open(path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *slash;

    for (; folder >= 0 && (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        char *part = memory_format("%.*s", (int)(slash - path), path);
        int next =
            part[0] == '\0' ? fcntl(folder, F_DUPFD_CLOEXEC, 0) : open_folder(folder, part, caller);
        int code = errno;
        free(part);
        close(folder);
        errno = code;
        folder = next;
    }
    return folder;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

#define WRITE_FLAGS (O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY)

/* Opens once more what is open, in another way. Returns -1 with errno. */
static int reopen(int fd, int flags)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags);
}

static int open_existing(int folder, const char *name, uid_t caller)
{
    struct stat found;
    int entry = open_entry(folder, name, caller, &found), fd, code;

    if (entry < 0)
        return -1;
    fd = S_ISLNK(found.st_mode) ? openat(folder, name, WRITE_FLAGS) : reopen(entry, WRITE_FLAGS);
    code = errno;
    close(entry);
    errno = code;
    return fd;
}

static int open_file(struct output *output, uid_t caller)
{
    const char *name = last_part(output->name);

    if (name[0] == '\0') { /* "folder/" */
        errno = EISDIR;
        return -1;
    }
    output->folder = open_parent(output->name, caller);
    if (output->folder < 0)
        return -1;
    for (int i = 0; i != 10 && output->fd < 0; ++i) { /* it can go between the one and the other */
        output->fd = openat(output->folder, name, WRITE_FLAGS | O_CREAT | O_EXCL, 0600);
        output->created = output->fd >= 0;
        if (output->fd < 0 && errno == EEXIST)
            output->fd = open_existing(output->folder, name, caller);
        if (output->fd < 0 && errno != ENOENT)
            return -1;
    }
    return output->fd >= 0 ? 0 : -1;
}

static void close_folder(struct output *output)
{
    if (output->folder >= 0)
        close(output->folder);
    output->folder = -1;
}

/*
 * A write to a pipe or a terminal must not wait, as poll(2) does not say how much they take. Opened
 * once more, it can be told not to without changing it for others.
 */
static void begin(struct output *output, int fd)
{
    struct stat file;
    int patient = -1;

    output->waits = fstat(fd, &file) != 0 || !S_ISREG(file.st_mode);
    if (output->waits && (S_ISFIFO(file.st_mode) || S_ISCHR(file.st_mode)))
        patient = reopen(fd, WRITE_FLAGS | O_NONBLOCK);
    if (patient >= 0 && fd > STDERR_FILENO)
        close(fd);
    output->fd = patient >= 0 ? patient : fd;
    output->buffer = memory_grow(NULL, BATCH_SIZE + LINE_MAX_SIZE, 1);
}

int output_open(struct output *output, const char *name, uid_t caller)
{
    *output = (struct output){.fd = -1, .folder = -1, .interrupt = -1, .name = name};
    if (name != NULL && open_file(output, caller) != 0) {
        int code = errno;
        close_folder(output);
        errno = code;
        return -1;
    }
    begin(output, name != NULL ? output->fd : STDOUT_FILENO);
    return 0;
}

void output_open_messages(struct output *output)
{
    *output = (struct output){.fd = -1, .folder = -1, .interrupt = -1};
    begin(output, STDERR_FILENO);
}

int output_begin(struct output *output, uid_t uid, gid_t gid)
{
    struct stat file;

    if (output->name == NULL)
        return 0;
    close_folder(output);
    if (output->created) {
        output->created = false;
        return fchown(output->fd, uid, gid);
    }
    if (fstat(output->fd, &file) != 0)
        return -1;
    return S_ISREG(file.st_mode) ? ftruncate(output->fd, 0) : 0;
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

/* Nobody is waited for any longer than this once there was an interrupt. */
#define LAST_CHANCE_MS 500
#define RETRY_MS       10

/* Whether PIPE_BUF bytes can be written without waiting for a reader that has stopped for good. */
static bool wait_for_reader(const struct output *output)
{
    struct pollfd fds[] = {{.fd = output->fd, .events = POLLOUT},
                           {.fd = output->interrupt, .events = POLLIN}};

    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    /* an error of the reader's is the write's to tell */
    return fds[0].revents != 0 || poll(fds, 1, LAST_CHANCE_MS) > 0;
}

/* A file takes everything at once; a pipe, as much as never makes a write wait. */
static ssize_t write_some(struct output *output, const char *bytes, size_t size)
{
    if (output->waits && size > PIPE_BUF)
        size = PIPE_BUF;
    if (output->waits && !wait_for_reader(output)) {
        errno = ECANCELED;
        return -1;
    }
    return write(output->fd, bytes, size);
}

/* What to do about a write that failed. */
static void consider(struct output *output, int code)
{
    struct pollfd interrupt = {.fd = output->interrupt, .events = POLLIN};

    if (code != EINTR && code != EAGAIN)
        output->error = code;
    if (code != EAGAIN)
        return;
    poll(NULL, 0, RETRY_MS); /* a terminal that has room for something has none for a newline */
    if (poll(&interrupt, 1, 0) > 0 && ++output->refusals > LAST_CHANCE_MS / RETRY_MS)
        output->error = ECANCELED;
}

int output_flush(struct output *output)
{
    size_t done = 0;

    while (done != output->line && output->error == 0) {
        ssize_t written = write_some(output, output->buffer + done, output->line - done);
        if (written >= 0)
            done += (size_t)written;
        else
            consider(output, errno);
    }
    for (const char *at = output->buffer + done; at != output->buffer + output->line; ++at)
        output->dropped += *at == '\n';
    memmove(output->buffer, output->buffer + output->line, output->used - output->line);
    output->used -= output->line;
    output->line = 0;
    return output->error == 0 ? 0 : -1;
}

void output_say(struct output *output, const char *format, ...)
{
    va_list arguments;
    char *line = NULL;

    va_start(arguments, format);
    if (vasprintf(&line, format, arguments) < 0)
        abort();
    va_end(arguments);
    output_string(output, line);
    output_end_line(output);
    output_flush(output);
    free(line);
}

/* Whether the name is still that of the file that is open. */
static bool is_there(const struct output *output)
{
    struct stat named, opened;

    return fstatat(output->folder, last_part(output->name), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(output->fd, &opened) == 0 && named.st_dev == opened.st_dev &&
           named.st_ino == opened.st_ino;
}

void output_close(struct output *output)
{
    free(output->buffer);
    output->buffer = NULL;
    if (output->created && output->lines == 0 && is_there(output))
        unlinkat(output->folder, last_part(output->name), 0); /* nothing was to be written */
    close_folder(output);
    if (output->fd > STDERR_FILENO)
        close(output->fd);
    output->fd = -1;
}
