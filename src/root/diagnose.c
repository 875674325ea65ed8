#include "root/diagnose.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/linux_version.h"

/* linux/capability.h lacks these before Linux 5.8 */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

static bool has_capability(unsigned capability)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[capability / 32].effective >> capability % 32 & 1) != 0;
}

int diagnose_capabilities(struct error *error)
{
    const bool is_admin = has_capability(CAP_SYS_ADMIN); /* it includes both */
    const bool lacks_bpf = !is_admin && !has_capability(CAP_BPF);
    const bool lacks_perfmon = !is_admin && !has_capability(CAP_PERFMON);

    if (!lacks_bpf && !lacks_perfmon)
        return 0;
    return error_set(
        error, ERROR_FAILED, "this process lacks %s%s%s, which loading BPF programs needs: %s",
        lacks_bpf ? "CAP_BPF" : "", lacks_bpf && lacks_perfmon ? " and " : "",
        lacks_perfmon ? "CAP_PERFMON" : "",
        geteuid() == 0 ? "give the container CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN"
                       : "put sudo before the command, or run it with the capabilities that "
                         "README names under \"Without root\"");
}

/* Whether a line of a file contains a word. */
static bool file_contains(const char *path, const char *word)
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

/*
 * The inode of /proc/PID/ns/user in the initial user namespace (the kernel's PROC_USER_INIT_INO).
 */
#define INITIAL_USER_NAMESPACE 0xeffffffdu

static bool is_in_user_namespace(void)
{
    struct stat namespace;

    return stat("/proc/self/ns/user", &namespace) == 0 &&
           namespace.st_ino != INITIAL_USER_NAMESPACE;
}

/*
 * Whether BPF maps count as locked memory, and its limit is below 64 MiB, which is enough for the
 * default of -b. Root can raise the limit if it has CAP_SYS_RESOURCE.
 */
static bool is_memory_limited(void)
{
    struct rlimit limit;

    return linux_version() < LINUX_VERSION(5, 11) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
           limit.rlim_cur < (rlim_t)64 << 20;
}

/* For EPERM and EACCES. */
static const char *explain_permission(int code)
{
    if (is_in_user_namespace())
        return "; BPF needs capabilities of the initial user namespace, which a rootless container "
               "does not have: run h2olog on the host";
    if (code == EPERM && is_memory_limited())
        return "; before Linux 5.11 they count as locked memory, which is limited (ulimit -l): "
               "give h2olog CAP_SYS_RESOURCE, or no such limit";
    if (file_contains("/sys/kernel/security/lockdown", "[confidentiality]"))
        return "; the kernel is locked down (/sys/kernel/security/lockdown says confidentiality): "
               "boot it with lockdown=integrity or without";
    if (file_contains("/proc/self/status", "Seccomp:\t2"))
        return "; a seccomp filter is on: let the container call bpf(2) and perf_event_open(2)";
    if (!has_capability(CAP_SYS_ADMIN))
        return "; this process lacks CAP_SYS_ADMIN, which uprobes need before Linux 6.10; "
               "otherwise a "
               "security module or the locked-memory limit (ulimit -l) forbids it: see dmesg";
    return "; a security module or the locked-memory limit (ulimit -l) forbids it: see dmesg";
}

static const char *explain(int code)
{
    switch (code) {
    case ENOSYS:
    case EINVAL:
    case EOPNOTSUPP:
        return "; h2olog needs Linux 5.10 with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and "
               "CONFIG_UPROBES";
    case ENOMEM:
        return "; the kernel has no memory for them";
    case EMFILE:
        return "; raise the limit of open files (ulimit -n)";
    case EPERM:
    case EACCES:
        return explain_permission(code);
    default:
        return "";
    }
}

int diagnose_refusal(const char *what, int code, struct error *error)
{
    return error_set(error, ERROR_FAILED, "the kernel refuses %s: %s%s", what, strerror(code),
                     explain(code));
}
