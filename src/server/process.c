#include "server/process.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "server/proc.h"

/*
 * Reads where files are mapped. This is done at the start, because nothing can be read after root
 * is given up.
 */
static void read_mapped_files(struct process *process)
{
    char *maps = proc_read(process->pid, "maps", NULL), *rest = maps, *line;
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

static void read_namespace(struct process *process)
{
    struct stat namespace;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)process->pid);
    if (stat(path, &namespace) == 0) {
        process->pid_device = namespace.st_dev;
        process->pid_inode = namespace.st_ino;
    }
}

int process_open(struct process *process, pid_t pid, struct error *error)
{
    const pid_t group = proc_thread_group(pid);

    *process = (struct process){.pid = pid, .pidfd = -1};
    if (group == 0)
        return error_set(error, ERROR_FAILED, "there is no process %d", (int)pid);
    if (group != pid)
        return error_set(error, ERROR_FAILED, "%d is a thread of process %d; trace that: -p %d",
                         (int)pid, (int)group, (int)group);
    process->pidfd = proc_open_pidfd(pid);
    if (process->pidfd < 0)
        return error_set(error, ERROR_FAILED, "cannot watch process %d: %s%s", (int)pid,
                         strerror(errno), errno == ENOSYS ? "; h2olog needs Linux 5.10" : "");
    process->name = proc_name(pid);
    if (process->name == NULL)
        return error_set(error, ERROR_FAILED, "there is no process %d", (int)pid);
    process->command = proc_command(pid, process->name);
    read_namespace(process);
    read_mapped_files(process);
    return 0;
}

int process_settle(const struct process *process, int binary, struct error *error)
{
    struct stat traced, running;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)process->pid);
    if (fstat(binary, &traced) == 0 && stat(path, &running) == 0 &&
        (traced.st_ino != running.st_ino || traced.st_dev != running.st_dev))
        return error_set(error, ERROR_FAILED,
                         "process %d has executed another program while h2olog attached to it",
                         (int)process->pid);
    return 0;
}

bool process_has_ended(const struct process *process)
{
    struct pollfd pollfd = {.fd = process->pidfd, .events = POLLIN};

    return process->pidfd >= 0 && poll(&pollfd, 1, 0) > 0;
}

void process_dispose(struct process *process)
{
    free(process->mapped_files);
    free(process->name);
    free(process->command);
    if (process->pidfd >= 0)
        close(process->pidfd);
}
