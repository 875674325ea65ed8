#include "server/find.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "memory.h"
#include "server/generations.h"
#include "server/ports.h"
#include "server/proc.h"

/* A named process: itself, or the newest server that it supervises. */
static int find_named(struct found *found, pid_t named, struct error *error)
{
    found->pid = named;
    if (!generations_is_supervisor(named))
        return 0;
    found->servers = list_supervised(named);
    if (found->servers.count == 0)
        return error_set(error, ERROR_FAILED,
                         "process %d is a supervisor (start_server), but none of its servers runs; "
                         "try again when it has started one",
                         (int)named);
    found->supervisor = named;
    found->pid = found->servers.processes[0].pid;
    return 0;
}

/* Keeps the processes that listen on a port. Returns how many cannot be looked into. */
static size_t keep_listening(struct servers *servers, uint16_t port)
{
    size_t kept = 0, unreadable = 0;

    for (size_t i = 0; i != servers->count; ++i) {
        struct ports ports = ports_find(servers->processes[i].pid);
        unreadable += ports.unreadable;
        if (ports_contain(&ports, port))
            servers->processes[kept++] = servers->processes[i];
        free(ports.ports);
    }
    servers->count = kept;
    return unreadable;
}

/* No h2o listens on the port. Sets `error` to a sentence that says who does, if that is known. */
static int explain_port(uint16_t port, size_t unreadable, struct error *error)
{
    bool in_use;
    const pid_t owner = ports_find_owner(port, &in_use);
    char *name = owner != 0 ? proc_name(owner) : NULL;

    if (name != NULL)
        error_set(error, ERROR_FAILED,
                  "no process with the name h2o listens on port %u, but process %d (%s) does; if "
                  "that is your server: -p %d",
                  (unsigned)port, (int)owner, name, (int)owner);
    else if (unreadable != 0 || (in_use && geteuid() != 0))
        error_set(error, ERROR_FAILED,
                  "it cannot be seen who listens on port %u, because processes of other users may "
                  "not be looked into; this needs root or CAP_SYS_PTRACE",
                  (unsigned)port);
    else
        error_set(error, ERROR_FAILED,
                  "no h2o listens on port %u; h2olog --servers lists the "
                  "servers and their ports",
                  (unsigned)port);
    free(name);
    return -1;
}

/* Takes the only server of those that were found. */
static int take_only(struct found *found, uint16_t port, struct error *error)
{
    const struct servers *servers = &found->servers;
    const char *which = port != 0 ? "" : ", or --port PORT";
    char *where =
        port != 0 ? memory_format("listen on port %u", (unsigned)port) : memory_format("run here");
    int result = 0;

    if (servers->count == 0)
        result = error_set(error, ERROR_USAGE,
                           "no process with the name h2o runs here; a server that has another name "
                           "is traced with -p PID");
    else if (list_count_same(servers, 0) != servers->count)
        result = error_set(error, ERROR_USAGE,
                           "several servers %s; say which one to trace: -p PID%s", where, which);
    else
        found->pid = servers->processes[0].pid;
    free(where);
    return result;
}

int find_server(struct found *found, pid_t named, uint16_t port, struct error *error)
{
    if (named != 0)
        return find_named(found, named, error);
    found->servers = list_servers();
    if (port != 0) {
        const size_t unreadable = keep_listening(&found->servers, port);
        if (found->servers.count == 0)
            return explain_port(port, unreadable, error);
    }
    return take_only(found, port, error);
}

void find_close(struct found *found)
{
    free(found->servers.processes);
}
