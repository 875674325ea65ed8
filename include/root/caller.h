/*
 * The user who called, and acting on files with that user's rights. sudo(8) may allow a user to run
 * only h2olog as root: such a user must not reach root's files through it.
 */
#ifndef H2OLOG_ROOT_CALLER_H
#define H2OLOG_ROOT_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <linux/capability.h>

#include "error.h"

/*
 * The user who called, and the user that h2olog becomes when it gives up root. That is never root.
 */
struct identity {
    uid_t caller; /* owns new files */
    gid_t caller_group;
    uid_t uid; /* The caller's ids. If root called, nobody's. Without uid 0, the own ids. */
    gid_t gid;
};

/*
 * Finds the user who called. SUDO_UID with SUDO_GID, PKEXEC_UID and DOAS_USER are tried in this
 * order; if none is set, it is root. Clears the environment if it has to look up a user. Without
 * uid 0, it is the user of this process. Returns 0, or -1 with `error` set if the variables are not
 * plain numbers.
 */
int caller_find(struct identity *identity, struct error *error);

struct caller {
    uid_t uid;
    gid_t gid;
};

/* What caller_enter has changed. */
struct caller_entered {
    bool is_root;   /* nothing is changed: root called */
    bool is_caller; /* no ids are changed: the process is the caller's own */
    uid_t uid;      /* filesystem uid and gid, and supplementary groups, before */
    gid_t gid;
    gid_t *groups;
    size_t num_groups;
    struct __user_cap_data_struct capabilities[2];
};

/*
 * Gives the calling thread the caller's filesystem uid, filesystem gid and supplementary groups,
 * and takes its effective capabilities. A process that is not root is the caller's own: it loses
 * only the capabilities. If root called, nothing changes. Returns 0: call caller_leave. Returns -1
 * with errno: nothing is changed.
 */
int caller_enter(const struct caller *caller, struct caller_entered *entered);

/* Undoes caller_enter. Keeps errno. */
void caller_leave(struct caller_entered *entered);

#endif
