#include "print/output.h"

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

/* The size of a write: large enough to cost little per line. An incomplete line can follow it. */
#define BATCH_SIZE (size_t)(128 * 1024)

/* Room for a line. The buffer grows for a longer line, such as a request with many headers. */
#define LINE_SIZE (size_t)(128 * 1024)

#define WRITE_FLAGS (O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY)

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* Opens the folder of a file. `path` is relative to `base`. Returns -1 with errno. */
static int open_folder(int base, const char *path)
{
    char *folder = memory_format("%.*s", (int)(last_part(path) - path), path);
    const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    int fd = openat(base, folder[0] != '\0' ? folder : ".", flags), code = errno;

    free(folder);
    errno = code;
    return fd;
}

/* Whether it is a folder like /tmp: any user can add entries, and only their owner can remove them. */
static bool is_shared(const struct stat *folder)
{
    const mode_t shared = S_ISVTX | S_IWOTH;

    return (folder->st_mode & shared) == shared;
}

/* Returns the target of a link that is open with O_PATH, to be freed; NULL if it is no link. */
static char *read_link(int fd)
{
    char path[PATH_MAX];
    const ssize_t size = readlinkat(fd, "", path, sizeof(path));

    return size >= 0 && (size_t)size < sizeof(path) ? memory_format("%.*s", (int)size, path) : NULL;
}

/*
 * Opens an entry of a folder with O_PATH. In a shared folder, a link is not followed, and `planted`
 * says whether the entry belongs to another user. A file or a FIFO of another user would show that
 * user the data of the server's clients; a link would make h2olog empty another file. The kernel has
 * the same rules (fs.protected_symlinks, _regular and _fifos), but they can be off. The descriptor
 * that is checked is the one that is used, so the name can change in between.
 */
static int open_entry(int folder, const char *name, uid_t caller, bool *planted)
{
    struct stat above, entry;
    int fd;

    if (fstat(folder, &above) != 0)
        return -1;
    if (!is_shared(&above))
        return openat(folder, name, O_PATH | O_CLOEXEC);
    fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    *planted = fd >= 0 &&
               (fstat(fd, &entry) != 0 || (entry.st_uid != caller && entry.st_uid != above.st_uid));
    return fd;
}

/* The kernel follows as many links. */
#define LINKS_MAX 40

/*
 * Does the same for a path that is relative to `base`, and follows links. Returns -1 with errno.
 */
static int find_entry(int base, const char *path, uid_t caller, int links, bool *planted)
{
    const int folder = open_folder(base, path);
    int fd = folder >= 0 ? open_entry(folder, last_part(path), caller, planted) : -1, code;
    char *target = fd >= 0 && !*planted ? read_link(fd) : NULL;

    if (target != NULL) {
        close(fd);
        errno = ELOOP;
        fd = links < LINKS_MAX ? find_entry(folder, target, caller, links + 1, planted) : -1;
    }
    code = errno;
    free(target);
    if (folder >= 0)
        close(folder);
    errno = code;
    return fd;
}

/* Opens an open file again, with other flags. Returns -1 with errno. */
static int reopen(int fd, int flags)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags);
}

/* How often a FIFO without a reader is opened: poll(2) cannot wait for a reader. */
#define READER_MS 20

/*
 * Opens the entry that find_entry has found. open(2) of a FIFO or a terminal can wait, and blocked
 * signals do not end that. Returns -1 with errno; ECANCELED after an interrupt.
 */
static int open_entry_for_writing(int entry, int interrupt)
{
    struct pollfd signals = {.fd = interrupt, .events = POLLIN};
    struct stat file;
    const mode_t kind = fstat(entry, &file) == 0 ? file.st_mode & S_IFMT : 0;
    const int flags = WRITE_FLAGS | (kind == S_IFIFO || kind == S_IFCHR ? O_NONBLOCK : 0);
    int fd;

    while ((fd = reopen(entry, flags)) < 0 && errno == ENXIO && kind == S_IFIFO) {
        if (poll(&signals, 1, READER_MS) > 0) {
            errno = ECANCELED;
            return -1;
        }
    }
    return fd;
}

/* Opens an existing file for writing. Returns -1 with errno, or with `planted` set. */
static int open_existing(const struct output *output, bool *planted)
{
    int entry = find_entry(output->folder, last_part(output->name), output->caller.uid, 0, planted);
    int fd = entry >= 0 && !*planted ? open_entry_for_writing(entry, output->interrupt) : -1;
    int code = errno;

    if (entry >= 0)
        close(entry);
    errno = code;
    return fd;
}

/* Opens or creates the file. Returns NULL, or the reason of the failure. */
static const char *open_file(struct output *output)
{
    const char *name = last_part(output->name);
    bool planted = false;

    if (name[0] == '\0') { /* "folder/" */
        errno = EISDIR;
        return strerror(errno);
    }
    output->folder = open_folder(AT_FDCWD, output->name);
    if (output->folder < 0)
        return strerror(errno);
    for (int i = 0; i != 10 && output->fd < 0; ++i) { /* the file can disappear in between */
        output->fd = openat(output->folder, name, WRITE_FLAGS | O_CREAT | O_EXCL, 0600);
        output->created = output->fd >= 0;
        if (output->fd >= 0 || errno != EEXIST)
            break;
        output->fd = open_existing(output, &planted);
        if (planted)
            return "it belongs to another user, in a folder where every user can create files";
        if (output->fd < 0 && errno != ENOENT)
            break;
    }
    if (output->fd < 0 && errno == ECANCELED)
        output->error = ECANCELED;
    return output->fd >= 0 ? NULL : strerror(errno);
}

static void close_folder(struct output *output)
{
    if (output->folder >= 0)
        close(output->folder);
    output->folder = -1;
}

/*
 * Takes over a descriptor. A write to a pipe or a terminal must not wait, because poll(2) does not
 * say how many bytes fit. The file is opened again with O_NONBLOCK, because that flag would also
 * change the descriptors of other processes.
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
    output->allocated = BATCH_SIZE + LINE_SIZE;
    output->buffer = memory_grow(NULL, output->allocated, 1);
}

/* As in shells: low numbers are left to files that are open for a moment only. */
#define COPY_MIN 10

/* Copies a descriptor, so that close(2) reports whether everything was written. */
static int copy(int fd)
{
    int ours = fcntl(fd, F_DUPFD_CLOEXEC, COPY_MIN);

    return ours >= 0 ? ours : fd;
}

/* Returns the descriptor that a name such as /dev/stdout or /dev/fd/3 means; -1 for other names. */
static int named_descriptor(const char *name)
{
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};

    if (name == NULL || strcmp(name, "/dev/stdout") == 0)
        return STDOUT_FILENO;
    if (strcmp(name, "/dev/stderr") == 0)
        return STDERR_FILENO;
    for (size_t i = 0; i != sizeof(folders) / sizeof(folders[0]); ++i) {
        const size_t length = strlen(folders[i]);
        const char *digits = name + length;
        if (strncmp(name, folders[i], length) == 0 && strlen(digits) - 1 < 9 &&
            digits[strspn(digits, "0123456789")] == '\0')
            return (int)strtol(digits, NULL, 10);
    }
    return -1;
}

/* Refuses a descriptor that is open only for reading: root could open it again for writing. */
static bool is_writable(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_RDONLY;
}

/* Opens a file with the rights of the caller. Returns NULL, or the reason of the failure. */
static const char *open_named(struct output *output)
{
    struct caller_entered entered;
    const char *reason;

    if (caller_enter(&output->caller, &entered) != 0)
        return "this needs CAP_SETUID and CAP_SETGID, to open it as the user who called";
    reason = open_file(output);
    if (reason == NULL)
        begin(output, output->fd);
    if (!output->created)
        close_folder(output);
    if (reason != NULL && errno == EACCES && !entered.is_root)
        reason = "Permission denied for the user who called";
    caller_leave(&entered);
    return reason;
}

const char *output_open(struct output *output, const char *name, const struct caller *caller,
                        int interrupt)
{
    const int fd = named_descriptor(name);

    *output = (struct output){.fd = -1,
                              .folder = -1,
                              .interrupt = interrupt,
                              .name = name,
                              .is_descriptor = fd >= 0,
                              .caller = *caller};
    if (fd < 0)
        return open_named(output);
    if (!is_writable(fd))
        return "it is closed, or not open for writing";
    begin(output, copy(fd));
    return NULL;
}

void output_open_messages(struct output *output)
{
    *output = (struct output){.fd = -1, .folder = -1, .interrupt = -1};
    begin(output, copy(STDERR_FILENO));
}

int output_begin(struct output *output)
{
    struct caller_entered entered;
    struct stat file;
    int result;

    close_folder(output);
    if (output->is_descriptor || output->created) {
        output->created = false;
        return 0;
    }
    if (caller_enter(&output->caller, &entered) != 0)
        return -1;
    result = fstat(output->fd, &file);
    if (result == 0 && S_ISREG(file.st_mode))
        result = ftruncate(output->fd, 0);
    caller_leave(&entered);
    return result;
}

char *output_reserve(struct output *output, size_t size)
{
    if (output->used + size > output->allocated) {
        output->allocated = 2 * (output->used + size);
        output->buffer = memory_grow(output->buffer, output->allocated, 1);
    }
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

/* The longest wait for the reader after an interrupt. */
#define LAST_CHANCE_MS 500
#define RETRY_MS       10

/*
 * Waits until PIPE_BUF bytes can be written without waiting. Returns 0, or an errno: that of
 * poll(2), or ECANCELED if there was an interrupt and the reader takes nothing.
 */
static int wait_for_reader(const struct output *output)
{
    struct pollfd fds[] = {{.fd = output->fd, .events = POLLOUT},
                           {.fd = output->interrupt, .events = POLLIN}};
    int ready;

    while ((ready = poll(fds, 2, -1)) < 0 && errno == EINTR)
        ;
    if (ready > 0 && fds[0].revents == 0)
        ready = poll(fds, 1, LAST_CHANCE_MS);
    if (ready < 0)
        return errno;
    return ready > 0 ? 0 : ECANCELED; /* write(2) reports an error of the reader */
}

/*
 * Writes everything to a file, at most PIPE_BUF bytes to a pipe, so that the write does not wait. If
 * poll(2) fails, it writes nevertheless: the bytes can be the message about that failure.
 */
static ssize_t write_some(struct output *output, const char *bytes, size_t size)
{
    int failure = output->waits ? wait_for_reader(output) : 0;
    ssize_t written = -1;

    if (output->waits && size > PIPE_BUF)
        size = PIPE_BUF;
    if (failure != ECANCELED)
        written = write(output->fd, bytes, size);
    if (failure == ECANCELED || (failure != 0 && written < 0 && errno == EAGAIN))
        errno = failure;
    return written;
}

/* Handles a write that failed. */
static void consider(struct output *output, int code)
{
    struct pollfd interrupt = {.fd = output->interrupt, .events = POLLIN};

    if (code != EINTR && code != EAGAIN)
        output->error = code;
    if (code != EAGAIN)
        return;
    poll(NULL, 0, RETRY_MS); /* a terminal can have room, but not for a newline */
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

void output_hung_up(struct output *output)
{
    const bool fails = write(output->fd, "", 0) < 0 && errno != EINTR && errno != EAGAIN;

    output->error = fails ? errno : EPIPE; /* write(2) of 0 bytes reports no error of a pipe */
}

/* Whether the name still leads to the open file. */
static bool is_there(const struct output *output)
{
    struct stat named, opened;

    return fstatat(output->folder, last_part(output->name), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(output->fd, &opened) == 0 && named.st_dev == opened.st_dev &&
           named.st_ino == opened.st_ino;
}

static void remove_created(const struct output *output)
{
    struct caller_entered entered;

    if (caller_enter(&output->caller, &entered) != 0)
        return;
    if (is_there(output))
        unlinkat(output->folder, last_part(output->name), 0);
    caller_leave(&entered);
}

int output_close(struct output *output)
{
    int result = 0;

    free(output->buffer);
    output->buffer = NULL;
    if (output->created && output->lines == 0) /* there was nothing to write */
        remove_created(output);
    close_folder(output);
    if (output->fd > STDERR_FILENO && close(output->fd) != 0 && errno != EINTR)
        result = -1;
    output->fd = -1;
    return result;
}
