#include "child.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "server/list.h"
#include "server/proc.h"

/*
 * A family of processes: the first one has `name`, and starts `num_children` children with
 * `child_name`. Each writes its PID to a pipe, and waits until it is killed.
 */
struct family {
    const char *name, *child_name;
    size_t num_children;
    const char *program; /* of the children, a path of sleep(1); NULL: that of this test */
    int ends[2];
    pid_t parent, children[4];
};

static void announce(const struct family *family)
{
    const pid_t pid = getpid();

    if (write(family->ends[1], &pid, sizeof(pid)) != sizeof(pid))
        _exit(1);
}

static void live(const struct family *family, const char *name, const char *program)
{
    prctl(PR_SET_NAME, name);
    announce(family);
    if (program != NULL) {
        execl(program, program, "600", (char *)NULL);
        _exit(1);
    }
    for (;;)
        pause();
}

static int live_as_parent(const void *argument)
{
    const struct family *family = argument;

    prctl(PR_SET_NAME, family->name);
    for (size_t i = 0; i != family->num_children; ++i) {
        const pid_t parent = getpid(), child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent)
                _exit(1);
            live(family, family->child_name, family->program);
        }
        usleep(1000); /* the kernel lists children in the order of their start */
    }
    live(family, family->name, NULL);
    return 0;
}

/* Waits until a child has executed its program. */
static void wait_for_exec(pid_t pid)
{
    for (int i = 0; i != 10000; ++i) {
        char *command = proc_command(pid, "");
        const bool done = strstr(command, " 600") != NULL;
        free(command);
        if (done)
            return;
        usleep(1000);
    }
    fail_msg("%d has not executed sleep", (int)pid);
}

static void family_open(struct family *family)
{
    size_t count = 0;

    assert_int_equal(pipe(family->ends), 0);
    family->parent = child_start(live_as_parent, family);
    for (size_t i = 0; i != family->num_children + 1; ++i) {
        pid_t pid;
        assert_int_equal(read(family->ends[0], &pid, sizeof(pid)), sizeof(pid));
        if (pid != family->parent)
            family->children[count++] = pid;
    }
    assert_int_equal(count, family->num_children);
    for (size_t i = 0; family->program != NULL && i != count; ++i)
        wait_for_exec(family->children[i]);
}

static void family_close(struct family *family)
{
    child_end(family->parent);
    close(family->ends[0]);
    close(family->ends[1]);
}

/* Whether the list of servers has a process. */
static bool is_listed(pid_t pid)
{
    char *list = list_servers(), *line = memory_format("\n%s", list),
         *begin = memory_format("\n%d (", (int)pid);
    const bool found = strstr(line, begin) != NULL;

    free(list);
    free(line);
    free(begin);
    return found;
}

static void lists_servers_by_their_name(void **state)
{
    struct family h2o = {.name = "h2o"}, other = {.name = "h2o2"};

    (void)state;
    family_open(&h2o);
    family_open(&other);
    assert_true(is_listed(h2o.parent));
    assert_false(is_listed(other.parent));
    kill(h2o.parent, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)h2o.parent, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    assert_false(is_listed(h2o.parent)); /* a zombie */
    family_close(&h2o);
    family_close(&other);
}

/* One line has the PID and the arguments of a server. */
static void shows_the_command_line(void **state)
{
    struct family family = {.name = "h2o"};
    char *list, *line, *command;

    (void)state;
    family_open(&family);
    command = proc_command(family.parent, "h2o");
    line = memory_format("%d (%s)\n", (int)family.parent, command);
    list = list_servers();
    assert_non_null(strstr(list, line));
    free(command);
    free(line);
    free(list);
    family_close(&family);
}

/* A child of a server with its name has the private keys, and does not serve. */
static void does_not_list_children_of_servers(void **state)
{
    struct family family = {.name = "h2o", .child_name = "h2o", .num_children = 1};

    (void)state;
    family_open(&family);
    assert_true(is_listed(family.parent));
    assert_false(is_listed(family.children[0]));
    family_close(&family);
}

/* Checks whether a process serves: `expected` is the message, NULL if it serves. */
static void check_serves(pid_t pid, bool has_probes, const char *expected)
{
    struct process process;
    struct error error = {0};

    assert_int_equal(process_open(&process, pid, &error), 0);
    assert_int_equal(list_check_serves(&process, has_probes, &error), expected != NULL ? -1 : 0);
    check_string("message", error.text, expected != NULL ? expected : "");
    process_dispose(&process);
}

static void servers_serve(void **state)
{
    struct family family = {.name = "h2o", .child_name = "worker", .num_children = 1};

    (void)state;
    family_open(&family);
    check_serves(family.parent, true, NULL);
    check_serves(family.parent, false, NULL);
    check_serves(family.children[0], true, NULL); /* a worker of another server */
    family_close(&family);
}

static void names_the_server_of_a_supervisor(void **state)
{
    struct family family = {.name = "super", .child_name = "h2o", .num_children = 1};
    char *expected;

    (void)state;
    family_open(&family);
    expected = memory_format("process %d (super) is not the server, but has started it; the server "
                             "is process %d; trace that: -p %d",
                             (int)family.parent, (int)family.children[0], (int)family.children[0]);
    check_serves(family.parent, false, expected);
    check_serves(family.parent, true, NULL); /* it has probes of its own */
    free(expected);
    family_close(&family);
}

static int compare(const void *one, const void *other)
{
    const pid_t a = *(const pid_t *)one, b = *(const pid_t *)other;

    return a < b ? -1 : a > b;
}

/* After a graceful restart, there are two servers for a moment. */
static void names_the_newest_server_first(void **state)
{
    struct family family = {.name = "super", .child_name = "h2o", .num_children = 3};
    const pid_t *servers = family.children;
    char *expected;

    (void)state;
    family_open(&family);
    qsort(family.children, 3, sizeof(servers[0]), compare);
    expected = memory_format("process %d (super) is not the server, but has started it; the "
                             "servers are processes %d, %d and %d, newest first; trace one of "
                             "them: -p %d",
                             (int)family.parent, (int)servers[2], (int)servers[1], (int)servers[0],
                             (int)servers[2]);
    check_serves(family.parent, false, expected);
    free(expected);
    family_close(&family);
}

static void names_the_server_of_a_helper(void **state)
{
    struct family family = {
        .name = "h2o", .child_name = "x", .num_children = 1, .program = "/bin/sleep"};
    char *expected;

    (void)state;
    family_open(&family);
    expected = memory_format("process %d (sleep) is a helper that process %d (h2o) has started; "
                             "trace that: -p %d",
                             (int)family.children[0], (int)family.parent, (int)family.parent);
    check_serves(family.children[0], false, expected);
    free(expected);
    family_close(&family);
}

/* It runs the program of the server, so it has probes, but they never fire. */
static void names_the_server_of_a_key_keeper(void **state)
{
    struct family family = {.name = "h2o", .child_name = "h2o", .num_children = 1};
    char *expected;

    (void)state;
    family_open(&family);
    expected = memory_format("process %d (h2o) keeps the private keys of process %d (neverbleed) "
                             "and does not serve; trace that: -p %d",
                             (int)family.children[0], (int)family.parent, (int)family.parent);
    check_serves(family.children[0], true, expected);
    check_serves(family.children[0], false, expected);
    check_serves(family.parent, false, NULL);
    free(expected);
    family_close(&family);
}

/* A child of a server with its name serves if it runs another program. */
static void another_program_is_not_a_key_keeper(void **state)
{
    char folder[] = "/tmp/h2olog-test.XXXXXX", path[64];
    struct family family = {.name = "h2o", .child_name = "x", .num_children = 1, .program = path};

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/h2o", folder);
    assert_int_equal(symlink("/bin/sleep", path), 0);
    family_open(&family);
    check_serves(family.children[0], true, NULL);
    family_close(&family);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_servers_by_their_name),
        cmocka_unit_test(shows_the_command_line),
        cmocka_unit_test(does_not_list_children_of_servers),
        cmocka_unit_test(servers_serve),
        cmocka_unit_test(names_the_server_of_a_supervisor),
        cmocka_unit_test(names_the_newest_server_first),
        cmocka_unit_test(names_the_server_of_a_helper),
        cmocka_unit_test(names_the_server_of_a_key_keeper),
        cmocka_unit_test(another_program_is_not_a_key_keeper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
