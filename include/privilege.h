/*
 * Giving up root: what a run needs of it is done once the probes are attached and the output is
 * open.
 */
#ifndef H2OLOG_PRIVILEGE_H
#define H2OLOG_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Who called, and what h2olog becomes for them: never root. Without uid 0, both are the user that
 * h2olog runs as.
 */
struct identity {
    uid_t caller; /* whose new files are */
    gid_t caller_group;
    uid_t uid; /* the caller's; nobody's, if root called */
    gid_t gid;
};

/*
 * Who called: by SUDO_UID and SUDO_GID, PKEXEC_UID or DOAS_USER, the first that is set; without
 * them, root. Returns 0, or -1 with a sentence in `error` if they are not plain numbers, or name no
 * user. The environment may be empty after that.
 */
int privilege_find_invoker(struct identity *invoker, char *error, size_t error_size);

/*
 * Whether this process has the capabilities that BPF takes, with or without uid 0. Returns 0, or -1
 * with a sentence in `error` that names those that it lacks.
 */
int privilege_check(char *error, size_t error_size);

/*
 * What is in force from the first moment: no core dumps (the memory holds other people's cookies),
 * and an environment in which nothing of the caller's decides which headers, files or code a
 * library uses.
 */
void privilege_harden(void);

/*
 * Gives up, for good: supplementary groups, gid and uid (unless `keep_root`), all capabilities,
 * gaining new ones, and every system call but the few that draining, printing and ending need, and
 * pread(2) of the descriptor `readable` (-1: of none); any other one ends the process (SIGSYS).
 * Without uid 0, the supplementary groups stay if CAP_SETGID is missing. Returns 0, or -1 with a
 * sentence in `error`: then nothing may be printed.
 */
int privilege_drop(const struct identity *invoker, bool keep_root, int readable, char *error,
                   size_t error_size);

/*
 * Why the kernel refuses BPF, as a sentence that says what to change; `code` is the errno of the
 * refusal, and `what` was refused.
 */
void privilege_explain_refusal(const char *what, int code, char *error, size_t error_size);

#endif
