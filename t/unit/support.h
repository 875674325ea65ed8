/*
 * What the unit tests share: files of t/data, targets made of notes, lines as they were printed,
 * events made by the tables of the probes.
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
#include "server/signature.h"
#include "server/notes.h"

/* Ends the test, naming what of many things is wrong, if the strings differ. */
#define check_string(what, got, expected) check_string_at(what, got, expected, __FILE__, __LINE__)
void check_string_at(const char *what, const char *got, const char *expected, const char *file,
                     int line);

/* A file of t/data, NUL-terminated, to be freed. */
char *data_read(const char *name);

/*
 * Cuts the next row out of what data_read returned, and it into columns at its tabs: rows that are
 * empty or begin with '#' are passed over. Returns how many columns there are, 0 at the end.
 */
size_t data_row(char **rest, char **columns, size_t max);

/* What two hex digits a byte say. Returns how many bytes it was. */
size_t data_hex(const char *digits, uint8_t *bytes, size_t max);

/* The probes of a file of notes; none, if `name` is NULL. */
void notes_open(struct notes *notes, const char *name);

/* Adds a location of a probe, behind those that it has. */
void notes_add(struct notes *notes, const char *provider, const char *probe, const char *arguments);

/* Adds a probe as it is declared, with every argument in a register. */
void notes_add_signature(struct notes *notes, const struct signature *signature);

/* Takes a probe away, with all locations. */
void notes_remove(struct notes *notes, const char *provider, const char *probe);

void notes_close(struct notes *notes);

/* An output that keeps what is printed. */
void printed_open(struct output *output);

/* The complete lines that were printed since the last call, NUL-terminated, to be freed. */
char *printed_take(struct output *output);

void printed_close(struct output *output);

/* What becomes of events in the program: a decoder, and a sink that prints to an output. */
struct printer {
    struct sink_settings settings; /* to be changed between two events */
    struct clock clock;
    struct decoder decoder;
    struct sink sink;
    struct sink (*open)(const struct sink_settings *);
    size_t num_followed;
};

/*
 * Opens a printer of events of `num_printed` probes; `num_followed` more, behind them, are not
 * printed. The printer must not be moved.
 */
void printer_open(struct printer *printer, struct sink (*open)(const struct sink_settings *),
                  struct output *output, const struct server_probe *probes, size_t num_printed,
                  size_t num_followed);

/* Lines are numbered from 1 again, and connections too. */
void printer_restart(struct printer *printer);

/* Decodes and prints an event. Returns 0, or -1 if it is malformed. */
int printer_print(struct printer *printer, const struct event *event);

/* `count` events are lost at a time of the events' clock. */
void printer_lose(struct printer *printer, uint64_t now_ns, uint64_t count);

void printer_close(struct printer *printer);

/*
 * The seed of a random test: the one in H2OLOG_SEED, 1 without that. It is printed, for whoever
 * looks into a failure.
 */
uint32_t random_seed(void);

/* The next random number; `seed` is what random_seed returned. The same on every machine. */
uint32_t random_next(uint32_t *seed);

/* Whether bytes are UTF-8 throughout; another way of telling than that of text.c. */
bool is_utf8(const char *text);

/*
 * Whether text has no byte that moves a cursor or forges a line, but for newlines if it
 * `may_have_lines`.
 */
bool is_tame(const char *text, bool may_have_lines);

/* The signature that a probe ("quicly:accept") had on a day; it has to have one. */
const struct signature *signature_on(const char *full_name, uint32_t date);

/* An event in the making. */
struct draft {
    const struct signature *signature;
    uint8_t bytes[4 * 8192];
    size_t size;
};

/* An event of nothing but zeros, of a probe with this id. */
void draft_open(struct draft *draft, const struct signature *signature, uint16_t id);

void draft_head(struct draft *draft, uint16_t flags, uint32_t conn);

/* The address of quicly's object. */
void draft_connection(struct draft *draft, uint64_t address);

/* The place of a field; it has to be there. */
const struct field *draft_field(const struct draft *draft, const char *key);

/* Fills in an integer. */
void draft_number(struct draft *draft, const char *key, uint64_t value);

/* Fills in a struct sockaddr. */
void draft_address(struct draft *draft, const char *key, const void *bytes, size_t size);

/*
 * Appends the captured bytes of a value of no fixed size, and says that it has `full_size`: to be
 * called in the order of the fields.
 */
void draft_append(struct draft *draft, const char *key, const void *bytes, size_t size,
                  uint64_t full_size);
void draft_string(struct draft *draft, const char *key, const char *text);

/* The event; it stays in the draft. */
struct event draft_event(const struct draft *draft);

/*
 * A copy of an event whose bytes end where the readable memory ends: a byte more that is read is a
 * crash. Valid until the next call.
 */
struct event fenced(const struct event *event, size_t size);

/*
 * Compiles C for this machine, with the headers that BPF programs see, as a library that is loaded
 * and to be closed with dlclose. Ends the test if it does not compile.
 */
void *library_open(const char *source);

#endif
