#include "server/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bcc/bcc_elf.h>

#include "server/binary.h"
#include "memory.h"
#include "print/escape.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on every architecture; glibc has it since 2.31's headers */
#endif

/* What a file of /proc says, NUL-terminated, to be freed; NULL if it cannot be read. */
static char *read_proc(pid_t pid, const char *name, size_t *size)
{
    char path[64], chunk[4096];
    char *text = NULL;
    size_t used = 0;
    ssize_t got;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    while ((got = read(fd, chunk, sizeof(chunk))) > 0) {
        text = memory_grow(text, used + (size_t)got + 1, 1);
        memcpy(text + used, chunk, (size_t)got);
        used += (size_t)got;
    }
    close(fd);
    if (got < 0) {
        free(text);
        return NULL;
    }
    if (text == NULL)
        text = memory_grow(NULL, 1, 1);
    text[used] = '\0';
    if (size != NULL)
        *size = used;
    return text;
}

/* Escaped: a process can call itself anything. */
static char *read_name(pid_t pid)
{
    char *name = read_proc(pid, "comm", NULL), *escaped;

    if (name == NULL)
        return NULL;
    if (name[0] != '\0')
        name[strlen(name) - 1] = '\0'; /* the newline behind it */
    escaped = escape_string(name);
    free(name);
    return escaped;
}

/* The arguments with blanks between them, escaped; the name in brackets, as ps does, without any. */
static char *read_command(pid_t pid, const char *name)
{
    size_t size = 0;
    char *escaped, *command = read_proc(pid, "cmdline", &size);

    while (size != 0 && command[size - 1] == '\0')
        --size;
    if (size == 0) {
        free(command);
        return memory_format("[%s]", name);
    }
    for (size_t i = 0; i != size; ++i) {
        if (command[i] == '\0')
            command[i] = ' ';
    }
    command[size] = '\0';
    escaped = escape_string(command);
    free(command);
    return escaped;
}

/*
 * Of another process or thread, what its status says on the line `field`, such as "\nTgid:"; 0 if
 * there is no such thread.
 */
static pid_t relative(pid_t tid, const char *field)
{
    char *status = read_proc(tid, "status", NULL);
    const char *line = status != NULL ? strstr(status, field) : NULL;
    pid_t found = line != NULL ? (pid_t)strtol(line + strlen(field), NULL, 10) : 0;

    free(status);
    return found;
}

static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

int process_open(struct process *process, pid_t pid, struct error *error)
{
    pid_t group = relative(pid, "\nTgid:");
    struct stat namespace;
    char path[64];

    *process = (struct process){.pid = pid, .pidfd = -1, .supervisor = -1, .siblings = -1};
    if (group == 0) {
        return error_set(error, ERROR_FAILED, "there is no process %d", (int)pid);
    }
    if (group != pid) {
        error_set(error, ERROR_FAILED, "%d is a thread of process %d; trace that: -p %d", (int)pid,
                  (int)group, (int)group);
        return -1;
    }
    process->pidfd = open_pidfd(pid);
    if (process->pidfd < 0) {
        error_set(error, ERROR_FAILED, "process %d cannot be watched: %s%s", (int)pid,
                  strerror(errno), errno == ENOSYS ? "; h2olog needs Linux 5.8" : "");
        return -1;
    }
    process->name = read_name(pid);
    if (process->name == NULL) {
        return error_set(error, ERROR_FAILED, "there is no process %d", (int)pid);
    }
    process->command = read_command(pid, process->name);
    snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
    if (stat(path, &namespace) == 0) {
        process->pid_device = namespace.st_dev;
        process->pid_inode = namespace.st_ino;
    }
    return 0;
}

/* --- the processes around it --- */

static bool is_h2o(pid_t pid)
{
    char *name = read_name(pid);
    bool is = name != NULL && strcmp(name, "h2o") == 0;

    free(name);
    return is;
}

/* Whether it has ended, but its parent has not asked for its status. */
static bool is_zombie(pid_t pid)
{
    char path[64], process[1];

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return readlink(path, process, sizeof(process)) < 0 && errno == ENOENT;
}

/* h2o's own supervisor, a Perl script: h2o -m master and -m daemon become it. */
static bool is_start_server(pid_t pid)
{
    size_t size = 0;
    char *command = read_proc(pid, "cmdline", &size);
    bool found = false;

    for (size_t at = 0; at < size && !found; at += strlen(command + at) + 1) {
        const char *slash = strrchr(command + at, '/');
        found = strcmp(slash != NULL ? slash + 1 : command + at, "start_server") == 0;
    }
    free(command);
    return found;
}

struct pids {
    pid_t *ids;
    size_t count;
};

static void add_pid(struct pids *pids, pid_t pid)
{
    pids->ids = memory_grow(pids->ids, pids->count + 1, sizeof(pids->ids[0]));
    pids->ids[pids->count++] = pid;
}

/* Opens the list of a process's children; -1 if the kernel has none (CONFIG_PROC_CHILDREN). */
static int open_children(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Oldest first. Needs nothing but pread(2) and memory: it is called under the seccomp filter. */
static struct pids read_children(int fd)
{
    struct pids children = {NULL, 0};
    char chunk[4096];
    pid_t pid = 0;
    off_t at = 0;
    ssize_t got;

    while ((got = pread(fd, chunk, sizeof(chunk), at)) > 0) {
        for (ssize_t i = 0; i != got; ++i) { /* "100 120 " */
            if (isdigit((unsigned char)chunk[i])) {
                pid = pid * 10 + (chunk[i] - '0');
            } else {
                add_pid(&children, pid);
                pid = 0;
            }
        }
        at += got;
    }
    return children;
}

/* The servers that a process has started, itself or by others that it has started. Oldest first. */
static struct pids find_servers_below(pid_t pid)
{
    struct pids servers = {NULL, 0}, others = {NULL, 0};

    add_pid(&others, pid);
    for (size_t i = 0; i != others.count; ++i) {
        int fd = open_children(others.ids[i]);
        struct pids children = read_children(fd);
        for (size_t j = 0; j != children.count; ++j) {
            if (!is_zombie(children.ids[j]))
                add_pid(is_h2o(children.ids[j]) ? &servers : &others, children.ids[j]);
        }
        free(children.ids);
        if (fd >= 0)
            close(fd);
    }
    free(others.ids);
    return servers;
}

/* "120 and 100", newest first; to be freed. */
static char *list_pids(const struct pids *pids)
{
    char *list = memory_format("%s", "");

    for (size_t i = pids->count; i-- != 0;) {
        const char *behind = i > 1 ? ", " : i == 1 ? " and " : "";
        char *longer = memory_format("%s%d%s", list, (int)pids->ids[i], behind);
        free(list);
        list = longer;
    }
    return list;
}

/* Of a process without probes: whether it is a server's supervisor, or another's child. */
static bool explain_no_server(const struct process *process, struct error *error)
{
    const pid_t parent = relative(process->pid, "\nPPid:");
    struct pids servers = {NULL, 0};
    bool explained = true;
    char *list;

    if (strcmp(process->name, "h2o") != 0)
        servers = find_servers_below(process->pid);
    list = list_pids(&servers);
    if (servers.count != 0)
        error_set(error, ERROR_FAILED,
                  "process %d (%s) is not the server, but %s; the %s %s%s; trace %s: -p %d",
                  (int)process->pid, process->name,
                  is_start_server(process->pid) ? "its supervisor (start_server)"
                                                : "has started it",
                  servers.count == 1 ? "server is process" : "servers are processes", list,
                  servers.count == 1 ? "" : ", newest first",
                  servers.count == 1 ? "that" : "one of them", (int)servers.ids[servers.count - 1]);
    else if (is_h2o(parent))
        error_set(
            error, ERROR_FAILED,
            "process %d (%s) is a helper that process %d (h2o) has started; trace that: -p %d",
            (int)process->pid, process->name, (int)parent, (int)parent);
    else
        explained = false;
    free(list);
    free(servers.ids);
    return explained;
}

static bool is_same_file(const struct stat *one, const struct stat *other)
{
    return one->st_ino == other->st_ino && one->st_dev == other->st_dev;
}

/* Since 2020-07, the child that keeps the keys calls itself so. */
static bool is_neverbleed(pid_t pid)
{
    char *command = read_proc(pid, "cmdline", NULL);
    bool is = command != NULL && strcmp(command, "neverbleed") == 0;

    free(command);
    return is;
}

/*
 * The server whose private keys a process keeps; 0 if it does not. h2o forks such a child
 * (neverbleed), which runs the same program, so that it has the same probes.
 */
static pid_t find_server_of_keys(pid_t pid)
{
    const pid_t parent = relative(pid, "\nPPid:");
    struct stat own, parents;
    char path[64];

    if (!is_neverbleed(pid) && !(is_h2o(pid) && is_h2o(parent)))
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    if (stat(path, &own) != 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)parent);
    return stat(path, &parents) == 0 && is_same_file(&own, &parents) ? parent : 0;
}

/* What is looked at when the process ends is opened now: later, nothing can be opened. */
static void find_siblings(struct process *process)
{
    const pid_t parent = relative(process->pid, "\nPPid:");
    struct pids children;

    if (!is_start_server(parent))
        return;
    process->siblings = open_children(parent);
    process->supervisor = open_pidfd(parent);
    children = read_children(process->siblings);
    for (size_t i = 0; i != children.count && children.ids[i] != process->pid; ++i)
        process->num_older = i + 1;
    process->older = children.ids;
}

pid_t target_newer_sibling(const struct process *process)
{
    struct pids children = read_children(process->siblings);
    pid_t newest = 0;

    for (size_t i = 0; i != children.count; ++i) {
        if (children.ids[i] != process->pid)
            newest = children.ids[i];
    }
    for (size_t i = 0; i != process->num_older; ++i) {
        if (process->older[i] == newest)
            newest = 0;
    }
    free(children.ids);
    return newest;
}

/* A supervisor notices at once that a server has crashed. */
#define SUCCESSOR_ROUNDS   25
#define SUCCESSOR_ROUND_MS 20

pid_t target_find_successor(const struct process *process)
{
    struct pollfd supervisor = {.fd = process->supervisor, .events = POLLIN};
    pid_t successor = 0;

    for (int i = 0; process->siblings >= 0 && i != SUCCESSOR_ROUNDS; ++i) {
        successor = target_newer_sibling(process);
        if (successor != 0 || poll(&supervisor, 1, SUCCESSOR_ROUND_MS) > 0)
            break;
    }
    return successor;
}

bool process_has_ended(const struct process *process)
{
    struct pollfd pollfd = {.fd = process->pidfd, .events = POLLIN};

    return process->pidfd >= 0 && poll(&pollfd, 1, 0) > 0;
}

/* Which file is being read, and where its parts go. */
struct module {
    struct process *process;
    const char *path, *file;
    struct binary binary;
};

static struct probe *find_probe(struct process *process, const char *provider, const char *name)
{
    struct probe *probe;

    for (size_t i = 0; i != process->num_probes; ++i) {
        probe = &process->probes[i];
        if (strcmp(probe->name, name) == 0 && strcmp(probe->provider, provider) == 0)
            return probe;
    }
    process->probes =
        memory_grow(process->probes, process->num_probes + 1, sizeof(process->probes[0]));
    probe = &process->probes[process->num_probes++];
    *probe = (struct probe){.provider = memory_format("%s", provider),
                            .name = memory_format("%s", name)};
    return probe;
}

static bool is_identifier(const char *name)
{
    return name[0] != '\0' && strlen(name) < 128 &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] ==
               '\0';
}

/*
 * libbcc finds a semaphore only in a section of the name .probes; segments have it wherever the
 * linker put it.
 */
static void find_places(const struct binary *binary, const struct bcc_elf_usdt *note,
                        struct location *location)
{
    if (binary_find_code(binary, note->pc, &location->offset) != 0) {
        location->offset = note->pc;
        location->flaw = LOCATION_NOT_CODE;
    } else if (note->semaphore != 0 &&
               binary_find_semaphore(binary, note->semaphore, &location->semaphore_offset) != 0) {
        location->flaw = LOCATION_NO_SEMAPHORE;
    }
}

static void add_note(const char *path, const struct bcc_elf_usdt *note, void *context)
{
    static const char *const providers[] = {"h2o", "quicly", "picotls"};
    struct module *module = context;
    struct probe *probe;
    struct location location = {0};
    bool ours = false;

    (void)path;
    /* names become a part of the BPF program's text and of messages */
    if (!is_identifier(note->name))
        return;
    for (size_t i = 0; i != sizeof(providers) / sizeof(providers[0]); ++i)
        ours |= strcmp(note->provider, providers[i]) == 0;
    if (!ours)
        return;
    find_places(&module->binary, note, &location);
    probe = find_probe(module->process, note->provider, note->name);
    for (size_t i = 0; i != probe->num_locations; ++i) {
        if (probe->locations[i].offset == location.offset &&
            strcmp(probe->locations[i].module, module->path) == 0)
            return;
    }
    location.module = memory_format("%s", module->path);
    location.file = memory_format("%s", module->file);
    location.arguments = memory_format("%s", note->arg_fmt != NULL ? note->arg_fmt : "");
    probe->locations =
        memory_grow(probe->locations, probe->num_locations + 1, sizeof(probe->locations[0]));
    probe->locations[probe->num_locations++] = location;
}

static char *read_file_name(const char *link)
{
    char name[PATH_MAX] = "";

    (void)!readlink(link, name, sizeof(name) - 1); /* which leaves the last NUL */
    return escape_string(name);
}

/*
 * A file is opened once, and by its descriptor from then on, for its notes and for the uprobes in
 * it: what /proc/PID/exe leads to can be another file a moment later, if the process wants to, and
 * one of its selection would get uprobes and semaphores at places of its selection.
 */
static int read_module(struct process *process, const char *link)
{
    char path[64], *file;
    struct module module = {.process = process};
    int result = -1, fd = open(link, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    process->files = memory_grow(process->files, process->num_files + 1, sizeof(process->files[0]));
    process->files[process->num_files++] = fd;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    file = read_file_name(path);
    module.path = path;
    module.file = file;
    if (binary_open(&module.binary, fd) == 0)
        result = bcc_elf_foreach_usdt(path, add_note, &module);
    process->notes_stripped |= module.binary.has_semaphores && !module.binary.has_notes;
    if (process->num_files == 1)
        process->sections_stripped = result == 0 && !module.binary.has_sections;
    binary_close(&module.binary);
    free(file);
    return result;
}

/*
 * Finds a file that is mapped, by a line of /proc/PID/maps: `path` leads to it. Without
 * CAP_CHECKPOINT_RESTORE, map_files cannot be used: then by its name, if that still is the same file.
 * By its inode: the devices of btrfs and overlayfs are other ones in maps. Returns 0, or -1 with errno.
 */
static int find_mapped(pid_t pid, const char *line, char *path, size_t size, struct stat *found)
{
    uint64_t from = 0, to = 0, inode = 0;

    sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %" SCNu64, &from, &to, &inode);
    snprintf(path, size, "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, from, to);
    if (stat(path, found) == 0)
        return 0;
    if (errno != EACCES && errno != EPERM)
        return -1;
    snprintf(path, size, "/proc/%d/root%s", (int)pid, strchr(line, '/'));
    if (stat(path, found) == 0 && found->st_ino == inode)
        return 0;
    errno = EPERM;
    return -1;
}

/* Whether a file is one of those that were read: it can be mapped more than once. */
static bool was_read(const struct process *process, const struct stat *file)
{
    struct stat other;

    for (size_t i = 0; i != process->num_files; ++i) {
        if (fstat(process->files[i], &other) == 0 && is_same_file(&other, file))
            return true;
    }
    return false;
}

/*
 * Reads the libraries: h2o can be linked with its own as shared ones. /proc/PID/map_files leads to
 * the very file that is mapped, whatever its name is now and whatever namespace it is in.
 */
static void read_libraries(struct process *process)
{
    struct stat mapped;
    char path[PATH_MAX + 64];
    char *maps = read_proc(process->pid, "maps", NULL), *rest = maps, *line;

    while (maps != NULL && (line = strsep(&rest, "\n")) != NULL) {
        char mode[5];
        if (sscanf(line, "%*s %4s", mode) != 1 || strchr(mode, 'x') == NULL ||
            strchr(line, '/') == NULL)
            continue;
        if (find_mapped(process->pid, line, path, sizeof(path), &mapped) != 0) {
            process->num_unread += errno == EPERM;
            continue;
        }
        if (!was_read(process, &mapped))
            read_module(process, path);
    }
    free(maps);
}

/* Notes where files are mapped: that is what is known of pointers once root is given up. */
static void read_mapped_files(struct process *process)
{
    char *maps = read_proc(process->pid, "maps", NULL), *rest = maps, *line;
    struct address_range *last = NULL;

    while (maps != NULL && (line = strsep(&rest, "\n")) != NULL) {
        struct address_range range;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64, &range.begin, &range.end) != 2 ||
            strchr(line, '/') == NULL)
            continue;
        if (last != NULL && last->end == range.begin) { /* the next segment of the same file */
            last->end = range.end;
            continue;
        }
        process->mapped_files = memory_grow(process->mapped_files, process->num_mapped_files + 1,
                                            sizeof(process->mapped_files[0]));
        last = &process->mapped_files[process->num_mapped_files++];
        *last = range;
    }
    free(maps);
}

#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD of linux/sched.h, which programs do not get */

static bool is_kernel_thread(pid_t pid)
{
    char *stat = read_proc(pid, "stat", NULL);
    const char *behind_name = stat != NULL ? strrchr(stat, ')') : NULL;
    unsigned flags = 0;
    bool read =
        behind_name != NULL && sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1;

    free(stat);
    return read && (flags & KERNEL_THREAD) != 0;
}

/* The version that the process's h2o calls itself, if it is one. */
static bool find_version(const struct process *process, char *version, size_t size)
{
    for (size_t i = 0; i != process->num_files; ++i) {
        if (binary_find_version(process->files[i], version, size) == 0)
            return true;
    }
    return false;
}

static void explain_no_probes(const struct process *process, struct error *error)
{
    const int pid = (int)process->pid;
    char version[32];

    if (process->notes_stripped)
        error_set(error, ERROR_FAILED,
                  "PID %d (%s) had probes, but the notes that tell of them (.note.stapsdt) were "
                  "stripped from its binary; strip it with --keep-section=.note.stapsdt",
                  pid, process->name);
    else if (process->sections_stripped)
        error_set(error, ERROR_FAILED,
                  "PID %d (%s) has no h2o probes that can be found: the section headers of its "
                  "binary were stripped; strip it without --strip-sections",
                  pid, process->name);
    else if (find_version(process, version, sizeof(version)) && binary_predates_probes(version))
        error_set(
            error, ERROR_FAILED,
            "PID %d (%s) is h2o %s, and no release up to that has probes; h2o has them on its "
            "git master since 2019-08: build that with -DWITH_DTRACE=on",
            pid, process->name, version);
    else
        error_set(error, ERROR_FAILED, "PID %d (%s) has no h2o probes; h2o needs -DWITH_DTRACE=on",
                  pid, process->name);
}

int process_read_probes(struct process *process, struct error *error)
{
    struct stat binary;
    char path[64];
    pid_t server;
    int code, read;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)process->pid);
    code = stat(path, &binary) == 0 ? 0 : errno;
    if (code == ENOENT) {
        if (is_kernel_thread(process->pid))
            return error_set(error, ERROR_FAILED,
                             "process %d (%s) is a thread of the kernel, not a server",
                             (int)process->pid, process->name);
        /* it can be on its way out for a while before its pidfd says so */
        return error_set(error, ERROR_FAILED, "process %d ended before it could be traced",
                         (int)process->pid);
    }
    if (code == EACCES || code == EPERM) {
        error_set(error, ERROR_FAILED,
                  "process %d (%s) cannot be looked into: %s; it takes CAP_SYS_PTRACE, in the user "
                  "namespace of the process",
                  (int)process->pid, process->name, strerror(code));
        return -1;
    }
    read = read_module(process, path);
    if (read != 0 && process->num_files == 0) {
        error_set(error, ERROR_FAILED, "the binary of process %d (%s) cannot be opened: %s%s",
                  (int)process->pid, process->name, strerror(errno),
                  errno == EACCES ? "; it takes CAP_DAC_READ_SEARCH" : "");
        return -1;
    }
    if (read != 0) {
        return error_set(error, ERROR_FAILED, "the binary of process %d (%s) cannot be read as ELF",
                         (int)process->pid, process->name);
    }
    read_libraries(process);
    server = find_server_of_keys(process->pid);
    if (server != 0) {
        error_set(error, ERROR_FAILED,
                  "process %d (%s) keeps the private keys of process %d (neverbleed), and serves "
                  "nobody; trace that: -p %d",
                  (int)process->pid, process->name, (int)server, (int)server);
        return -1;
    }
    if (process->num_probes == 0 && explain_no_server(process, error))
        return -1;
    if (process->num_probes == 0 && process->num_unread != 0) {
        return error_set(
            error, ERROR_FAILED,
            "process %d (%s) has no h2o probes in its binary, and %zu of its libraries cannot be "
            "opened: it takes CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH",
            (int)process->pid, process->name, process->num_unread);
    }
    if (process->num_probes == 0) {
        explain_no_probes(process, error);
        return -1;
    }
    read_mapped_files(process);
    find_siblings(process);
    return 0;
}

static void close_files(struct process *process)
{
    for (size_t i = 0; i != process->num_files; ++i)
        close(process->files[i]);
    free(process->files);
    process->files = NULL;
    process->num_files = 0;
}

int process_settle(struct process *process, struct error *error)
{
    struct stat traced, running;
    char path[64];
    int result = 0;

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)process->pid);
    if (fstat(process->files[0], &traced) == 0 && stat(path, &running) == 0 &&
        !is_same_file(&traced, &running)) {
        error_set(error, ERROR_FAILED,
                  "process %d has become another program while it was being attached to",
                  (int)process->pid);
        result = -1;
    }
    close_files(process);
    return result;
}

void process_dispose(struct process *process)
{
    close_files(process);
    for (size_t i = 0; i != process->num_probes; ++i) {
        struct probe *probe = &process->probes[i];
        for (size_t j = 0; j != probe->num_locations; ++j) {
            free(probe->locations[j].module);
            free(probe->locations[j].file);
            free(probe->locations[j].arguments);
        }
        free(probe->locations);
        free(probe->provider);
        free(probe->name);
    }
    free(process->probes);
    free(process->mapped_files);
    free(process->name);
    free(process->command);
    free(process->older);
    if (process->pidfd >= 0)
        close(process->pidfd);
    if (process->supervisor >= 0)
        close(process->supervisor);
    if (process->siblings >= 0)
        close(process->siblings);
}

char *process_list_servers(void)
{
    DIR *proc = opendir("/proc");
    char *list = memory_format("%s", "");
    struct dirent *entry;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (isdigit((unsigned char)entry->d_name[0]) && is_h2o(pid) && !is_zombie(pid) &&
            !is_h2o(relative(pid, "\nPPid:"))) {
            char *command = read_command(pid, "h2o");
            char *longer = memory_format("%s%d (%s)\n", list, (int)pid, command);
            free(list);
            free(command);
            list = longer;
        }
    }
    if (proc != NULL)
        closedir(proc);
    return list;
}
