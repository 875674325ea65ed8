#include "run.h"

#include "explain.h"

int run_find_server(struct run *run)
{
    const struct options *options = &run->options;

    if (find_server(&run->found, options->pid, options->port, &run->error) != 0)
        return explain_not_found(run);
    explain_found(run);
    return 0;
}

int run_open_server(struct run *run)
{
    struct process *process = &run->process;

    if (process_open(process, run->found.pid, &run->error) != 0)
        return -1;
    if (notes_read(&run->notes, process, &run->error) == 0) {
        generations_open(&run->generations, process->pid);
        return 0;
    }
    if (process_has_ended(process))
        return error_set(&run->error, ERROR_FAILED, "process %d ended before it could be traced",
                         (int)process->pid);
    return -1;
}

void run_dispose(struct run *run)
{
    program_dispose(&run->program);
    selection_dispose(&run->selection);
    version_dispose(&run->version);
    generations_close(&run->generations);
    notes_dispose(&run->notes);
    process_dispose(&run->process);
    find_close(&run->found);
    plan_close(&run->plan);
    options_dispose(&run->options);
}
