/*
 * A stand-in for h2o: serves HTTP/1.1 on loopback, and fires the same USDT probes as h2o. README.md
 * documents its scripts.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "player.h"
#include "script.h"
#include "server.h"

#define MAX_THREADS 256

struct options {
    uint16_t port;
    unsigned num_threads;
    const char *script;
};

/* A thread plays the script, so that signals are handled meanwhile. */
struct stage {
    const struct script *script;
    pthread_t thread;
    sem_t plays; /* pending plays */
    atomic_bool stop;
};

static void print_usage(FILE *file)
{
    fputs("Usage: standin [-p PORT] [-t THREADS] [--script FILE]\n"
          "\n"
          "Serves HTTP/1.1 on 127.0.0.1 and fires the USDT probes of h2o.\n"
          "\n"
          "  -p, --port PORT        port to listen on; 0, the default: any\n"
          "  -t, --threads THREADS  threads to serve with; 1 by default\n"
          "      --script FILE      on each SIGUSR1, fire what FILE says (t/standin/README.md)\n"
          "  -h, --help             print this\n"
          "\n"
          "Pages: / /index.html /bytes/N /status/CODE /header/NAME/N /delay/MS\n",
          file);
}

static bool parse_number(const char *text, unsigned long min, unsigned long max,
                         unsigned long *number)
{
    char *end;

    errno = 0;
    *number = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *number >= min &&
           *number <= max;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"port", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 't'},
        {"script", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    unsigned long number;
    int option;

    *options = (struct options){.num_threads = 1};
    while ((option = getopt_long(argc, argv, "p:t:h", table, NULL)) != -1) {
        switch (option) {
        case 'p':
            if (!parse_number(optarg, 0, UINT16_MAX, &number)) {
                fprintf(stderr, "standin: '%s' is no port\n", optarg);
                return false;
            }
            options->port = (uint16_t)number;
            break;
        case 't':
            if (!parse_number(optarg, 1, MAX_THREADS, &number)) {
                fprintf(stderr, "standin: -t takes a number from 1 to %d\n", MAX_THREADS);
                return false;
            }
            options->num_threads = (unsigned)number;
            break;
        case 's':
            options->script = optarg;
            break;
        case 'h':
            print_usage(stdout);
            exit(0);
        default:
            print_usage(stderr);
            return false;
        }
    }
    if (optind != argc)
        fprintf(stderr, "standin: unexpected '%s'\n", argv[optind]);
    return optind == argc;
}

/* For load tests with more connections than the usual 1024 descriptors. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Blocks these signals in all threads, for sigwait(). */
static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

static void *run_stage(void *argument)
{
    struct stage *stage = argument;

    for (;;) {
        struct player_result result;
        while (sem_wait(&stage->plays) != 0)
            ;
        if (atomic_load(&stage->stop))
            return NULL;
        player_play(stage->script, &stage->stop, &result);
        printf("played %" PRIu64 " events, %" PRIu64 " not enabled, in %.6f s\n", result.num_fired,
               result.num_skipped, result.seconds);
        fflush(stdout);
    }
}

static bool start_stage(struct stage *stage, const struct script *script)
{
    stage->script = script;
    atomic_init(&stage->stop, false);
    sem_init(&stage->plays, 0, 0);
    int error = pthread_create(&stage->thread, NULL, run_stage, stage);
    if (error != 0)
        fprintf(stderr, "standin: cannot start a thread: %s\n", strerror(error));
    return error == 0;
}

static void stop_stage(struct stage *stage)
{
    atomic_store(&stage->stop, true);
    sem_post(&stage->plays);
    pthread_join(stage->thread, NULL);
    sem_destroy(&stage->plays);
}

/* Returns on SIGINT or SIGTERM. */
static void wait_for_the_end(const sigset_t *signals, struct stage *stage)
{
    for (;;) {
        int number;
        if (sigwait(signals, &number) != 0)
            continue;
        if (number != SIGUSR1)
            return;
        if (stage->script != NULL)
            sem_post(&stage->plays);
    }
}

static int run(const struct options *options, const struct script *script)
{
    struct stage stage = {0};
    sigset_t signals;

    block_signals(&signals);
    raise_descriptor_limit();
    struct server *server = server_start(options->port, options->num_threads);
    if (server == NULL)
        return 1;
    if (script != NULL && !start_stage(&stage, script)) {
        server_stop(server);
        return 1;
    }
    printf("listening on 127.0.0.1:%u pid %d threads %u\n", server_port(server), (int)getpid(),
           options->num_threads);
    fflush(stdout);

    wait_for_the_end(&signals, &stage);
    if (script != NULL)
        stop_stage(&stage);
    server_stop(server);
    return 0;
}

int main(int argc, char **argv)
{
    struct options options;
    struct script *script = NULL;

    if (!parse_options(argc, argv, &options))
        return 2;
    if (options.script != NULL && (script = script_read(options.script)) == NULL)
        return 2;

    int status = run(&options, script);
    if (script != NULL)
        script_free(script);
    return status;
}
