#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "root/drop.h"

#define CALLER 1234
#define GROUP  5678

/* If fs.suid_dumpable is not 0, the kernel makes a process dumpable again when its ids change. */
static bool ids_make_dumpable;

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    int result = (int)syscall(SYS_setresuid, real, effective, saved);

    if (ids_make_dumpable)
        prctl(PR_SET_DUMPABLE, 1);
    return result;
}

/* --- at the start --- */

static int harden(const void *argument)
{
    struct rlimit core;
    size_t count = 0;

    (void)argument;
    setenv("BCC_KERNEL_SOURCE", "/planted", 1);
    setenv("TMPDIR", "/planted", 1);
    setenv("PATH", "/planted", 1);
    setenv("TZ", "/planted", 1);
    prctl(PR_SET_DUMPABLE, 1);
    drop_harden();
    for (char **variable = environ; *variable != NULL; ++variable, ++count)
        ;
    if (count != 2 || strcmp(getenv("PATH"), "/usr/sbin:/usr/bin:/sbin:/bin") != 0 ||
        strcmp(getenv("TZ"), ":/etc/localtime") != 0)
        return 1;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        return 2;
    return prctl(PR_GET_DUMPABLE) == 0 ? 0 : 3;
}

static void hardens(void **state)
{
    (void)state;
    child_check("drop_harden", child_run(harden, NULL));
}

static int harden_with_zone(const void *zone)
{
    setenv("TZ", zone, 1);
    drop_harden();
    return getenv("TZ") != NULL && strcmp(getenv("TZ"), zone) == 0;
}

/* TZ is kept if it is the name of a time zone: with another value, root would read any file. */
static void time_zones(void **state)
{
    static const struct {
        const char *zone;
        int is_kept;
    } cases[] = {
        {"Europe/Paris", 1},
        {"UTC0", 1},
        {"IST-5:30", 1},
        {"America/Port-au-Prince", 1},
        {"/etc/shadow", 0},
        {":/etc/shadow", 0},
        {"../../shadow", 0},
        {"a/../../etc/shadow", 0},
        {"", 0},
        {"a b", 0},
        {"a\nb", 0},
        {"\xff", 0},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        const int status = child_run(harden_with_zone, cases[i].zone);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != cases[i].is_kept)
            fail_msg("TZ=%s: status 0x%x", cases[i].zone, status);
    }
}

/* --- what is given up --- */

/* Gives up root as h2olog does before it prints. Ends the child if that fails. */
static void drop(bool keep_root)
{
    const struct identity identity = {CALLER, GROUP, CALLER, GROUP};

    drop_harden();
    if (drop_root(&identity, keep_root, -1, -1, child_error) != 0)
        _exit(99);
}

struct forbidden {
    const char *name;
    long number;
    const void *first, *second;
    long third;
};

static const char *const no_words[] = {NULL};

/* System calls that an attacker would use, with arguments that would work. */
static const struct forbidden forbidden[] = {
#ifndef H2OLOG_SANITIZED /* the sanitizer needs these at its end */
    {"openat", SYS_openat, (void *)-100, "/dev/null", 0},
    {"read", SYS_read, NULL, NULL, 0},
    {"pread64", SYS_pread64, NULL, NULL, 0},
    {"prctl", SYS_prctl, (void *)PR_GET_DUMPABLE, NULL, 0},
    {"getpid", SYS_getpid, NULL, NULL, 0},
#endif
#ifdef SYS_open
    {"open", SYS_open, "/dev/null", NULL, 0},
    {"fork", SYS_fork, NULL, NULL, 0},
    {"vfork", SYS_vfork, NULL, NULL, 0},
#endif
    {"execve", SYS_execve, "/bin/true", no_words, 0},
    {"execveat", SYS_execveat, (void *)-100, "/bin/true", 0},
    {"socket", SYS_socket, (void *)2, (void *)1, 0},
    {"connect", SYS_connect, NULL, NULL, 0},
    {"ptrace", SYS_ptrace, NULL, NULL, 0},
    {"process_vm_readv", SYS_process_vm_readv, NULL, NULL, 0},
    {"bpf", SYS_bpf, NULL, NULL, 0},
    {"perf_event_open", SYS_perf_event_open, NULL, NULL, 0},
    {"setuid", SYS_setuid, NULL, NULL, 0},
    {"setresuid", SYS_setresuid, NULL, NULL, 0},
    {"setgid", SYS_setgid, NULL, NULL, 0},
    {"setgroups", SYS_setgroups, NULL, NULL, 0},
    {"capset", SYS_capset, NULL, NULL, 0},
    {"seccomp", SYS_seccomp, NULL, NULL, 0},
    {"kill", SYS_kill, NULL, NULL, 0},
    {"clone", SYS_clone, NULL, NULL, 0},
    {"unshare", SYS_unshare, NULL, NULL, 0},
    {"mount", SYS_mount, NULL, NULL, 0},
    {"unlinkat", SYS_unlinkat, NULL, NULL, 0},
    {"fchmod", SYS_fchmod, (void *)-1, NULL, 0},
    {"fchown", SYS_fchown, (void *)-1, NULL, 0},
    {"ftruncate", SYS_ftruncate, (void *)-1, NULL, 0},
    {"dup", SYS_dup, (void *)-1, NULL, 0},
    {"ioctl", SYS_ioctl, (void *)-1, NULL, 0},
    {"mprotect", SYS_mprotect, NULL, NULL, 0},
    {"mmap of code", SYS_mmap, NULL, (void *)4096, PROT_READ | PROT_EXEC},
    {"setrlimit", SYS_setrlimit, NULL, NULL, 0},
    {"no such call", 4000, NULL, NULL, 0},
};

static int call(const void *argument)
{
    const struct forbidden *forbidden_call = argument;

    drop(forbidden_call->number % 2 == 0); /* also with the uid of root */
    syscall(forbidden_call->number, forbidden_call->first, forbidden_call->second,
            forbidden_call->third, NULL, NULL, NULL);
    return 0;
}

static void forbidden_calls_end_the_process(void **state)
{
    (void)state;
    child_needs_root();
    for (size_t i = 0; i != sizeof(forbidden) / sizeof(forbidden[0]); ++i) {
        int status = child_run(call, &forbidden[i]);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s: ended with %s %d %s", forbidden[i].name,
                     WIFEXITED(status) ? "status" : "signal",
                     WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), child_error->text);
    }
}

#ifdef __x86_64__
/* The 32-bit ABI has other numbers: 20 is getpid(2) there, and writev(2) in the 64-bit ABI. */
static int call_as_i386(const void *argument)
{
    long result = 20;

    (void)argument;
    drop(false);
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
    return 0;
}

static int call_as_x32(const void *argument)
{
    (void)argument;
    drop(false);
    syscall(0x40000000 | SYS_write, STDERR_FILENO, "", 0);
    return 0;
}

static void calls_of_other_abis_end_the_process(void **state)
{
    int status;

    (void)state;
    child_needs_root();
    status = child_run(call_as_i386, NULL);
    assert_true(WIFSIGNALED(status));
    assert_true(WTERMSIG(status) == SIGSYS ||
                WTERMSIG(status) == SIGSEGV); /* a kernel without the 32-bit ABI */
    status = child_run(call_as_x32, NULL);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}
#endif

/* Only one descriptor can be read. */
static int read_descriptor(const void *argument)
{
    const struct identity identity = {CALLER, GROUP, CALLER, GROUP};
    const int *wanted = argument;
    char text[64] = "";
    int one = open("/proc/self/comm", O_RDONLY), other = open("/proc/self/comm", O_RDONLY);

    if (one < 0 || other < 0)
        return 90;
    drop_harden();
    if (drop_root(&identity, false, -1, one, child_error) != 0)
        return 91;
    if (pread(*wanted == 0 ? one : other, text, sizeof(text) - 1, 0) <= 0)
        return 92;
    return strchr(text, '\n') != NULL ? 0 : 93;
}

static void reads_one_descriptor(void **state)
{
    int status, wanted = 0;

    (void)state;
    child_needs_root();
    child_check("pread of the one", child_run(read_descriptor, &wanted));
    wanted = 1;
    status = child_run(read_descriptor, &wanted);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* The calls of a session are allowed. */
static int work(const void *argument)
{
    const bool *keep_root = argument;
    struct timespec now;
    struct timeval same;
    struct pollfd pollfd = {.events = POLLIN};
    char *memory = memory_grow(NULL, 100, 1);
    int ends[2];

    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        return 1;
    drop(*keep_root);
    pollfd.fd = ends[0];
    if (poll(&pollfd, 1, 10) != 0 || write(ends[1], "x", 1) != 1 || poll(&pollfd, 1, 10) != 1)
        return 2;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || clock_gettime(CLOCK_MONOTONIC, &now) != 0 ||
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) != 0 || gettimeofday(&same, NULL) != 0 ||
        time(NULL) < 1)
        return 3;
    for (size_t size = 1000; size < 100000000; size *= 3) { /* the heap, then mappings */
        memory = memory_grow(memory, size, 1);
        memory[size - 1] = 'x';
    }
    free(memory);
    if (fprintf(stderr, "%s %d %.1f\n", "a sentence", 12, 1.5) < 0)
        return 4;
    return close(ends[0]) == 0 && close(ends[1]) == 0 ? 0 : 5;
}

static void needed_calls_are_allowed(void **state)
{
    const bool yes = true, no = false;

    (void)state;
    child_needs_root();
    child_check("work", child_run(work, &no));
    child_check("work with the uid of root", child_run(work, &yes));
}

/* If root cannot change its ids, this is an error. */
static int drop_without_setuid(const void *argument)
{
    const struct identity identity = {CALLER, GROUP, CALLER, GROUP};

    (void)argument;
    if (child_drop_capabilities(1u << CAP_SETUID | 1u << CAP_SETGID) != 0)
        return 2;
    return drop_root(&identity, false, -1, -1, child_error) == -1 ? 0 : 3;
}

static void reports_missing_capabilities(void **state)
{
    (void)state;
    child_needs_root();
    child_check("drop_root", child_run(drop_without_setuid, NULL));
    check_string("error", child_error->text,
                 "cannot give up root: Operation not permitted; in a container, add CAP_SETUID and "
                 "CAP_SETGID, or use -r");
}

/*
 * Waits until the parent has looked. /proc/PID/mem belongs to the user if the process is dumpable,
 * else to root.
 */
static void stays_undumpable(void **state)
{
    int ready[2], leave[2], status;
    char path[64], byte;
    struct stat memory;
    pid_t child;

    (void)state;
    child_needs_root();
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(leave), 0);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct pollfd pollfd = {.fd = leave[0], .events = POLLIN};
        ids_make_dumpable = true;
        close(leave[1]);
        drop(false);
        _exit(write(ready[1], "x", 1) == 1 && poll(&pollfd, 1, -1) == 1 ? 0 : 1);
    }
    close(ready[1]);
    close(leave[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)child);
    assert_int_equal(stat(path, &memory), 0);
    close(leave[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ready[0]);
    child_check("the child", status);
    assert_int_equal(memory.st_uid, 0);
}

/* --- without uid 0 --- */

static int give_up_capabilities(const void *argument)
{
    const bool *keep_root = argument;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};
    const gid_t group = 27;
    struct identity identity;

    prctl(PR_SET_KEEPCAPS, 1);
    if (setgroups(1, &group) != 0 || setresgid(GROUP, GROUP, GROUP) != 0 ||
        setresuid(CALLER, CALLER, CALLER) != 0)
        return 1;
    data[CAP_SYS_PTRACE / 32].permitted = data[CAP_SYS_PTRACE / 32].effective =
        data[CAP_SYS_PTRACE / 32].inheritable = 1u << CAP_SYS_PTRACE % 32;
    if (syscall(SYS_capset, &header, data) != 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_PTRACE, 0, 0) != 0)
        return 2;
    drop_harden();
    if (caller_find(&identity, child_error) != 0 ||
        drop_root(&identity, *keep_root, -1, -1, child_error) != 0)
        return 3;
    return poll(NULL, 0, -1); /* until the parent kills it */
}

/* Only capabilities are given up, and this needs no privilege. */
static void drops_without_root(void **state)
{
    (void)state;
    child_needs_root();
    for (int i = 0; i != 2; ++i) {
        const bool keep_root = i != 0;
        char path[64], text[4096] = "";
        int status;
        pid_t child;
        fflush(NULL);
        *child_error = (struct error){0};
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(give_up_capabilities(&keep_root));
        snprintf(path, sizeof(path), "/proc/%d/status", (int)child);
        while (waitpid(child, &status, WNOHANG) == 0 && strstr(text, "Seccomp:\t2") == NULL) {
            FILE *file = fopen(path, "re");
            size_t size = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
            text[size] = '\0';
            if (file != NULL)
                fclose(file);
            poll(NULL, 0, 1);
        }
        kill(child, SIGKILL);
        check_string("error", child_error->text, "");
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_non_null(strstr(text, "Uid:\t1234\t1234\t1234\t1234\n"));
        assert_non_null(strstr(text, "Gid:\t5678\t5678\t5678\t5678\n"));
        assert_non_null(strstr(text, "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
                                     "CapEff:\t0000000000000000\n"));
        assert_non_null(strstr(text, "CapAmb:\t0000000000000000\n"));
        assert_non_null(strstr(text, "NoNewPrivs:\t1\n"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hardens),
        cmocka_unit_test(time_zones),
        cmocka_unit_test(forbidden_calls_end_the_process),
#ifdef __x86_64__
        cmocka_unit_test(calls_of_other_abis_end_the_process),
#endif
        cmocka_unit_test(reads_one_descriptor),
        cmocka_unit_test(needed_calls_are_allowed),
        cmocka_unit_test(reports_missing_capabilities),
        cmocka_unit_test(stays_undumpable),
        cmocka_unit_test(drops_without_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
