/*
 * Prints requests in the format strings of h2o's `access-log`.
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

/* Opens a sink that prints with settings->access_log. */
struct sink access_log_open(const struct sink_settings *settings);

#endif
