/*
 * Prints requests in the format strings of h2o's `access-log`, escaped as h2o's `escape: apache`
 * (see escape_print_log).
 * h2o's `escape: json` is not needed: print/requests.h prints JSON.
 *
 *   %%           a percent sign
 *   %b           bytes of the response body (HTTP/3 of h2o since 2026-06)
 *   %D           microseconds from the request to the end of the response (HTTP/3); Apache has it
 *   %H           protocol: HTTP/1.1, HTTP/2
 *   %m           method
 *   %q           query with its '?', nothing if there is none
 *   %r           request line: "GET /?a HTTP/2"
 *   %s           status
 *   %t           local time of the request: [10/Oct/2000:13:55:36 -0700]
 *   %{FORMAT}t   the same as strftime formats it; also sec, msec, usec (since the epoch), msec_frac,
 *                usec_frac
 *   %U           path without the query
 *   %V           authority
 *   %{NAME}i     header of the request
 *   %{NAME}o     header of the response; all values of set-cookie, else the first value
 *   %{NAME}x     connection-id, request-id, http1.request-index, http2.stream-id, http3.stream-id
 *
 * h2o's %A %h %l %p %{local}p %{remote}p %u %v %e %{NAME}e, and %{NAME}x with other names, are "-",
 * because no probe has them. So is everything that is not known of a request. h2o takes durations
 * (%{duration}x, ...) from other places of its code than the probes, so they are "-", too.
 *
 * '<' and '>' behind '%' are accepted: %<s, %>s. There is no difference, because the probes have
 * only what is sent to the client.
 *
 * h2o logs a request when it disposes of it, also if no response was sent. So a request is printed
 * in every state. The format has no place for the state: what is not known of it is "-". goaccess
 * rejects lines whose %s is "-", also h2o's. A cut value ends with " [+12 bytes]".
 */
#ifndef H2OLOG_PRINT_ACCESS_LOG_H
#define H2OLOG_PRINT_ACCESS_LOG_H

#include "error.h"
#include "event/needs.h"
#include "print/sink.h"

struct access_log;

/*
 * Compiles a format: a string as in h2o's configuration, "common" or "combined". Returns NULL with
 * `error` set (ERROR_USAGE) if it has a specifier that h2o does not have. Free it with
 * access_log_close.
 */
struct access_log *access_log_compile(const char *format, struct error *error);

/* NULL is allowed. */
void access_log_close(struct access_log *access_log);

/* Adds what the format needs. */
void access_log_add_needs(const struct access_log *access_log, struct needs *needs);

/* Opens a sink that prints with settings->access_log, which must outlive it. */
struct sink access_log_open(const struct sink_settings *settings);

#endif
