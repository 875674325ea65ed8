/*
 * Which h2o processes run here, and which of them serve. h2o is several processes: a supervisor
 * (start_server, with -m master and -m daemon), the server, and a child of the server that keeps
 * the private keys (neverbleed).
 */
#ifndef H2OLOG_SERVER_LIST_H
#define H2OLOG_SERVER_LIST_H

#include <stdbool.h>

#include "error.h"
#include "server/process.h"

/*
 * Returns the h2o servers of this machine as text, to be freed: "123 (h2o -c x.conf)", one per
 * line. Leaves out children of another h2o: they keep its private keys and do not serve.
 */
char *list_servers(void);

/*
 * Checks that a process serves. Returns 0, or -1 with `error` set to a sentence that names the
 * server to trace: the process keeps the private keys of a server, or, if it has no probes, is the
 * supervisor or a helper of one.
 */
int list_check_serves(const struct process *process, bool has_probes, struct error *error);

#endif
