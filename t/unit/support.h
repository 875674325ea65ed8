/*
 * Shared by the unit tests: files of t/data, servers made from notes, printed lines, and events
 * made from the tables of the probes.
 */
#ifndef H2OLOG_UNIT_SUPPORT_H
#define H2OLOG_UNIT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "event/record.h"
#include "print/output.h"
#include "print/sink.h"
#include "server/notes.h"
#include "server/signature.h"

/* Fails if the strings differ. The message names the case. */
#define check_string(what, got, expected) check_string_at(what, got, expected, __FILE__, __LINE__)
void check_string_at(const char *what, const char *got, const char *expected, const char *file,
                     int line);

/* Reads a file of t/data, NUL-terminated. Free it with free(). */
char *data_read(const char *name);

/*
 * Takes the next row of a text from data_read, and divides it into columns at its tabs. Skips rows
 * that are empty or begin with '#'. Returns the number of columns, 0 at the end.
 */
size_t data_row(char **rest, char **columns, size_t max);

/* Decodes hex digits. Returns the number of bytes. */
size_t data_hex(const char *digits, uint8_t *bytes, size_t max);

/* Reads the probes of a file of notes; none if `name` is NULL. */
void notes_open(struct notes *notes, const char *name);

/* Adds a location of a probe. */
void notes_add(struct notes *notes, const char *provider, const char *probe, const char *arguments);

/* Adds a probe with this declaration, with every argument in a register. */
void notes_add_signature(struct notes *notes, const struct signature *signature);

/* Removes a probe with all locations. */
void notes_remove(struct notes *notes, const char *provider, const char *probe);

void notes_close(struct notes *notes);

/* Opens an output that keeps its lines. */
void printed_open(struct output *output);

/* Returns the complete lines since the last call, NUL-terminated. Free it with free(). */
char *printed_take(struct output *output);

void printed_close(struct output *output);

/* A decoder, and a sink that prints to an output. */
struct printer {
    struct sink_settings settings; /* can be changed between events */
    struct clock clock;
    struct decoder decoder;
    struct sink sink;
    struct sink (*open)(const struct sink_settings *);
    size_t num_followed;
};

/*
 * Opens a printer for `num_printed` probes, and `num_followed` probes after them that are not
 * printed. The printer must not be moved.
 */
void printer_open(struct printer *printer, struct sink (*open)(const struct sink_settings *),
                  struct output *output, const struct server_probe *probes, size_t num_printed,
                  size_t num_followed);

/* Resets the numbers of lines and connections to 1. */
void printer_restart(struct printer *printer);

/* Decodes and prints an event. Returns 0, or -1 if it is malformed. */
int printer_print(struct printer *printer, const struct event *event);

/* Reports `count` lost events at a time of the events' clock. */
void printer_lose(struct printer *printer, uint64_t now_ns, uint64_t count);

void printer_close(struct printer *printer);

/* A sink that prints requests to an output, and the request that is printed. */
struct request_printer {
    struct sink_settings settings; /* can be changed between requests */
    struct clock clock;            /* the wall clock is REQUEST_WALL_NS before the events' clock */
    struct output output;
    struct sink sink;
    struct request request;
};

/* 2026-11-27 10:29:34 UTC in nanoseconds since the epoch, and the same time of the events' clock. */
#define REQUEST_WALL_NS  (UINT64_C(1795775374) * 1000000000)
#define REQUEST_CLOCK_NS UINT64_C(5000000000000)

/*
 * Opens a sink, and makes a complete request of HTTP/2 without headers: 1292/39, received at
 * REQUEST_CLOCK_NS + 120318000, answered with 200 after 501200000 ns. The printer must not be moved.
 */
void request_printer_open(struct request_printer *printer,
                          struct sink (*open)(const struct sink_settings *));

/* The same with the settings of -F. */
void request_printer_open_format(struct request_printer *printer, const char *format);

/* Makes the request anew. */
void request_printer_restart(struct request_printer *printer);

/* Adds a header to the request. Values without a size are strings. */
void request_printer_header(struct request_printer *printer, enum request_side side,
                            const char *name, const char *value);
void request_printer_bytes(struct request_printer *printer, enum request_side side,
                           const char *name, const void *value, size_t size, uint64_t full_size);

/* Adds :authority example.com, :method GET, the path and :scheme https. */
void request_printer_pseudo(struct request_printer *printer, const char *path);

/* Prints the request, and returns its lines. Free it with free(). */
char *request_printer_take(struct request_printer *printer);

/* Fails if the lines of the request are not these. */
#define request_printer_check(printer, expected)                                                   \
    request_printer_check_at(printer, expected, __FILE__, __LINE__)
void request_printer_check_at(struct request_printer *printer, const char *expected,
                              const char *file, int line);

void request_printer_close(struct request_printer *printer);

/*
 * Fills `bytes` with random bytes of many kinds: control characters, quotes, spaces, parts of
 * UTF-8. Returns their number, at most `max`. `max` is not 0.
 */
size_t random_bytes(uint32_t *seed, uint8_t *bytes, size_t max);

/* Makes a random request with hostile bytes in all values. */
void request_printer_random(struct request_printer *printer, uint32_t *seed);

/* Returns the seed of a random test: H2OLOG_SEED, or 1. Prints it, to reproduce a failure. */
uint32_t random_seed(void);

/* Returns the next random number. `seed` is from random_seed. It is the same on every machine. */
uint32_t random_next(uint32_t *seed);

/* Whether bytes are valid UTF-8, independent of src/print/escape.c. */
bool is_utf8(const char *text);

/*
 * Whether text has no control characters, except newlines if `may_have_lines`.
 */
bool is_tame(const char *text, bool may_have_lines);

/* Returns the signature of a probe ("quicly:accept") on a day. Fails if there is none. */
const struct signature *signature_on(const char *full_name, uint32_t date);

/* A draft of an event. */
struct draft {
    const struct signature *signature;
    uint8_t bytes[4 * 8192];
    size_t size;
};

/* Begins an event with zeros, of the probe with this id. */
void draft_open(struct draft *draft, const struct signature *signature, uint16_t id);

void draft_head(struct draft *draft, uint16_t flags, uint32_t conn);

/* Sets the address of quicly's object. */
void draft_connection(struct draft *draft, uint64_t address);

/* Returns the place of a field. Fails if there is none. */
const struct field *draft_field(const struct draft *draft, const char *key);

/* Sets an integer. */
void draft_number(struct draft *draft, const char *key, uint64_t value);

/* Sets a struct sockaddr. */
void draft_address(struct draft *draft, const char *key, const void *bytes, size_t size);

/*
 * Appends the captured bytes of a value of variable size, and sets its `full_size`. Call it in the
 * order of the fields.
 */
void draft_append(struct draft *draft, const char *key, const void *bytes, size_t size,
                  uint64_t full_size);
void draft_string(struct draft *draft, const char *key, const char *text);

/* Returns the event, which points into the draft. */
struct event draft_event(const struct draft *draft);

/*
 * Copies an event to the end of readable memory, so that reading more is a crash. Valid until the
 * next call.
 */
struct event fenced(const struct event *event, size_t size);

/*
 * Compiles C for this machine with the headers of BPF programs, and loads it as a library. Close it
 * with dlclose. Fails if it does not compile.
 */
void *library_open(const char *source);

#endif
