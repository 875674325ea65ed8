/*
 * A query, the EXPR of -q: compiled from text, and evaluated for each request or event.
 *
 *   status >= 500 and path ~ "^/api/"
 *   ttfb > 300ms or rx.user-agent !~ "curl"
 *   not (type == "packet-sent") and len > 1k
 *
 * Names are the keys of the JSON output; rx.NAME and tx.NAME are request and response headers. A
 * name alone holds if it is there. `not` binds tighter than `and`, and `and` tighter than `or`.
 *
 * Strings stand in "" or ''. \" \' \\ \n \t \xNN are escapes; other backslashes are kept. In a
 * regular expression, only \" \' and \\ are escapes, and PCRE2 sees the others.
 *
 * k, M and G are powers of 1000; us, ms and s are units of durations. ttfb and duration are ttfb-us
 * and duration-us, but need a unit. Text that is wholly a number is compared with numbers as such.
 *
 * What is not there makes a comparison false, also with != and !~. If several headers have the name,
 * != and !~ hold if == and ~ hold for none of them, the other operators if they hold for one. Of a
 * truncated value, what was captured is compared.
 *
 * Addresses are compared by number. One without a port equals any port; 10.0.0.0/8 is a prefix.
 * Bytes are compared as what is printed: lower-case hex.
 */
#ifndef H2OLOG_EVENT_QUERY_H
#define H2OLOG_EVENT_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "event/clock.h"
#include "event/needs.h"
#include "event/record.h"
#include "event/request.h"
#include "server/process.h"

/* The most bytes of a query, and the most parentheses and nots that are open at a time. */
#define QUERY_SIZE_MAX  4096
#define QUERY_DEPTH_MAX 100

enum query_subject { QUERY_REQUESTS, QUERY_EVENTS };

struct query;

/*
 * Compiles a query. Returns NULL with `error` set (ERROR_USAGE) if it is wrong; the message shows
 * the place. Free it with query_close.
 */
struct query *query_open(const char *text, enum query_subject subject, struct error *error);

/* NULL is allowed. */
void query_close(struct query *query);

/*
 * The addresses of the server's mapped files, as in struct sink_settings: they tell the layouts of
 * quicly's statistics apart. They must outlive the query.
 */
void query_set_files(struct query *query, const struct address_range *files, size_t num_files);

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
