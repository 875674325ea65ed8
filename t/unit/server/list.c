#include "child.h"

#include <fcntl.h>
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

/* Returns where a process is among the servers; their number if it is not there. */
static size_t find(const struct servers *servers, pid_t pid)
{
    size_t i = 0;

    while (i != servers->count && servers->processes[i].pid != pid)
        ++i;
    return i;
}

/* Whether the list of servers has a process. */
static bool is_listed(pid_t pid)
{
    struct servers servers = list_servers();
    const bool found = find(&servers, pid) != servers.count;

    free(servers.processes);
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
    expected = memory_format("process %d (h2o) keeps the private keys (neverbleed) of process %d "
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

/* A supervisor by its name. It starts an h2o for each line that it reads, the number of it. */
struct supervisor {
    char folder[32], program[64];
    int input[2];
    pid_t pid;
};

static int supervise(const void *argument)
{
    const struct supervisor *supervisor = argument;

    setsid();
    if (dup2(supervisor->input[0], STDIN_FILENO) < 0)
        return 1;
    execl("/bin/sh", "/usr/share/h2o/start_server", "-c",
          "while read n; do SERVER_STARTER_GENERATION=$n \"$0\" 60 </dev/null >&0 2>&0 & done",
          supervisor->program, (char *)NULL);
    return 2;
}

/* `name` is that of its servers. */
static void supervisor_open(struct supervisor *supervisor, const char *name)
{
    *supervisor = (struct supervisor){.folder = "/tmp/h2olog-test.XXXXXX"};
    assert_non_null(mkdtemp(supervisor->folder));
    snprintf(supervisor->program, sizeof(supervisor->program), "%s/%s", supervisor->folder, name);
    assert_int_equal(symlink("/bin/sleep", supervisor->program), 0);
    assert_int_equal(pipe2(supervisor->input, O_CLOEXEC), 0);
    supervisor->pid = child_start(supervise, supervisor);
}

/* Starts a server. Returns the `count` servers that there are then, to be freed. */
static struct servers start_server(const struct supervisor *supervisor, const char *number,
                                   size_t count)
{
    struct servers servers = {NULL, 0};

    assert_int_equal(write(supervisor->input[1], number, strlen(number)), strlen(number));
    for (int i = 0; i != 10000; ++i) {
        servers = list_supervised(supervisor->pid);
        if (servers.count == count && servers.processes[0].generation != 0) /* after its exec */
            return servers;
        free(servers.processes);
        usleep(1000);
    }
    fail_msg("the supervisor has not %zu servers", count);
    return servers;
}

static void supervisor_close(const struct supervisor *supervisor)
{
    kill(-supervisor->pid, SIGKILL);
    child_wait(supervisor->pid);
    close(supervisor->input[0]);
    close(supervisor->input[1]);
    unlink(supervisor->program);
    rmdir(supervisor->folder);
}

static void generations_are_one_server(void **state)
{
    struct supervisor supervisor;
    struct servers servers, all;
    char *text;
    size_t index;

    (void)state;
    supervisor_open(&supervisor, "h2o");
    free(start_server(&supervisor, "1\n", 1).processes);
    usleep(20000); /* more than a clock tick */
    servers = start_server(&supervisor, "2\n", 2);
    assert_int_equal(servers.processes[0].generation, 2);
    assert_int_equal(servers.processes[1].generation, 1);
    assert_true(servers.processes[0].start_time > servers.processes[1].start_time);
    text = list_format_pids(&servers, 0);
    assert_int_equal(strtol(text, NULL, 10), servers.processes[0].pid);
    assert_non_null(strstr(text, " and "));
    free(text);

    all = list_servers();
    index = find(&all, servers.processes[0].pid);
    assert_true(index + 1 < all.count);
    assert_int_equal(all.processes[index].supervisor, supervisor.pid);
    assert_int_equal(all.processes[index + 1].pid, servers.processes[1].pid);
    assert_int_equal(list_count_same(&all, index), 2);
    free(all.processes);
    free(servers.processes);
    supervisor_close(&supervisor);
}

/* Two servers without a supervisor are two. */
static void processes_alone_are_servers(void **state)
{
    struct family one = {.name = "h2o"}, other = {.name = "h2o"};
    struct servers servers;

    (void)state;
    family_open(&one);
    family_open(&other);
    servers = list_servers();
    assert_int_equal(list_count_same(&servers, find(&servers, one.parent)), 1);
    assert_int_equal(list_count_same(&servers, find(&servers, other.parent)), 1);
    assert_int_equal(servers.processes[find(&servers, one.parent)].supervisor, 0);
    assert_int_equal(servers.processes[find(&servers, one.parent)].generation, 0);
    free(servers.processes);
    family_close(&one);
    family_close(&other);
}

/* A child that has not executed the server yet runs the program of the supervisor. */
static void supervisor_has_servers_of_any_name(void **state)
{
    struct supervisor supervisor;
    struct servers servers;

    (void)state;
    supervisor_open(&supervisor, "my-server");
    servers = start_server(&supervisor, "7\n", 1);
    assert_int_equal(servers.processes[0].generation, 7);
    assert_false(is_listed(servers.processes[0].pid));
    free(servers.processes);
    supervisor_close(&supervisor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_servers_by_their_name),
        cmocka_unit_test(does_not_list_children_of_servers),
        cmocka_unit_test(servers_serve),
        cmocka_unit_test(names_the_server_of_a_supervisor),
        cmocka_unit_test(names_the_newest_server_first),
        cmocka_unit_test(names_the_server_of_a_helper),
        cmocka_unit_test(names_the_server_of_a_key_keeper),
        cmocka_unit_test(another_program_is_not_a_key_keeper),
        cmocka_unit_test(generations_are_one_server),
        cmocka_unit_test(processes_alone_are_servers),
        cmocka_unit_test(supervisor_has_servers_of_any_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
