#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "event/assembler.h"
#include "interrupt.h"
#include "print/escape.h"

/* The longest time from an event to its line on a quiet server. */
#define TICK_MS 50

/* How often -d reports. */
#define REPORT_NS ((uint64_t)10 * 1000 * 1000 * 1000)

/* The state of the loop. */
struct loop {
    const struct session *session;
    uint64_t events, lost, malformed;
    bool ends; /* the last drain takes all that is there */
    uint64_t reported_ns, reported_events, reported_lost; /* at the last report of -d */
};

static void take_event(void *context, const struct event *event)
{
    struct loop *loop = context;
    const struct session *session = loop->session;
    struct record record;

    if (decoder_decode(session->decoder, event, &record) == 0) {
        if (!record.is_printed)
            return;
        if (session->sink->record(session->sink->state, &record) == 0) {
            ++loop->events;
            return;
        }
    }
    if (loop->malformed++ == 0)
        output_say(session->messages,
                   "h2olog: an event is malformed; it and others like it are left out");
}

static void take_loss(void *context, uint64_t count)
{
    struct loop *loop = context;
    const struct sink *sink = loop->session->sink;

    loop->lost += count;
    sink->lost(sink->state, count);
}

/* Whether draining is to stop early: a slow sink or query must not keep the run from ending. */
static bool is_done(void *context)
{
    const struct loop *loop = context;

    return !loop->ends &&
           (interrupt_is_due(loop->session->signals) || plan_is_done(loop->session->plan));
}

/* -d: "2026-11-22T12:23:01Z 1234.5 events/s, 0 lost". */
static void report(struct loop *loop, uint64_t now_ns)
{
    const double seconds = (double)(now_ns - loop->reported_ns) / 1e9;
    char time_text[32];
    time_t now = time(NULL);
    struct tm utc;

    strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    output_say(loop->session->messages, "%s %.1f events/s, %" PRIu64 " lost", time_text,
               (double)(loop->events - loop->reported_events) / seconds,
               loop->lost - loop->reported_lost);
    loop->reported_ns = now_ns;
    loop->reported_events = loop->events;
    loop->reported_lost = loop->lost;
}

static void drain(struct loop *loop)
{
    const struct session *session = loop->session;
    const struct source_reader reader = {take_event, take_loss, is_done, loop};

    session->source->drain(session->source, &reader);
}

static void tick(const struct session *session, uint64_t now_ns)
{
    if (session->sink->tick != NULL)
        session->sink->tick(session->sink->state, now_ns);
    output_flush(session->output);
}

/*
 * Detaches, and prints the rest. A server that has ended fires no more events, so its last response
 * is complete. If it still runs, closing the gate can cut a response: silence counts only up to
 * that time.
 */
static void end(struct loop *loop)
{
    const struct session *session = loop->session;
    const struct sink *sink = session->sink;
    uint64_t closed_ns;

    clock_read(&session->source->clock);
    closed_ns = session->source->clock.now_ns;
    if (process_has_ended(session->process))
        closed_ns += ASSEMBLER_QUIET_NS;
    maps_close_gate(session->maps);
    attach_close(session->attached);
    loop->ends = true;
    drain(loop); /* also after a failed write: it counts the lost lines */
    tick(session, closed_ns);
    if (sink->finish != NULL)
        sink->finish(sink->state);
    output_flush(session->output);
}

/* Reads a signal. Returns whether it ends the run. */
static bool take_signal(const struct session *session)
{
    struct signalfd_siginfo signal;

    if (read(session->signals, &signal, sizeof(signal)) != sizeof(signal))
        return true;
    switch (signal.ssi_signo) {
    case SIGHUP: /* the terminal is gone */
    case SIGINT:
    case SIGTERM:
    case SIGALRM: /* --for */
        return true;
    default:
        return false;
    }
}

/*
 * Waits for a batch of events or TICK_MS. Returns whether the run ends. If poll(2) failed, sets
 * `failure` to its errno.
 */
static bool wait_for_events(const struct session *session, int *failure)
{
    struct output *output = session->output;
    struct source *source = session->source;
    struct pollfd fds[] = {
        {.fd = session->signals, .events = POLLIN},
        {.fd = session->process->pidfd, .events = POLLIN},
        {.fd = source->fd, .events = POLLIN},
        {.fd = output->fd}, /* POLLERR, POLLHUP: the reader is gone */
    };
    int ready;

    source->set_waiting(source, true);
    ready = poll(fds, sizeof(fds) / sizeof(fds[0]), TICK_MS);
    source->set_waiting(source, false);
    if (ready < 0) {
        *failure = errno != EINTR ? errno : 0;
        return *failure != 0;
    }
    if (fds[3].revents != 0)
        output_hung_up(output);
    return (fds[0].revents != 0 && take_signal(session)) || fds[1].revents != 0;
}

static void print_total(const struct loop *loop)
{
    const struct session *session = loop->session;
    struct output *messages = session->messages;

    if (loop->lost != 0)
        output_say(messages, "h2olog: %" PRIu64 " events were lost in all", loop->lost);
    if (loop->malformed != 0)
        output_say(messages, "h2olog: %" PRIu64 " events were malformed", loop->malformed);
    for (size_t i = 0; session->reports && i != session->selection->num_probes; ++i) {
        const struct probe *probe = session->selection->probes[i].probe;
        uint64_t lost = maps_lost(session->maps, i);
        if (lost != 0)
            output_say(messages, "%s:%s %" PRIu64 " lost", probe->provider, probe->name, lost);
    }
}

static void say_ended(const struct session *session)
{
    const int pid = (int)session->process->pid;
    const int successor = (int)generations_find_successor(session->generations);

    if (successor != 0)
        output_say(session->messages, "h2olog: process %d ended; process %d took over: -p %d", pid,
                   successor, successor);
    else
        output_say(session->messages, "h2olog: process %d ended", pid);
}

static int conclude(const struct loop *loop, int failure)
{
    const struct output *output = loop->session->output;
    struct output *messages = loop->session->messages;
    char *name, lost[64] = "";

    print_total(loop);
    if (failure != 0)
        output_say(messages, "h2olog: cannot wait for events: %s", strerror(failure));
    if (process_has_ended(loop->session->process))
        say_ended(loop->session);
    if (output->error == 0 || output->error == EPIPE) /* EPIPE: the reader has closed it */
        return failure != 0;
    name = escape_string(output->name != NULL ? output->name : "standard output");
    if (output->dropped != 0)
        snprintf(lost, sizeof(lost), "; %" PRIu64 " lines lost", output->dropped);
    output_say(messages, "h2olog: cannot write %s: %s%s", name,
               output->error == ECANCELED ? "nobody reads it" : strerror(output->error), lost);
    free(name);
    return 1;
}

int session_run(struct session *session)
{
    struct loop loop = {.session = session, .reported_ns = clock_now_ns()};
    bool ends = false;
    int failure = 0;

    while (!ends && session->output->error == 0) {
        uint64_t now_ns;
        ends = wait_for_events(session, &failure);
        now_ns = clock_now_ns();
        drain(&loop);
        tick(session, session->source->clock.now_ns);
        ends |= plan_is_done(session->plan);
        if (session->reports && now_ns - loop.reported_ns >= REPORT_NS)
            report(&loop, now_ns);
    }
    end(&loop);
    return conclude(&loop, failure);
}
