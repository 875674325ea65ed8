#include "prepare.h"

#include <stdbool.h>
#include <stdio.h>

#include "event/ring.h"
#include "explain.h"
#include "interrupt.h"
#include "kernel/load.h"
#include "server/report.h"

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
        if (function->printed && selection_is_main(&run->options, function->server_probe->probe))
            return check_size(run);
        any_printed |= function->printed;
    }
    error_set(&run->error, ERROR_FAILED,
              "none of the probes of process %d that %s can be traced, for the reasons above",
              (int)run->process.pid, any_printed ? "this mode needs" : "were chosen");
    return ERROR_FAILED;
}

int prepare_program(struct run *run)
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
