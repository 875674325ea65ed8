/*
 * One process: its life, its name and command line, its namespace, and where files are mapped in
 * its memory.
 */
#ifndef H2OLOG_SERVER_PROCESS_H
#define H2OLOG_SERVER_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* Addresses from `begin` up to, but not including, `end`. */
struct address_range {
    uint64_t begin, end;
};

struct process {
    pid_t pid;
    int pidfd;                          /* readable once the process has ended */
    char *name;                         /* as ps(1) shows it, escaped */
    char *command;                      /* its arguments, separated by spaces, escaped */
    uint64_t pid_device, pid_inode;     /* of its PID namespace; 0 if unknown */
    struct address_range *mapped_files; /* where files are mapped, in ascending order */
    size_t num_mapped_files;
};

/*
 * Opens a process. Returns 0, or -1 with `error` set: there is no such process, it is a thread, or
 * it cannot be watched. Call process_dispose in either case.
 */
int process_open(struct process *process, pid_t pid, struct error *error);

/*
 * Checks that the process still runs the program whose file is open as `binary`; call this after
 * attaching. Returns 0, or -1 with `error` set if it has executed another one.
 */
int process_settle(const struct process *process, int binary, struct error *error);

/* Whether the process has ended. Calls only poll(2). */
bool process_has_ended(const struct process *process);

void process_dispose(struct process *process);

#endif
