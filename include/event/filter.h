/*
 * A stage that passes on only the records and requests for which a query holds. Losses, ticks and
 * the end are always passed on.
 */
#ifndef H2OLOG_EVENT_FILTER_H
#define H2OLOG_EVENT_FILTER_H

#include "event/query.h"
#include "print/sink.h"

/*
 * Opens the stage. It closes `next`, not the query. The first regular expression that runs into a
 * limit is reported on settings->messages, and their number at the end.
 */
struct sink filter_open(const struct sink_settings *settings, struct query *query,
                        struct sink next);

#endif
