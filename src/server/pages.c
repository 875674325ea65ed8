#include "server/pages.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"

/* 256 MiB in pages of 4 KiB. A limit is needed, because a process can map any number of pages. */
#define PAGES_MAX 65536

/* Names of the files with probes, as in /proc/PID/maps. */
struct files {
    char **names;
    size_t count;
};

static bool has_name(const struct files *files, const char *name)
{
    for (size_t i = 0; i != files->count; ++i) {
        if (strcmp(files->names[i], name) == 0)
            return true;
    }
    return false;
}

static void add_file(struct files *files, const char *path)
{
    char name[PATH_MAX] = "";

    (void)!readlink(path, name, sizeof(name) - 1); /* the last byte stays NUL */
    if (name[0] == '\0' || has_name(files, name))
        return;
    files->names = memory_grow(files->names, files->count + 1, sizeof(files->names[0]));
    files->names[files->count++] = memory_format("%s", name);
}

static struct files find_files(const struct notes *notes)
{
    struct files files = {0};

    for (size_t i = 0; i != notes->num_modules; ++i) {
        if (notes->modules[i].has_probes)
            add_file(&files, notes->modules[i].path);
    }
    return files;
}

/*
 * Reads one byte of each page, so that the kernel maps the page into the process. Stops at a page
 * that cannot be read, such as one after the end of its file. Returns the number of pages read.
 */
static size_t touch(int memory, uint64_t address, size_t count)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    size_t touched = 0;
    char byte;

    while (touched != count && pread(memory, &byte, 1, (off_t)(address + touched * page)) == 1)
        ++touched;
    return touched;
}

/* One line of /proc/PID/maps: "FROM-TO r--p OFFSET DEVICE INODE   NAME". */
static size_t map_line(int memory, const struct files *files, const char *line, size_t most)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t from, to;
    char mode[5];
    int name = 0;
    size_t count;

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %n", &from, &to, mode, &name) != 3 ||
        name == 0 || mode[0] != 'r' || mode[1] != '-' || mode[3] != 'p' ||
        !has_name(files, line + name))
        return 0;
    count = (size_t)(to - from) / page;
    return touch(memory, from, count < most ? count : most);
}

static void map_files(pid_t pid, const struct files *files, int memory)
{
    char path[64], *line = NULL;
    size_t size = 0, left = PAGES_MAX;
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    while (maps != NULL && left != 0 && getline(&line, &size, maps) > 0) {
        line[strcspn(line, "\n")] = '\0';
        left -= map_line(memory, files, line, left);
    }
    if (maps != NULL)
        fclose(maps);
    free(line);
}

static void map_pages(pid_t pid, const struct notes *notes)
{
    struct files files = find_files(notes);
    char path[64];
    int memory;

    snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    memory = open(path, O_RDONLY | O_CLOEXEC);
    if (memory >= 0) {
        map_files(pid, &files, memory);
        close(memory);
    }
    for (size_t i = 0; i != files.count; ++i)
        free(files.names[i]);
    free(files.names);
}

/* Mapping pages takes about 0.1 s if the disk is busy. */
#define PATIENCE_MS 1000
#define KILL_MS     100

/*
 * Runs in a child process, which can be killed. A page of a file system in user space (FUSE) or on
 * a network can take forever.
 */
void pages_map(pid_t pid, const struct notes *notes, int signals)
{
    int ends[2];
    struct pollfd fds[] = {{.fd = -1}, {.fd = signals, .events = POLLIN}};
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    fds[0].fd = ends[0]; /* POLLHUP when the child ends */
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        map_pages(pid, notes);
        _exit(0);
    }
    close(ends[1]);
    if (child > 0) {
        (void)poll(fds, 2, PATIENCE_MS);
        kill(child, SIGKILL);
        /* else the kernel does not end the child yet; do not wait for it */
        if (poll(fds, 1, KILL_MS) > 0)
            (void)waitpid(child, NULL, 0);
    }
    close(ends[0]);
}
