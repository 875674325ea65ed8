#include "run.h"

int run_open_server(struct run *run)
{
    struct process *process = &run->process;

    if (process_open(process, run->options.pid, &run->error) != 0)
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
    plan_close(&run->plan);
    options_dispose(&run->options);
}
