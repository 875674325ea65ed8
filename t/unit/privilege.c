#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
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

#include <seccomp.h>

#include "memory.h"
#include "privilege.h"

#define NOBODY 65534
#define CALLER 1234
#define GROUP  5678

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

/* Where fs.suid_dumpable is not 0, the kernel makes a process dumpable again when its ids change. */
static bool ids_make_dumpable;

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    int result = (int)syscall(SYS_setresuid, real, effective, saved);

    if (ids_make_dumpable)
        prctl(PR_SET_DUMPABLE, 1);
    return result;
}

/* What children write is seen here. */
static char *shared;
#define SHARED_SIZE 4096

/* Runs a function in a child; how that ended, as wait(2) has it. What it gave back is its status. */
static int in_child(int (*function)(const void *), const void *argument)
{
    int status;
    pid_t child;

    fflush(NULL);
    memset(shared, 0, SHARED_SIZE);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(function(argument));
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void check_exit(const char *what, int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: ended with %s %d", what, WIFEXITED(status) ? "status" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static void only_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* --- who called --- */

static int find(const char *uid, const char *gid, struct identity *invoker, char *error,
                size_t error_size)
{
    unsetenv("SUDO_UID");
    unsetenv("SUDO_GID");
    unsetenv("PKEXEC_UID");
    unsetenv("DOAS_USER");
    if (uid != NULL)
        setenv("SUDO_UID", uid, 1);
    if (gid != NULL)
        setenv("SUDO_GID", gid, 1);
    return privilege_find_invoker(invoker, error, error_size);
}

/* Without uid 0, it is whoever h2olog runs as, whatever sudo says of somebody else. */
static int find_without_root(const void *argument)
{
    struct identity invoker;

    (void)argument;
    if (setresgid(GROUP, GROUP, GROUP) != 0 || setresuid(CALLER, CALLER, CALLER) != 0)
        return 1;
    if (find("77", "nonsense", &invoker, shared, SHARED_SIZE) != 0)
        return 2;
    return invoker.caller == CALLER && invoker.caller_group == GROUP && invoker.uid == CALLER &&
                   invoker.gid == GROUP
               ? 0
               : 3;
}

static void finds_invoker_without_root(void **state)
{
    (void)state;
    only_root();
    check_exit("privilege_find_invoker", in_child(find_without_root, NULL));
}

static void finds_invoker(void **state)
{
    static const struct {
        const char *uid, *gid;
        struct identity invoker;
    } cases[] = {
        {NULL, NULL, {0, 0, NOBODY, NOBODY}},
        {"1000", "100", {1000, 100, 1000, 100}},
        {"0", "0", {0, 0, NOBODY, NOBODY}}, /* root's sudo */
        {"0", "100", {0, 100, NOBODY, NOBODY}},
        {"1000", "0", {1000, 0, 1000, NOBODY}},
        {"1", "2", {1, 2, 1, 2}},
        {"2147483648", "4294967294", {2147483648u, 4294967294u, 2147483648u, 4294967294u}},
    };

    (void)state;
    only_root();
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct identity invoker = {7, 7, 7, 7};
        char error[256] = "";
        assert_int_equal(find(cases[i].uid, cases[i].gid, &invoker, error, sizeof(error)), 0);
        assert_int_equal(invoker.caller, cases[i].invoker.caller);
        assert_int_equal(invoker.caller_group, cases[i].invoker.caller_group);
        assert_int_equal(invoker.uid, cases[i].invoker.uid);
        assert_int_equal(invoker.gid, cases[i].invoker.gid);
        check_string("error", error, "");
    }
}

/* pkexec says a uid, doas a name; sudo says more, and counts first. */
static void finds_invoker_of_others(void **state)
{
    static const struct {
        const char *sudo, *pkexec, *doas;
        bool is_found;
    } cases[] = {
        {NULL, "%u", NULL, true},          {NULL, NULL, "%s", true},
        {NULL, "%u", "no-such", true},     {"7", "nonsense", "no-such", true},
        {NULL, "", NULL, false},           {NULL, "1x", "%s", false},
        {NULL, "4294967294", NULL, false}, {NULL, NULL, "", false},
        {NULL, NULL, "no-such", false},    {NULL, NULL, "1", false},
    };
    const struct passwd *user = getpwuid(1); /* of every Linux: bin, or daemon */
    const gid_t group = user != NULL ? user->pw_gid : 0;
    char name[64], number[] = "1";

    (void)state;
    only_root();
    assert_non_null(user);
    snprintf(name, sizeof(name), "%s", user->pw_name);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        const char *pkexec = cases[i].pkexec, *doas = cases[i].doas;
        struct identity invoker = {9, 9, 9, 9};
        char error[256] = "";
        (void)find(NULL, NULL, &invoker, error, sizeof(error)); /* none is set */
        if (cases[i].sudo != NULL)
            assert_int_equal(setenv("SUDO_UID", "7", 1) | setenv("SUDO_GID", "7", 1), 0);
        if (pkexec != NULL)
            setenv("PKEXEC_UID", strcmp(pkexec, "%u") == 0 ? number : pkexec, 1);
        if (doas != NULL)
            setenv("DOAS_USER", strcmp(doas, "%s") == 0 ? name : doas, 1);
        assert_int_equal(privilege_find_invoker(&invoker, error, sizeof(error)),
                         cases[i].is_found ? 0 : -1);
        check_string("error", error,
                     cases[i].is_found
                         ? ""
                         : "PKEXEC_UID has to be the number, or DOAS_USER the name, of a user of "
                           "this machine; unset them to run on as nobody");
        if (cases[i].is_found) {
            assert_int_equal(invoker.caller, cases[i].sudo != NULL ? 7 : 1);
            assert_int_equal(invoker.uid, invoker.caller);
            assert_int_equal(invoker.caller_group, cases[i].sudo != NULL ? 7 : group);
            assert_int_equal(invoker.gid, invoker.caller_group);
        }
    }
}

static void refuses_what_is_no_id(void **state)
{
    static const char *const words[] = {
        "",
        " ",
        "-",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "\t1",
        "x",
        "root",
        "0x10",
        "1e3",
        "1.0",
        "1,2",
        "1;2",
        "4294967295",
        "4294967296",
        "4294968296",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709552616",
        "99999999999999999999999999999999999999",
        "1\x1b",
        "\xd9\xa1",
        "\xef\xbc\x91",
        NULL,
    };

    (void)state;
    only_root();
    for (size_t i = 0; i != sizeof(words) / sizeof(words[0]); ++i) {
        for (int second = 0; second != 2; ++second) {
            struct identity invoker;
            char error[256] = "";
            if (find(second ? "1000" : words[i], second ? words[i] : "1000", &invoker, error,
                     sizeof(error)) != -1)
                fail_msg("'%s' is taken for an id", words[i] != NULL ? words[i] : "(none)");
            check_string("error", error,
                         "SUDO_UID and SUDO_GID have to be the numbers of a user and a group; "
                         "unset both to run on as "
                         "nobody");
        }
    }
}

/* --- from the first moment --- */

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
    privilege_harden();
    for (char **variable = environ; *variable != NULL; ++variable, ++count)
        ;
    if (count != 2 || strcmp(getenv("PATH"), "/usr/sbin:/usr/bin:/sbin:/bin") != 0 ||
        strcmp(getenv("TZ"), "UTC0") != 0)
        return 1;
    if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
        return 2;
    return prctl(PR_GET_DUMPABLE) == 0 ? 0 : 3;
}

static void hardens(void **state)
{
    (void)state;
    check_exit("privilege_harden", in_child(harden, NULL));
}

/* --- what there is no more --- */

/* Ends the child if it cannot give up root; otherwise it is what h2olog is when it prints. */
static void drop(bool keep_root)
{
    const struct identity invoker = {CALLER, GROUP, CALLER, GROUP};

    privilege_harden();
    if (privilege_drop(&invoker, keep_root, -1, shared, SHARED_SIZE) != 0)
        _exit(99);
}

struct forbidden {
    const char *name;
    long number;
    const void *first, *second;
    long third;
};

static const char *const no_words[] = {NULL};

/* Calls that would do something if they were let, and are what somebody who took over h2olog would want. */
static const struct forbidden forbidden[] = {
#ifndef H2OLOG_SANITIZED /* at its end, the sanitizer itself wants these */
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

    drop(forbidden_call->number % 2 == 0); /* with the uid of root, it is no better */
    syscall(forbidden_call->number, forbidden_call->first, forbidden_call->second,
            forbidden_call->third, NULL, NULL, NULL);
    return 0;
}

static void forbidden_calls_end_it(void **state)
{
    (void)state;
    only_root();
    for (size_t i = 0; i != sizeof(forbidden) / sizeof(forbidden[0]); ++i) {
        int status = in_child(call, &forbidden[i]);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("%s: ended with %s %d %s", forbidden[i].name,
                     WIFEXITED(status) ? "status" : "signal",
                     WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), shared);
    }
}

#ifdef __x86_64__
/* The numbers of another architecture lead to other calls: 20 is getpid(2) there, and writev(2) here. */
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

static void other_doors_are_closed(void **state)
{
    int status;

    (void)state;
    only_root();
    status = in_child(call_as_i386, NULL);
    assert_true(WIFSIGNALED(status));
    assert_true(WTERMSIG(status) == SIGSYS ||
                WTERMSIG(status) == SIGSEGV); /* a kernel without that door */
    status = in_child(call_as_x32, NULL);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}
#endif

/* Of all descriptors, one can be read. */
static int read_descriptor(const void *argument)
{
    const struct identity invoker = {CALLER, GROUP, CALLER, GROUP};
    const int *wanted = argument;
    char text[64] = "";
    int one = open("/proc/self/comm", O_RDONLY), other = open("/proc/self/comm", O_RDONLY);

    if (one < 0 || other < 0)
        return 90;
    privilege_harden();
    if (privilege_drop(&invoker, false, one, shared, SHARED_SIZE) != 0)
        return 91;
    if (pread(*wanted == 0 ? one : other, text, sizeof(text) - 1, 0) <= 0)
        return 92;
    return strchr(text, '\n') != NULL ? 0 : 93;
}

static void reads_one_descriptor(void **state)
{
    int status, wanted = 0;

    (void)state;
    only_root();
    check_exit("pread of the one", in_child(read_descriptor, &wanted));
    wanted = 1;
    status = in_child(read_descriptor, &wanted);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* What a session does. */
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

static void what_is_needed_is_let(void **state)
{
    const bool yes = true, no = false;

    (void)state;
    only_root();
    check_exit("work", in_child(work, &no));
    check_exit("work with the uid of root", in_child(work, &yes));
}

/* Root that may not change its ids has to say so, and is not to print. */
static int drop_without_setuid(const void *argument)
{
    const struct identity invoker = {CALLER, GROUP, CALLER, GROUP};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    (void)argument;
    if (syscall(SYS_capget, &header, data) != 0)
        return 1;
    data[0].effective &= ~((1U << CAP_SETUID) | (1U << CAP_SETGID));
    data[0].permitted = data[0].effective;
    if (syscall(SYS_capset, &header, data) != 0)
        return 2;
    return privilege_drop(&invoker, false, -1, shared, SHARED_SIZE) == -1 ? 0 : 3;
}

static void says_what_it_lacks(void **state)
{
    (void)state;
    only_root();
    check_exit("privilege_drop", in_child(drop_without_setuid, NULL));
    check_string(
        "error", shared,
        "root cannot be given up: Operation not permitted; in a container, it takes CAP_SETUID and "
        "CAP_SETGID, or -r");
}

/*
 * It ends no sooner than its parent has looked. `mem` of a process that is dumpable is its user's, of others it is
 * root's.
 */
static void stays_undumpable(void **state)
{
    int ready[2], leave[2], status;
    char path[64], byte;
    struct stat memory;
    pid_t child;

    (void)state;
    only_root();
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
    check_exit("the child", status);
    assert_int_equal(memory.st_uid, 0);
}

#define BIT(capability) (UINT64_C(1) << (capability))
#define ALL_OF_THEM     (BIT(CAP_SYS_ADMIN) | BIT(CAP_BPF) | BIT(CAP_PERFMON))

/* --- without uid 0 --- */

static int give_up_capabilities(const void *argument)
{
    const bool *keep_root = argument;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};
    const gid_t group = 27;
    struct identity invoker;

    prctl(PR_SET_KEEPCAPS, 1);
    if (setgroups(1, &group) != 0 || setresgid(GROUP, GROUP, GROUP) != 0 ||
        setresuid(CALLER, CALLER, CALLER) != 0)
        return 1;
    data[CAP_SYS_PTRACE / 32].permitted = data[CAP_SYS_PTRACE / 32].effective =
        data[CAP_SYS_PTRACE / 32].inheritable = 1u << CAP_SYS_PTRACE % 32;
    if (syscall(SYS_capset, &header, data) != 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_PTRACE, 0, 0) != 0)
        return 2;
    privilege_harden();
    if (privilege_find_invoker(&invoker, shared, SHARED_SIZE) != 0 ||
        privilege_drop(&invoker, *keep_root, -1, shared, SHARED_SIZE) != 0)
        return 3;
    return poll(NULL, 0, -1); /* its parent looks at it, and ends it */
}

/* There is nothing to give up but capabilities, and nothing is missing for that. */
static void drops_without_root(void **state)
{
    (void)state;
    only_root();
    for (int i = 0; i != 2; ++i) {
        const bool keep_root = i != 0;
        char path[64], text[4096] = "";
        int status;
        pid_t child;
        fflush(NULL);
        memset(shared, 0, SHARED_SIZE);
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
        check_string("error", shared, "");
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_non_null(strstr(text, "Uid:\t1234\t1234\t1234\t1234\n"));
        assert_non_null(strstr(text, "Gid:\t5678\t5678\t5678\t5678\n"));
        assert_non_null(strstr(text, "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
                                     "CapEff:\t0000000000000000\n"));
        assert_non_null(strstr(text, "CapAmb:\t0000000000000000\n"));
        assert_non_null(strstr(text, "NoNewPrivs:\t1\n"));
    }
}

/* --- which capabilities it takes --- */

static int check_capabilities(const void *argument)
{
    const uint64_t lacking = *(const uint64_t *)argument;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) != 0)
        return 90;
    for (size_t i = 0; i != 2; ++i)
        data[i].effective &= ~(uint32_t)(lacking >> 32 * i);
    if (syscall(SYS_capset, &header, data) != 0)
        return 91;
    return privilege_check(shared, SHARED_SIZE) == 0 ? 0 : 1;
}

static void names_what_lacks(void **state)
{
    static const struct {
        uint64_t lacking;
        const char *says; /* NULL: it is enough */
    } cases[] = {
        {0, NULL},
        {BIT(CAP_SYS_ADMIN), NULL},
        {BIT(CAP_BPF) | BIT(CAP_PERFMON), NULL},
        {BIT(CAP_SYS_ADMIN) | BIT(CAP_BPF), "this process lacks CAP_BPF, which "},
        {BIT(CAP_SYS_ADMIN) | BIT(CAP_PERFMON), "this process lacks CAP_PERFMON, which "},
        {ALL_OF_THEM, "this process lacks CAP_BPF and CAP_PERFMON, which "},
    };

    (void)state;
    only_root();
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        int status = in_child(check_capabilities, &cases[i].lacking);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), cases[i].says == NULL ? 0 : 1);
        if (cases[i].says == NULL)
            check_string("error", shared, "");
        else if (strncmp(shared, cases[i].says, strlen(cases[i].says)) != 0)
            fail_msg("%zu: \"%s\"", i, shared);
    }
}

/* --- why the kernel refuses --- */

struct refusal {
    int code;
    uint64_t lacking; /* capabilities, as bits */
    bool filtered;
    const char *says;
};

static int refuse(const void *argument)
{
    const struct refusal *refusal = argument;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    /* else, where the kernel counts maps as locked memory, that is the reason */
    (void)!setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if (syscall(SYS_capget, &header, data) != 0)
        return 1;
    for (size_t i = 0; i != 2; ++i) {
        data[i].effective &= ~(uint32_t)(refusal->lacking >> 32 * i);
        data[i].permitted &= data[i].effective;
    }
    if (refusal->filtered &&
        (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(bpf), 0) != 0 ||
         seccomp_load(filter) != 0))
        return 2;
    seccomp_release(filter);
    if (syscall(SYS_capset, &header, data) != 0)
        return 3;
    privilege_explain_refusal("BPF maps", refusal->code, shared, SHARED_SIZE);
    return 0;
}

static void explains_refusals(void **state)
{
    static const struct refusal refusals[] = {
        {EPERM, 0, false, "the locked-memory limit (ulimit -l)"},
        {EACCES, 0, false, "a security module"},
        {EPERM, BIT(CAP_SYS_ADMIN), false, "locked-memory limit"},
        {EACCES, BIT(CAP_SYS_ADMIN), false,
         "lacks CAP_SYS_ADMIN, which uprobes take before Linux 6.10"},
        {EPERM, BIT(CAP_BPF) | BIT(CAP_PERFMON), false, "locked-memory limit"},
        {EPERM, 0, true, "a seccomp filter is on: let the container call bpf(2)"},
        {EACCES, BIT(CAP_SYS_ADMIN), true, "a seccomp filter is on"},
        {EPERM, ALL_OF_THEM, true, "a seccomp filter is on"},
        {ENOSYS, 0, false, "CONFIG_BPF_SYSCALL"},
        {ENOSYS, ALL_OF_THEM, true, "CONFIG_BPF_SYSCALL"},
        {EINVAL, 0, false, "Linux 5.8"},
        {EOPNOTSUPP, 0, false, "CONFIG_UPROBES"},
        {ENOMEM, 0, false, "there is no memory"},
    };

    (void)state;
    only_root();
    for (size_t i = 0; i != sizeof(refusals) / sizeof(refusals[0]); ++i) {
        char begin[128];
        check_exit("privilege_explain_refusal", in_child(refuse, &refusals[i]));
        snprintf(begin, sizeof(begin), "the kernel refuses BPF maps: %s; ",
                 strerror(refusals[i].code));
        if (strncmp(shared, begin, strlen(begin)) != 0 || strstr(shared, refusals[i].says) == NULL)
            fail_msg("%zu: \"%s\" does not say \"%s\"", i, shared, refusals[i].says);
    }
}

/* Whatever it is, it is one sentence, and what does not fit is cut. */
static void explanations_fit(void **state)
{
    char small[24];

    (void)state;
    memset(small, 'x', sizeof(small));
    privilege_explain_refusal("BPF maps", EPERM, small, sizeof(small) - 1);
    check_string("error", small, "the kernel refuses BPF");
    assert_int_equal(small[sizeof(small) - 1], 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_invoker),
        cmocka_unit_test(finds_invoker_without_root),
        cmocka_unit_test(finds_invoker_of_others),
        cmocka_unit_test(refuses_what_is_no_id),
        cmocka_unit_test(hardens),
        cmocka_unit_test(forbidden_calls_end_it),
#ifdef __x86_64__
        cmocka_unit_test(other_doors_are_closed),
#endif
        cmocka_unit_test(reads_one_descriptor),
        cmocka_unit_test(what_is_needed_is_let),
        cmocka_unit_test(says_what_it_lacks),
        cmocka_unit_test(stays_undumpable),
        cmocka_unit_test(drops_without_root),
        cmocka_unit_test(names_what_lacks),
        cmocka_unit_test(explains_refusals),
        cmocka_unit_test(explanations_fit),
    };

    shared = mmap(NULL, SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
