#include "root/drop.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <seccomp.h>

#include "memory.h"

/*
 * LeakSanitizer traces the process at its end, with system calls that are filtered by then. Only
 * the test program h2olog-leaks allows them.
 */
#ifdef H2OLOG_LEAKS
enum { IS_CONFINED = 0 };
#else
enum { IS_CONFINED = 1 };
#endif

#if defined(H2OLOG_SANITIZED) && !defined(H2OLOG_LEAKS)
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

/* Whether TZ names a time zone ("Europe/Paris", "UTC0") and not any file that root can read. */
static bool is_time_zone(const char *name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/:,.<>";

    return name != NULL && name[0] != '/' && name[0] != ':' && name[0] != '\0' &&
           strstr(name, "..") == NULL && strlen(name) < 64 && name[strspn(name, allowed)] == '\0';
}

void drop_harden(void)
{
    const struct rlimit none = {0, 0};
    const char *zone = getenv("TZ");
    char *kept = is_time_zone(zone) ? memory_format("%s", zone) : NULL;

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, !IS_CONFINED);
    clearenv();
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1); /* clang looks for its parts there */
    /*
     * The time zone is read now, because files cannot be opened later. If TZ is not set, tzset(3),
     * which strftime(3) calls, reads the file again each time.
     */
    setenv("TZ", kept != NULL ? kept : ":/etc/localtime", 1);
    free(kept);
    tzset();
}

/* Without uid 0, failing to drop the groups is no error: they are the user's own. */
static int drop_user(const struct identity *identity)
{
    if (setgroups(0, NULL) != 0 && geteuid() == 0)
        return -1;
    if (setresgid(identity->gid, identity->gid, identity->gid) != 0)
        return -1;
    return setresuid(identity->uid, identity->uid, identity->uid);
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return (int)syscall(SYS_capset, &header, none);
}

/*
 * Drops the bounding set. This needs CAP_SETPCAP. The first number that the kernel does not know
 * ends the loop.
 */
static void drop_bounding_set(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; ++capability)
        ;
}

/*
 * System calls for draining (memory, the clock), waiting (poll), printing (write), detaching
 * (close) and ending.
 */
static const int allowed[] = {
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(write),
    SCMP_SYS(close),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(futex),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
#ifdef H2OLOG_SANITIZED
    /* the sanitizers call these at the end */
    SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(openat),
    SCMP_SYS(read),
    SCMP_SYS(readlink),
    SCMP_SYS(prctl),
    SCMP_SYS(sched_yield),
#endif
};

/*
 * Allows only these, read(2) of `signals`, and pread(2) of `readable`. A descriptor of -1 is not
 * allowed. Returns 0, or -1 with errno.
 */
static int filter_system_calls(int signals, int readable)
{
    /* the macros of libseccomp 2.5.1 (Debian 11) leave out a member */
    const struct scmp_arg_cmp not_executable = {
        .arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC};
    const struct scmp_arg_cmp of_signals = {.op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)signals};
    const struct scmp_arg_cmp of_readable = {.op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)readable};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int result = filter == NULL ? -ENOMEM : 0;

    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_executable);
    if (result == 0 && signals >= 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(read), 1, of_signals);
    if (result == 0 && readable >= 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pread64), 1, of_readable);
    for (size_t i = 0; result == 0 && i != sizeof(allowed) / sizeof(allowed[0]); ++i) {
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
        if (result == -EDOM || result == -EINVAL) /* this architecture has no such call */
            result = 0;
    }
    if (result == 0)
        result = seccomp_load(filter);
    if (filter != NULL)
        seccomp_release(filter);
    errno = -result;
    return result == 0 ? 0 : -1;
}

/* Returns 0, or -1 with errno. */
static int drop_privileges(const struct identity *identity, bool keep_root)
{
    drop_bounding_set();
    if (keep_root)
        (void)!setgroups(0, NULL); /* -r is also for containers without CAP_SETGID */
    else if (drop_user(identity) != 0)
        return -1;
    if (drop_capabilities() != 0)
        return -1;
    /* changes of ids have set it to fs.suid_dumpable */
    if (prctl(PR_SET_DUMPABLE, !IS_CONFINED) != 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int drop_root(const struct identity *identity, bool keep_root, int signals, int readable,
              struct error *error)
{
    if (drop_privileges(identity, keep_root) != 0)
        return error_set(
            error, ERROR_FAILED,
            "cannot give up root: %s; in a container, add CAP_SETUID and CAP_SETGID, or use -r",
            strerror(errno));
    if (IS_CONFINED && filter_system_calls(signals, readable) != 0)
        return error_set(error, ERROR_FAILED,
                         "cannot filter system calls: %s; the kernel needs CONFIG_SECCOMP_FILTER",
                         strerror(errno));
    return 0;
}
