#include "kernel/attach.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "interrupt.h"
#include "kernel/link.h"
#include "kernel/perf.h"
#include "memory.h"
#include "root/diagnose.h"

/* A location, and the index of the function that runs there. */
struct place {
    size_t function;
    const struct location *location;
};

struct places {
    struct place *list;
    size_t count;
};

/* An attempt to attach a request. `refusals` has the places where the kernel answered EINVAL. */
struct attempt {
    const struct attach_request *request;
    struct attached *attached;
    struct places refusals;
};

static void add_place(struct places *places, struct place place)
{
    places->list = memory_grow(places->list, places->count + 1, sizeof(places->list[0]));
    places->list[places->count++] = place;
}

static void add_attached(struct attached *attached, int fd)
{
    attached->fds = memory_grow(attached->fds, attached->count + 1, sizeof(attached->fds[0]));
    attached->fds[attached->count++] = fd;
}

static const char *path_of(const struct attach_request *request, const struct location *location)
{
    return request->notes->modules[location->module].path;
}

/* Creates one link for places of one module. Returns it, or -1 with errno. */
static int create_link(const struct attach_request *request, const struct place *places,
                       size_t count)
{
    uint64_t *numbers = memory_grow(NULL, 3 * count, sizeof(numbers[0]));
    const struct link_locations locations = {
        .path = path_of(request, places[0].location),
        .offsets = numbers,
        .counters = numbers + count,
        .cookies = numbers + 2 * count,
        .count = count,
    };
    int fd, code;

    for (size_t i = 0; i != count; ++i) {
        numbers[i] = places[i].location->offset;
        numbers[count + i] = places[i].location->semaphore_offset;
        numbers[2 * count + i] = places[i].function;
    }
    fd = link_create(request->loaded->dispatch, request->pid, &locations);
    code = errno;
    free(numbers);
    errno = code;
    return fd;
}

/*
 * Attaches places of one module with one link. On EINVAL, the kernel does not say which place it
 * refuses. Then each half is tried, down to single places. Returns 0, or -1 with errno.
 */
static int attach_places(struct attempt *attempt, const struct place *places, size_t count)
{
    const size_t half = count / 2;
    int fd = create_link(attempt->request, places, count);

    if (fd >= 0) {
        add_attached(attempt->attached, fd);
        return 0;
    }
    if (errno != EINVAL || interrupt_is_due(attempt->request->signals))
        return -1;
    if (count == 1) {
        add_place(&attempt->refusals, places[0]);
        return 0;
    }
    if (attach_places(attempt, places, half) != 0)
        return -1;
    return attach_places(attempt, places + half, count - half);
}

/* Returns the places of the program in one module; `list` is to be freed. */
static struct places find_places(const struct program *program, size_t module)
{
    struct places places = {NULL, 0};

    for (size_t i = 0; i != program->num_functions; ++i) {
        const struct program_function *function = &program->functions[i];
        for (size_t j = 0; j != function->num_locations; ++j) {
            if (function->locations[j]->module == module)
                add_place(&places, (struct place){i, function->locations[j]});
        }
    }
    return places;
}

/* Attaches an event at one place. Returns 0, or -1 with errno. */
static int attach_place(struct attempt *attempt, const struct place *place)
{
    const struct attach_request *request = attempt->request;
    const struct location *location = place->location;
    int fd = perf_create(path_of(request, location), location->offset, location->semaphore_offset,
                         request->pid);

    if (fd < 0 && errno == EINVAL) {
        add_place(&attempt->refusals, *place);
        return 0;
    }
    if (fd < 0)
        return -1;
    add_attached(attempt->attached, fd);
    return perf_enable(fd, request->loaded->functions[place->function]);
}

static int attach_one_by_one(struct attempt *attempt, const struct places *places)
{
    for (size_t i = 0; i != places->count; ++i) {
        if (interrupt_is_due(attempt->request->signals))
            return -1;
        if (attach_place(attempt, &places->list[i]) != 0)
            return -1;
    }
    return 0;
}

/* Returns 0, or -1 with errno. */
static int attach_module(struct attempt *attempt, size_t module)
{
    struct places places = find_places(attempt->request->program, module);
    int result = 0, code;

    if (attempt->request->loaded->dispatch < 0)
        result = attach_one_by_one(attempt, &places);
    else if (places.count != 0)
        result = attach_places(attempt, places.list, places.count);
    code = errno;
    free(places.list);
    errno = code;
    return result;
}

/* Returns 0, or -1 with `error` set. */
static int attach_modules(struct attempt *attempt, struct error *error)
{
    const struct attach_request *request = attempt->request;

    for (size_t i = 0; i != request->notes->num_modules; ++i) {
        int result = interrupt_is_due(request->signals) ? -1 : attach_module(attempt, i);
        if (result == 0)
            continue;
        if (interrupt_is_due(request->signals))
            return error_interrupt(error);
        if (errno == ESRCH)
            return error_set(error, ERROR_FAILED, "the server ended before it could be traced");
        return diagnose_refusal("uprobes", errno, error);
    }
    return 0;
}

/*
 * Whether another tracer causes a refusal. At one location, the kernel accepts only uprobes with
 * the same reference counter, and those of other tracers have none. So a uprobe without a counter
 * is tried.
 */
static bool is_held(const struct attach_request *request, const struct location *location)
{
    const char *path = path_of(request, location);
    const uint64_t cookie = 0;
    const struct link_locations locations = {
        .path = path, .offsets = &location->offset, .cookies = &cookie, .count = 1};
    int fd = request->loaded->dispatch >= 0
                 ? link_create(request->loaded->dispatch, request->pid, &locations)
                 : perf_create(path, location->offset, 0, request->pid);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/*
 * Counts the printed probes that have an attached location. The functions of a probe are adjacent.
 */
static size_t count_probes(const struct program *program, const struct places *refusals)
{
    const struct server_probe *latest = NULL;
    size_t count = 0;

    for (size_t i = 0; i != program->num_functions; ++i) {
        const struct program_function *function = &program->functions[i];
        size_t left = function->num_locations;
        for (size_t j = 0; j != refusals->count; ++j)
            left -= refusals->list[j].function == i ? 1 : 0;
        if (!function->printed || left == 0 || function->server_probe == latest)
            continue;
        latest = function->server_probe;
        ++count;
    }
    return count;
}

/*
 * Counts the probes. Reports refusals: to `refused`, or as the error if nothing is left to trace.
 */
static int report_refusals(const struct attempt *attempt, attach_refused *refused,
                           struct error *error)
{
    const struct places *refusals = &attempt->refusals;
    const struct program *program = attempt->request->program;
    bool held;

    attempt->attached->num_probes = count_probes(program, refusals);
    if (refusals->count == 0)
        return 0;
    /* only the first one is tried: closing a link takes 0.02 s, closing an event 0.1 s */
    held = is_held(attempt->request, refusals->list[0].location);
    if (attempt->attached->num_probes == 0) {
        if (!held)
            return diagnose_refusal("uprobes", EINVAL, error);
        return error_set(
            error, ERROR_FAILED,
            "another tracer holds all chosen probes: its uprobes have no reference counter; end "
            "that tracer and start again");
    }
    for (size_t i = 0; i != refusals->count; ++i)
        refused(program->functions[refusals->list[i].function].server_probe,
                refusals->list[i].location, held);
    return 0;
}

int attach_all(struct attached *attached, const struct attach_request *request,
               attach_refused *refused, struct error *error)
{
    struct attempt attempt = {.request = request, .attached = attached};
    int result;

    *attached = (struct attached){0};
    result = attach_modules(&attempt, error);
    if (result == 0)
        result = report_refusals(&attempt, refused, error);
    free(attempt.refusals.list);
    return result;
}

void attach_close(struct attached *attached)
{
    for (size_t i = 0; i != attached->count; ++i)
        close(attached->fds[i]);
    free(attached->fds);
    *attached = (struct attached){0};
}
