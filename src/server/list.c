#include "server/list.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "server/generations.h"
#include "server/proc.h"

static bool is_server(pid_t pid)
{
    return proc_is_h2o(pid) && !proc_is_zombie(pid) && !proc_is_h2o(proc_parent(pid));
}

char *list_servers(void)
{
    DIR *proc = opendir("/proc");
    char *list = memory_format("%s", "");
    struct dirent *entry;

    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (isdigit((unsigned char)entry->d_name[0]) && is_server(pid)) {
            char *command = proc_command(pid, "h2o");
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

/* Finds the servers that a process has started, directly or through others. Oldest first. */
static struct pids find_servers_below(pid_t pid)
{
    struct pids servers = {NULL, 0}, others = {NULL, 0};

    pids_add(&others, pid);
    for (size_t i = 0; i != others.count; ++i) {
        int fd = proc_open_children(others.ids[i]);
        struct pids children = proc_read_children(fd);
        for (size_t j = 0; j != children.count; ++j) {
            if (!proc_is_zombie(children.ids[j]))
                pids_add(proc_is_h2o(children.ids[j]) ? &servers : &others, children.ids[j]);
        }
        free(children.ids);
        if (fd >= 0)
            close(fd);
    }
    free(others.ids);
    return servers;
}

/* Returns PIDs as text, newest first: "120 and 100". Free it. */
static char *format_pids(const struct pids *pids)
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

/* Returns -1 with `error` set if the process has started servers. */
static int check_supervisor(const struct process *process, struct error *error)
{
    struct pids servers = {NULL, 0};
    int result = 0;

    if (strcmp(process->name, "h2o") != 0)
        servers = find_servers_below(process->pid);
    if (servers.count != 0) {
        const bool is_one = servers.count == 1;
        char *list = format_pids(&servers);
        result =
            error_set(error, ERROR_FAILED,
                      "process %d (%s) is not the server, but %s; the %s %s%s; trace %s: -p %d",
                      (int)process->pid, process->name,
                      generations_is_supervisor(process->pid) ? "its supervisor (start_server)"
                                                              : "has started it",
                      is_one ? "server is process" : "servers are processes", list,
                      is_one ? "" : ", newest first", is_one ? "that" : "one of them",
                      (int)servers.ids[servers.count - 1]);
        free(list);
    }
    free(servers.ids);
    return result;
}

/* Returns -1 with `error` set if an h2o has started the process. */
static int check_helper(const struct process *process, struct error *error)
{
    const pid_t parent = proc_parent(process->pid);

    if (!proc_is_h2o(parent))
        return 0;
    return error_set(
        error, ERROR_FAILED,
        "process %d (%s) is a helper that process %d (h2o) has started; trace that: -p %d",
        (int)process->pid, process->name, (int)parent, (int)parent);
}

/*
 * Whether the process is neverbleed, the child that keeps the keys: it has this command line since
 * 2020-07.
 */
static bool is_neverbleed(pid_t pid)
{
    char *command = proc_read(pid, "cmdline", NULL);
    bool is = command != NULL && strcmp(command, "neverbleed") == 0;

    free(command);
    return is;
}

static bool runs_same_program(pid_t one, pid_t other)
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

/*
 * Returns -1 with `error` set if the process keeps the private keys of a server. h2o forks it, so
 * it runs the same program and has the same probes.
 */
static int check_key_keeper(const struct process *process, struct error *error)
{
    const pid_t pid = process->pid, parent = proc_parent(pid);

    if (!is_neverbleed(pid) && !(proc_is_h2o(pid) && proc_is_h2o(parent)))
        return 0;
    if (!runs_same_program(pid, parent))
        return 0;
    return error_set(error, ERROR_FAILED,
                     "process %d (%s) keeps the private keys (neverbleed) of process %d and does "
                     "not serve; trace that: -p %d",
                     (int)pid, process->name, (int)parent, (int)parent);
}

int list_check_serves(const struct process *process, bool has_probes, struct error *error)
{
    if (check_key_keeper(process, error) != 0)
        return -1;
    if (has_probes)
        return 0;
    return check_supervisor(process, error) != 0 ? -1 : check_helper(process, error);
}
