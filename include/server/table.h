/*
 * A table of servers, from which a person chooses one, and which completions read: the columns are
 * PID, GENERATION, SINCE, USER, PORTS and COMMAND. Only the last one contains blanks.
 */
#ifndef H2OLOG_SERVER_TABLE_H
#define H2OLOG_SERVER_TABLE_H

#include <stdio.h>

#include "server/list.h"

/* Prints a heading, and a line for each process. Escapes what the processes chose. */
void table_print(FILE *file, const struct servers *servers);

#endif
