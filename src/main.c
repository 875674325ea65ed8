/*
 * The order of a run, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "explain.h"
#include "inform.h"
#include "interrupt.h"
#include "prepare.h"
#include "root/diagnose.h"
#include "root/drop.h"
#include "run.h"
#include "trace.h"

static int open_output(struct run *run)
{
    const struct caller caller = {run->invoker.caller, run->invoker.caller_group};
    const char *reason = output_open(&run->output, run->options.write, &caller, run->signals);

    output_open_messages(&run->messages);
    run->messages.interrupt = run->signals;
    plan_choose_colors(&run->plan, run->output.fd);
    return reason == NULL || run->output.error == ECANCELED ? 0
                                                            : explain_output(run, "write", reason);
}

/* NFS and disk quotas can refuse what was written as late as at close(2). */
static int close_output(struct run *run, int status)
{
    const bool seems_written = run->output.error == 0 && run->output.lines != 0;

    if (output_close(&run->output) == 0 || !seems_written)
        return status;
    return explain_output(run, "write the last lines to", strerror(errno));
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
        status = prepare_program(run);
    if (status == 0 && !interrupt_is_due(run->signals))
        status = trace_server(run);
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
