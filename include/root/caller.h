/*
 * The user who called, and acting on files with that user's rights alone. sudo(8) may allow a user
 * to run h2olog as root and nothing else: such a user must not reach root's files through it.
 */
#ifndef H2OLOG_ROOT_CALLER_H
#define H2OLOG_ROOT_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <linux/capability.h>

struct caller {
    uid_t uid;
    gid_t gid;
};

/* What caller_enter has changed, for caller_leave. */
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
 * Gives the calling thread the caller's filesystem uid, filesystem gid and supplementary groups, and
 * takes its effective capabilities. A process that is not root is the caller's own: it loses only
 * the capabilities. If root called, nothing changes. Returns 0, or -1 with errno, with nothing
 * changed. After 0, caller_leave is due.
 */
int caller_enter(const struct caller *caller, struct caller_entered *entered);

/* Takes everything back. Keeps errno. */
void caller_leave(struct caller_entered *entered);

#endif
