#include "player.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND UINT64_C(1000000000)

/* The longest sleep before a thread checks whether to stop. */
#define MAX_SLEEP_NS (NS_PER_SECOND / 20)

/*
 * At a high rate, a thread fires this many bursts per second: a sleep for each probe would be too
 * slow.
 */
#define BURSTS_PER_SECOND 2000

struct part {
    const struct script *script;
    const atomic_bool *stop;
    cpu_set_t cpus; /* CPUs to hop between */
    size_t begin, end;
    pthread_t thread;
    uint64_t thread_number;
    uint64_t tid;
    unsigned num_sharing; /* threads that share the rate */

    uint64_t num_fired, num_skipped;

    uint64_t rate;                 /* of the script; 0: no limit */
    uint64_t burst, left_of_burst; /* firings; 0: no limit */
    double burst_ns, due_ns;

    uint64_t hop_every, left_to_hop; /* firings; 0: stay */

    /* Objects for arguments that point to a stream or a connection. */
    _Alignas(8) char streams[PROBE_MAX_ARGUMENTS][SCRIPT_STRUCT_SIZE];
    _Alignas(8) char connection[SCRIPT_STRUCT_SIZE];
    char (*connections)[SCRIPT_STRUCT_SIZE]; /* `NUMBER@thread` */
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static bool is_stopped(const struct part *part)
{
    return atomic_load_explicit(part->stop, memory_order_relaxed);
}

static void sleep_until(const struct part *part, uint64_t until_ns)
{
    for (uint64_t now_ns; !is_stopped(part) && (now_ns = clock_ns(CLOCK_MONOTONIC)) < until_ns;) {
        uint64_t ns = until_ns - now_ns < MAX_SLEEP_NS ? until_ns : now_ns + MAX_SLEEP_NS;
        const struct timespec time = {(time_t)(ns / NS_PER_SECOND), (long)(ns % NS_PER_SECOND)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
    }
}

static void set_rate(struct part *part, uint64_t rate)
{
    part->rate = rate;
    if (rate == 0) {
        part->burst = 0;
        return;
    }
    double own_rate = (double)rate / part->num_sharing;
    part->burst = (uint64_t)(own_rate / BURSTS_PER_SECOND);
    if (part->burst == 0)
        part->burst = 1;
    part->left_of_burst = part->burst;
    part->burst_ns = (double)part->burst * (double)NS_PER_SECOND / own_rate;
    part->due_ns = (double)clock_ns(CLOCK_MONOTONIC);
}

/* A thread that has fallen behind catches up, so that the average rate is right. */
static void end_burst(struct part *part)
{
    part->left_of_burst = part->burst;
    part->due_ns += part->burst_ns;
    sleep_until(part, (uint64_t)part->due_ns);
}

static void pause_for(struct part *part, uint64_t milliseconds)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

    sleep_until(part, now_ns + milliseconds * (NS_PER_SECOND / 1000));
    /* Time before the change of the rate is not made up for. */
    part->due_ns += (double)(clock_ns(CLOCK_MONOTONIC) - now_ns);
}

static void hop(const struct part *part)
{
    int here = sched_getcpu();

    for (int i = 1; i < CPU_SETSIZE; ++i) {
        int cpu = (here + i) % CPU_SETSIZE;
        if (CPU_ISSET(cpu, &part->cpus)) {
            cpu_set_t only;
            CPU_ZERO(&only);
            CPU_SET(cpu, &only);
            sched_setaffinity(0, sizeof(only), &only);
            return;
        }
    }
}

static uint64_t live_value(const struct part *part, const struct script_live *live)
{
    switch (live->source) {
    case SCRIPT_COUNTER:
        return part->num_fired + part->num_skipped;
    case SCRIPT_NOW:
        return clock_ns(CLOCK_REALTIME) / (NS_PER_SECOND / 1000);
    case SCRIPT_TID:
        return part->tid;
    case SCRIPT_THREAD:
        return part->thread_number;
    case SCRIPT_NUMBER:
        return live->number;
    }
    return 0;
}

/* Returns the object of a connection that changes. */
static char *connection_of(struct part *part, const struct script_live *live)
{
    if (live->object != NULL)
        return live->object;
    return live->thread_object == SCRIPT_ANY_OBJECT ? part->connection
                                                    : part->connections[live->thread_object];
}

static void fill_in(struct part *part, const struct script_live *live, uint64_t *arguments)
{
    uint64_t value = live_value(part, live);
    char *fake = live->target == SCRIPT_TO_MASTER_ID ? connection_of(part, live)
                                                     : part->streams[live->argument];
    uint32_t master_id = (uint32_t)value;

    switch (live->target) {
    case SCRIPT_TO_ARGUMENT:
        arguments[live->argument] = value;
        return;
    case SCRIPT_TO_MASTER_ID:
        memcpy(fake + SCRIPT_MASTER_ID_OFFSET, &master_id, sizeof(master_id));
        break;
    case SCRIPT_TO_STREAM_ID:
        memcpy(fake + SCRIPT_STREAM_ID_OFFSET, &value, sizeof(value));
        break;
    }
    arguments[live->argument] = (uintptr_t)fake;
}

static bool fire_enabled(struct part *part, const struct script_firing *firing)
{
    uint64_t arguments[PROBE_MAX_ARGUMENTS];

    if (firing->num_live == 0)
        return firing->probe->fire(firing->arguments);
    memcpy(arguments, firing->arguments, sizeof(arguments));
    for (size_t i = 0; i < firing->num_live; ++i)
        fill_in(part, &firing->live[i], arguments);
    return firing->probe->fire(arguments);
}

static void fire(struct part *part, const struct script_firing *firing)
{
    if (firing->probe->enabled() && fire_enabled(part, firing))
        ++part->num_fired;
    else
        ++part->num_skipped;

    if (part->hop_every != 0 && --part->left_to_hop == 0) {
        part->left_to_hop = part->hop_every;
        hop(part);
    }
    if (part->burst != 0 && --part->left_of_burst == 0)
        end_burst(part);
}

static void do_step(struct part *part, const struct script_step *step)
{
    switch (step->kind) {
    case SCRIPT_FIRE:
        fire(part, step->firing);
        break;
    case SCRIPT_RATE:
        set_rate(part, step->number);
        break;
    case SCRIPT_SLEEP:
        pause_for(part, step->number);
        break;
    case SCRIPT_HOP:
        hop(part);
        break;
    case SCRIPT_HOP_EVERY:
        part->hop_every = part->left_to_hop = step->number;
        break;
    case SCRIPT_REPEAT:
    case SCRIPT_END:
        break;
    }
}

static void play_part(struct part *part)
{
    const struct script_step *steps = part->script->steps;
    uint64_t left[SCRIPT_MAX_NESTING] = {0}; /* for each active repeat */
    size_t depth = 0;

    part->tid = (uint64_t)gettid();
    for (size_t i = part->begin; i < part->end; ++i) {
        const struct script_step *step = &steps[i];
        if (step->kind == SCRIPT_REPEAT) {
            if (step->number == 0)
                i = step->partner;
            else
                left[depth++] = step->number;
        } else if (step->kind == SCRIPT_END) {
            if (is_stopped(part))
                return;
            if (--left[depth - 1] != 0)
                i = step->partner;
            else
                --depth;
        } else {
            do_step(part, step);
        }
    }
}

static void *run_part(void *argument)
{
    play_part(argument);
    return NULL;
}

static void init_part(struct part *part, const struct script *script, const atomic_bool *stop,
                      const cpu_set_t *cpus)
{
    memset(part, 0, sizeof(*part));
    part->script = script;
    part->stop = stop;
    part->cpus = *cpus;
    part->num_sharing = 1;
    part->connections = calloc(script->num_thread_objects + 1, sizeof(part->connections[0]));
    if (part->connections == NULL) {
        fprintf(stderr, "standin: out of memory\n");
        exit(1);
    }
}

/* Plays the part after `threads N`, with the rate and the hops that were set before. */
static void play_threads(const struct part *before, struct player_result *result)
{
    const struct script *script = before->script;
    struct part *parts = calloc(script->num_threads, sizeof(*parts));
    int error = parts == NULL;

    for (unsigned i = 0; i < script->num_threads && error == 0; ++i) {
        struct part *part = &parts[i];
        init_part(part, script, before->stop, &before->cpus);
        part->begin = script->threads_from;
        part->end = script->num_steps;
        part->thread_number = i + 1;
        part->num_sharing = script->num_threads;
        part->hop_every = part->left_to_hop = before->hop_every;
        set_rate(part, before->rate);
        error = pthread_create(&part->thread, NULL, run_part, part);
    }
    if (error != 0) {
        fprintf(stderr, "standin: cannot start %u threads\n", script->num_threads);
        exit(1);
    }

    for (unsigned i = 0; i < script->num_threads; ++i) {
        pthread_join(parts[i].thread, NULL);
        result->num_fired += parts[i].num_fired;
        result->num_skipped += parts[i].num_skipped;
        free(parts[i].connections);
    }
    free(parts);
}

void player_play(const struct script *script, const atomic_bool *stop, struct player_result *result)
{
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
    struct part part;
    cpu_set_t cpus;

    sched_getaffinity(0, sizeof(cpus), &cpus);
    init_part(&part, script, stop, &cpus);
    part.end = script->threads_from;
    play_part(&part);
    /* After hops, restore the CPU set, which new threads inherit. */
    sched_setaffinity(0, sizeof(cpus), &cpus);

    result->num_fired = part.num_fired;
    result->num_skipped = part.num_skipped;
    free(part.connections);
    if (script->num_threads != 0)
        play_threads(&part, result);
    result->seconds = (double)(clock_ns(CLOCK_MONOTONIC) - start_ns) / (double)NS_PER_SECOND;
}
