#include "root/caller.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

/* nobody and nogroup: the overflow ids of every Linux (/proc/sys/kernel/overflowuid) */
#define NOBODY 65534

/* Parses a plain number, as sudo writes it. */
static int parse_id(const char *text, uint32_t *id)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    /* the highest number means "unchanged" to the system calls */
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value >= UINT32_MAX)
        return -1;
    *id = (uint32_t)value;
    return 0;
}

/*
 * Reads who called. sudo(8) gives a uid and a gid, pkexec(1) a uid, doas(1) a name. The first
 * variable that is set counts. For the last two, the group is that of the user's login. Returns 0,
 * or -1.
 */
static int read_environment(struct identity *identity)
{
    const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");
    const char *pkexec = getenv("PKEXEC_UID"), *doas = getenv("DOAS_USER");
    const struct passwd *user;
    char *name;

    if (uid != NULL || gid != NULL)
        return uid == NULL || gid == NULL || parse_id(uid, &identity->caller) != 0
                   ? -1
                   : parse_id(gid, &identity->caller_group);
    if (pkexec == NULL && doas == NULL)
        return 0;
    if (pkexec != NULL && parse_id(pkexec, &identity->caller) != 0)
        return -1;
    name = memory_format("%s", doas != NULL ? doas : "");
    clearenv(); /* variables of the caller must not decide where libraries look up a user */
    user = pkexec != NULL ? getpwuid(identity->caller) : getpwnam(name);
    free(name);
    if (user == NULL)
        return -1;
    identity->caller = user->pw_uid;
    identity->caller_group = user->pw_gid;
    return 0;
}

int caller_find(struct identity *identity, struct error *error)
{
    bool is_sudo;

    if (geteuid() != 0) {
        *identity = (struct identity){geteuid(), getegid(), geteuid(), getegid()};
        return 0;
    }
    *identity = (struct identity){.uid = NOBODY, .gid = NOBODY};
    is_sudo = getenv("SUDO_UID") != NULL || getenv("SUDO_GID") != NULL;
    if (read_environment(identity) != 0)
        return error_set(
            error, ERROR_USAGE, "%s; unset %s to run on as nobody",
            is_sudo ? "SUDO_UID and SUDO_GID must be numeric ids of a user and a group"
                    : "PKEXEC_UID must be the id, or DOAS_USER the name, of a user of this machine",
            is_sudo ? "both" : "them");
    if (identity->caller != 0)
        identity->uid = identity->caller;
    if (identity->caller != 0 && identity->caller_group != 0)
        identity->gid = identity->caller_group;
    return 0;
}

static int get_capabilities(struct __user_cap_data_struct *data)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

    return (int)syscall(SYS_capget, &header, data);
}

static int set_capabilities(const struct __user_cap_data_struct *data)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

    return (int)syscall(SYS_capset, &header, data);
}

/* The permitted capabilities stay, so that caller_leave can raise the effective ones again. */
static int drop_effective(const struct caller_entered *entered)
{
    struct __user_cap_data_struct data[2] = {entered->capabilities[0], entered->capabilities[1]};

    data[0].effective = data[1].effective = 0;
    return set_capabilities(data);
}

/* Gets the groups of this process; they are to be freed. Returns 0, or -1 with errno. */
static int get_own_groups(struct caller_entered *entered)
{
    int count = getgroups(0, NULL);

    if (count < 0)
        return -1;
    entered->groups = memory_grow(NULL, (size_t)count + 1, sizeof(entered->groups[0]));
    count = getgroups(count, entered->groups);
    entered->num_groups = count < 0 ? 0 : (size_t)count;
    return count < 0 ? -1 : 0;
}

/*
 * Returns the groups that the caller has after a login, to be freed. A uid without a name has
 * `gid`.
 */
static gid_t *get_groups_of(const struct caller *caller, size_t *num_groups)
{
    const struct passwd *user = getpwuid(caller->uid);
    int count = 16;
    gid_t *groups = memory_grow(NULL, (size_t)count, sizeof(groups[0]));

    groups[0] = caller->gid;
    *num_groups = 1;
    if (user == NULL)
        return groups;
    while (getgrouplist(user->pw_name, caller->gid, groups, &count) < 0)
        groups = memory_grow(groups, (size_t)count, sizeof(groups[0]));
    *num_groups = (size_t)count;
    return groups;
}

/*
 * setfsuid(2) and setfsgid(2) report no error. With this id, they change nothing and return the
 * current id.
 */
#define NO_ID ((uid_t)-1)

static int set_ids(uid_t uid, gid_t gid)
{
    const int dumpable = prctl(PR_GET_DUMPABLE);

    setfsgid(gid);
    setfsuid(uid);
    (void)prctl(PR_SET_DUMPABLE, dumpable == 1); /* a change of ids sets it to fs.suid_dumpable */
    if ((gid_t)setfsgid(NO_ID) == gid && (uid_t)setfsuid(NO_ID) == uid)
        return 0;
    errno = EPERM;
    return -1;
}

static int become_caller(const struct caller *caller)
{
    size_t num_groups;
    gid_t *groups = get_groups_of(caller, &num_groups);
    int result = setgroups(num_groups, groups);

    free(groups);
    return result != 0 ? -1 : set_ids(caller->uid, caller->gid);
}

int caller_enter(const struct caller *caller, struct caller_entered *entered)
{
    *entered = (struct caller_entered){
        .is_root = geteuid() == 0 && caller->uid == 0,
        .is_caller = geteuid() != 0,
        .uid = (uid_t)setfsuid(NO_ID),
        .gid = (gid_t)setfsgid(NO_ID),
    };
    if (entered->is_root)
        return 0;
    if (get_capabilities(entered->capabilities) != 0 ||
        (!entered->is_caller && get_own_groups(entered) != 0)) {
        free(entered->groups);
        return -1;
    }
    if ((entered->is_caller || become_caller(caller) == 0) && drop_effective(entered) == 0)
        return 0;
    caller_leave(entered);
    return -1;
}

void caller_leave(struct caller_entered *entered)
{
    int code = errno;

    if (entered->is_root)
        return;
    (void)set_capabilities(entered->capabilities); /* the ids need CAP_SETUID and CAP_SETGID */
    if (!entered->is_caller) {
        (void)set_ids(entered->uid, entered->gid);
        (void)!setgroups(entered->num_groups, entered->groups);
    }
    free(entered->groups);
    entered->groups = NULL;
    errno = code;
}
