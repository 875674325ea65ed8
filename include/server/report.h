/*
 * What is said of the server's probes: which ones changed, which are missing, and the list of them (-l).
 */
#ifndef H2OLOG_SERVER_REPORT_H
#define H2OLOG_SERVER_REPORT_H

#include <stddef.h>
#include <stdio.h>

#include "options.h"
#include "server/selection.h"
#include "server/version.h"

/*
 * Prints a line for each probe that is not read as the server's version declares it: one that is
 * not traced, although the mode means it, as its arguments have changed; one of which only the first
 * arguments are known; one that is read as another version declares it. New probes that the mode
 * means are named in one line.
 */
void report_changed(FILE *file, const struct selection *selection, const struct options *options,
                    const struct version *version);

/*
 * Prints a line for each thing that the mode promises and no probe of this server gives; with -t, for
 * HTTP/3 where the mode leaves out all else.
 */
void report_missing(FILE *file, const struct options *options, const struct version *version);

/*
 * Prints the probes that the mode means and the server's version of the lists has, but the server
 * lacks.
 */
void report_lacking(FILE *file, const struct options *options, const struct version *version);

/*
 * -l: prints the tracepoints, a declaration a line: of the server, or (NULL) of all lists, the
 * newest signature of each. Returns how many it were.
 */
size_t report_list(FILE *file, const struct options *options, const struct version *version);

#endif
