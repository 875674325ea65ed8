#include "trace.h"

#include <errno.h>
#include <string.h>

#include "event/record.h"
#include "event/ring.h"
#include "explain.h"
#include "interrupt.h"
#include "print/sink.h"
#include "root/drop.h"
#include "server/pages.h"
#include "session.h"

/* The output is emptied only now that there is something to write. */
static int give_up_root(struct run *run, int signals)
{
    if (output_begin(&run->output) != 0)
        return explain_output(run, "empty", strerror(errno));
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

int trace_server(struct run *run)
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
        if (options->for_ns != 0)
            interrupt_after(options->for_ns);
        if (give_up_root(run, signals) == 0)
            status = print_events(run, &source, signals);
    }
    ring_close(&ring);
    return status;
}
