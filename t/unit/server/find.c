#include "child.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory.h"
#include "server/find.h"
#include "server/proc.h"

/* Listens on a port of the kernel's choice. If `waits` is false, the port is only reserved. */
static int listen_on(uint16_t *port, bool waits)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    if (waits)
        assert_int_equal(listen(fd, 1), 0);
    *port = ntohs(in.sin_port);
    return fd;
}

/* Waits until it is killed, with the descriptors of the test. */
static int be_h2o(const void *argument)
{
    (void)argument;
    prctl(PR_SET_NAME, "h2o");
    for (;;)
        pause();
    return 0;
}

static pid_t start_h2o(void)
{
    const pid_t child = child_start(be_h2o, NULL);

    for (int i = 0; i != 10000 && !proc_is_h2o(child); ++i)
        usleep(1000);
    assert_true(proc_is_h2o(child));
    return child;
}

/* Returns the sentence that says why nothing is found; "" if something is. */
static const char *look_for(struct found *found, pid_t named, uint16_t port)
{
    static struct error error;
    int result;

    error = (struct error){0};
    *found = (struct found){0};
    result = find_server(found, named, port, &error);
    assert_int_equal(result == 0, error.status == ERROR_NONE);
    return error.text;
}

/* Any process can be named; whether it can be traced shows later. */
static void takes_what_is_named(void **state)
{
    struct found found;

    (void)state;
    check_string("error", look_for(&found, getpid(), 0), "");
    assert_int_equal(found.pid, getpid());
    assert_int_equal(found.supervisor, 0);
    assert_int_equal(found.servers.count, 0);
    find_close(&found);
    check_string("error", look_for(&found, 0x7fffffff, 0), "");
    assert_int_equal(found.pid, 0x7fffffff);
    find_close(&found);
}

static int supervise_none(const void *argument)
{
    (void)argument;
    execl("/bin/sh", "start_server", "-c", "(read line); :", (char *)NULL);
    return 1;
}

static bool has_child(pid_t pid)
{
    int fd = proc_open_children(pid);
    struct pids children = proc_read_children(fd);

    if (fd >= 0)
        close(fd);
    free(children.ids);
    return children.count != 0;
}

/* Its only child has not executed the server yet. */
static void supervisor_without_a_server(void **state)
{
    int pipes[2];
    struct found found;
    pid_t supervisor;
    char *expected;

    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_true(dup2(pipes[0], STDIN_FILENO) >= 0);
    supervisor = child_start(supervise_none, NULL);
    expected = memory_format("process %d is a supervisor (start_server), but none of its servers "
                             "runs; try again when it has started one",
                             (int)supervisor);
    for (int i = 0; i != 10000 && !has_child(supervisor); ++i)
        usleep(1000);
    check_string("error", look_for(&found, supervisor, 0), expected);
    free(expected);
    child_end(supervisor);
    close(pipes[0]);
    close(pipes[1]);
}

static void finds_by_port(void **state)
{
    uint16_t port;
    int fd = listen_on(&port, true);
    const pid_t server = start_h2o();
    struct found found;

    (void)state;
    check_string("error", look_for(&found, 0, port), "");
    assert_int_equal(found.pid, server);
    assert_int_equal(found.servers.count, 1);
    find_close(&found);
    child_end(server);
    close(fd);
}

static void several_listen(void **state)
{
    uint16_t port;
    int fd = listen_on(&port, true);
    const pid_t one = start_h2o(), other = start_h2o();
    struct found found;
    char *expected = memory_format(
        "several servers listen on port %u; say which one to trace: -p PID", (unsigned)port);

    (void)state;
    check_string("error", look_for(&found, 0, port), expected);
    assert_int_equal(found.servers.count, 2);
    assert_int_equal(found.servers.processes[0].pid + found.servers.processes[1].pid, one + other);
    find_close(&found);
    free(expected);
    child_end(one);
    child_end(other);
    close(fd);
}

static void names_who_listens(void **state)
{
    uint16_t port;
    int fd = listen_on(&port, true);
    struct found found;
    char *expected = memory_format("no process with the name h2o listens on port %u, but process "
                                   "%d (unit-find) does; if that is your server: -p %d",
                                   (unsigned)port, (int)getpid(), (int)getpid());

    (void)state;
    check_string("error", look_for(&found, 0, port), expected);
    find_close(&found);
    free(expected);
    close(fd);
}

static void nobody_listens(void **state)
{
    uint16_t port;
    int fd;
    struct found found;
    char *expected;

    (void)state;
    child_needs_root(); /* otherwise other servers of the machine change the sentence */
    fd = listen_on(&port, false);
    expected = memory_format(
        "no h2o listens on port %u; h2olog --servers lists the servers and their ports",
        (unsigned)port);
    check_string("error", look_for(&found, 0, port), expected);
    find_close(&found);
    free(expected);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_named), cmocka_unit_test(supervisor_without_a_server),
        cmocka_unit_test(finds_by_port),       cmocka_unit_test(several_listen),
        cmocka_unit_test(names_who_listens),   cmocka_unit_test(nobody_listens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
