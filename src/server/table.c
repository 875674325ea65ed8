#include "server/table.h"

#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "print/escape.h"
#include "server/ports.h"
#include "server/proc.h"

enum column { PID, GENERATION, SINCE, USER, PORTS, COMMAND, NUM_COLUMNS };

/* Cells are owned. */
struct row {
    char *cells[NUM_COLUMNS];
};

/* Who may not read the descriptors of a process may not read its environment either. */
static char *format_generation(unsigned long generation, bool unreadable)
{
    return generation != 0 ? memory_format("%lu", generation)
                           : memory_format("%s", unreadable ? "?" : "-");
}

#define NS_PER_SECOND INT64_C(1000000000)

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* Returns local time, without a blank: "2026-11-27T10:29:34". */
static char *format_since(uint64_t start_time)
{
    const int64_t tick_ns = NS_PER_SECOND / sysconf(_SC_CLK_TCK);
    const int64_t boot_ns = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_BOOTTIME);
    const time_t since = (boot_ns + (int64_t)start_time * tick_ns) / NS_PER_SECOND;
    struct tm local;
    char text[32];

    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", localtime_r(&since, &local));
    return memory_format("%s", text);
}

/* Returns the name of the user; the number if there is no name, or it has a blank. */
static char *format_user(pid_t pid)
{
    const struct passwd *entry;
    uid_t uid;

    if (proc_user(pid, &uid) != 0)
        return memory_format("?");
    entry = getpwuid(uid);
    if (entry == NULL || entry->pw_name[0] == '\0' || strpbrk(entry->pw_name, " \t") != NULL)
        return memory_format("%u", (unsigned)uid);
    return escape_string(entry->pw_name);
}

static struct row make_row(const struct serving *process)
{
    struct ports ports = ports_find(process->pid);
    struct row row = {{
        [PID] = memory_format("%d", (int)process->pid),
        [GENERATION] = format_generation(process->generation, ports.unreadable),
        [SINCE] = format_since(process->start_time),
        [USER] = format_user(process->pid),
        [PORTS] = ports_format(&ports),
        [COMMAND] = proc_command(process->pid, "h2o"),
    }};

    free(ports.ports);
    return row;
}

static void print_row(FILE *file, const struct row *row, const int *widths)
{
    fprintf(file, "%*s  ", widths[PID], row->cells[PID]); /* numbers end at the same column */
    for (int i = PID + 1; i != COMMAND; ++i)
        fprintf(file, "%-*s  ", widths[i], row->cells[i]);
    fprintf(file, "%s\n", row->cells[COMMAND]);
}

void table_print(FILE *file, const struct servers *servers)
{
    struct row heading = {{"PID", "GENERATION", "SINCE", "USER", "PORTS", "COMMAND"}};
    struct row *rows = memory_grow(NULL, servers->count + 1, sizeof(rows[0]));
    int widths[NUM_COLUMNS] = {0};

    rows[0] = heading;
    for (size_t i = 0; i != servers->count; ++i)
        rows[i + 1] = make_row(&servers->processes[i]);
    for (size_t i = 0; i <= servers->count; ++i) {
        for (int j = 0; j != NUM_COLUMNS; ++j) {
            const int width = (int)strlen(rows[i].cells[j]);
            widths[j] = width > widths[j] ? width : widths[j];
        }
    }
    for (size_t i = 0; i <= servers->count; ++i) {
        print_row(file, &rows[i], widths);
        for (int j = 0; i != 0 && j != NUM_COLUMNS; ++j)
            free(rows[i].cells[j]);
    }
    free(rows);
}
