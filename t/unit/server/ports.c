#include "child.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/ports.h"

/* Binds a socket to a port of the kernel's choice on loopback. Sets the number. */
static int bind_socket(int family, int type, uint16_t *number)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t size = family == AF_INET ? sizeof(in) : sizeof(in6);
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
    int fd = socket(family, type | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, address, size) != 0 || getsockname(fd, address, &size) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *number = ntohs(family == AF_INET ? in.sin_port : in6.sin6_port);
    return fd;
}

static int listen_on(int family, uint16_t *number)
{
    int fd = bind_socket(family, SOCK_STREAM, number);

    if (fd >= 0)
        assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* Whether this process listens on the port with that protocol. */
static bool listens(uint16_t number, bool is_udp)
{
    struct ports ports = ports_find(getpid());
    size_t count = 0;

    assert_false(ports.unreadable);
    for (size_t i = 0; i != ports.count; ++i)
        count += ports.ports[i].number == number && ports.ports[i].is_udp == is_udp;
    assert_true(count <= 1); /* each port once */
    free(ports.ports);
    return count == 1;
}

static void knows_sockets_that_listen(void **state)
{
    uint16_t number;
    int fd = listen_on(AF_INET, &number), copy = dup(fd);

    (void)state;
    assert_true(fd >= 0 && copy >= 0);
    assert_true(listens(number, false));
    assert_false(listens(number, true));
    close(copy);
    close(fd);
    assert_false(listens(number, false));

    fd = bind_socket(AF_INET, SOCK_DGRAM, &number);
    assert_true(fd >= 0);
    assert_true(listens(number, true));
    assert_false(listens(number, false));
    close(fd);
}

static void knows_ipv6(void **state)
{
    uint16_t number;
    int fd = listen_on(AF_INET6, &number);

    (void)state;
    if (fd < 0)
        skip(); /* the machine has no IPv6 */
    assert_true(listens(number, false));
    close(fd);
    fd = bind_socket(AF_INET6, SOCK_DGRAM, &number);
    assert_true(fd >= 0);
    assert_true(listens(number, true));
    close(fd);
}

static void other_sockets_do_not_listen(void **state)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t bound, client, server;
    int fd = bind_socket(AF_INET, SOCK_STREAM, &bound);
    int listening = listen_on(AF_INET, &server),
        connected = bind_socket(AF_INET, SOCK_STREAM, &client);

    (void)state;
    assert_true(fd >= 0 && listening >= 0 && connected >= 0);
    peer.sin_port = htons(server);
    assert_int_equal(connect(connected, (struct sockaddr *)&peer, sizeof(peer)), 0);
    assert_false(listens(bound, false));
    assert_false(listens(client, false));
    assert_true(listens(server, false));
    close(connected);
    close(listening);
    close(fd);

    fd = bind_socket(AF_INET, SOCK_DGRAM, &client);
    peer.sin_port = htons(9);
    assert_int_equal(connect(fd, (struct sockaddr *)&peer, sizeof(peer)), 0);
    assert_false(listens(client, true));
    close(fd);
}

static int wait_for_parent(const void *argument)
{
    char byte;

    close(((const int *)argument)[1]);
    (void)!read(((const int *)argument)[0], &byte, 1);
    return 0;
}

/* A socket that only another process has open is not one of this process. */
static void knows_whose_socket_it_is(void **state)
{
    uint16_t number;
    bool in_use;
    int pipes[2], fd = listen_on(AF_INET, &number);
    struct ports ports;
    pid_t child;

    (void)state;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    child = child_start(wait_for_parent, pipes);
    assert_true(ports_find_owner(number, &in_use) == (child < getpid() ? child : getpid()));
    assert_true(in_use);
    close(fd);
    assert_false(listens(number, false));
    ports = ports_find(child);
    assert_true(ports_contain(&ports, number));
    free(ports.ports);
    assert_int_equal(ports_find_owner(number, &in_use), child);
    close(pipes[1]);
    child_wait(child);
    assert_int_equal(ports_find_owner(number, &in_use), 0);
    assert_false(in_use);
    ports = ports_find(child); /* it has ended */
    assert_true(ports.count == 0 && !ports.unreadable);
    close(pipes[0]);
}

static int look_as_nobody(const void *argument)
{
    const int *fd = argument;
    struct ports ports;
    char *text;
    int result = 0;

    close(*fd); /* only the parent has it now */
    if (setgid(65534) != 0 || setuid(65534) != 0)
        return 1;
    ports = ports_find(getppid());
    text = ports_format(&ports);
    if (!ports.unreadable || strcmp(text, "?") != 0)
        result = 2;
    free(text);
    return result;
}

static void says_that_it_may_not_look(void **state)
{
    uint16_t number;
    int fd;

    (void)state;
    child_needs_root();
    fd = listen_on(AF_INET, &number);
    child_check("nobody", child_run(look_as_nobody, &fd));
    close(fd);
}

static void check_format(const struct port *list, size_t count, const char *expected)
{
    struct port copy[16];
    struct ports ports = {copy, count, false};
    char *text;

    if (count != 0)
        memcpy(copy, list, count * sizeof(copy[0]));
    text = ports_format(&ports);
    check_string("ports", text, expected);
    free(text);
}

static void formats(void **state)
{
    struct port ports[10] = {{.number = 80}, {.number = 443}, {.number = 443, .is_udp = true}};

    (void)state;
    check_format(ports, 0, "-");
    check_format(ports, 1, "80");
    check_format(ports, 3, "80,443,443/udp");
    for (int i = 0; i != 10; ++i)
        ports[i] = (struct port){.number = (uint16_t)(1 + i)};
    check_format(ports, 8, "1,2,3,4,5,6,7,8");
    check_format(ports, 10, "1,2,3,4,5,6,7,8,+2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_sockets_that_listen),   cmocka_unit_test(knows_ipv6),
        cmocka_unit_test(other_sockets_do_not_listen), cmocka_unit_test(knows_whose_socket_it_is),
        cmocka_unit_test(says_that_it_may_not_look),   cmocka_unit_test(formats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
