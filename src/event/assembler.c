#include "event/assembler.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event/open_requests.h"
#include "memory.h"
#include "server/version.h"

const char *const assembler_probes[] = {
    "h2o:h1_close",
    "h2o:h3_close",            /* until 2020-07-21 */
    "h2o:h3_stream_set_state", /* until 2020-07-21 */
    "h2o:h3s_destroy",
    "h2o:h3s_stream_set_state",
    "h2o:h3s_stream_stats", /* since 2026-06-10 */
    NULL,
};

/* H2O_HTTP3_SERVER_STREAM_STATE_CLOSE_WAIT, the same in all versions since 2019-12. */
#define STATE_CLOSE_WAIT 7

/* A thread of the server. */
struct assembler_thread {
    uint32_t tid;
    uint64_t latest;     /* number of its latest event in the trace; 0: the place is free */
    uint64_t num_losses; /* losses of the trace at its latest event */
    struct open_request *current; /* the request of its latest event, while it is open */
};

/*
 * Threads are kept in sets by the lowest bits of their ids, which are consecutive. A new thread
 * takes the place of the one in its set that was silent for longest.
 */
#define THREAD_SETS 256
#define THREAD_WAYS 8

/* The bounds of the table, in the order of struct assembler_limits. */
enum bound { BOUND_REQUESTS, BOUND_BYTES, BOUND_AGE, NUM_BOUNDS };

static const char *const bound_options[NUM_BOUNDS] = {"--max-requests", "--max-memory",
                                                      "--max-age"};

struct assembler {
    const struct sink_settings *settings;
    struct assembler_limits limits;
    struct sink next;
    bool has_states, has_stats; /* the server has probes for the end of an HTTP/3 stream */
    struct open_requests table;
    struct open_request_list waiting; /* is_waiting, in the order in which that began */
    uint64_t num_events, num_losses;
    uint64_t num_fallen[NUM_BOUNDS]; /* requests that fell out of the table */
    uint64_t num_late;               /* response headers without their request */
    struct assembler_thread threads[THREAD_SETS][THREAD_WAYS];
};

/* A record, and what is known of it. */
struct step {
    const struct record *record;
    struct request_key key;
    uint64_t stamp_ns; /* its time; 0: not captured */
    uint64_t time_ns;  /* its time, or the time of the latest drain */
    struct assembler_thread *thread;
    bool is_first;   /* of its thread in the trace */
    bool after_loss; /* events were lost since the one before of its thread */
};

/* --- passing requests on --- */

static void stop_waiting(struct assembler *assembler, struct open_request *open)
{
    if (!open->is_waiting)
        return;
    TAILQ_REMOVE(&assembler->waiting, open, waiting);
    open->is_waiting = false;
}

static void wait_for_more(struct assembler *assembler, struct open_request *open, uint64_t time_ns)
{
    open->latest_ns = time_ns;
    if (open->is_waiting)
        return;
    TAILQ_INSERT_TAIL(&assembler->waiting, open, waiting);
    open->is_waiting = true;
}

static void leave_thread(struct open_request *open)
{
    if (open->thread != NULL)
        open->thread->current = NULL;
    open->thread = NULL;
}

static void enter_thread(struct assembler_thread *thread, struct open_request *open)
{
    if (open->thread == thread)
        return;
    leave_thread(open);
    if (thread->current != NULL)
        thread->current->thread = NULL;
    thread->current = open;
    open->thread = thread;
}

/* Passes a request on, and removes it. The state is `state` if nothing worse is known. */
static void pass_on(struct assembler *assembler, struct open_request *open,
                    enum request_state state)
{
    struct request *request = &open->request;

    if (open->num_losses != assembler->num_losses)
        request->state = REQUEST_INCOMPLETE;
    else if (request->state == REQUEST_COMPLETE)
        request->state = state;
    stop_waiting(assembler, open);
    leave_thread(open);
    assembler->next.request(assembler->next.state, request);
    open_requests_remove(&assembler->table, open);
}

/* Whether the end of the request's stream will be told: then it stays open until that. */
static bool has_end(const struct assembler *assembler, const struct open_request *open)
{
    return (assembler->has_states || assembler->has_stats) &&
           (open->request.version >= 0x300 || open->request.connection != 0);
}

/* The state of a request that ends without more: is its response whole? */
static enum request_state outcome(const struct assembler *assembler,
                                  const struct open_request *open)
{
    bool is_whole = open->has_response && (open->has_ended || !has_end(assembler, open));

    return is_whole ? REQUEST_COMPLETE : REQUEST_UNFINISHED;
}

/* No event follows for which the request was waiting. */
static void conclude(struct assembler *assembler, struct open_request *open)
{
    stop_waiting(assembler, open);
    if (open->is_closed || !has_end(assembler, open))
        pass_on(assembler, open, outcome(assembler, open));
}

/* --- the bounds of the table --- */

static void say_fallen(const struct assembler *assembler, enum bound bound)
{
    const struct assembler_limits *limits = &assembler->limits;
    struct output *messages = assembler->settings->messages;

    output_flush(assembler->settings->output); /* both can be the same terminal */
    switch (bound) {
    case BOUND_REQUESTS:
        output_say(messages,
                   "h2olog: more than %zu requests are open; the oldest ones count as unfinished "
                   "from here on; keep more with --max-requests",
                   limits->requests);
        break;
    case BOUND_BYTES:
        output_say(messages,
                   "h2olog: the open requests take more than %zu bytes; the oldest ones count as "
                   "unfinished from here on; keep more with --max-memory",
                   limits->bytes);
        break;
    default:
        output_say(messages,
                   "h2olog: a request is open for more than %.15g s; such requests count as "
                   "unfinished from here on; keep them longer with --max-age",
                   (double)limits->age_ns / 1e9);
        break;
    }
}

/* The oldest request falls out of the table. */
static void drop_oldest(struct assembler *assembler, enum bound bound)
{
    struct open_request *open = TAILQ_FIRST(&assembler->table.by_age);
    const struct request_key key = {open->request.conn, open->request.req};

    if (assembler->num_fallen[bound]++ == 0)
        say_fallen(assembler, bound);
    open_requests_remember(&assembler->table, &key);
    pass_on(assembler, open, REQUEST_UNFINISHED);
}

static void keep_bounds(struct assembler *assembler)
{
    while (assembler->table.count > assembler->limits.requests)
        drop_oldest(assembler, BOUND_REQUESTS);
    while (assembler->table.bytes > assembler->limits.bytes && assembler->table.count != 0)
        drop_oldest(assembler, BOUND_BYTES);
}

static void drop_old(struct assembler *assembler, uint64_t now_ns)
{
    const struct open_request *oldest;

    while ((oldest = TAILQ_FIRST(&assembler->table.by_age)) != NULL && now_ns > oldest->since_ns &&
           now_ns - oldest->since_ns > assembler->limits.age_ns)
        drop_oldest(assembler, BOUND_AGE);
}

/* --- events --- */

static struct open_request *find(const struct assembler *assembler, const struct step *step)
{
    struct open_request *current = step->thread->current;

    if (current != NULL && current->request.conn == step->key.conn &&
        current->request.req == step->key.req)
        return current;
    return open_requests_find(&assembler->table, &step->key);
}

static struct open_request *add(struct assembler *assembler, const struct step *step,
                                enum request_state state)
{
    struct open_request *open = open_requests_add(&assembler->table, &step->key);

    open->request.state = state;
    open->since_ns = step->time_ns;
    open->num_losses = assembler->num_losses;
    return open;
}

/* The request becomes the current one of the event's thread. */
static void go_on(const struct step *step, struct open_request *open)
{
    enter_thread(step->thread, open);
    if (step->record->connection != 0)
        open->request.connection = step->record->connection;
}

/* HTTP/1: a connection has one request at a time, so a new one ends the former. */
static void end_former(struct assembler *assembler, uint64_t conn)
{
    struct open_connection *connection;

    while ((connection = open_requests_find_connection(&assembler->table, conn)) != NULL) {
        struct open_request *open = TAILQ_FIRST(&connection->requests);
        pass_on(assembler, open, outcome(assembler, open));
    }
}

static void take_request(struct assembler *assembler, const struct step *step)
{
    const int64_t version = record_value(step->record, ROLE_HTTP_VERSION)->integer;
    struct open_request *open = find(assembler, step);

    if (open != NULL)
        pass_on(assembler, open, outcome(assembler, open));
    if (version < 0x200)
        end_former(assembler, step->key.conn);
    open = add(assembler, step, REQUEST_COMPLETE);
    open->request.version = (int32_t)version;
    open->request.received_ns = step->stamp_ns;
    go_on(step, open);
}

static void add_header(struct assembler *assembler, const struct step *step,
                       struct open_request *open, enum request_side side)
{
    go_on(step, open);
    open_requests_add_header(&assembler->table, open, side, record_value(step->record, ROLE_NAME),
                             record_value(step->record, ROLE_VALUE));
}

/* What a request is whose first event is not its first one. */
static enum request_state state_of_rest(const struct assembler *assembler)
{
    return assembler->num_losses == 0 ? REQUEST_BEGUN : REQUEST_INCOMPLETE;
}

static void take_request_header(struct assembler *assembler, const struct step *step)
{
    struct open_request *open = find(assembler, step);

    if (open == NULL) {
        if (open_requests_is_remembered(&assembler->table, &step->key))
            return;
        /* the trace began within the headers of the thread's first request, or some were lost */
        open = add(assembler, step, step->is_first ? state_of_rest(assembler) : REQUEST_INCOMPLETE);
    }
    add_header(assembler, step, open, REQUEST_SIDE);
}

static void take_status(struct assembler *assembler, const struct step *step)
{
    struct open_request *open = find(assembler, step);

    if (open == NULL) {
        if (open_requests_is_remembered(&assembler->table, &step->key))
            return;
        open = add(assembler, step, state_of_rest(assembler));
    }
    open->request.status = (int32_t)record_value(step->record, ROLE_STATUS)->integer;
    open->request.responded_ns = step->stamp_ns;
    open->has_response = true;
    wait_for_more(assembler, open, step->time_ns);
    go_on(step, open);
}

/* Returns a new request for a response header that belongs to none; NULL if there is to be none. */
static struct open_request *adopt_response(struct assembler *assembler, const struct step *step)
{
    if (open_requests_is_remembered(&assembler->table, &step->key))
        return NULL;
    if (!step->is_first && !step->after_loss) { /* its request was passed on by a tick */
        ++assembler->num_late;
        return NULL;
    }
    return add(assembler, step, state_of_rest(assembler));
}

static void take_response_header(struct assembler *assembler, const struct step *step)
{
    struct open_request *open = find(assembler, step);

    if (open == NULL)
        open = adopt_response(assembler, step);
    if (open == NULL)
        return;
    if (!open->has_response) {
        /* its status is missing */
        if (open->request.state == REQUEST_COMPLETE)
            open->request.state = REQUEST_INCOMPLETE;
        open->has_response = true;
        wait_for_more(assembler, open, step->time_ns);
    }
    open->latest_ns = step->time_ns;
    add_header(assembler, step, open, RESPONSE_SIDE);
}

static void end_stream(struct open_request *open, uint64_t stamp_ns)
{
    if (open->request.ended_ns == 0)
        open->request.ended_ns = stamp_ns;
}

static void take_stream_state(struct assembler *assembler, const struct step *step)
{
    struct open_request *open;

    if (record_value(step->record, ROLE_STATE)->number != STATE_CLOSE_WAIT)
        return;
    open = find(assembler, step);
    if (open == NULL)
        return;
    end_stream(open, step->stamp_ns);
    open->has_ended = true;
    if (!assembler->has_stats)
        pass_on(assembler, open, outcome(assembler, open));
}

static void take_stream_stats(struct assembler *assembler, const struct step *step)
{
    struct open_request *open = find(assembler, step);

    if (open == NULL)
        return;
    open->request.bytes = record_value(step->record, ROLE_BODY_BYTES)->number;
    open->request.has_bytes = true;
    end_stream(open, step->stamp_ns);
    if (!open->is_closed)
        open->has_ended = true;
    pass_on(assembler, open, outcome(assembler, open));
}

/* The server tells the statistics of the streams of a connection after the end of the connection. */
static void close_request(struct assembler *assembler, const struct step *step,
                          struct open_request *open)
{
    if (open->is_closed)
        return;
    if (!has_end(assembler, open)) {
        pass_on(assembler, open, outcome(assembler, open));
        return;
    }
    end_stream(open, step->stamp_ns);
    if (!assembler->has_stats) {
        pass_on(assembler, open, outcome(assembler, open));
        return;
    }
    open->is_closed = true;
    leave_thread(open); /* an event of another request does not conclude it */
    wait_for_more(assembler, open, step->time_ns);
}

static void take_connection_closed(struct assembler *assembler, const struct step *step)
{
    struct open_connection *connection =
        open_requests_find_connection(&assembler->table, step->key.conn);
    struct open_request *open, *next;

    if (connection == NULL)
        return;
    /* `connection` goes with its last request */
    for (open = TAILQ_FIRST(&connection->requests); open != NULL; open = next) {
        next = TAILQ_NEXT(open, in_connection);
        close_request(assembler, step, open);
    }
}

/* What the kinds of records do, and the values that they need. */
static const struct kind {
    void (*take)(struct assembler *assembler, const struct step *step);
    enum record_role needs[4];
} kinds[NUM_RECORD_KINDS] = {
    [RECORD_REQUEST] = {take_request, {ROLE_CONNECTION, ROLE_REQUEST, ROLE_HTTP_VERSION}},
    [RECORD_REQUEST_HEADER] = {take_request_header,
                               {ROLE_CONNECTION, ROLE_REQUEST, ROLE_NAME, ROLE_VALUE}},
    [RECORD_STATUS] = {take_status, {ROLE_CONNECTION, ROLE_REQUEST, ROLE_STATUS}},
    [RECORD_RESPONSE_HEADER] = {take_response_header,
                                {ROLE_CONNECTION, ROLE_REQUEST, ROLE_NAME, ROLE_VALUE}},
    [RECORD_STREAM_STATE] = {take_stream_state, {ROLE_CONNECTION, ROLE_REQUEST, ROLE_STATE}},
    [RECORD_STREAM_STATS] = {take_stream_stats, {ROLE_CONNECTION, ROLE_REQUEST, ROLE_BODY_BYTES}},
    [RECORD_CONNECTION_CLOSED] = {take_connection_closed, {ROLE_CONNECTION}},
};

/* ROLE_CONNECTION is 0, so it also fills the rest of `needs`. */
static bool has_needs(const struct record *record, const struct kind *kind)
{
    for (size_t i = 0; i != sizeof(kind->needs) / sizeof(kind->needs[0]); ++i) {
        if (record_value(record, kind->needs[i]) == NULL)
            return false;
    }
    return true;
}

/* Finds a thread, or makes room for it. */
static struct assembler_thread *find_thread(struct assembler *assembler, uint32_t tid)
{
    struct assembler_thread *set = assembler->threads[tid % THREAD_SETS], *oldest = &set[0];

    for (size_t i = 0; i != THREAD_WAYS; ++i) {
        if (set[i].latest != 0 && set[i].tid == tid)
            return &set[i];
        if (set[i].latest < oldest->latest)
            oldest = &set[i];
    }
    if (oldest->current != NULL)
        leave_thread(oldest->current);
    *oldest = (struct assembler_thread){.tid = tid};
    return oldest;
}

/* A response header is complete if its thread does anything else. */
static void conclude_current(struct assembler *assembler, const struct step *step)
{
    struct open_request *current = step->thread->current;

    if (current == NULL || !current->is_waiting ||
        (step->record->kind == RECORD_RESPONSE_HEADER && current->request.conn == step->key.conn &&
         current->request.req == step->key.req))
        return;
    conclude(assembler, current);
}

static int take_record(void *state, const struct record *record)
{
    struct assembler *assembler = state;
    const struct kind *kind = &kinds[record->kind];
    const struct value *stamp = record_value(record, ROLE_TIME);
    struct step step = {.record = record,
                        .stamp_ns = stamp != NULL ? stamp->number : 0,
                        .thread = find_thread(assembler, record->head.tid)};

    if (kind->take != NULL) {
        if (!has_needs(record, kind))
            return -1;
        step.key = request_key_of(record);
    }
    step.time_ns = step.stamp_ns != 0 ? step.stamp_ns : assembler->settings->clock->now_ns;
    step.is_first = step.thread->latest == 0;
    step.after_loss = step.thread->num_losses != assembler->num_losses;
    conclude_current(assembler, &step);
    step.thread->latest = ++assembler->num_events;
    step.thread->num_losses = assembler->num_losses;
    if (kind->take != NULL)
        kind->take(assembler, &step);
    keep_bounds(assembler);
    return 0;
}

/* --- the other calls of a sink --- */

/* Each open request has the number of losses when it was added, so this needs no loop. */
static void take_loss(void *state, uint64_t count)
{
    struct assembler *assembler = state;

    ++assembler->num_losses;
    assembler->next.lost(assembler->next.state, count);
}

static void take_tick(void *state, uint64_t now_ns)
{
    struct assembler *assembler = state;
    struct open_request *open, *next;

    for (open = TAILQ_FIRST(&assembler->waiting); open != NULL; open = next) {
        next = TAILQ_NEXT(open, waiting);
        if (now_ns >= open->latest_ns + ASSEMBLER_QUIET_NS)
            conclude(assembler, open);
    }
    drop_old(assembler, now_ns);
    if (assembler->next.tick != NULL)
        assembler->next.tick(assembler->next.state, now_ns);
}

/* "2 for --max-requests, 1 for --max-age". */
static uint64_t list_fallen(const struct assembler *assembler, char *text, size_t size)
{
    uint64_t sum = 0;
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i != NUM_BOUNDS; ++i) {
        if (assembler->num_fallen[i] == 0)
            continue;
        used += (size_t)snprintf(text + used, size - used, "%s%" PRIu64 " for %s",
                                 sum != 0 ? ", " : "", assembler->num_fallen[i], bound_options[i]);
        sum += assembler->num_fallen[i];
    }
    return sum;
}

static void say_total(const struct assembler *assembler)
{
    struct output *messages = assembler->settings->messages;
    char fallen[NUM_BOUNDS * 64];
    const uint64_t num_fallen = list_fallen(assembler, fallen, sizeof(fallen));

    output_flush(assembler->settings->output);
    if (num_fallen != 0)
        output_say(messages,
                   "h2olog: %" PRIu64 " requests fell out of the table of open requests, and "
                   "count as unfinished: %s; larger values keep more of them",
                   num_fallen, fallen);
    if (assembler->num_late != 0)
        output_say(messages,
                   "h2olog: %" PRIu64 " response headers came more than %.1f s after the ones "
                   "before, and are missing in their requests; the machine is overloaded",
                   assembler->num_late, (double)ASSEMBLER_QUIET_NS / 1e9);
}

/* A response that is still waiting may be cut, because the trace can end between two events. */
static void finish(void *state)
{
    struct assembler *assembler = state;
    struct open_request *open;

    while ((open = TAILQ_FIRST(&assembler->table.by_age)) != NULL) {
        bool may_be_cut = open->is_waiting && !open->is_closed;
        pass_on(assembler, open, may_be_cut ? REQUEST_UNFINISHED : outcome(assembler, open));
    }
    say_total(assembler);
    if (assembler->next.finish != NULL)
        assembler->next.finish(assembler->next.state);
}

static void close_assembler(void *state)
{
    struct assembler *assembler = state;

    open_requests_close(&assembler->table);
    assembler->next.close(assembler->next.state);
    free(assembler);
}

static bool has_probe(const struct sink_settings *settings, const char *glob)
{
    for (size_t i = 0; i != settings->num_probes; ++i) {
        const struct signature *signature = settings->probes[i].signature;
        if (version_matches(glob, signature->provider, signature->probe))
            return true;
    }
    return false;
}

struct sink assembler_open(const struct sink_settings *settings,
                           const struct assembler_limits *limits, struct sink next)
{
    struct assembler *assembler = memory_grow(NULL, 1, sizeof(*assembler));

    memset(assembler, 0, sizeof(*assembler));
    assembler->settings = settings;
    assembler->limits = *limits;
    assembler->next = next;
    assembler->has_states = has_probe(settings, "h2o:h3_stream_set_state") ||
                            has_probe(settings, "h2o:h3s_stream_set_state");
    assembler->has_stats = has_probe(settings, "h2o:h3s_stream_stats");
    open_requests_open(&assembler->table);
    TAILQ_INIT(&assembler->waiting);
    return (struct sink){.state = assembler,
                         .record = take_record,
                         .lost = take_loss,
                         .tick = take_tick,
                         .finish = finish,
                         .close = close_assembler};
}
