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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_children),
        cmocka_unit_test(reads_many_children),
        cmocka_unit_test(knows_a_child),
        cmocka_unit_test(name_cannot_forge_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
