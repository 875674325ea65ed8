#include "child.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

#include "root/diagnose.h"

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF     39
#endif

#define BIT(capability) (UINT64_C(1) << (capability))
#define ALL_OF_THEM     (BIT(CAP_SYS_ADMIN) | BIT(CAP_BPF) | BIT(CAP_PERFMON))

/* --- needed capabilities --- */

static int check_capabilities(const void *argument)
{
    if (child_drop_capabilities(*(const uint64_t *)argument) != 0)
        return 91;
    return diagnose_capabilities(child_error) == 0 ? 0 : 1;
}

static void names_missing_capabilities(void **state)
{
    static const struct {
        uint64_t lacking;
        const char *says; /* NULL: the capabilities are enough */
    } cases[] = {
        {0, NULL},
        {BIT(CAP_SYS_ADMIN), NULL},
        {BIT(CAP_BPF) | BIT(CAP_PERFMON), NULL},
        {BIT(CAP_SYS_ADMIN) | BIT(CAP_BPF), "this process lacks CAP_BPF, which "},
        {BIT(CAP_SYS_ADMIN) | BIT(CAP_PERFMON), "this process lacks CAP_PERFMON, which "},
        {ALL_OF_THEM, "this process lacks CAP_BPF and CAP_PERFMON, which "},
    };

    (void)state;
    child_needs_root();
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        int status = child_run(check_capabilities, &cases[i].lacking);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), cases[i].says == NULL ? 0 : 1);
        if (cases[i].says == NULL)
            check_string("error", child_error->text, "");
        else if (strncmp(child_error->text, cases[i].says, strlen(cases[i].says)) != 0)
            fail_msg("%zu: \"%s\"", i, child_error->text);
    }
}

/* --- reasons of a refusal --- */

struct refusal {
    int code;
    uint64_t lacking; /* capabilities, as bits */
    bool filtered;
    const char *says;
};

static int refuse(const void *argument)
{
    const struct refusal *refusal = argument;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    /* otherwise, on kernels that count maps as locked memory, that is the reason */
    (void)!setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if (refusal->filtered &&
        (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(bpf), 0) != 0 ||
         seccomp_load(filter) != 0))
        return 2;
    seccomp_release(filter);
    if (child_drop_capabilities(refusal->lacking) != 0)
        return 3;
    diagnose_refusal("BPF maps", refusal->code, child_error);
    return 0;
}

static void explains_refusals(void **state)
{
    static const struct refusal refusals[] = {
        {EPERM, 0, false, "the locked-memory limit (ulimit -l)"},
        {EACCES, 0, false, "a security module"},
        {EPERM, BIT(CAP_SYS_ADMIN), false, "locked-memory limit"},
        {EACCES, BIT(CAP_SYS_ADMIN), false,
         "lacks CAP_SYS_ADMIN, which uprobes need before Linux 6.10"},
        {EPERM, BIT(CAP_BPF) | BIT(CAP_PERFMON), false, "locked-memory limit"},
        {EPERM, 0, true, "a seccomp filter is on: let the container call bpf(2)"},
        {EACCES, BIT(CAP_SYS_ADMIN), true, "a seccomp filter is on"},
        {EPERM, ALL_OF_THEM, true, "a seccomp filter is on"},
        {ENOSYS, 0, false, "CONFIG_BPF_SYSCALL"},
        {ENOSYS, ALL_OF_THEM, true, "CONFIG_BPF_SYSCALL"},
        {EINVAL, 0, false, "Linux 5.10"},
        {EOPNOTSUPP, 0, false, "CONFIG_UPROBES"},
        {ENOMEM, 0, false, "the kernel has no memory"},
    };

    (void)state;
    child_needs_root();
    for (size_t i = 0; i != sizeof(refusals) / sizeof(refusals[0]); ++i) {
        char begin[128];
        child_check("diagnose_refusal", child_run(refuse, &refusals[i]));
        snprintf(begin, sizeof(begin), "the kernel refuses BPF maps: %s; ",
                 strerror(refusals[i].code));
        if (strncmp(child_error->text, begin, strlen(begin)) != 0 ||
            strstr(child_error->text, refusals[i].says) == NULL)
            fail_msg("%zu: \"%s\" does not say \"%s\"", i, child_error->text, refusals[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_missing_capabilities),
        cmocka_unit_test(explains_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
