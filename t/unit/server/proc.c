#include "child.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/proc.h"

/* A list in the format of /proc/PID/task/PID/children. */
static struct pids read_list(const char *text)
{
    struct pids children;
    int fd = memfd_create("children", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    children = proc_read_children(fd);
    close(fd);
    return children;
}

static void reads_children(void **state)
{
    struct pids children = read_list("");

    (void)state;
    assert_int_equal(children.count, 0);
    children = read_list("100 4194304 7 ");
    assert_int_equal(children.count, 3);
    assert_int_equal(children.ids[0], 100);
    assert_int_equal(children.ids[1], 4194304);
    assert_int_equal(children.ids[2], 7);
    free(children.ids);
    children = proc_read_children(-1);
    assert_int_equal(children.count, 0);
}

/* More than one read: a number can be divided. */
static void reads_many_children(void **state)
{
    enum { COUNT = 3000 };
    char *text = calloc(COUNT, 8);
    struct pids children;
    size_t size = 0;

    (void)state;
    assert_non_null(text);
    for (int i = 0; i != COUNT; ++i)
        size += (size_t)sprintf(text + size, "%d ", 1000 + i);
    children = read_list(text);
    assert_int_equal(children.count, COUNT);
    for (int i = 0; i != COUNT; ++i)
        assert_int_equal(children.ids[i], 1000 + i);
    free(children.ids);
    free(text);
}

/* Sets the name of the process, and waits until it is killed. */
static int pause_with_name(const void *argument)
{
    prctl(PR_SET_NAME, argument);
    for (;;)
        pause();
    return 0;
}

static void knows_a_child(void **state)
{
    const pid_t child = child_start(pause_with_name, "h2o");
    int fd = proc_open_children(getpid());
    struct pids children = proc_read_children(fd);

    (void)state;
    for (int i = 0; i != 10000 && !proc_is_h2o(child); ++i)
        usleep(1000);
    assert_true(proc_is_h2o(child));
    assert_int_equal(proc_parent(child), getpid());
    assert_int_equal(proc_thread_group(child), child);
    assert_false(proc_is_zombie(child));
    assert_false(proc_is_kernel_thread(child));
    if (fd >= 0) { /* the kernel has these lists */
        assert_int_equal(children.count, 1);
        assert_int_equal(children.ids[0], child);
        close(fd);
    }
    free(children.ids);
    kill(child, SIGKILL);
    for (int i = 0; i != 10000 && !proc_is_zombie(child); ++i)
        usleep(1000);
    assert_true(proc_is_zombie(child));
    child_wait(child);
    assert_int_equal(proc_parent(child), 0);
    assert_int_equal(proc_thread_group(child), 0);
    assert_null(proc_name(child));
    assert_null(proc_read(child, "status", NULL));
    assert_int_equal(proc_open_children(child), -1);
}

/* The flags of a kernel thread, as part of a name. */
static void name_cannot_forge_the_rest(void **state)
{
    static const char name[] = ")S1-1-1-1-1-9";
    const pid_t child = child_start(pause_with_name, name);
    char *found;

    (void)state;
    for (int i = 0; i != 10000; ++i) {
        found = proc_name(child);
        if (strcmp(found, name) == 0)
            break;
        free(found);
        usleep(1000);
    }
    check_string("name", found, name);
    free(found);
    assert_false(proc_is_kernel_thread(child));
    child_end(child);
}

static int pause_with_variable(const void *argument)
{
    char *const environment[] = {"VARIABLES=no", "VARIABLE=a=b", NULL};

    (void)argument;
    execle("/bin/sleep", "sleep", "600", (char *)NULL, environment);
    return 1;
}

static void reads_the_environment(void **state)
{
    const pid_t child = child_start(pause_with_variable, NULL);
    char *value = NULL;

    (void)state;
    for (int i = 0; i != 10000 && value == NULL; ++i) {
        value = proc_variable(child, "VARIABLE");
        usleep(1000);
    }
    assert_non_null(value);
    check_string("value", value, "a=b");
    assert_null(proc_variable(child, "VAR"));
    assert_null(proc_variable(child, "a"));
    assert_false(proc_runs_same_program(child, getpid()));
    assert_true(proc_runs_same_program(child, child));
    free(value);
    child_end(child);
    assert_null(proc_variable(child, "VARIABLE"));
    assert_false(proc_runs_same_program(child, child));
}

static int become_other(const void *argument)
{
    (void)argument;
    return setresuid(1, 2, 3) == 0 ? pause_with_name("1 (2) 3") : 1;
}

static void knows_the_user(void **state)
{
    uid_t uid = 99;
    pid_t child;

    (void)state;
    assert_int_equal(proc_user(getpid(), &uid), 0);
    assert_int_equal(uid, geteuid());
    child_needs_root();
    child = child_start(become_other, NULL);
    for (int i = 0; i != 10000 && uid != 2; ++i) {
        assert_int_equal(proc_user(child, &uid), 0);
        usleep(1000);
    }
    assert_int_equal(uid, 2);
    child_end(child);
    assert_int_equal(proc_user(child, &uid), -1);
}

/* The name, which stands before the time, looks like other fields. */
static void knows_when_it_started(void **state)
{
    const pid_t first = child_start(pause_with_name, ") S 1 2 3");
    pid_t second;

    (void)state;
    usleep(20000); /* more than a clock tick */
    second = child_start(pause_with_name, "second");
    assert_true(proc_start_time(getpid()) > 0);
    assert_true(proc_start_time(getpid()) <= proc_start_time(first));
    assert_true(proc_start_time(first) < proc_start_time(second));
    assert_true(proc_start_time(second) < proc_start_time(first) + 6000); /* less than a minute */
    child_end(first);
    child_end(second);
    assert_int_equal(proc_start_time(first), 0);
}

static void lists_processes(void **state)
{
    struct pids processes = proc_list();
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i != processes.count; ++i)
        count += processes.ids[i] == getpid();
    assert_int_equal(count, 1);
    free(processes.ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_children),        cmocka_unit_test(reads_many_children),
        cmocka_unit_test(knows_a_child),         cmocka_unit_test(name_cannot_forge_the_rest),
        cmocka_unit_test(reads_the_environment), cmocka_unit_test(knows_the_user),
        cmocka_unit_test(knows_when_it_started), cmocka_unit_test(lists_processes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
