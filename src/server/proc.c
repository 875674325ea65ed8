#include "server/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"
#include "print/escape.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* the same on every architecture; in glibc's headers since 2.31 */
#endif

char *proc_read(pid_t pid, const char *name, size_t *size)
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

/* The name is escaped, because a process can give itself any name. */
char *proc_name(pid_t pid)
{
    char *name = proc_read(pid, "comm", NULL), *escaped;

    if (name == NULL)
        return NULL;
    if (name[0] != '\0')
        name[strlen(name) - 1] = '\0'; /* the newline at the end */
    escaped = escape_string(name);
    free(name);
    return escaped;
}

char *proc_command(pid_t pid, const char *name)
{
    size_t size = 0;
    char *escaped, *command = proc_read(pid, "cmdline", &size);

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
 * Returns the number on the line of /proc/TID/status that begins with `field`, such as "\nTgid:";
 * 0: none.
 */
static pid_t read_status(pid_t tid, const char *field)
{
    char *status = proc_read(tid, "status", NULL);
    const char *line = status != NULL ? strstr(status, field) : NULL;
    pid_t found = line != NULL ? (pid_t)strtol(line + strlen(field), NULL, 10) : 0;

    free(status);
    return found;
}

pid_t proc_thread_group(pid_t tid)
{
    return read_status(tid, "\nTgid:");
}

pid_t proc_parent(pid_t pid)
{
    return read_status(pid, "\nPPid:");
}

int proc_user(pid_t pid, uid_t *uid)
{
    char *status = proc_read(pid, "status", NULL);
    const char *line = status != NULL ? strstr(status, "\nUid:") : NULL;
    unsigned effective;
    const bool read = line != NULL && sscanf(line, "\nUid: %*u %u", &effective) == 1;

    if (read)
        *uid = effective;
    free(status);
    return read ? 0 : -1;
}

char *proc_variable(pid_t pid, const char *name)
{
    size_t size = 0;
    const size_t length = strlen(name);
    char *variables = proc_read(pid, "environ", &size), *value = NULL;

    for (size_t at = 0; at < size && value == NULL; at += strlen(variables + at) + 1) {
        if (strncmp(variables + at, name, length) == 0 && variables[at + length] == '=')
            value = memory_format("%s", variables + at + length + 1);
    }
    free(variables);
    return value;
}

int proc_open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

bool proc_is_h2o(pid_t pid)
{
    char *name = proc_name(pid);
    bool is = name != NULL && strcmp(name, "h2o") == 0;

    free(name);
    return is;
}

bool proc_is_zombie(pid_t pid)
{
    char path[64], target[1];

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return readlink(path, target, sizeof(target)) < 0 && errno == ENOENT;
}

bool proc_runs_same_program(pid_t one, pid_t other)
{
    struct stat files[2];
    const pid_t pids[] = {one, other};

    for (int i = 0; i != 2; ++i) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/exe", (int)pids[i]);
        if (stat(path, &files[i]) != 0)
            return false;
    }
    return files[0].st_ino == files[1].st_ino && files[0].st_dev == files[1].st_dev;
}

#define FLAGS_FIELD      9 /* proc(5) */
#define START_TIME_FIELD 22

/* Returns a number of /proc/PID/stat; 0 if there is no such process. */
static uint64_t read_stat(pid_t pid, int field)
{
    char *stat = proc_read(pid, "stat", NULL);
    const char *at = stat != NULL ? strrchr(stat, ')') : NULL; /* the name can have blanks, too */
    uint64_t value = 0;

    for (int i = 2; at != NULL && i != field; ++i) {
        at = strchr(at, ' ');
        at = at != NULL ? at + 1 : NULL;
    }
    if (at != NULL)
        value = strtoull(at, NULL, 10);
    free(stat);
    return value;
}

uint64_t proc_start_time(pid_t pid)
{
    return read_stat(pid, START_TIME_FIELD);
}

#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD of linux/sched.h, which is not exported */

bool proc_is_kernel_thread(pid_t pid)
{
    return (read_stat(pid, FLAGS_FIELD) & KERNEL_THREAD) != 0;
}

void pids_add(struct pids *pids, pid_t pid)
{
    pids->ids = memory_grow(pids->ids, pids->count + 1, sizeof(pids->ids[0]));
    pids->ids[pids->count++] = pid;
}

struct pids proc_list(void)
{
    DIR *folder = opendir("/proc");
    struct pids processes = {NULL, 0};
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]))
            pids_add(&processes, (pid_t)strtol(entry->d_name, NULL, 10));
    }
    if (folder != NULL)
        closedir(folder);
    return processes;
}

int proc_open_children(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

struct pids proc_read_children(int fd)
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
                pids_add(&children, pid);
                pid = 0;
            }
        }
        at += got;
    }
    return children;
}
