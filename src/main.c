/*
 * The order of a run, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "event/record.h"
#include "event/ring.h"
#include "explain.h"
#include "inform.h"
#include "interrupt.h"
#include "print/escape.h"
#include "print/sink.h"
#include "root/diagnose.h"
#include "root/drop.h"
#include "run.h"
#include "server/pages.h"
#include "server/report.h"
#include "session.h"

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
    return ERROR_FAILED;
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
    return ERROR_FAILED;
}

/* Finds the probes, and puts them together as one program; in part, if it was interrupted. */
static int prepare(struct run *run)
{
    const struct options *options = &run->options;
    struct program_settings wanted;
    int chosen;

    if (run_open_server(run) != 0)
        return ERROR_FAILED;
    if (interrupt_is_due(run->signals))
        return 0;
    explain_doubts(run);
    version_open(&run->version, operand_native(), &run->notes);
    chosen = selection_open(&run->selection, options, &run->plan.needs, &run->version, &run->error);
    if (chosen != 0 && options->tracepoints.count != 0)
        return ERROR_USAGE;
    report_changed(stderr, &run->selection, options, &run->version);
    if (chosen != 0)
        return ERROR_FAILED;
    report_missing(stderr, options, &run->version);
    if (options->debug != 0)
        report_lacking(stderr, options, &run->version);
    run->ring_size = ring_round_size(options->buffer);
    if (maps_open(&run->maps, run->selection.num_probes, run->ring_size, &run->error) != 0)
        return ERROR_FAILED;
    if (interrupt_is_due(run->signals))
        return 0;
    wanted = (struct program_settings){
        .probes = run->selection.probes,
        .num_probes = run->selection.num_probes,
        .num_printed = run->selection.num_printed,
        .num_followed = run->selection.num_followed,
        .application_data = options->application_data,
        .additions = run->plan.additions,
        .needs = &run->plan.needs,
        .one_link = load_uses_one_link(),
        .pid_device = run->process.pid_device,
        .pid_inode = run->process.pid_inode,
        .watermark = ring_watermark(run->ring_size),
    };
    program_open(&run->program, operand_native(), &wanted, &run->maps.fds, explain_skipped);
    if (options->debug > 1)
        explain_selection(run);
    return check_places(run);
}

static int say_output(struct run *run, const char *what, const char *reason)
{
    const char *file = run->output.name;
    char *name = escape_string(file != NULL ? file : "standard output");

    output_say(&run->messages, "h2olog: cannot %s %s: %s", what, name, reason);
    free(name);
    return ERROR_FAILED;
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
        .timestamps = options->timestamps,
        .colors = run->plan.has_colors,
        .access_log = run->plan.access_log,
        .files = run->process.mapped_files,
        .num_files = run->process.num_mapped_files,
    };
    struct sink sink = plan_sink(&run->plan, &settings);
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
        .plan = &run->plan,
        .for_ns = options->for_ns,
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
    const int signals = run->signals;
    struct attach_request request = {.program = &run->program,
                                     .loaded = &run->loaded,
                                     .notes = &run->notes,
                                     .pid = run->process.pid,
                                     .signals = signals};
    int status = ERROR_FAILED;

    if (load_program(&run->loaded, &run->program, &run->maps, options->debug != 0, signals,
                     &run->error) != 0)
        return run->error.status == ERROR_INTERRUPTED ? 0 : status;
    pages_map(run->process.pid, &run->notes, signals);
    if (ring_open(&ring, run->maps.fds.ring, run->ring_size) != 0) {
        error_set(&run->error, ERROR_FAILED, "the ring cannot be mapped: %s", strerror(errno));
    } else if (attach_all(&run->attached, &request, explain_refused, &run->error) != 0) {
        status = run->error.status == ERROR_INTERRUPTED ? 0 : status;
    } else if (process_settle(&run->process, run->notes.modules[0].fd, &run->error) == 0) {
        notes_close_files(&run->notes);
        ring_source(&ring, run->maps.fds.ring, &run->maps.lost[run->maps.num_probes],
                    run->maps.gate, &source);
        maps_open_gate(&run->maps);
        if (options->debug != 0)
            explain_attached(run);
        if (give_up_root(run, signals) == 0)
            status = print_events(run, &source, signals);
    }
    ring_close(&ring);
    return status;
}

static int open_output(struct run *run)
{
    const struct caller caller = {run->invoker.caller, run->invoker.caller_group};
    const char *reason = output_open(&run->output, run->options.write, &caller, run->signals);

    output_open_messages(&run->messages);
    run->messages.interrupt = run->signals;
    plan_choose_colors(&run->plan, run->output.fd);
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

    if (plan_open(&run->plan, &run->options, &run->error) != 0 ||
        caller_find(&run->invoker, &run->error) != 0)
        return explain_error(&run->error);
    drop_harden();
    run->signals = interrupt_open();
    if (run->signals < 0) {
        error_set(&run->error, ERROR_FAILED, "cannot wait for signals: %s", strerror(errno));
        return explain_error(&run->error);
    }
    status = run_find_server(run);
    if (status != 0)
        return status;
    if (diagnose_capabilities(&run->error) != 0)
        return explain_error(&run->error);
    status = open_output(run);
    if (status == 0 && !interrupt_is_due(run->signals))
        status = prepare(run);
    if (status == 0 && !interrupt_is_due(run->signals))
        status = trace(run);
    (void)explain_error(&run->error);
    if (run->maps.gate != NULL)
        maps_close_gate(&run->maps);
    attach_close(&run->attached);
    load_close(&run->loaded);
    maps_close(&run->maps);
    status = close_output(run, status);
    output_close(&run->messages);
    return status;
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
    struct run run = RUN_NONE;
    int status;

    take_closed_descriptors();
    if (options_parse(&run.options, argc, argv, &run.error) != 0)
        status = explain_error(&run.error);
    else if (run.options.help || run.options.version || run.options.list || run.options.servers)
        status = inform(&run);
    else
        status = run_tracer(&run);
    run_dispose(&run);
    return status;
}
