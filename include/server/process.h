/*
 * The traced process: its life (a pidfd), its command line, and the USDT probes in its binary and
 * in the libraries that it has mapped.
 */
#ifndef H2OLOG_SERVER_PROCESS_H
#define H2OLOG_SERVER_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* Why a probe cannot fire at a place. */
enum location_flaw {
    LOCATION_SOUND,
    LOCATION_NOT_CODE,     /* there is no code; `offset` is the address in the note */
    LOCATION_NO_SEMAPHORE, /* the kernel cannot switch its semaphore on */
};

/* One place in the code where a probe stands. */
struct location {
    char *module;              /* path by which process's open file is opened once more */
    char *file;                /* its name, escaped, for messages */
    uint64_t offset;           /* of the probe's instruction in the file */
    uint64_t semaphore_offset; /* of its semaphore in the file; 0: it has none */
    enum location_flaw flaw;
    char *arguments; /* its operands, as the note has them: not to be trusted */
};

/* A probe of the process, with all places where it stands. */
struct probe {
    char *provider, *name; /* identifiers */
    struct location *locations;
    size_t num_locations;
};

/* Addresses in the process's memory: `end` is behind the last one. */
struct address_range {
    uint64_t begin, end;
};

struct process {
    pid_t pid;
    int pidfd;      /* readable once the process has ended */
    int supervisor; /* pidfd of h2o's start_server, if that is its parent; else -1 */
    int siblings;   /* the list of that one's children, for pread(2); -1: none */
    pid_t *older;   /* of these, the ones that were there before the process */
    size_t num_older;
    char *name;    /* as ps shows it, escaped for printing */
    char *command; /* its command line, arguments between blanks, escaped likewise */
    uint64_t pid_device, pid_inode; /* of its pid namespace */
    struct probe *probes;
    size_t num_probes;
    size_t num_unread; /* mapped files that may not be opened: their probes are not known */
    int *files;        /* the binary, and its libraries; until process_settle */
    size_t num_files;
    struct address_range
        *mapped_files; /* where files are mapped, libraries among them; ascending */
    size_t num_mapped_files;
    bool notes_stripped;    /* one of these has semaphores of probes, but not their notes */
    bool sections_stripped; /* the binary has no table of sections to find such notes by */
};

/*
 * Finds the process. Returns 0, or -1 with a sentence in `error`; process_dispose is due in either
 * case.
 */
int process_open(struct process *process, pid_t pid, struct error *error);

/*
 * Reads the probes of h2o's providers out of the process's binary, which may be another by now than
 * the file of its name. A process that does not serve (a supervisor, the keeper of the private keys)
 * is an error that names the server. Returns as process_open does.
 */
int process_read_probes(struct process *process, struct error *error);

/*
 * To be called once uprobes are attached: closes the files. Returns 0, or -1 with a sentence in
 * `error` if the process runs another program by now than the one whose probes were read.
 */
int process_settle(struct process *process, struct error *error);

/* Whether the process has ended. */
bool process_has_ended(const struct process *process);

/*
 * The newest server that the same supervisor has started after the process; 0 if there is none, or
 * no supervisor. Needs no system call but pread(2) of `siblings`.
 */
pid_t target_newer_sibling(const struct process *process);

/* The same once the process has ended; waits up to 0.5 s for a supervisor that starts one anew. */
pid_t target_find_successor(const struct process *process);

void process_dispose(struct process *process);

/*
 * Prints the h2o processes of this machine to a string (to be freed): "123 (h2o -c x.conf)", a line
 * each. Not those that another h2o has started: such a child keeps its private keys (neverbleed),
 * and answers nobody.
 */
char *process_list_servers(void);

#endif
