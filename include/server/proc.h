/*
 * What /proc says about processes. Processes can end at any time: a function that finds nothing
 * returns what it returns for a process that does not exist.
 */
#ifndef H2OLOG_SERVER_PROC_H
#define H2OLOG_SERVER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads /proc/PID/`name`. Returns the content with a NUL behind it, to be freed, or NULL if it
 * cannot be read. `size` (may be NULL) gets its size without that NUL.
 */
char *proc_read(pid_t pid, const char *name, size_t *size);

/* Returns the name of the process (comm), escaped, to be freed; NULL if there is no process. */
char *proc_name(pid_t pid);

/*
 * Returns the arguments of the process, separated by spaces and escaped, to be freed. A process
 * without arguments gives its name in brackets, as in ps(1).
 */
char *proc_command(pid_t pid, const char *name);

/* Returns the PID of the process that a thread belongs to; 0 if there is no such thread. */
pid_t proc_thread_group(pid_t tid);

/* Returns the PID of the parent; 0 if there is no such process, or its parent is not visible. */
pid_t proc_parent(pid_t pid);

/* Returns when the process started, in clock ticks since boot; 0 if there is no such process. */
uint64_t proc_start_time(pid_t pid);

/* Sets the effective uid of the process. Returns 0, or -1 if there is no such process. */
int proc_user(pid_t pid, uid_t *uid);

/*
 * Returns the value of a variable in the environment with which the process was started, to be
 * freed; NULL if there is none, or it cannot be read. It is not escaped.
 */
char *proc_variable(pid_t pid, const char *name);

/* Returns a descriptor that is readable once the process has ended, or -1 with errno. */
int proc_open_pidfd(pid_t pid);

/* Whether the process is named h2o. */
bool proc_is_h2o(pid_t pid);

/* Whether the process runs no program: it has ended, or is a thread of the kernel. */
bool proc_is_zombie(pid_t pid);

bool proc_is_kernel_thread(pid_t pid);

/* Whether two processes run the same program. False if that cannot be read. */
bool proc_runs_same_program(pid_t one, pid_t other);

/* PIDs; `ids` is to be freed. */
struct pids {
    pid_t *ids;
    size_t count;
};

void pids_add(struct pids *pids, pid_t pid);

/* Returns the processes of this machine, without threads. */
struct pids proc_list(void);

/*
 * Opens the list of a process's children. Returns a descriptor, or -1 if there is no such process
 * or the kernel has no such list (CONFIG_PROC_CHILDREN).
 */
int proc_open_children(pid_t pid);

/*
 * Reads such a list, oldest child first. If `fd` is -1, the list is empty. Uses only pread(2) and
 * memory, because it also runs under the seccomp filter.
 */
struct pids proc_read_children(int fd);

#endif
