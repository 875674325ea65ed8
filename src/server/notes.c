#include "server/notes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bcc/bcc_elf.h>

#include "memory.h"
#include "print/escape.h"
#include "server/binary.h"
#include "server/list.h"
#include "server/proc.h"

/* The module that libbcc is reading, for its callback. */
struct reading {
    struct notes *notes;
    size_t module;
    struct binary binary;
};

static struct probe *find_probe(struct notes *notes, const char *provider, const char *name)
{
    struct probe *probe;

    for (size_t i = 0; i != notes->num_probes; ++i) {
        probe = &notes->probes[i];
        if (strcmp(probe->name, name) == 0 && strcmp(probe->provider, provider) == 0)
            return probe;
    }
    notes->probes = memory_grow(notes->probes, notes->num_probes + 1, sizeof(notes->probes[0]));
    probe = &notes->probes[notes->num_probes++];
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

static bool is_provider_of_h2o(const char *provider)
{
    return strcmp(provider, "h2o") == 0 || strcmp(provider, "quicly") == 0 ||
           strcmp(provider, "picotls") == 0;
}

/*
 * Converts the addresses of a note to file offsets. The offset of the semaphore is found by the
 * segments, because libbcc only finds a semaphore in a section named .probes.
 */
static void find_offsets(const struct binary *binary, const struct bcc_elf_usdt *note,
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

static bool has_location(const struct probe *probe, const struct location *location)
{
    for (size_t i = 0; i != probe->num_locations; ++i) {
        if (probe->locations[i].module == location->module &&
            probe->locations[i].offset == location->offset)
            return true;
    }
    return false;
}

/*
 * Adds a note. The names become part of the text of the BPF program and of messages, so only
 * identifiers are accepted.
 */
static void add_note(const char *path, const struct bcc_elf_usdt *note, void *context)
{
    struct reading *reading = context;
    struct module *module = &reading->notes->modules[reading->module];
    struct location location = {.module = reading->module, .file = module->file};
    struct probe *probe;

    (void)path;
    if (!is_identifier(note->name) || !is_provider_of_h2o(note->provider))
        return;
    module->has_probes = true;
    find_offsets(&reading->binary, note, &location);
    probe = find_probe(reading->notes, note->provider, note->name);
    if (has_location(probe, &location))
        return;
    location.arguments = memory_format("%s", note->arg_fmt != NULL ? note->arg_fmt : "");
    probe->locations =
        memory_grow(probe->locations, probe->num_locations + 1, sizeof(probe->locations[0]));
    probe->locations[probe->num_locations++] = location;
}

static char *read_file_name(const char *link)
{
    char name[PATH_MAX] = "";

    (void)!readlink(link, name, sizeof(name) - 1); /* the last byte stays NUL */
    return escape_string(name);
}

static struct module *add_module(struct notes *notes, int fd)
{
    struct module *module;

    notes->modules = memory_grow(notes->modules, notes->num_modules + 1, sizeof(notes->modules[0]));
    module = &notes->modules[notes->num_modules++];
    *module = (struct module){.fd = fd, .path = memory_format("/proc/self/fd/%d", fd)};
    module->file = read_file_name(module->path);
    return module;
}

/*
 * Reads the notes of one file. The file is opened once. The same descriptor is used for the notes
 * and for the uprobes. Otherwise the process could replace the file in between, and get uprobes and
 * semaphores at offsets of its choice. Returns 0, or -1. After -1, the file was opened if there is
 * one module more.
 */
static int read_module(struct notes *notes, const char *link)
{
    struct reading reading = {.notes = notes, .module = notes->num_modules};
    const struct module *module;
    int result = -1, fd = open(link, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    module = add_module(notes, fd);
    if (binary_open(&reading.binary, fd) == 0)
        result = bcc_elf_foreach_usdt(module->path, add_note, &reading);
    notes->notes_stripped |= reading.binary.has_semaphores && !reading.binary.has_notes;
    if (notes->num_modules == 1)
        notes->sections_stripped = result == 0 && !reading.binary.has_sections;
    binary_close(&reading.binary);
    return result;
}

/*
 * Finds the file of a line of /proc/PID/maps. `path` gets a path that opens it. map_files leads to
 * the mapped file in any namespace and under any name, but needs CAP_CHECKPOINT_RESTORE. Without
 * it, the file is opened by its name if the inode is still the same. Devices are not compared,
 * because maps shows other ones on btrfs and overlayfs. Returns 0, or -1 with errno. EPERM: the
 * file may have probes.
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

/*
 * Whether a line of /proc/PID/maps is of the program itself. That was opened by another way, which
 * needs fewer rights than map_files.
 */
static bool is_program(const struct notes *notes, const char *line)
{
    uint64_t inode = 0;
    struct stat program;

    sscanf(line, "%*s %*s %*s %*s %" SCNu64, &inode);
    return notes->num_modules != 0 && fstat(notes->modules[0].fd, &program) == 0 &&
           program.st_ino == inode && notes->modules[0].file != NULL &&
           strcmp(strchr(line, '/'), notes->modules[0].file) == 0;
}

/* Whether a file is a module already. A file can be mapped more than once. */
static bool is_module(const struct notes *notes, const struct stat *file)
{
    struct stat other;

    for (size_t i = 0; i != notes->num_modules; ++i) {
        if (fstat(notes->modules[i].fd, &other) == 0 && other.st_ino == file->st_ino &&
            other.st_dev == file->st_dev)
            return true;
    }
    return false;
}

/* Reads the libraries, because h2o can be linked with its own parts as shared libraries. */
static void read_libraries(struct notes *notes, pid_t pid)
{
    struct stat mapped;
    char path[PATH_MAX + 64];
    char *maps = proc_read(pid, "maps", NULL), *rest = maps, *line;

    while (maps != NULL && (line = strsep(&rest, "\n")) != NULL) {
        char mode[5];
        if (sscanf(line, "%*s %4s", mode) != 1 || strchr(mode, 'x') == NULL ||
            strchr(line, '/') == NULL || is_program(notes, line))
            continue;
        if (find_mapped(pid, line, path, sizeof(path), &mapped) != 0) {
            notes->num_unread += errno == EPERM;
            continue;
        }
        if (!is_module(notes, &mapped))
            read_module(notes, path);
    }
    free(maps);
}

/* Checks that the binary of the process exists and can be read. */
static int check_binary(const struct process *process, const char *path, struct error *error)
{
    struct stat binary;
    const int code = stat(path, &binary) == 0 ? 0 : errno;

    if (code == ENOENT && proc_is_kernel_thread(process->pid))
        return error_set(error, ERROR_FAILED, "process %d (%s) is a kernel thread, not a server",
                         (int)process->pid, process->name);
    if (code == ENOENT) /* the process is exiting, and its pidfd may not tell that yet */
        return error_set(error, ERROR_FAILED, "process %d ended before it could be traced",
                         (int)process->pid);
    if (code == EACCES || code == EPERM)
        return error_set(error, ERROR_FAILED,
                         "cannot read process %d (%s): %s; this needs CAP_SYS_PTRACE in the user "
                         "namespace of the process",
                         (int)process->pid, process->name, strerror(code));
    return 0;
}

static int read_binary(struct notes *notes, const struct process *process, struct error *error)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)process->pid);
    if (check_binary(process, path, error) != 0)
        return -1;
    if (read_module(notes, path) == 0)
        return 0;
    if (notes->num_modules == 0)
        return error_set(error, ERROR_FAILED, "cannot open the binary of process %d (%s): %s%s",
                         (int)process->pid, process->name, strerror(errno),
                         errno == EACCES ? "; this needs CAP_DAC_READ_SEARCH" : "");
    return error_set(error, ERROR_FAILED, "the binary of process %d (%s) cannot be read as ELF",
                     (int)process->pid, process->name);
}

/* Finds the version of h2o in the modules. Returns false if there is none. */
static bool find_version(const struct notes *notes, char *version, size_t size)
{
    for (size_t i = 0; i != notes->num_modules; ++i) {
        if (binary_find_version(notes->modules[i].fd, version, size) == 0)
            return true;
    }
    return false;
}

static int explain_no_probes(const struct notes *notes, const struct process *process,
                             struct error *error)
{
    const int pid = (int)process->pid;
    char version[32];

    if (notes->num_unread != 0)
        return error_set(
            error, ERROR_FAILED,
            "process %d (%s) has no h2o probes in its binary, and %zu of its libraries cannot be "
            "opened; this needs CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH",
            pid, process->name, notes->num_unread);
    if (notes->notes_stripped)
        return error_set(error, ERROR_FAILED,
                         "PID %d (%s) had probes, but their notes (.note.stapsdt) were "
                         "stripped from its binary; strip it with --keep-section=.note.stapsdt",
                         pid, process->name);
    if (notes->sections_stripped)
        return error_set(
            error, ERROR_FAILED,
            "PID %d (%s) has no h2o probes that can be found: the section headers of its "
            "binary were stripped; strip it without --strip-sections",
            pid, process->name);
    if (find_version(notes, version, sizeof(version)) && binary_predates_probes(version))
        return error_set(
            error, ERROR_FAILED,
            "PID %d (%s) is h2o %s, and no release up to that has probes; h2o has them on its "
            "git master since 2019-08: build that with -DWITH_DTRACE=on",
            pid, process->name, version);
    return error_set(error, ERROR_FAILED,
                     "PID %d (%s) has no h2o probes; h2o needs -DWITH_DTRACE=on", pid,
                     process->name);
}

int notes_read(struct notes *notes, const struct process *process, struct error *error)
{
    *notes = (struct notes){0};
    if (read_binary(notes, process, error) != 0)
        return -1;
    read_libraries(notes, process->pid);
    if (list_check_serves(process, notes->num_probes != 0, error) != 0)
        return -1;
    return notes->num_probes != 0 ? 0 : explain_no_probes(notes, process, error);
}

void notes_close_files(struct notes *notes)
{
    for (size_t i = 0; i != notes->num_modules; ++i) {
        if (notes->modules[i].fd >= 0)
            close(notes->modules[i].fd);
        notes->modules[i].fd = -1;
    }
}

static void free_probe(struct probe *probe)
{
    for (size_t i = 0; i != probe->num_locations; ++i)
        free(probe->locations[i].arguments);
    free(probe->locations);
    free(probe->provider);
    free(probe->name);
}

void notes_dispose(struct notes *notes)
{
    notes_close_files(notes);
    for (size_t i = 0; i != notes->num_modules; ++i) {
        free(notes->modules[i].path);
        free(notes->modules[i].file);
    }
    free(notes->modules);
    for (size_t i = 0; i != notes->num_probes; ++i)
        free_probe(&notes->probes[i]);
    free(notes->probes);
}
