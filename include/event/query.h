/*
 * A query, the EXPR of -q: compiled from text, and evaluated for each request or event.
 *
 *   status >= 500 and path ~ "^/api/"
 *   ttfb > 300ms or rx.user-agent !~ "curl"
 *   not (type == "packet-sent") and len > 1k
 *
 * A name is a key of the JSON output. rx.NAME and tx.NAME are request and response headers.
 */
#ifndef H2OLOG_EVENT_QUERY_H
#define H2OLOG_EVENT_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "event/clock.h"
#include "event/needs.h"
#include "event/record.h"
#include "event/request.h"

enum query_subject { QUERY_REQUESTS, QUERY_EVENTS };

struct query;

/*
 * Compiles a query. Returns NULL with `error` set (ERROR_USAGE) if it is wrong; the message shows
 * the place. Free it with query_close.
 */
struct query *query_open(const char *text, enum query_subject subject, struct error *error);

/* NULL is allowed. */
void query_close(struct query *query);

/* Adds what the query needs. */
void query_add_needs(const struct query *query, struct needs *needs);

/* Whether the query holds. `clock` converts times. */
bool query_holds_for_request(struct query *query, const struct request *request,
                             const struct clock *clock);
bool query_holds_for_record(struct query *query, const struct record *record,
                            const struct clock *clock);

/* How many matches of regular expressions ran into a limit. Each counted as no match. */
uint64_t query_num_given_up(const struct query *query);

#endif
