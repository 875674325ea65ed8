#include "child.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "root/caller.h"

#define NOBODY 65534
#define CALLER 1234
#define GROUP  5678

static int find(const char *uid, const char *gid, struct identity *identity, struct error *error)
{
    unsetenv("SUDO_UID");
    unsetenv("SUDO_GID");
    unsetenv("PKEXEC_UID");
    unsetenv("DOAS_USER");
    if (uid != NULL)
        setenv("SUDO_UID", uid, 1);
    if (gid != NULL)
        setenv("SUDO_GID", gid, 1);
    return caller_find(identity, error);
}

/* Without uid 0, the caller is the user of the process, whatever SUDO_UID says. */
static int find_without_root(const void *argument)
{
    struct identity identity;

    (void)argument;
    if (setresgid(GROUP, GROUP, GROUP) != 0 || setresuid(CALLER, CALLER, CALLER) != 0)
        return 1;
    if (find("77", "nonsense", &identity, child_error) != 0)
        return 2;
    return identity.caller == CALLER && identity.caller_group == GROUP && identity.uid == CALLER &&
                   identity.gid == GROUP
               ? 0
               : 3;
}

static void finds_caller_without_root(void **state)
{
    (void)state;
    child_needs_root();
    child_check("caller_find", child_run(find_without_root, NULL));
}

static void finds_caller(void **state)
{
    static const struct {
        const char *uid, *gid;
        struct identity expected;
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
    child_needs_root();
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        struct identity identity = {7, 7, 7, 7};
        struct error error = {0};
        assert_int_equal(find(cases[i].uid, cases[i].gid, &identity, &error), 0);
        assert_int_equal(identity.caller, cases[i].expected.caller);
        assert_int_equal(identity.caller_group, cases[i].expected.caller_group);
        assert_int_equal(identity.uid, cases[i].expected.uid);
        assert_int_equal(identity.gid, cases[i].expected.gid);
        check_string("error", error.text, "");
    }
}

/* pkexec gives a uid, doas a name. The variables of sudo count first. */
static void finds_caller_of_others(void **state)
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
    const struct passwd *user = getpwuid(1); /* every Linux has this user: bin or daemon */
    const gid_t group = user != NULL ? user->pw_gid : 0;
    char name[64], number[] = "1";

    (void)state;
    child_needs_root();
    assert_non_null(user);
    snprintf(name, sizeof(name), "%s", user->pw_name);
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        const char *pkexec = cases[i].pkexec, *doas = cases[i].doas;
        struct identity identity = {9, 9, 9, 9};
        struct error error = {0};
        (void)find(NULL, NULL, &identity, &error); /* none is set */
        if (cases[i].sudo != NULL)
            assert_int_equal(setenv("SUDO_UID", "7", 1) | setenv("SUDO_GID", "7", 1), 0);
        if (pkexec != NULL)
            setenv("PKEXEC_UID", strcmp(pkexec, "%u") == 0 ? number : pkexec, 1);
        if (doas != NULL)
            setenv("DOAS_USER", strcmp(doas, "%s") == 0 ? name : doas, 1);
        assert_int_equal(caller_find(&identity, &error), cases[i].is_found ? 0 : -1);
        check_string("error", error.text,
                     cases[i].is_found
                         ? ""
                         : "PKEXEC_UID must be the id, or DOAS_USER the name, of a user of this "
                           "machine; unset them to run on as nobody");
        if (cases[i].is_found) {
            assert_int_equal(identity.caller, cases[i].sudo != NULL ? 7 : 1);
            assert_int_equal(identity.uid, identity.caller);
            assert_int_equal(identity.caller_group, cases[i].sudo != NULL ? 7 : group);
            assert_int_equal(identity.gid, identity.caller_group);
        }
    }
}

static void refuses_invalid_ids(void **state)
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
    child_needs_root();
    for (size_t i = 0; i != sizeof(words) / sizeof(words[0]); ++i) {
        for (int second = 0; second != 2; ++second) {
            struct identity identity;
            struct error error = {0};
            if (find(second ? "1000" : words[i], second ? words[i] : "1000", &identity, &error) !=
                -1)
                fail_msg("'%s' is taken for an id", words[i] != NULL ? words[i] : "(none)");
            check_string(
                "error", error.text,
                "SUDO_UID and SUDO_GID must be numeric ids of a user and a group; unset both "
                "to run on as nobody");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_caller),
        cmocka_unit_test(finds_caller_without_root),
        cmocka_unit_test(finds_caller_of_others),
        cmocka_unit_test(refuses_invalid_ids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
