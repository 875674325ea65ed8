/*
 * The order of a run, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "catalog.h"
#include "choice.h"
#include "options.h"
#include "output.h"
#include "privilege.h"
#include "program.h"
#include "session.h"
#include "stream.h"
#include "target.h"
#include "text.h"
#include "tracer.h"

enum { COULD_NOT_TRACE = 1, WRONG_USAGE = 2 };

/* All that a run holds. */
struct run {
    struct options options;
    struct identity invoker;
    struct target target;
    struct catalog catalog;
    struct choice choice;
    struct tracer tracer;
    struct program program;
    struct output output, messages;
    size_t ring_size;
    char error[1024];
};

static int say(int status, const char *sentence)
{
    fprintf(stderr, "h2olog: %s\n", sentence);
    return status;
}

static void print_version(void)
{
    struct utsname name;

    uname(&name);
    printf("h2olog %s\nlibbcc %s\n%s %s %s\n", H2OLOG_VERSION, tracer_library_version(),
           name.sysname, name.release, name.machine);
}

static int explain_no_pid(void)
{
    char *servers = target_list_servers(), *rest = servers, *line;

    say(WRONG_USAGE, "say which server to trace: -p PID");
    fputs(servers[0] != '\0' ? "These run here:\n"
                             : "No process of the name h2o runs here; pgrep -a finds others.\n",
          stderr);
    while ((line = strsep(&rest, "\n")) != NULL && line[0] != '\0')
        fprintf(stderr, "  %s\n", line);
    free(servers);
    return WRONG_USAGE;
}

static int say_unless_listed(size_t count)
{
    return count != 0 ? 0 : say(WRONG_USAGE, "no tracepoint matches; h2olog -l lists them all");
}

static int list_tracepoints(struct run *run)
{
    if (run->options.pid == 0)
        return say_unless_listed(choice_print_list(stdout, &run->options, NULL));
    privilege_harden();
    if (target_open(&run->target, run->options.pid, run->error, sizeof(run->error)) != 0 ||
        target_read_probes(&run->target, run->error, sizeof(run->error)) != 0)
        return say(COULD_NOT_TRACE, run->error);
    catalog_open(&run->catalog, operand_native(), &run->target);
    return say_unless_listed(choice_print_list(stdout, &run->options, &run->catalog));
}

static void say_skipped(const struct traced *traced, const struct location *location)
{
    char *operands = text_escape(location->arguments);

    fprintf(stderr, "h2olog: %s:%s at 0x%llx is not traced: ", traced->probe->provider,
            traced->probe->name, (unsigned long long)location->offset);
    if (location->flaw == LOCATION_NOT_CODE)
        fprintf(stderr, "this address is not in the code of %s\n", location->file);
    else if (location->flaw == LOCATION_NO_SEMAPHORE)
        fprintf(stderr,
                "it never fires, as its semaphore is not in a part of %s that is mapped writable\n",
                location->file);
    else
        fprintf(stderr, "its operands \"%s\" cannot be read\n", operands);
    free(operands);
}

/* -dd: what was decided, and why. */
static void explain_choice(const struct run *run)
{
    char version[128];

    catalog_version(&run->catalog, version, sizeof(version));
    fprintf(stderr, "the probes of this server are those of %s: %zu of its %zu match\n", version,
            run->catalog.num_matching, run->catalog.num_traced);
    for (size_t i = 0; i != run->choice.num_probes; ++i) {
        const struct traced *traced = &run->choice.probes[i];
        fprintf(stderr, "%s%s\n", traced->signature->declaration,
                traced->guess != NULL          ? " (no list knows it so)"
                : traced->num_ignored != 0     ? " (it has more arguments)"
                : i >= run->choice.num_printed ? " (for its connections only)"
                                               : "");
        for (size_t j = 0; j != traced->probe->num_locations; ++j) {
            const struct location *location = &traced->probe->locations[j];
            char *operands = text_escape(location->arguments);
            fprintf(stderr, "    %s+0x%llx semaphore 0x%llx: %s\n", location->file,
                    (unsigned long long)location->offset,
                    (unsigned long long)location->semaphore_offset, operands);
            free(operands);
        }
    }
    fputs(run->program.text, stderr);
}

static void say_attached(const struct run *run, struct output *messages)
{
    time_t now = time(NULL);
    struct tm utc;
    char text[32];

    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    output_say(messages, "%s Attaching pid=%d (%s)", text, (int)run->target.pid,
               run->target.command);
}

static int open_signals(void)
{
    struct sigaction hangup;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT); /* even where a shell ignores it for what runs in the background */
    sigaddset(&set, SIGTERM);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup */
        sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN); /* a write says it, too */
    signal(SIGXFSZ, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* A server has 150 functions. Thousands keep the compiler busy for minutes. */
#define FUNCTIONS_MAX 1024

static int check_size(struct run *run)
{
    if (run->program.num_functions <= FUNCTIONS_MAX)
        return 0;
    snprintf(run->error, sizeof(run->error),
             "the probes of process %d stand at %zu places that differ, more than %d; choose some "
             "of them with quic -t or all -t",
             (int)run->target.pid, run->program.num_functions, FUNCTIONS_MAX);
    return COULD_NOT_TRACE;
}

/* Whether there is a place left of a probe that is printed. */
static int check_places(struct run *run)
{
    const struct traced *end = run->choice.probes + run->choice.num_printed;

    for (size_t i = 0; i != run->program.num_functions; ++i) {
        if (run->program.functions[i].traced < end)
            return check_size(run);
    }
    snprintf(run->error, sizeof(run->error),
             "none of the probes of process %d that were chosen can be traced, for the reasons "
             "above",
             (int)run->target.pid);
    return COULD_NOT_TRACE;
}

/* Finds the probes, and puts them together as one program. */
static int prepare(struct run *run)
{
    const struct options *options = &run->options;
    struct program_choice wanted;
    int chosen;

    if (target_open(&run->target, options->pid, run->error, sizeof(run->error)) != 0 ||
        target_read_probes(&run->target, run->error, sizeof(run->error)) != 0)
        return COULD_NOT_TRACE;
    catalog_open(&run->catalog, operand_native(), &run->target);
    chosen = choice_open(&run->choice, options, &run->catalog, run->error, sizeof(run->error));
    if (chosen != 0 && options->tracepoints.count != 0)
        return WRONG_USAGE;
    choice_print_changed(stderr, &run->choice, options, &run->catalog);
    if (chosen != 0)
        return COULD_NOT_TRACE;
    choice_print_missing(stderr, options, &run->catalog);
    if (options->debug != 0)
        choice_print_lacking(stderr, options, &run->catalog);
    run->ring_size = stream_ring_size(options->buffer);
    if (tracer_open(&run->tracer, run->choice.num_probes, run->ring_size, run->error,
                    sizeof(run->error)) != 0)
        return COULD_NOT_TRACE;
    wanted = (struct program_choice){
        .probes = run->choice.probes,
        .num_probes = run->choice.num_probes,
        .num_printed = run->choice.num_printed,
        .application_data = options->application_data,
        .tie_connections = options->mode != MODE_HTTP,
        .http3_only = options->mode == MODE_QUIC,
        .stamps = options->mode != MODE_HTTP,
        .tids = options->mode == MODE_ALL,
        .pid_device = run->target.pid_device,
        .pid_inode = run->target.pid_inode,
        .watermark = stream_watermark(run->ring_size),
        .response_headers = options->response_headers.words,
        .num_response_headers = options->response_headers.count,
    };
    program_open(&run->program, operand_native(), &wanted, &run->tracer.maps, say_skipped);
    if (options->debug > 1)
        explain_choice(run);
    return check_places(run);
}

/*
 * What this process's CLOCK_MONOTONIC is ahead of the kernel's, which stamps the events: not 0 in a
 * time namespace.
 */
static int64_t clock_offset_ns(void)
{
    FILE *file = fopen("/proc/self/timens_offsets", "re");
    long long seconds = 0, nanoseconds = 0;

    if (file == NULL)
        return 0; /* Linux before 5.5 */
    if (fscanf(file, "monotonic %lld %lld", &seconds, &nanoseconds) != 2)
        seconds = nanoseconds = 0;
    fclose(file);
    return (int64_t)(seconds * 1000000000 + nanoseconds);
}

/* The output is emptied only now that there is something to write. */
static int give_up_root(struct run *run)
{
    if (output_begin(&run->output, run->invoker.caller, run->invoker.caller_group) != 0) {
        snprintf(run->error, sizeof(run->error), "the output cannot be emptied, or made yours: %s",
                 strerror(errno));
        return -1;
    }
    return privilege_drop(&run->invoker, run->options.keep_root, run->error, sizeof(run->error));
}

static int trace(struct run *run)
{
    const struct options *options = &run->options;
    struct stream stream;
    struct session session = {.options = options,
                              .target = &run->target,
                              .choice = &run->choice,
                              .tracer = &run->tracer,
                              .stream = &stream,
                              .output = &run->output,
                              .messages = &run->messages,
                              .signals = open_signals()};
    int status = COULD_NOT_TRACE;

    if (session.signals < 0) {
        snprintf(run->error, sizeof(run->error), "signals cannot be waited for: %s",
                 strerror(errno));
        return status;
    }
    run->output.interrupt = run->messages.interrupt = run->tracer.interrupt = session.signals;
    session.clock_offset_ns = clock_offset_ns();
    if (tracer_load(&run->tracer, &run->program, options->debug, run->error, sizeof(run->error)) !=
        0)
        return run->error[0] != '\0' ? status : 0; /* a signal ended it */
    if (stream_open(&stream, run->tracer.maps.ring, run->ring_size) != 0) {
        snprintf(run->error, sizeof(run->error), "the ring cannot be mapped: %s", strerror(errno));
    } else if (tracer_attach(&run->tracer, &run->program, run->target.pid, run->error,
                             sizeof(run->error)) != 0) {
        status = run->error[0] != '\0' ? status : 0;
    } else if (target_settle(&run->target, run->error, sizeof(run->error)) == 0) {
        if (options->debug != 0)
            say_attached(run, &run->messages);
        if (give_up_root(run) == 0)
            status = session_run(&session);
    }
    stream_close(&stream);
    return status;
}

static int explain_no_output(const char *file, int code)
{
    char *name = text_escape(file);

    fprintf(stderr, "h2olog: %s cannot be opened for writing: %s\n", name,
            code == ELOOP   ? "a link of another user's is on the way to it"
            : code == EPERM ? "it is another user's, in a folder where everybody can put files"
            : code == EMLINK
                ? "it has another name, too, and is in a folder where everybody can put files"
                : strerror(code));
    free(name);
    return COULD_NOT_TRACE;
}

static int run_tracer(struct run *run)
{
    int status;

    if (privilege_find_invoker(&run->invoker, run->error, sizeof(run->error)) != 0)
        return say(WRONG_USAGE, run->error);
    privilege_harden();
    if (geteuid() != 0)
        return say(COULD_NOT_TRACE, "loading BPF programs needs root; put sudo before the command");
    if (output_open(&run->output, run->options.write, run->invoker.caller) != 0)
        return explain_no_output(run->options.write, errno);
    output_open_messages(&run->messages);
    status = prepare(run);
    if (status == 0)
        status = trace(run);
    if (run->error[0] != '\0') {
        if (run->target.name != NULL && target_has_ended(&run->target))
            snprintf(run->error, sizeof(run->error), "process %d ended before it could be traced",
                     (int)run->target.pid);
        say(status, run->error);
    }
    tracer_close(&run->tracer);
    output_close(&run->output);
    output_close(&run->messages);
    return status;
}

/*
 * Who starts h2olog with a descriptor closed does not get messages into the file that would have its
 * number: it is taken, by something that cannot be written (0: read).
 */
static void take_closed_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

int main(int argc, char **argv)
{
    struct run run = {.target.pidfd = -1,
                      .output.fd = -1,
                      .messages.fd = -1,
                      .tracer = {.maps = {-1, -1, -1, -1, -1}, .dispatch = -1}};
    int status = 0;

    take_closed_descriptors();
    if (options_parse(&run.options, argc, argv, run.error, sizeof(run.error)) != 0)
        status = say(WRONG_USAGE, run.error);
    else if (run.options.help)
        options_print_help(stdout);
    else if (run.options.version)
        print_version();
    else if (run.options.list)
        status = list_tracepoints(&run);
    else if (run.options.pid == 0)
        status = explain_no_pid();
    else
        status = run_tracer(&run);
    program_dispose(&run.program);
    choice_dispose(&run.choice);
    catalog_dispose(&run.catalog);
    target_dispose(&run.target);
    options_dispose(&run.options);
    return status;
}
