#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <seccomp.h>

#include "memory.h"

/* nobody and nogroup, the overflow ids of every Linux (/proc/sys/kernel/overflowuid) */
#define NOBODY 65534

/* linux/capability.h of before 5.8 lacks these */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

/*
 * Looking for leaks at the end takes being traced, and system calls that are given up by then. Only
 * the tests' h2olog-leaks keeps them.
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

/* A plain number, as sudo writes it. */
static int parse_id(const char *text, uint32_t *id)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    /* the highest one means "leave as it is" to the system calls */
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value >= UINT32_MAX)
        return -1;
    *id = (uint32_t)value;
    return 0;
}

/*
 * Who called, as sudo says (with a group), or else pkexec (a uid) or doas (a name); these users have
 * the groups of their logins. Without any of them, nothing changes. Returns 0, or -1.
 */
static int find_caller(struct identity *invoker)
{
    const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");
    const char *pkexec = getenv("PKEXEC_UID"), *doas = getenv("DOAS_USER");
    const struct passwd *user;
    char *name;

    if (uid != NULL || gid != NULL)
        return uid == NULL || gid == NULL || parse_id(uid, &invoker->caller) != 0
                   ? -1
                   : parse_id(gid, &invoker->caller_group);
    if (pkexec == NULL && doas == NULL)
        return 0;
    if (pkexec != NULL && parse_id(pkexec, &invoker->caller) != 0)
        return -1;
    name = memory_format("%s", doas != NULL ? doas : "");
    clearenv(); /* the libraries that look up a user must not believe it */
    user = pkexec != NULL ? getpwuid(invoker->caller) : getpwnam(name);
    free(name);
    if (user == NULL)
        return -1;
    invoker->caller = user->pw_uid;
    invoker->caller_group = user->pw_gid;
    return 0;
}

int privilege_find_invoker(struct identity *invoker, char *error, size_t error_size)
{
    bool sudo;

    if (geteuid() != 0) {
        *invoker = (struct identity){geteuid(), getegid(), geteuid(), getegid()};
        return 0;
    }
    *invoker = (struct identity){.uid = NOBODY, .gid = NOBODY};
    sudo = getenv("SUDO_UID") != NULL || getenv("SUDO_GID") != NULL;
    if (find_caller(invoker) != 0) {
        snprintf(error, error_size, "%s; unset %s to run on as nobody",
                 sudo ? "SUDO_UID and SUDO_GID have to be the numbers of a user and a group"
                      : "PKEXEC_UID has to be the number, or DOAS_USER the name, of a user of this "
                        "machine",
                 sudo ? "both" : "them");
        return -1;
    }
    if (invoker->caller != 0)
        invoker->uid = invoker->caller;
    if (invoker->caller != 0 && invoker->caller_group != 0)
        invoker->gid = invoker->caller_group;
    return 0;
}

static bool has_capability(unsigned capability)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[capability / 32].effective >> capability % 32 & 1) != 0;
}

int privilege_check(char *error, size_t error_size)
{
    const bool is_admin = has_capability(CAP_SYS_ADMIN); /* which stands for both */
    const bool lacks_bpf = !is_admin && !has_capability(CAP_BPF);
    const bool lacks_perfmon = !is_admin && !has_capability(CAP_PERFMON);

    if (!lacks_bpf && !lacks_perfmon)
        return 0;
    snprintf(error, error_size, "this process lacks %s%s%s, which loading BPF programs takes: %s",
             lacks_bpf ? "CAP_BPF" : "", lacks_bpf && lacks_perfmon ? " and " : "",
             lacks_perfmon ? "CAP_PERFMON" : "",
             geteuid() == 0 ? "give the container CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN"
                            : "put sudo before the command, or run it with the capabilities that "
                              "README names under \"Without root\"");
    return -1;
}

void privilege_harden(void)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, !IS_CONFINED);
    clearenv();
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1); /* clang looks for its parts there */
    setenv("TZ", "UTC0", 1);
    tzset(); /* reads files, which it must not do later */
}

/* Without uid 0, the groups stay where CAP_SETGID is missing: they are the user's own. */
static int drop_user(const struct identity *invoker)
{
    if (setgroups(0, NULL) != 0 && geteuid() == 0)
        return -1;
    return setresgid(invoker->gid, invoker->gid, invoker->gid) != 0 ||
                   setresuid(invoker->uid, invoker->uid, invoker->uid) != 0
               ? -1
               : 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return (int)syscall(SYS_capset, &header, none);
}

/* While there still is the capability for it; those that the kernel does not know end the loop. */
static void drop_bounding_set(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; ++capability)
        ;
}

/*
 * What draining (memory, poll, the clock), printing (write), detaching (close) and ending need; and
 * reading `readable`, unless it is -1.
 */
static int filter_system_calls(int readable)
{
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
        /* what the sanitizers' own work needs at the end */
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
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int result = filter == NULL ? -ENOMEM : 0;

    if (result == 0) /* memory, but none for code */
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (result == 0 && readable >= 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pread64), 1,
                                  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)readable));
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

int privilege_drop(const struct identity *invoker, bool keep_root, int readable, char *error,
                   size_t error_size)
{
    drop_bounding_set();
    if (keep_root)
        (void)!setgroups(0, NULL); /* which takes CAP_SETGID; -r is for who lacks it */
    if ((!keep_root && drop_user(invoker) != 0) || drop_capabilities() != 0 ||
        prctl(PR_SET_DUMPABLE, !IS_CONFINED) != 0 /* a change of ids sets it to fs.suid_dumpable */
        || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        snprintf(
            error, error_size,
            "root cannot be given up: %s; in a container, it takes CAP_SETUID and CAP_SETGID, or "
            "-r",
            strerror(errno));
        return -1;
    }
    if (IS_CONFINED && filter_system_calls(readable) != 0) {
        snprintf(error, error_size,
                 "system calls cannot be filtered: %s; the kernel needs CONFIG_SECCOMP_FILTER",
                 strerror(errno));
        return -1;
    }
    return 0;
}

/* The first line of a file that contains the word; false if there is none. */
static bool file_says(const char *path, const char *word)
{
    char line[256];
    FILE *file = fopen(path, "re");
    bool found = false;

    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
        found = strstr(line, word) != NULL;
    if (file != NULL)
        fclose(file);
    return found;
}

/* The inode of /proc/PID/ns/user in the first user namespace (PROC_USER_INIT_INO of the kernel). */
#define FIRST_USER_NAMESPACE 0xeffffffdu

static bool is_in_user_namespace(void)
{
    struct stat namespace;

    return stat("/proc/self/ns/user", &namespace) == 0 && namespace.st_ino != FIRST_USER_NAMESPACE;
}

/*
 * Whether this kernel counts BPF maps as locked memory, and there is a limit to that, which root can
 * raise if it is whole. What h2olog needs by default is less than 64 MiB.
 */
static bool memory_is_limited(void)
{
    struct utsname name;
    struct rlimit limit;
    unsigned major = 0, minor = 0;

    uname(&name);
    sscanf(name.release, "%u.%u", &major, &minor);
    return (major < 5 || (major == 5 && minor < 11)) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
           limit.rlim_cur < (rlim_t)64 << 20;
}

void privilege_explain_refusal(const char *what, int code, char *error, size_t error_size)
{
    const bool refused = code == EPERM || code == EACCES;
    const char *reason = "";

    if (code == ENOSYS || code == EINVAL || code == EOPNOTSUPP)
        reason = "; h2olog needs Linux 5.8 with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and "
                 "CONFIG_UPROBES";
    else if (code == ENOMEM)
        reason = "; there is no memory for them";
    else if (code == EMFILE)
        reason = "; raise the limit of open files (ulimit -n)";
    else if (refused && is_in_user_namespace())
        reason = "; in a user namespace, as a rootless container has, no capability counts for it: "
                 "run h2olog on the host";
    else if (code == EPERM && memory_is_limited())
        reason = "; before Linux 5.11 they count as locked memory, which is limited (ulimit -l): "
                 "give h2olog CAP_SYS_RESOURCE, or no such limit";
    else if (refused && file_says("/sys/kernel/security/lockdown", "[confidentiality]"))
        reason =
            "; the kernel is locked down (/sys/kernel/security/lockdown says confidentiality): "
            "boot it with lockdown=integrity or without";
    else if (refused && file_says("/proc/self/status", "Seccomp:\t2"))
        reason = "; a seccomp filter is on: let the container call bpf(2) and perf_event_open(2)";
    else if (refused && !has_capability(CAP_SYS_ADMIN))
        reason = "; this process lacks CAP_SYS_ADMIN, which uprobes take before Linux 6.10; else a "
                 "security module or the locked-memory limit (ulimit -l) forbids it: see dmesg";
    else if (refused)
        reason = "; a security module or the locked-memory limit (ulimit -l) forbids it: see dmesg";
    snprintf(error, error_size, "the kernel refuses %s: %s%s", what, strerror(code), reason);
}
