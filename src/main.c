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

#include "root/caller.h"
#include "server/version.h"
#include "server/selection.h"
#include "options.h"
#include "print/output.h"
#include "server/pages.h"
#include "root/diagnose.h"
#include "root/drop.h"
#include "kernel/program.h"
#include "session.h"
#include "event/record.h"
#include "event/ring.h"
#include "print/sink.h"
#include "server/report.h"
#include "server/generations.h"
#include "server/list.h"
#include "server/notes.h"
#include "server/process.h"
#include "print/escape.h"
#include "kernel/attach.h"
#include "kernel/compile.h"
#include "kernel/load.h"
#include "kernel/maps.h"

enum { COULD_NOT_TRACE = 1, WRONG_USAGE = 2 };

/* All that a run holds. */
struct run {
    struct options options;
    struct identity invoker;
    struct process process;
    struct notes notes;
    struct generations generations;
    struct version version;
    struct selection selection;
    struct program program;
    struct maps maps;
    struct loaded loaded;
    struct attached attached;
    struct output output, messages;
    size_t ring_size;
    struct error error;
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
    compile_library_version(library, sizeof(library));
    is_other = strcmp(library, compile_built_with()) != 0;
    printf("h2olog %s\nlibbcc %s%s%s%s\n%s %s %s\n", H2OLOG_VERSION, library,
           is_other ? " (built with " : "", is_other ? compile_built_with() : "",
           is_other ? ")" : "", name.sysname, name.release, name.machine);
}

static int explain_no_pid(void)
{
    char *servers = list_servers(), *rest = servers, *line;

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
    struct process *process = &run->process;

    if (process_open(process, run->options.pid, &run->error) != 0)
        return COULD_NOT_TRACE;
    if (notes_read(&run->notes, process, &run->error) == 0) {
        generations_open(&run->generations, process->pid);
        return 0;
    }
    if (process_has_ended(process))
        error_set(&run->error, ERROR_FAILED, "process %d ended before it could be traced",
                  (int)process->pid);
    return COULD_NOT_TRACE;
}

static int say_unless_listed(size_t count)
{
    return count != 0 ? 0 : say(WRONG_USAGE, "no tracepoint matches; h2olog -l lists them all");
}

/* What is not as one would think, but no reason not to trace. */
static void say_doubts(const struct run *run)
{
    const struct process *process = &run->process;
    const pid_t newer = generations_find_newer(&run->generations);

    if (run->notes.num_unread != 0)
        fprintf(
            stderr,
            "h2olog: %zu libraries of process %d cannot be opened, and their probes, if any, are "
            "not traced: it takes CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH\n",
            run->notes.num_unread, (int)process->pid);
    if (newer != 0)
        fprintf(stderr,
                "h2olog: process %d is an old generation of this server, and about to end; new "
                "connections go to process %d: -p %d\n",
                (int)process->pid, (int)newer, (int)newer);
}

static int list_tracepoints(struct run *run)
{
    if (run->options.pid == 0)
        return say_unless_listed(report_list(stdout, &run->options, NULL));
    drop_harden();
    if (open_target(run) != 0)
        return say(COULD_NOT_TRACE, run->error.text);
    say_doubts(run);
    version_open(&run->version, operand_native(), &run->notes);
    return say_unless_listed(report_list(stdout, &run->options, &run->version));
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

static void say_skipped(const struct server_probe *traced, const struct location *location)
{
    char *operands = escape_string(location->arguments);

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

static void say_refused(const struct server_probe *traced, const struct location *location,
                        bool held)
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

    version_name(&run->version, version, sizeof(version));
    fprintf(stderr, "the probes of this server are those of %s: %zu of its %zu match\n", version,
            run->version.num_matching, run->version.num_traced);
    for (size_t i = 0; i != run->selection.num_probes; ++i) {
        const struct server_probe *traced = &run->selection.probes[i];
        fprintf(stderr, "%s%s\n", traced->signature->declaration,
                traced->guess != NULL             ? " (no list knows it so)"
                : traced->num_ignored != 0        ? " (it has more arguments)"
                : i >= run->selection.num_printed ? " (for its connections only)"
                                                  : "");
        for (size_t j = 0; j != traced->probe->num_locations; ++j) {
            const struct location *location = &traced->probe->locations[j];
            char *operands = escape_string(location->arguments);
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
    output_say(messages, "%s Attaching pid=%d (%s)", text, (int)run->process.pid,
               run->process.command);
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
    error_set(&run->error, ERROR_FAILED,
              "the probes of process %d stand at %zu places that differ, more than %d; choose some "
              "of them with quic -t or all -t",
              (int)run->process.pid, run->program.num_functions, FUNCTIONS_MAX);
    return COULD_NOT_TRACE;
}

/* Whether there is a place left of a probe that is printed, and that the mode is for. */
static int check_places(struct run *run)
{
    bool any_printed = false;

    for (size_t i = 0; i != run->program.num_functions; ++i) {
        const struct program_function *function = &run->program.functions[i];
        if (function->printed && selection_is_main(&run->options, function->traced->probe))
            return check_size(run);
        any_printed |= function->printed;
    }
    error_set(&run->error, ERROR_FAILED,
              "none of the probes of process %d that %s can be traced, for the reasons above",
              (int)run->process.pid, any_printed ? "this mode needs" : "were chosen");
    return COULD_NOT_TRACE;
}

/* Finds the probes, and puts them together as one program. */
static int prepare(struct run *run)
{
    const struct options *options = &run->options;
    struct program_settings wanted;
    int chosen;

    if (open_target(run) != 0)
        return COULD_NOT_TRACE;
    say_doubts(run);
    version_open(&run->version, operand_native(), &run->notes);
    chosen = selection_open(&run->selection, options, &run->version, &run->error);
    if (chosen != 0 && options->tracepoints.count != 0)
        return WRONG_USAGE;
    report_changed(stderr, &run->selection, options, &run->version);
    if (chosen != 0)
        return COULD_NOT_TRACE;
    report_missing(stderr, options, &run->version);
    if (options->debug != 0)
        report_lacking(stderr, options, &run->version);
    run->ring_size = ring_round_size(options->buffer);
    if (maps_open(&run->maps, run->selection.num_probes, run->ring_size, &run->error) != 0)
        return COULD_NOT_TRACE;
    wanted = (struct program_settings){
        .probes = run->selection.probes,
        .num_probes = run->selection.num_probes,
        .num_printed = run->selection.num_printed,
        .num_followed = run->selection.num_followed,
        .application_data = options->application_data,
        .additions = options->view->capture,
        .one_link = load_uses_one_link(),
        .pid_device = run->process.pid_device,
        .pid_inode = run->process.pid_inode,
        .watermark = ring_watermark(run->ring_size),
        .response_headers = options->response_headers.words,
        .num_response_headers = options->response_headers.count,
    };
    program_open(&run->program, operand_native(), &wanted, &run->maps.fds, say_skipped);
    if (options->debug > 1)
        explain_choice(run);
    return check_places(run);
}

static int say_output(struct run *run, const char *what, const char *reason)
{
    const char *file = run->output.name;
    char *name = escape_string(file != NULL ? file : "standard output");

    output_say(&run->messages, "h2olog: cannot %s %s: %s", what, name, reason);
    free(name);
    return COULD_NOT_TRACE;
}

/* The output is emptied only now that there is something to write. */
static int give_up_root(struct run *run, int signals)
{
    if (output_begin(&run->output) != 0)
        return say_output(run, "empty", strerror(errno));
    return drop_root(&run->invoker, run->options.keep_root, signals, run->generations.children,
                     &run->error);
}

/* Prints what the source gives, until the end. */
static int print_events(struct run *run, struct source *source, int signals)
{
    const struct options *options = &run->options;
    const struct selection *selection = &run->selection;
    const struct sink_settings settings = {
        .output = &run->output,
        .messages = &run->messages,
        .probes = selection->probes,
        .num_probes = selection->num_printed,
        .clock = &source->clock,
        .application_data = options->application_data,
        .layers = options->view->layers,
        .files = run->process.mapped_files,
        .num_files = run->process.num_mapped_files,
    };
    struct sink sink = options->view->sink(&settings);
    struct decoder decoder;
    struct session session = {
        .process = &run->process,
        .selection = selection,
        .generations = &run->generations,
        .maps = &run->maps,
        .attached = &run->attached,
        .source = source,
        .decoder = &decoder,
        .sink = &sink,
        .output = &run->output,
        .messages = &run->messages,
        .signals = signals,
        .reports = options->debug != 0,
    };
    int status;

    decoder_open(&decoder, selection->probes, selection->num_printed,
                 selection->num_printed + selection->num_followed, options->application_data);
    status = session_run(&session);
    decoder_close(&decoder);
    sink.close(sink.state);
    return status;
}

static int trace(struct run *run)
{
    const struct options *options = &run->options;
    struct ring ring;
    struct source source;
    const int signals = open_signals();
    struct attach_request request = {.program = &run->program,
                                     .loaded = &run->loaded,
                                     .notes = &run->notes,
                                     .pid = run->process.pid,
                                     .signals = signals};
    int status = COULD_NOT_TRACE;

    if (signals < 0) {
        error_set(&run->error, ERROR_FAILED, "signals cannot be waited for: %s", strerror(errno));
        return status;
    }
    run->output.interrupt = run->messages.interrupt = signals;
    if (load_program(&run->loaded, &run->program, &run->maps, options->debug != 0, signals,
                     &run->error) != 0)
        return run->error.status == ERROR_INTERRUPTED ? 0 : status;
    pages_map(run->process.pid, &run->notes);
    if (ring_open(&ring, run->maps.fds.ring, run->ring_size) != 0) {
        error_set(&run->error, ERROR_FAILED, "the ring cannot be mapped: %s", strerror(errno));
    } else if (attach_all(&run->attached, &request, say_refused, &run->error) != 0) {
        status = run->error.status == ERROR_INTERRUPTED ? 0 : status;
    } else if (process_settle(&run->process, run->notes.modules[0].fd, &run->error) == 0) {
        notes_close_files(&run->notes);
        ring_source(&ring, run->maps.fds.ring, &run->maps.lost[run->maps.num_probes],
                    run->maps.gate, &source);
        maps_open_gate(&run->maps);
        if (options->debug != 0)
            say_attached(run, &run->messages);
        if (give_up_root(run, signals) == 0)
            status = print_events(run, &source, signals);
    }
    ring_close(&ring);
    return status;
}

static int open_output(struct run *run)
{
    const struct caller caller = {run->invoker.caller, run->invoker.caller_group};
    const char *reason = output_open(&run->output, run->options.write, &caller);

    output_open_messages(&run->messages);
    return reason == NULL ? 0 : say_output(run, "write", reason);
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

    if (caller_find(&run->invoker, &run->error) != 0)
        return say(WRONG_USAGE, run->error.text);
    drop_harden();
    if (diagnose_capabilities(&run->error) != 0)
        return say(COULD_NOT_TRACE, run->error.text);
    status = open_output(run);
    if (status == 0)
        status = prepare(run);
    if (status == 0)
        status = trace(run);
    if (run->error.text[0] != '\0')
        say(status, run->error.text);
    if (run->maps.gate != NULL)
        maps_close_gate(&run->maps);
    attach_close(&run->attached);
    load_close(&run->loaded);
    maps_close(&run->maps);
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
 * that cannot be written (0: read).
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
    struct run run = {.process.pidfd = -1,
                      .generations = {.supervisor = -1, .children = -1},
                      .output.fd = -1,
                      .messages.fd = -1,
                      .loaded = LOADED_NONE,
                      .maps = MAPS_NONE};
    int status = 0;

    take_closed_descriptors();
    if (options_parse(&run.options, argc, argv, &run.error) != 0)
        status = say(WRONG_USAGE, run.error.text);
    else if (run.options.help || run.options.version || run.options.list)
        status = close_standard_output(inform(&run));
    else if (run.options.pid == 0)
        status = explain_no_pid();
    else
        status = run_tracer(&run);
    program_dispose(&run.program);
    selection_dispose(&run.selection);
    version_dispose(&run.version);
    generations_close(&run.generations);
    notes_dispose(&run.notes);
    process_dispose(&run.process);
    options_dispose(&run.options);
    return status;
}
