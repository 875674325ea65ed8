#include "child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "server/proc.h"
#include "server/table.h"

/* Prints a table. Returns the text, to be freed. */
static char *print_table(struct serving *processes, size_t count)
{
    const struct servers servers = {processes, count};
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    assert_non_null(file);
    table_print(file, &servers);
    fclose(file);
    return text;
}

/* The columns that readers of the table rely on. */
static void has_a_line_for_each_process(void **state)
{
    struct serving processes[] = {
        {.pid = getpid(), .generation = 12, .start_time = proc_start_time(getpid())},
        {.pid = getpid(), .start_time = proc_start_time(getpid())}};
    char *table = print_table(processes, 2), *command = proc_command(getpid(), "h2o");
    char generation[16], since[32], user[64], ports[64], *rest = table, *line;
    int pid, at = 0;

    (void)state;
    line = strsep(&rest, "\n");
    assert_non_null(strstr(line, "PID  GENERATION  SINCE "));
    line = strsep(&rest, "\n");
    assert_int_equal(
        sscanf(line, "%d %15s %31s %63s %63s %n", &pid, generation, since, user, ports, &at), 5);
    assert_int_equal(pid, getpid());
    check_string("generation", generation, "12");
    assert_int_equal(strlen(since), strlen("2026-11-27T10:29:34"));
    if (geteuid() == 0)
        check_string("user", user, "root");
    check_string("ports", ports, "-");
    check_string("command", line + at, command);
    line = strsep(&rest, "\n");
    assert_int_equal(sscanf(line, "%d %15s", &pid, generation), 2);
    check_string("generation", generation, "-");
    check_string("rest", rest, "");
    free(command);
    free(table);
}

static void knows_since_when(void **state)
{
    struct serving process = {.pid = getpid(), .start_time = proc_start_time(getpid())};
    char *table, *since;
    struct tm local = {.tm_isdst = -1};

    (void)state;
    table = print_table(&process, 1);
    since = strchr(table, 'T'); /* of the heading "GENERATION" */
    since = strstr(since, "  20");
    assert_non_null(since);
    assert_non_null(strptime(since + 2, "%Y-%m-%dT%H:%M:%S", &local));
    assert_true(labs((long)(mktime(&local) - time(NULL))) < 120); /* the test takes no minute */
    free(table);
}

/* A process that has ended meanwhile still has a line. */
static void process_that_has_ended(void **state)
{
    struct serving process = {.pid = 0x7fffffff, .start_time = 1};
    char *table = print_table(&process, 1);

    (void)state;
    assert_non_null(strstr(table, "\n2147483647  -  "));
    assert_non_null(strstr(table, "  ?     -      [h2o]\n"));
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_a_line_for_each_process),
        cmocka_unit_test(knows_since_when),
        cmocka_unit_test(process_that_has_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
