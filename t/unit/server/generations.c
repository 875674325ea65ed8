#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/generations.h"

/* A supervisor by its name, which starts a child for each line that it reads. */
struct supervisor {
    pid_t pid;
    int input[2];
};

static int supervise(const void *argument)
{
    const struct supervisor *supervisor = argument;

    setsid();
    if (dup2(supervisor->input[0], STDIN_FILENO) < 0)
        return 1;
    execl("/bin/sh", "/usr/share/h2o/start_server", "-c",
          "while read line; do sleep 60 </dev/null & done", (char *)NULL);
    return 2;
}

static struct pids children_of(pid_t pid)
{
    int fd = proc_open_children(pid);
    struct pids children = proc_read_children(fd);

    if (fd >= 0)
        close(fd);
    return children;
}

/* Starts a child. Returns its PID. */
static pid_t add_child(const struct supervisor *supervisor, size_t nth)
{
    pid_t newest = 0;

    assert_int_equal(write(supervisor->input[1], "\n", 1), 1);
    for (int i = 0; i != 10000 && newest == 0; ++i) {
        struct pids children = children_of(supervisor->pid);
        if (children.count == nth)
            newest = children.ids[nth - 1];
        free(children.ids);
        usleep(1000);
    }
    assert_true(newest > 0);
    return newest;
}

static void start(struct supervisor *supervisor)
{
    assert_int_equal(pipe2(supervisor->input, O_CLOEXEC), 0);
    supervisor->pid = child_start(supervise, supervisor);
    for (int i = 0; i != 10000 && !generations_is_supervisor(supervisor->pid); ++i)
        usleep(1000);
    assert_true(generations_is_supervisor(supervisor->pid));
}

static void end(struct supervisor *supervisor)
{
    kill(-supervisor->pid, SIGKILL);
    child_wait(supervisor->pid);
    close(supervisor->input[0]);
    close(supervisor->input[1]);
}

static void finds_the_next_generation(void **state)
{
    struct supervisor supervisor;
    struct generations generations, of_second, later;
    pid_t first, second, third;

    (void)state;
    start(&supervisor);
    first = add_child(&supervisor, 1);
    generations_open(&generations, first);
    assert_int_equal(generations_find_newer(&generations), 0);
    second = add_child(&supervisor, 2);
    assert_int_equal(generations_find_newer(&generations), second);
    assert_int_equal(generations_find_successor(&generations), second);
    generations_open(&of_second, second); /* the first is older */
    assert_int_equal(generations_find_newer(&of_second), 0);
    generations_open(&later, first); /* of an old generation */
    assert_int_equal(generations_find_newer(&later), second);
    generations_close(&later);
    third = add_child(&supervisor, 3);
    assert_int_equal(generations_find_newer(&generations), third);
    assert_int_equal(generations_find_newer(&of_second), third);
    generations_close(&of_second);
    generations_close(&generations);
    end(&supervisor);
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* It waits for a running supervisor, and not for one that has ended. */
static void waits_for_a_successor(void **state)
{
    struct supervisor supervisor;
    struct generations generations;
    double start_time;

    (void)state;
    start(&supervisor);
    generations_open(&generations, add_child(&supervisor, 1));
    start_time = seconds_now();
    assert_int_equal(generations_find_successor(&generations), 0);
    assert_true(seconds_now() - start_time > 0.4);
    kill(-supervisor.pid, SIGKILL);
    child_wait(supervisor.pid);
    start_time = seconds_now();
    assert_int_equal(generations_find_successor(&generations), 0);
    assert_true(seconds_now() - start_time < 0.4);
    generations_close(&generations);
    close(supervisor.input[0]);
    close(supervisor.input[1]);
}

/* The parent of this process is not start_server. */
static void has_none_without_a_supervisor(void **state)
{
    struct generations generations;

    (void)state;
    assert_false(generations_is_supervisor(getpid()));
    generations_open(&generations, getpid());
    assert_int_equal(generations.children, -1);
    assert_int_equal(generations.supervisor, -1);
    assert_int_equal(generations_find_newer(&generations), 0);
    assert_int_equal(generations_find_successor(&generations), 0);
    generations_close(&generations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_next_generation),
        cmocka_unit_test(waits_for_a_successor),
        cmocka_unit_test(has_none_without_a_supervisor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
