#include "connection.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * The largest response in the output: a header field of a page, and the rest, mainly the text of a
 * page.
 */
#define MAX_RESPONSE (PAGE_MAX_NAME + PAGE_MAX_VALUE + 1024)

/* A limit, so that one large download does not block other connections of the thread. */
#define MAX_SENDS_A_RUN 16

struct connection *connection_new(struct connection_world *world, int fd, uint64_t id)
{
    struct connection *conn = malloc(sizeof(*conn));
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    /* Not calloc, which would touch the memory of the buffers. */
    memset(conn, 0, offsetof(struct connection, input));
    conn->world = world;
    conn->fd = fd;
    conn->id = id;
    conn->phase = CONNECTION_HEAD;
    h2o_fire_accept(world->events, id, &conn->fd, conn);
    return conn;
}

void connection_free(struct connection *conn)
{
    h2o_fire_close(conn->world->events, conn->id);
    close(conn->fd);
    free(conn);
}

bool connection_has_output(const struct connection *conn)
{
    return conn->output_start != conn->output_end || conn->filler_left != 0;
}

uint64_t connection_due_ns(const struct connection *conn)
{
    return conn->phase == CONNECTION_DELAY ? conn->due_ns : 0;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void put(struct connection *conn, const char *bytes, size_t len)
{
    memcpy(conn->output + conn->output_end, bytes, len);
    conn->output_end += len;
}

static void put_text(struct connection *conn, const char *text)
{
    put(conn, text, strlen(text));
}

static void put_field(struct connection *conn, const char *name, size_t name_len, const char *value,
                      size_t value_len)
{
    char *start = conn->output + conn->output_end;

    put(conn, name, name_len);
    put(conn, ": ", 2);
    put(conn, value, value_len);
    put(conn, "\r\n", 2);
    const struct h2o_field field = {start, name_len, start + name_len + 2, value_len};
    h2o_fire_response_header(conn->world->events, conn->id, conn->num_requests, &field);
}

static const char *date(struct connection_world *world)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != world->date_second) {
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        strftime(world->date, sizeof(world->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        world->date_second = now.tv_sec;
    }
    return world->date;
}

static void put_fields(struct connection *conn, const struct page *page)
{
    if (page_has_body(page->status)) {
        char length[sizeof("18446744073709551615")];
        int len = snprintf(length, sizeof(length), "%" PRIu64, page->length);
        put_field(conn, "content-length", strlen("content-length"), length, (size_t)len);
    }
    put_field(conn, "date", strlen("date"), date(conn->world), sizeof(conn->world->date) - 1);
    if (page_has_body(page->status))
        put_field(conn, "content-type", strlen("content-type"), page->type, strlen(page->type));
    if (page->name_len != 0)
        put_field(conn, page->name, page->name_len, conn->world->filler, page->value_len);
    if (page->number_len != 0)
        put_field(conn, "x-number", strlen("x-number"), page->number, page->number_len);
}

static void answer(struct connection *conn)
{
    const struct page *page = &conn->page;
    char status[128];

    h2o_fire_response(conn->world->events, conn->id, conn->num_requests, page->status);
    /* As in h2o, headers about the connection are sent, but not traced. */
    snprintf(status, sizeof(status), "HTTP/1.1 %d %s\r\nconnection: %s\r\nserver: standin\r\n",
             page->status, page_reason(page->status), conn->keep_alive ? "keep-alive" : "close");
    put_text(conn, status);
    put_fields(conn, page);
    put(conn, "\r\n", 2);

    if (!conn->is_head && page_has_body(page->status)) {
        if (page->text != NULL)
            put(conn, page->text, page->length);
        else
            conn->filler_left = page->length;
    }
    conn->phase = conn->keep_alive ? CONNECTION_HEAD : CONNECTION_LAST;
}

/* The response to input that is not a request. Like h2o, it fires no probe. */
static void refuse(struct connection *conn, int status)
{
    char response[256];

    snprintf(response, sizeof(response),
             "HTTP/1.1 %d %s\r\nconnection: close\r\nserver: standin\r\ncontent-length: 0\r\n\r\n",
             status, page_reason(status));
    put_text(conn, response);
    conn->phase = CONNECTION_REFUSE;
}

static void fire_request(const struct connection *conn, const struct http1_request *request)
{
    const struct h2o_events *events = conn->world->events;
    const struct h2o_field pseudo_headers[] = {
        {":authority", strlen(":authority"), request->authority.base, request->authority.len},
        {":method", strlen(":method"), request->method.base, request->method.len},
        {":path", strlen(":path"), request->target.base, request->target.len},
        {":scheme", strlen(":scheme"), "http", strlen("http")},
    };

    h2o_fire_request(events, conn->id, conn->num_requests, request->version);
    for (size_t i = 0; i < sizeof(pseudo_headers) / sizeof(pseudo_headers[0]); ++i)
        h2o_fire_request_header(events, conn->id, conn->num_requests, &pseudo_headers[i]);
    for (size_t i = 0; i < request->num_fields; ++i)
        h2o_fire_request_header(events, conn->id, conn->num_requests, &request->fields[i]);
}

/* Takes a request head from the input. Returns false if there is no complete one. */
static bool take_head(struct connection *conn)
{
    struct http1_request request;
    size_t available = conn->input_end - conn->input_start;
    ssize_t len = http1_parse(conn->input + conn->input_start, available, &request);

    if (len == HTTP1_INCOMPLETE) {
        if (available == CONNECTION_INPUT_SIZE)
            refuse(conn, 431);
        return false;
    }
    if (len == HTTP1_BROKEN || request.transfer_encoded) {
        refuse(conn, len == HTTP1_BROKEN ? 400 : 411);
        return false;
    }

    conn->input_start += (size_t)len;
    ++conn->num_requests;
    fire_request(conn, &request);
    page_find(&request, &conn->page);
    conn->is_head = request.method.len == 4 && memcmp(request.method.base, "HEAD", 4) == 0;
    conn->keep_alive = request.keep_alive;
    conn->body_left = request.content_length;
    conn->phase = CONNECTION_BODY;
    if (request.expects_continue && conn->body_left != 0 && conn->input_start == conn->input_end)
        put_text(conn, "HTTP/1.1 100 Continue\r\n\r\n");
    return true;
}

/*
 * Skips the available part of a request body. Returns false if it is not complete. Else the response
 * is due, at once or after the delay of the page.
 */
static bool take_body(struct connection *conn)
{
    size_t available = conn->input_end - conn->input_start;
    size_t len = conn->body_left < available ? (size_t)conn->body_left : available;

    conn->input_start += len;
    conn->body_left -= len;
    if (conn->body_left != 0)
        return false;
    conn->due_ns = conn->page.delay_ns == 0 ? 0 : now_ns() + conn->page.delay_ns;
    conn->phase = CONNECTION_DELAY;
    return true;
}

static bool is_due(const struct connection *conn)
{
    return conn->due_ns == 0 || now_ns() >= conn->due_ns;
}

/*
 * Answers the requests in the input, as long as there is room for responses. Returns whether it
 * answered one.
 */
static bool take_requests(struct connection *conn)
{
    bool answered = false;

    while (conn->filler_left == 0 && CONNECTION_OUTPUT_SIZE - conn->output_end >= MAX_RESPONSE) {
        if (conn->phase == CONNECTION_HEAD && !take_head(conn))
            break;
        if (conn->phase == CONNECTION_BODY && !take_body(conn))
            break;
        if (conn->phase != CONNECTION_DELAY || !is_due(conn))
            break;
        answer(conn);
        answered = true;
    }
    return answered;
}

static void count_sent(struct connection *conn, size_t len)
{
    size_t of_output = conn->output_end - conn->output_start;

    if (len < of_output) {
        conn->output_start += len;
        return;
    }
    conn->output_start = conn->output_end = 0;
    conn->filler_left -= len - of_output;
}

/* Sends as much as the socket takes. Returns false if the connection is broken. */
static bool send_output(struct connection *conn)
{
    for (int i = 0; i < MAX_SENDS_A_RUN && connection_has_output(conn); ++i) {
        size_t filler = conn->filler_left < conn->world->filler_size ? (size_t)conn->filler_left
                                                                     : conn->world->filler_size;
        struct iovec parts[] = {
            {conn->output + conn->output_start, conn->output_end - conn->output_start},
            {(char *)conn->world->filler, filler},
        };
        const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        count_sent(conn, (size_t)sent);
    }
    return true;
}

/* Reads once. Returns false at the end of the input. */
static bool receive(struct connection *conn)
{
    if (conn->phase == CONNECTION_REFUSE)
        conn->input_start = conn->input_end;
    if (conn->input_start != 0) {
        memmove(conn->input, conn->input + conn->input_start, conn->input_end - conn->input_start);
        conn->input_end -= conn->input_start;
        conn->input_start = 0;
    }

    /* Requests that were sent before the delayed response fill the input: they wait. */
    if (conn->input_end == CONNECTION_INPUT_SIZE)
        return true;
    ssize_t len =
        recv(conn->fd, conn->input + conn->input_end, CONNECTION_INPUT_SIZE - conn->input_end, 0);
    if (len < 0)
        return errno == EAGAIN || errno == EINTR;
    conn->input_end += (size_t)len;
    return len != 0;
}

bool connection_run(struct connection *conn)
{
    bool goes_on;

    if (!connection_has_output(conn) && !receive(conn))
        return false;
    do {
        /* Try again after sending, which makes room for responses. */
        goes_on = connection_has_output(conn);
        goes_on |= take_requests(conn);
        if (!send_output(conn))
            return false;
        if (connection_has_output(conn))
            return true;
    } while (goes_on && conn->phase != CONNECTION_LAST);

    /* Closing a socket with unread input would discard the response that is on its way. */
    if (conn->phase == CONNECTION_REFUSE && !conn->is_shut) {
        shutdown(conn->fd, SHUT_WR);
        conn->is_shut = true;
    }
    return conn->phase != CONNECTION_LAST;
}
