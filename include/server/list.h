/*
 * Which h2o processes run here, and which of them serve. h2o is several processes: a supervisor
 * (start_server, with -m master and -m daemon), the server, and a child of the server that keeps
 * the private keys (neverbleed). After SIGHUP, the supervisor has several servers, one for each
 * generation: they are one server here.
 */
#ifndef H2OLOG_SERVER_LIST_H
#define H2OLOG_SERVER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "server/process.h"

/* A process that serves. */
struct serving {
    pid_t pid;
    pid_t supervisor;         /* the start_server that has started it; 0: none */
    unsigned long generation; /* as the supervisor counts; 0: unknown */
    uint64_t start_time;      /* clock ticks since boot */
};

/* Processes of one server are next to each other, the newest first. */
struct servers {
    struct serving *processes; /* to be freed */
    size_t count;
};

/* Finds the servers of this machine, by the name h2o. */
struct servers list_servers(void);

/*
 * Finds the servers that a process has started, directly or through others: those with the name
 * h2o, or, if there is none, its own children that run another program than itself.
 */
struct servers list_supervised(pid_t supervisor);

/* Returns how many processes at `index` and behind it are of one server. */
size_t list_count_same(const struct servers *servers, size_t index);

/* Returns the PIDs from index `first` on as text, to be freed: "120, 110 and 100". */
char *list_format_pids(const struct servers *servers, size_t first);

/*
 * Checks that a process serves. Returns 0, or -1 with `error` set to a sentence that names the
 * server to trace: the process keeps the private keys of a server, or, if it has no probes, has
 * started a server or is a helper of one.
 */
int list_check_serves(const struct process *process, bool has_probes, struct error *error);

#endif
