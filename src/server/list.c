#include "server/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "server/generations.h"
#include "server/proc.h"

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

/* A child of an h2o keeps its keys, whatever its command line is. */
static bool is_server(pid_t pid)
{
    return proc_is_h2o(pid) && !proc_is_zombie(pid) && !is_neverbleed(pid) &&
           !proc_is_h2o(proc_parent(pid));
}

static void add(struct servers *servers, pid_t pid, pid_t supervisor)
{
    const struct serving serving = {.pid = pid,
                                    .supervisor = supervisor,
                                    .generation = generations_number(pid),
                                    .start_time = proc_start_time(pid)};

    if (serving.start_time == 0) /* it has ended */
        return;
    servers->processes =
        memory_grow(servers->processes, servers->count + 1, sizeof(servers->processes[0]));
    servers->processes[servers->count++] = serving;
}

/* Two processes with the same id are of one server. */
static pid_t server_id(const struct serving *process)
{
    return process->supervisor != 0 ? process->supervisor : process->pid;
}

static int compare(const void *one, const void *other)
{
    const struct serving *a = one, *b = other;

    if (server_id(a) != server_id(b))
        return server_id(a) < server_id(b) ? -1 : 1;
    if (a->start_time != b->start_time)
        return a->start_time > b->start_time ? -1 : 1;
    if (a->generation != b->generation)
        return a->generation > b->generation ? -1 : 1;
    return (a->pid < b->pid) - (a->pid > b->pid);
}

static void sort(struct servers *servers)
{
    if (servers->count != 0)
        qsort(servers->processes, servers->count, sizeof(servers->processes[0]), compare);
}

struct servers list_servers(void)
{
    struct servers servers = {NULL, 0};
    struct pids processes = proc_list();

    for (size_t i = 0; i != processes.count; ++i) {
        const pid_t pid = processes.ids[i];
        pid_t parent;
        if (!is_server(pid))
            continue;
        parent = proc_parent(pid);
        add(&servers, pid, generations_is_supervisor(parent) ? parent : 0);
    }
    free(processes.ids);
    sort(&servers);
    return servers;
}

static struct pids find_children(pid_t pid)
{
    int fd = proc_open_children(pid);
    struct pids children = proc_read_children(fd);

    if (fd >= 0)
        close(fd);
    return children;
}

/* Finds the servers with the name h2o that a process has started, directly or through others. */
static struct servers find_below(pid_t pid)
{
    struct servers servers = {NULL, 0};
    struct pids others = {NULL, 0};

    pids_add(&others, pid);
    for (size_t i = 0; i != others.count; ++i) {
        struct pids children = find_children(others.ids[i]);
        for (size_t j = 0; j != children.count; ++j) {
            const pid_t child = children.ids[j];
            if (!proc_is_zombie(child) && proc_is_h2o(child))
                add(&servers, child, pid);
            else if (!proc_is_zombie(child))
                pids_add(&others, child);
        }
        free(children.ids);
    }
    free(others.ids);
    sort(&servers);
    return servers;
}

struct servers list_supervised(pid_t supervisor)
{
    struct servers servers = find_below(supervisor);
    struct pids children = {NULL, 0};

    if (servers.count == 0)
        children = find_children(supervisor);
    for (size_t i = 0; i != children.count; ++i) {
        const pid_t child = children.ids[i];
        if (!proc_is_zombie(child) && !proc_runs_same_program(child, supervisor))
            add(&servers, child, supervisor);
    }
    free(children.ids);
    sort(&servers);
    return servers;
}

size_t list_count_same(const struct servers *servers, size_t index)
{
    size_t count = 1;

    while (index + count != servers->count &&
           server_id(&servers->processes[index + count]) == server_id(&servers->processes[index]))
        ++count;
    return count;
}

char *list_format_pids(const struct servers *servers, size_t first)
{
    char *list = memory_format("%s", "");

    for (size_t i = first; i < servers->count; ++i) {
        const size_t left = servers->count - i - 1;
        const char *behind = left > 1 ? ", " : left == 1 ? " and " : "";
        char *longer = memory_format("%s%d%s", list, (int)servers->processes[i].pid, behind);
        free(list);
        list = longer;
    }
    return list;
}

/* Returns -1 with `error` set if the process has started servers. */
static int check_starter(const struct process *process, struct error *error)
{
    struct servers servers = {NULL, 0};
    int result = 0;

    if (strcmp(process->name, "h2o") != 0)
        servers = find_below(process->pid);
    if (servers.count != 0) {
        const bool is_one = servers.count == 1;
        char *list = list_format_pids(&servers, 0);
        result = error_set(
            error, ERROR_FAILED,
            "process %d (%s) is not the server, but has started it; the %s %s%s; trace %s: -p %d",
            (int)process->pid, process->name,
            is_one ? "server is process" : "servers are processes", list,
            is_one ? "" : ", newest first", is_one ? "that" : "one of them",
            (int)servers.processes[0].pid);
        free(list);
    }
    free(servers.processes);
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
 * Returns -1 with `error` set if the process keeps the private keys of a server. h2o forks it, so
 * it runs the same program and has the same probes.
 */
static int check_key_keeper(const struct process *process, struct error *error)
{
    const pid_t pid = process->pid, parent = proc_parent(pid);

    if (!is_neverbleed(pid) && !(proc_is_h2o(pid) && proc_is_h2o(parent)))
        return 0;
    if (!proc_runs_same_program(pid, parent))
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
    return check_starter(process, error) != 0 ? -1 : check_helper(process, error);
}
