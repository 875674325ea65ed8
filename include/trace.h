/*
 * The second half of a run: loads and attaches the program, gives up root, and prints events.
 */
#ifndef H2OLOG_TRACE_H
#define H2OLOG_TRACE_H

#include "run.h"

/*
 * Traces until the end of the session. Returns the exit status. run->error is set if tracing could
 * not begin.
 */
int trace_server(struct run *run);

#endif
