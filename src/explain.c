#include "explain.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "print/escape.h"
#include "server/list.h"
#include "server/table.h"

int explain_error(const struct error *error)
{
    if (error->text[0] != '\0')
        fprintf(stderr, "h2olog: %s\n", error->text);
    return error->status == ERROR_INTERRUPTED ? 0 : (int)error->status;
}

int explain_not_found(const struct run *run)
{
    const int status = explain_error(&run->error);

    if (run->found.servers.count != 0)
        table_print(stderr, &run->found.servers);
    return status;
}

void explain_found(const struct run *run)
{
    const struct found *found = &run->found;
    const char *does = run->options.list ? "listing" : "tracing";
    const size_t num_older = found->servers.count != 0 ? found->servers.count - 1 : 0;

    if (found->supervisor != 0) {
        fprintf(stderr,
                "h2olog: process %d is a supervisor (start_server); %s its %sserver, process %d\n",
                (int)found->supervisor, does, num_older != 0 ? "newest " : "", (int)found->pid);
    } else if (num_older != 0) {
        char *older = list_format_pids(&found->servers, 1);
        fprintf(stderr, "h2olog: process%s %s %s leaving; %s %d\n", num_older > 1 ? "es" : "",
                older, num_older > 1 ? "are" : "is", does, (int)found->pid);
        free(older);
    }
}

void explain_doubts(const struct run *run)
{
    const struct process *process = &run->process;
    const pid_t newer = generations_find_newer(&run->generations);

    if (run->notes.num_unread != 0)
        fprintf(
            stderr,
            "h2olog: %zu libraries of process %d cannot be opened, and their probes, if any, are "
            "not traced: this needs CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH\n",
            run->notes.num_unread, (int)process->pid);
    if (newer != 0)
        fprintf(stderr,
                "h2olog: process %d is an old generation of this server and will end soon; new "
                "connections go to process %d; trace that: -p %d\n",
                (int)process->pid, (int)newer, (int)newer);
}

void explain_skipped(const struct server_probe *server_probe, const struct location *location)
{
    char *operands = escape_string(location->arguments);

    fprintf(stderr, "h2olog: %s:%s at 0x%llx is not traced: ", server_probe->probe->provider,
            server_probe->probe->name, (unsigned long long)location->offset);
    if (location->flaw == LOCATION_NOT_CODE)
        fprintf(stderr, "this address is not in the code of %s\n", location->file);
    else if (location->flaw == LOCATION_NO_SEMAPHORE)
        fprintf(stderr,
                "it never fires, because its semaphore is not in a writable segment of %s\n",
                location->file);
    else
        fprintf(stderr, "its operands \"%s\" cannot be read\n", operands);
    free(operands);
}

void explain_refused(const struct server_probe *server_probe, const struct location *location,
                     bool held)
{
    const char *provider = server_probe->probe->provider, *name = server_probe->probe->name;
    const unsigned long long offset = location->offset;

    if (held)
        fprintf(stderr,
                "h2olog: another tracer holds %s:%s at 0x%llx, so it is not traced; end that "
                "tracer and start again\n",
                provider, name, offset);
    else
        fprintf(stderr, "h2olog: the kernel refuses %s:%s at 0x%llx, so it is not traced\n",
                provider, name, offset);
}

void explain_selection(const struct run *run)
{
    char version[128];

    version_name(&run->version, version, sizeof(version));
    fprintf(stderr, "the probes of this server are those of %s: %zu of its %zu match\n", version,
            run->version.num_matching, run->version.num_probes);
    for (size_t i = 0; i != run->selection.num_probes; ++i) {
        const struct server_probe *server_probe = &run->selection.probes[i];
        fprintf(stderr, "%s%s\n", server_probe->signature->declaration,
                server_probe->guess != NULL       ? " (not in any list)"
                : server_probe->num_ignored != 0  ? " (it has more arguments)"
                : i >= run->selection.num_printed ? " (only for numbers of connections)"
                                                  : "");
        for (size_t j = 0; j != server_probe->probe->num_locations; ++j) {
            const struct location *location = &server_probe->probe->locations[j];
            char *operands = escape_string(location->arguments);
            fprintf(stderr, "    %s+0x%llx semaphore 0x%llx: %s\n", location->file,
                    (unsigned long long)location->offset,
                    (unsigned long long)location->semaphore_offset, operands);
            free(operands);
        }
    }
    fputs(run->program.text, stderr);
}

void explain_attached(struct run *run)
{
    time_t now = time(NULL);
    struct tm utc;
    char text[32];

    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    output_say(&run->messages, "%s Attaching: tracing PID %d (%s): %zu probe%s attached", text,
               (int)run->process.pid, run->process.command, run->attached.num_probes,
               run->attached.num_probes != 1 ? "s" : "");
}

int explain_output(struct run *run, const char *what, const char *reason)
{
    const char *file = run->output.name;
    char *name = escape_string(file != NULL ? file : "standard output");

    output_say(&run->messages, "h2olog: cannot %s %s: %s", what, name, reason);
    free(name);
    return ERROR_FAILED;
}
