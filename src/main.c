/*
 * The order of a run, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "caller.h"
#include "catalog.h"
#include "choice.h"
#include "options.h"
#include "output.h"
#include "pages.h"
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
    char library[64];
    bool is_other;

    uname(&name);
    tracer_library_version(library, sizeof(library));
    is_other = strcmp(library, tracer_built_with()) != 0;
    printf("h2olog %s\nlibbcc %s%s%s%s\n%s %s %s\n", H2OLOG_VERSION, library,
           is_other ? " (built with " : "", is_other ? tracer_built_with() : "",
           is_other ? ")" : "", name.sysname, name.release, name.machine);
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

/*
 * Finds the process, and reads its probes. What fails once the process has ended fails for that
 * reason.
 */
static int open_target(struct run *run)
{
    struct target *target = &run->target;

    if (target_open(target, run->options.pid, run->error, sizeof(run->error)) != 0)
        return COULD_NOT_TRACE;
    if (target_read_probes(target, run->error, sizeof(run->error)) == 0)
        return 0;
    if (target_has_ended(target))
        snprintf(run->error, sizeof(run->error), "process %d ended before it could be traced",
                 (int)target->pid);
    return COULD_NOT_TRACE;
}

static int say_unless_listed(size_t count)
{
    return count != 0 ? 0 : say(WRONG_USAGE, "no tracepoint matches; h2olog -l lists them all");
}

/* What is not as one would think, but no reason not to trace. */
static void say_doubts(const struct target *target)
{
    const pid_t newer = target_newer_sibling(target);

    if (target->num_unread != 0)
        fprintf(
            stderr,
            "h2olog: %zu libraries of process %d cannot be opened, and their probes, if any, are "
            "not traced: it takes CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH\n",
            target->num_unread, (int)target->pid);
    if (newer != 0)
        fprintf(stderr,
                "h2olog: process %d is an old generation of this server, and about to end; new "
                "connections go to process %d: -p %d\n",
                (int)target->pid, (int)newer, (int)newer);
}

static int list_tracepoints(struct run *run)
{
    if (run->options.pid == 0)
        return say_unless_listed(choice_print_list(stdout, &run->options, NULL));
    privilege_harden();
    if (open_target(run) != 0)
        return say(COULD_NOT_TRACE, run->error);
    say_doubts(&run->target);
    catalog_open(&run->catalog, operand_native(), &run->target);
    return say_unless_listed(choice_print_list(stdout, &run->options, &run->catalog));
}

/* What -h, -V and -l ask for, to standard output. */
static int inform(struct run *run)
{
    if (run->options.help)
        options_print_help(stdout);
    else if (run->options.version)
        print_version();
    else
        return list_tracepoints(run);
    return 0;
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

static void say_refused(const struct traced *traced, const struct location *location, bool held)
{
    const char *provider = traced->probe->provider, *name = traced->probe->name;
    const unsigned long long offset = location->offset;

    if (held)
        fprintf(stderr,
                "h2olog: another tracer holds %s:%s at 0x%llx: it is not traced; end that tracer "
                "and start again\n",
                provider, name, offset);
    else
        fprintf(stderr, "h2olog: the kernel refuses %s:%s at 0x%llx: it is not traced\n", provider,
                name, offset);
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
    for (size_t i = 0; i != run->program.num_functions; ++i) {
        if (run->program.functions[i].printed)
            return check_size(run);
    }
    snprintf(run->error, sizeof(run->error),
             "none of the probes of process %d that were chosen can be traced, for the reasons "
             "above",
             (int)run->target.pid);
    return COULD_NOT_TRACE;
}

/* Finds the probes, and puts them together as one program; in part, if it was interrupted. */
static int prepare(struct run *run)
{
    const struct options *options = &run->options;
    struct program_choice wanted;
    int chosen;

    if (open_target(run) != 0)
        return COULD_NOT_TRACE;
    if (tracer_is_interrupted(&run->tracer))
        return 0;
    say_doubts(&run->target);
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
    if (tracer_is_interrupted(&run->tracer))
        return 0;
    wanted = (struct program_choice){
        .probes = run->choice.probes,
        .num_probes = run->choice.num_probes,
        .num_printed = run->choice.num_printed,
        .num_followed = run->choice.num_followed,
        .application_data = options->application_data,
        .tie_connections = options->mode != MODE_HTTP,
        .http3_only = options->mode == MODE_QUIC,
        .stamps = options->mode != MODE_HTTP,
        .tids = options->mode == MODE_ALL,
        .one_link = run->tracer.one_link,
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

static int say_output(struct run *run, const char *what, const char *reason)
{
    const char *file = run->output.name;
    char *name = text_escape(file != NULL ? file : "standard output");

    output_say(&run->messages, "h2olog: cannot %s %s: %s", what, name, reason);
    free(name);
    return COULD_NOT_TRACE;
}

/* The output is emptied only now that there is something to write. */
static int give_up_root(struct run *run)
{
    if (output_begin(&run->output) != 0)
        return say_output(run, "empty", strerror(errno));
    return privilege_drop(&run->invoker, run->options.keep_root, run->target.siblings, run->error,
                          sizeof(run->error));
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
                              .signals = run->tracer.interrupt};
    int status = COULD_NOT_TRACE;

    session.clock_offset_ns = clock_offset_ns();
    if (tracer_load(&run->tracer, &run->program, options->debug, run->error, sizeof(run->error)) !=
        0)
        return run->error[0] != '\0' ? status : 0; /* a signal ended it */
    pages_map(&run->target, run->tracer.interrupt);
    if (stream_open(&stream, run->tracer.maps.ring, run->ring_size) != 0) {
        snprintf(run->error, sizeof(run->error), "the ring cannot be mapped: %s", strerror(errno));
    } else if (tracer_attach(&run->tracer, &run->program, run->target.pid, say_refused, run->error,
                             sizeof(run->error)) != 0) {
        status = run->error[0] != '\0' ? status : 0;
    } else if (target_settle(&run->target, run->error, sizeof(run->error)) == 0) {
        tracer_open_gate(&run->tracer);
        if (options->debug != 0)
            say_attached(run, &run->messages);
        if (give_up_root(run) == 0)
            status = session_run(&session);
    }
    stream_close(&stream);
    return status;
}

static int open_output(struct run *run)
{
    const struct caller caller = {run->invoker.caller, run->invoker.caller_group};
    const char *reason =
        output_open(&run->output, run->options.write, &caller, run->tracer.interrupt);

    output_open_messages(&run->messages);
    run->messages.interrupt = run->tracer.interrupt;
    return reason == NULL || run->output.error == ECANCELED ? 0 : say_output(run, "write", reason);
}

/* NFS and disk quotas can refuse what was written as late as at close(2). */
static int close_output(struct run *run, int status)
{
    const bool seems_written = run->output.error == 0 && run->output.lines != 0;

    if (output_close(&run->output) == 0 || !seems_written)
        return status;
    return say_output(run, "write the last lines to", strerror(errno));
}

static int run_tracer(struct run *run)
{
    int status;

    if (privilege_find_invoker(&run->invoker, run->error, sizeof(run->error)) != 0)
        return say(WRONG_USAGE, run->error);
    privilege_harden();
    if (privilege_check(run->error, sizeof(run->error)) != 0)
        return say(COULD_NOT_TRACE, run->error);
    run->tracer.interrupt = open_signals();
    if (run->tracer.interrupt < 0) {
        snprintf(run->error, sizeof(run->error), "signals cannot be waited for: %s",
                 strerror(errno));
        return say(COULD_NOT_TRACE, run->error);
    }
    status = open_output(run);
    if (status == 0 && !tracer_is_interrupted(&run->tracer))
        status = prepare(run);
    if (status == 0 && !tracer_is_interrupted(&run->tracer))
        status = trace(run);
    if (run->error[0] != '\0')
        say(status, run->error);
    tracer_close(&run->tracer);
    status = close_output(run, status);
    output_close(&run->messages);
    return status;
}

/* The end of what -h, -V and -l print. */
static int close_standard_output(int status)
{
    const bool failed = ferror(stdout) != 0;

    errno = 0;
    if (fclose(stdout) == 0 && !failed)
        return status;
    if (errno == EPIPE) /* whoever read has seen enough */
        return status;
    fprintf(stderr, "h2olog: cannot write standard output: %s\n",
            errno == EBADF ? "it is closed, or not open for writing"
            : errno != 0   ? strerror(errno)
                           : "a write failed");
    return COULD_NOT_TRACE;
}

/*
 * Occupies any closed standard descriptor, so that a later open() cannot reuse its number, with one
 * that can be neither read nor written: -w /dev/fd/0 must not throw the lines away.
 */
static void take_closed_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_PATH);
    }
}

int main(int argc, char **argv)
{
    struct run run = {
        .target = {.pidfd = -1, .supervisor = -1, .siblings = -1},
        .output.fd = -1,
        .messages.fd = -1,
        .tracer = {.maps = {-1, -1, -1, -1, -1, -1}, .dispatch = -1, .interrupt = -1}};
    int status = 0;

    take_closed_descriptors();
    if (options_parse(&run.options, argc, argv, run.error, sizeof(run.error)) != 0)
        status = say(WRONG_USAGE, run.error);
    else if (run.options.help || run.options.version || run.options.list)
        status = close_standard_output(inform(&run));
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
