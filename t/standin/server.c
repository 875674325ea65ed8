#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "connection.h"

#define FILLER_SIZE 65536
_Static_assert(FILLER_SIZE >= PAGE_MAX_VALUE, "a header value is cut out of the filler");

struct worker {
    struct server *server;
    pthread_t thread;
    int epoll_fd;
    int timer_fd;      /* readable when a delayed response is due */
    uint64_t timer_ns; /* for which time it is set, on CLOCK_MONOTONIC; 0: it is not */
    struct connection_world world;
    struct connection *connections;
};

struct server {
    int listen_fd;
    int stop_fd; /* readable when the workers must end */
    uint16_t port;
    struct h2o_events events;
    _Atomic(uint64_t) num_connections; /* as in h2o, one count for all threads */
    char filler[FILLER_SIZE];
    unsigned num_workers;
    struct worker workers[];
};

static void link_connection(struct worker *worker, struct connection *conn)
{
    conn->previous = NULL;
    conn->next = worker->connections;
    if (conn->next != NULL)
        conn->next->previous = conn;
    worker->connections = conn;
}

static void end_connection(struct worker *worker, struct connection *conn)
{
    if (conn->next != NULL)
        conn->next->previous = conn->previous;
    if (conn->previous != NULL)
        conn->previous->next = conn->next;
    else
        worker->connections = conn->next;
    connection_free(conn);
}

static int watch(int epoll_fd, int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(epoll_fd, operation, fd, &event);
}

/*
 * Accepts one at a time, so that the other threads, which the kernel wakes for the next one, get
 * some.
 */
static void accept_connection(struct worker *worker)
{
    struct server *server = worker->server;
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;

    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    uint64_t id = atomic_fetch_add(&server->num_connections, 1) + 1;
    struct connection *conn = connection_new(&worker->world, fd, id);
    if (conn == NULL)
        return;
    link_connection(worker, conn);
    if (watch(worker->epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, conn) != 0)
        end_connection(worker, conn);
}

/* Sets the timer for the delayed response of a connection, unless an earlier one is due. */
static void set_timer(struct worker *worker, uint64_t due_ns)
{
    if (due_ns == 0 || (worker->timer_ns != 0 && worker->timer_ns <= due_ns))
        return;
    const struct itimerspec time = {
        .it_value = {(time_t)(due_ns / 1000000000), (long)(due_ns % 1000000000)}};
    timerfd_settime(worker->timer_fd, TFD_TIMER_ABSTIME, &time, NULL);
    worker->timer_ns = due_ns;
}

static void run_connection(struct worker *worker, struct connection *conn)
{
    bool waited_for_output = connection_has_output(conn);

    if (!connection_run(conn)) {
        end_connection(worker, conn);
        return;
    }
    bool waits_for_output = connection_has_output(conn);
    if (waits_for_output != waited_for_output &&
        watch(worker->epoll_fd, EPOLL_CTL_MOD, conn->fd, waits_for_output ? EPOLLOUT : EPOLLIN,
              conn) != 0)
        end_connection(worker, conn);
    else
        set_timer(worker, connection_due_ns(conn));
}

/* Runs the connections whose delayed response is due, and sets the timer for the next one. */
static void run_delayed(struct worker *worker)
{
    const uint64_t due_ns = worker->timer_ns;
    uint64_t expirations;
    struct connection *conn, *next;

    if (read(worker->timer_fd, &expirations, sizeof(expirations)) < 0)
        return;
    worker->timer_ns = 0;
    for (conn = worker->connections; conn != NULL; conn = next) {
        next = conn->next;
        if (connection_due_ns(conn) == 0)
            continue;
        if (connection_due_ns(conn) <= due_ns)
            run_connection(worker, conn);
        else
            set_timer(worker, connection_due_ns(conn));
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct epoll_event events[64];

    for (;;) {
        int num_events =
            epoll_wait(worker->epoll_fd, events, sizeof(events) / sizeof(events[0]), -1);
        bool is_due = false;
        for (int i = 0; i < num_events; ++i) {
            void *what = events[i].data.ptr;
            if (what == &worker->server->stop_fd)
                return NULL;
            if (what == &worker->server->listen_fd)
                accept_connection(worker);
            else if (what == &worker->timer_fd)
                is_due = true;
            else
                run_connection(worker, what);
        }
        /* At last, because it can end connections to which other events belong. */
        if (is_due)
            run_delayed(worker);
    }
}

static int open_listener(uint16_t port)
{
    const int on = 1;
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };

    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t len = sizeof(address);

    getsockname(fd, (struct sockaddr *)&address, &len);
    return ntohs(address.sin_port);
}

static bool start_worker(struct server *server)
{
    struct worker *worker = &server->workers[server->num_workers];

    worker->server = server;
    worker->world.events = &server->events;
    worker->world.filler = server->filler;
    worker->world.filler_size = sizeof(server->filler);
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (worker->epoll_fd < 0)
        return false;
    worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int error = 0;
    if (worker->timer_fd < 0 ||
        watch(worker->epoll_fd, EPOLL_CTL_ADD, worker->timer_fd, EPOLLIN, &worker->timer_fd) != 0 ||
        watch(worker->epoll_fd, EPOLL_CTL_ADD, server->stop_fd, EPOLLIN, &server->stop_fd) != 0 ||
        watch(worker->epoll_fd, EPOLL_CTL_ADD, server->listen_fd, EPOLLIN | EPOLLEXCLUSIVE,
              &server->listen_fd) != 0)
        error = errno;
    else
        error = pthread_create(&worker->thread, NULL, work, worker);
    if (error != 0) {
        if (worker->timer_fd >= 0)
            close(worker->timer_fd);
        close(worker->epoll_fd);
        errno = error;
        return false;
    }
    ++server->num_workers;
    return true;
}

static struct server *new_server(unsigned num_threads)
{
    struct server *server = calloc(1, sizeof(*server) + num_threads * sizeof(server->workers[0]));
    if (server == NULL)
        return NULL;
    server->listen_fd = -1;
    server->stop_fd = -1;
    memset(server->filler, 'x', sizeof(server->filler));
    h2o_events_bind(&server->events);
    return server;
}

struct server *server_start(uint16_t port, unsigned num_threads)
{
    struct server *server = new_server(num_threads);
    if (server == NULL)
        goto Error;
    if ((server->listen_fd = open_listener(port)) < 0) {
        fprintf(stderr, "standin: cannot listen on 127.0.0.1:%u: %s\n", port, strerror(errno));
        goto Stop;
    }
    server->port = bound_port(server->listen_fd);
    if ((server->stop_fd = eventfd(0, EFD_CLOEXEC)) < 0)
        goto Error;
    while (server->num_workers < num_threads)
        if (!start_worker(server))
            goto Error;
    return server;

Error:
    fprintf(stderr, "standin: cannot start the server: %s\n", strerror(errno));
Stop:
    if (server != NULL)
        server_stop(server);
    return NULL;
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

void server_stop(struct server *server)
{
    if (server->num_workers != 0)
        eventfd_write(server->stop_fd, 1);
    for (unsigned i = 0; i < server->num_workers; ++i) {
        struct worker *worker = &server->workers[i];
        pthread_join(worker->thread, NULL);
        while (worker->connections != NULL)
            end_connection(worker, worker->connections);
        close(worker->timer_fd);
        close(worker->epoll_fd);
    }
    if (server->stop_fd >= 0)
        close(server->stop_fd);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    free(server);
}
