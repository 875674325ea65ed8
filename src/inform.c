#include "inform.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "explain.h"
#include "kernel/compile.h"
#include "root/drop.h"
#include "server/list.h"
#include "server/report.h"
#include "server/table.h"

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

/* Returns the exit status of a list with `count` lines. An empty list is an error. */
static int say_unless_listed(size_t count)
{
    if (count != 0)
        return 0;
    fputs("h2olog: no tracepoint matches; h2olog -l lists them all\n", stderr);
    return ERROR_USAGE;
}

static int list_tracepoints(struct run *run)
{
    int status;

    if (run->options.pid == 0 && run->options.port == 0)
        return say_unless_listed(report_list(stdout, &run->options, NULL));
    drop_harden();
    status = run_find_server(run);
    if (status != 0)
        return status;
    if (run_open_server(run) != 0)
        return explain_error(&run->error);
    explain_doubts(run);
    version_open(&run->version, operand_native(), &run->notes);
    return say_unless_listed(report_list(stdout, &run->options, &run->version));
}

static void list_running(struct run *run)
{
    struct servers *servers = &run->found.servers;

    drop_harden();
    *servers = list_servers();
    if (servers->count != 0)
        table_print(stdout, servers);
    else
        fputs("h2olog: no process with the name h2o runs here\n", stderr);
}

static int print(struct run *run)
{
    if (run->options.help)
        options_print_help(stdout);
    else if (run->options.version)
        print_version();
    else if (run->options.servers)
        list_running(run);
    else
        return list_tracepoints(run);
    return 0;
}

static int close_standard_output(int status)
{
    const bool failed = ferror(stdout) != 0;

    errno = 0;
    if (fclose(stdout) == 0 && !failed)
        return status;
    if (errno == EPIPE) /* the reader has read enough */
        return status;
    fprintf(stderr, "h2olog: cannot write standard output: %s\n",
            errno == EBADF ? "it is closed, or not open for writing"
            : errno != 0   ? strerror(errno)
                           : "a write failed");
    return ERROR_FAILED;
}

int inform(struct run *run)
{
    return close_standard_output(print(run));
}
