#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http.h"
#include "json.h"
#include "text.h"

/* A quiet server's events wait so long for their line. */
#define TICK_MS 50

/* How often -d tells. */
#define REPORT_NS ((uint64_t)10 * 1000 * 1000 * 1000)

/* What the sink of the stream works on. */
struct printing {
    const struct session *session;
    struct http http;
    struct json json;
    bool is_text;
    uint64_t events, lost, malformed;
    uint64_t reported_ns, reported_events, reported_lost; /* at the last report of -d */
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/*
 * What makes CLOCK_REALTIME of CLOCK_MONOTONIC. The readings are bracketed: the thread can be
 * preempted between them.
 */
static int64_t wall_clock_ns(void)
{
    uint64_t narrowest = UINT64_MAX;
    int64_t difference = 0;

    for (int i = 0; i != 3; ++i) {
        uint64_t before = clock_ns(CLOCK_MONOTONIC), wall = clock_ns(CLOCK_REALTIME);
        uint64_t bracket = clock_ns(CLOCK_MONOTONIC) - before;
        if (bracket < narrowest) {
            narrowest = bracket;
            difference = (int64_t)(wall - before - bracket / 2);
        }
    }
    return difference;
}

static void print_event(void *context, const struct event *event)
{
    struct printing *printing = context;
    int result =
        printing->is_text ? http_print(&printing->http, event) : json_print(&printing->json, event);

    if (result == 0) {
        ++printing->events;
        return;
    }
    if (printing->malformed++ == 0)
        output_say(printing->session->messages,
                   "h2olog: an event is malformed, and left out; so will be others like it");
}

static void print_lost(void *context, uint64_t count)
{
    struct printing *printing = context;

    printing->lost += count;
    if (!printing->is_text) {
        json_print_lost(&printing->json,
                        clock_ns(CLOCK_MONOTONIC) - (uint64_t)printing->session->clock_offset_ns,
                        count);
        return;
    }
    /* between the lines between which they are missing, where both go to one terminal */
    output_flush(printing->session->output);
    output_say(printing->session->messages,
               "h2olog: %" PRIu64 " events are lost here; a larger -b holds more", count);
}

/* -d: "2026-11-22T12:23:01Z 1234.5 events/s, 0 lost". */
static void report(struct printing *printing, uint64_t now_ns)
{
    const double seconds = (double)(now_ns - printing->reported_ns) / 1e9;
    char time_text[32];
    time_t now = time(NULL);
    struct tm utc;

    strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    output_say(printing->session->messages, "%s %.1f events/s, %" PRIu64 " lost", time_text,
               (double)(printing->events - printing->reported_events) / seconds,
               printing->lost - printing->reported_lost);
    printing->reported_ns = now_ns;
    printing->reported_events = printing->events;
    printing->reported_lost = printing->lost;
}

static void drain(struct printing *printing)
{
    const struct session *session = printing->session;
    const struct stream_sink sink = {print_event, print_lost, printing};
    uint64_t counted = tracer_lost_total(session->tracer);

    printing->json.wall_ns = wall_clock_ns() + session->clock_offset_ns;
    stream_drain(session->stream, counted, &sink);
    output_flush(session->output);
}

/*
 * Waits for a batch, the clock, or the end. Returns whether it is the end; then `failure` is 0, or
 * the errno of a poll(2) that failed.
 */
static bool wait_for_events(const struct session *session, int *failure)
{
    struct output *output = session->output;
    struct pollfd fds[] = {
        {.fd = session->signals, .events = POLLIN},
        {.fd = session->target->pidfd, .events = POLLIN},
        {.fd = session->tracer->maps.ring, .events = POLLIN},
        {.fd = output->fd}, /* POLLERR, POLLHUP: nobody reads it any more */
    };

    int ready;

    tracer_set_waiting(session->tracer, true);
    ready = poll(fds, sizeof(fds) / sizeof(fds[0]), TICK_MS);
    tracer_set_waiting(session->tracer, false);
    if (ready < 0) {
        *failure = errno != EINTR ? errno : 0;
        return *failure != 0;
    }
    if (fds[3].revents != 0)
        output_hung_up(output);
    return fds[0].revents != 0 || fds[1].revents != 0;
}

static void print_total(const struct printing *printing)
{
    const struct session *session = printing->session;
    struct output *messages = session->messages;

    if (printing->lost != 0)
        output_say(messages, "h2olog: %" PRIu64 " events were lost in all", printing->lost);
    if (printing->malformed != 0)
        output_say(messages, "h2olog: %" PRIu64 " events were malformed", printing->malformed);
    for (size_t i = 0; session->options->debug != 0 && i != session->choice->num_probes; ++i) {
        const struct target_probe *probe = session->choice->probes[i].probe;
        uint64_t lost = tracer_lost(session->tracer, i);
        if (lost != 0)
            output_say(messages, "%s:%s %" PRIu64 " lost", probe->provider, probe->name, lost);
    }
}

static void say_ended(const struct session *session)
{
    const int pid = (int)session->target->pid;
    const int successor = (int)target_find_successor(session->target);

    if (successor != 0)
        output_say(session->messages, "h2olog: process %d ended; process %d took over: -p %d", pid,
                   successor, successor);
    else
        output_say(session->messages, "h2olog: process %d ended", pid);
}

static int conclude(const struct printing *printing, int failure)
{
    const struct output *output = printing->session->output;
    struct output *messages = printing->session->messages;
    char *name, lost[64] = "";

    print_total(printing);
    if (failure != 0)
        output_say(messages, "h2olog: cannot wait for events: %s", strerror(failure));
    if (target_has_ended(printing->session->target))
        say_ended(printing->session);
    if (output->error == 0 || output->error == EPIPE) /* whoever read has seen enough */
        return failure != 0;
    name = text_escape(output->name != NULL ? output->name : "standard output");
    if (output->dropped != 0)
        snprintf(lost, sizeof(lost), "; %" PRIu64 " lines lost", output->dropped);
    output_say(messages, "h2olog: cannot write %s: %s%s", name,
               output->error == ECANCELED ? "nobody reads it" : strerror(output->error), lost);
    free(name);
    return 1;
}

int session_run(struct session *session)
{
    struct printing printing = {
        .session = session,
        .is_text = session->options->mode == MODE_HTTP,
        .http = {session->output, session->choice->probes, session->choice->num_printed},
        .json = {.output = session->output,
                 .probes = session->choice->probes,
                 .num_probes = session->choice->num_printed,
                 .num_followed = session->choice->num_followed,
                 .application_data = session->options->application_data,
                 .layers = session->options->mode == MODE_ALL,
                 .mapped_files = session->target->mapped_files,
                 .num_mapped_files = session->target->num_mapped_files},
        .reported_ns = clock_ns(CLOCK_MONOTONIC),
    };
    bool ends = false;
    int status, failure = 0;

    json_open(&printing.json);
    while (!ends && session->output->error == 0) {
        uint64_t now_ns;
        ends = wait_for_events(session, &failure);
        now_ns = clock_ns(CLOCK_MONOTONIC);
        drain(&printing);
        if (session->options->debug != 0 && now_ns - printing.reported_ns >= REPORT_NS)
            report(&printing, now_ns);
    }
    tracer_detach(session->tracer);
    drain(&printing); /* after a failed write, too: what is lost is counted */
    status = conclude(&printing, failure);
    json_close(&printing.json);
    return status;
}
