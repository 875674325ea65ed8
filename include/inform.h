/* Prints the output of -h, -V, -l and --servers on standard output. */
#ifndef H2OLOG_INFORM_H
#define H2OLOG_INFORM_H

#include "run.h"

/* Prints what the options ask for. Returns the exit status. */
int inform(struct run *run);

#endif
