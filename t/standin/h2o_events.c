#include "h2o_events.h"

#include <inttypes.h>
#include <stdio.h>

/*
 * The arguments of each event, in the order of the values in its h2o_fire_ function. Probes and
 * arguments that a version of h2o lacks are left out.
 */
static const char *const accept_arguments[] = {"conn_id", "sock", "conn", "conn_uuid", NULL};
static const char *const request_arguments[] = {"conn_id", "req_id", "http_version", NULL};
static const char *const header_arguments[] = {"conn_id", "req_id",    "name", "name_len",
                                               "value",   "value_len", NULL};
static const char *const response_arguments[] = {"conn_id", "req_id", "status", NULL};
static const char *const close_arguments[] = {"conn_id", NULL};

static void bind_event(struct h2o_event *event, const char *name, const char *const *arguments)
{
    for (size_t i = 0; i < PROBE_MAX_ARGUMENTS; ++i)
        event->places[i] = -1;
    event->probe = probe_find("h2o", name);
    if (event->probe == NULL)
        return;
    for (size_t i = 0; arguments[i] != NULL; ++i)
        event->places[i] = probe_find_argument(event->probe, arguments[i]);
}

void h2o_events_bind(struct h2o_events *events)
{
    bind_event(&events->accept, "h1_accept", accept_arguments);
    bind_event(&events->request, "receive_request", request_arguments);
    bind_event(&events->request_header, "receive_request_header", header_arguments);
    bind_event(&events->response, "send_response", response_arguments);
    bind_event(&events->response_header, "send_response_header", header_arguments);
    bind_event(&events->close, "h1_close", close_arguments);
}

static bool is_enabled(const struct h2o_event *event)
{
    return event->probe != NULL && event->probe->enabled();
}

static void fire(const struct h2o_event *event, const uint64_t *values, size_t num_values)
{
    uint64_t arguments[PROBE_MAX_ARGUMENTS] = {0};

    for (size_t i = 0; i < num_values; ++i)
        if (event->places[i] >= 0)
            arguments[event->places[i]] = values[i];
    event->probe->fire(arguments);
}

void h2o_fire_accept(const struct h2o_events *events, uint64_t conn_id, const void *sock,
                     const void *conn)
{
    if (!is_enabled(&events->accept))
        return;
    /* Unique, and predictable for tests. */
    char uuid[sizeof("00000000-0000-4000-8000-000000000000")];
    snprintf(uuid, sizeof(uuid), "00000000-0000-4000-8000-%012" PRIx64,
             conn_id & UINT64_C(0xffffffffffff));
    const uint64_t values[] = {conn_id, (uintptr_t)sock, (uintptr_t)conn, (uintptr_t)uuid};
    fire(&events->accept, values, 4);
}

void h2o_fire_request(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                      int version)
{
    if (!is_enabled(&events->request))
        return;
    const uint64_t values[] = {conn_id, req_id, (uint64_t)version};
    fire(&events->request, values, 3);
}

static void fire_header(const struct h2o_event *event, uint64_t conn_id, uint64_t req_id,
                        const struct h2o_field *field)
{
    if (!is_enabled(event))
        return;
    const uint64_t values[] = {
        conn_id,         req_id, (uintptr_t)field->name, field->name_len, (uintptr_t)field->value,
        field->value_len};
    fire(event, values, 6);
}

void h2o_fire_request_header(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                             const struct h2o_field *field)
{
    fire_header(&events->request_header, conn_id, req_id, field);
}

void h2o_fire_response(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                       int status)
{
    if (!is_enabled(&events->response))
        return;
    const uint64_t values[] = {conn_id, req_id, (uint64_t)status};
    fire(&events->response, values, 3);
}

void h2o_fire_response_header(const struct h2o_events *events, uint64_t conn_id, uint64_t req_id,
                              const struct h2o_field *field)
{
    fire_header(&events->response_header, conn_id, req_id, field);
}

void h2o_fire_close(const struct h2o_events *events, uint64_t conn_id)
{
    if (is_enabled(&events->close))
        fire(&events->close, &conn_id, 1);
}
