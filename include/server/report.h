/*
 * Reports about the probes of a server: which changed, which are missing, and the list of them
 * (-l).
 */
#ifndef H2OLOG_SERVER_REPORT_H
#define H2OLOG_SERVER_REPORT_H

#include <stddef.h>
#include <stdio.h>

#include "options.h"
#include "server/selection.h"
#include "server/version.h"

/*
 * Prints a line for each of these: a probe that the mode traces, but not on this server, because
 * its arguments have changed; a probe of which only the first arguments are read; a probe that is
 * read as another version declares it. Names new probes that the mode would trace in one more line.
 */
void report_changed(FILE *file, const struct selection *selection, const struct options *options,
                    const struct version *version);

/*
 * Prints a line for each kind of output that the mode has, but this server has no probe for. With
 * -t, only for HTTP/3, in modes that print nothing else.
 */
void report_missing(FILE *file, const struct options *options, const struct version *version);

/* Prints the probes that the mode traces and the server's version has, but the server lacks. */
void report_lacking(FILE *file, const struct options *options, const struct version *version);

/*
 * -l: prints the tracepoints, one declaration per line: those of the server, or, if `version` is
 * NULL, of all lists with their newest signatures. Returns the number of lines.
 */
size_t report_list(FILE *file, const struct options *options, const struct version *version);

#endif
