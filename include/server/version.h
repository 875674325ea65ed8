/*
 * Finds the version of the probe lists that fits a server, and a signature for each of its probes.
 */
#ifndef H2OLOG_SERVER_VERSION_H
#define H2OLOG_SERVER_VERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/notes.h"
#include "server/operand.h"
#include "server/signature.h"

struct guess;

/* A probe of the server, and how to read it. */
struct server_probe {
    const struct probe *probe;
    const struct signature *signature;
    struct guess *guess; /* owns `signature` if no list has the probe; else NULL */
    size_t num_ignored;  /* arguments of the probe after those of the signature */
    bool is_traceable;   /* it can fire, and its operands can be read, at one location at least */
};

struct version {
    uint32_t since, until; /* YYYYMMDD: the version that fits; `until` is 0 for the current one */
    uint32_t earliest;     /* the first version in a row of versions that fit equally well */
    size_t num_matching;   /* probes of the server that are as this version declares them */
    struct server_probe *probes; /* every probe of the server, in the order of its notes */
    size_t num_probes;
};

/*
 * Finds the version of the lists that fits the server best, and with it the signature of each
 * probe. Names of probes count most, then numbers of arguments, then whether the operands can hold
 * the declared types.
 *
 * The operands of a probe must fit its signature. The candidates are, in this order: the signature
 * of the version; the same for the first arguments of a probe that has more (num_ignored); a
 * signature of another version. For the last two, the operands must be readable, and must have
 * exactly the declared widths and signs.
 */
void version_open(struct version *version, enum operand_arch arch, const struct notes *notes);

void version_dispose(struct version *version);

/*
 * Whether a probe can fire at a location, and all operands that the signature needs can be read
 * there.
 */
bool version_reads(enum operand_arch arch, const struct server_probe *server_probe,
                   const struct location *location);

/*
 * Writes the name of a version: "h2o 2020-06-05 to 2020-06-06", "h2o since 2026-06-10", or "the
 * source tree that this h2olog was built with".
 */
void version_name(const struct version *version, char *text, size_t size);

/* Whether the lists have a probe of this name, with any arguments. */
bool version_knows(const struct probe *probe);

/* Whether a signature belongs to the version that fits. */
bool version_is_of_version(const struct version *version, const struct signature *signature);

/* Writes a date of the tables as text: 2026-06-10. */
void version_date(uint32_t date, char *text, size_t size);

/*
 * Whether a glob matches a probe: "quicly:accept", "accept", "quicly:*", "h2o:h3s_*". '-' matches
 * '_', and '_' matches '-'.
 */
bool version_matches(const char *glob, const char *provider, const char *probe);

/* Whether one of the globs matches a probe. The list ends with NULL. */
bool version_matches_any(const char *const *globs, const char *provider, const char *probe);

/* Whether a glob matches a probe of the server, with any arguments. */
bool version_has(const struct version *version, const char *glob);

/*
 * Returns the first date, YYYYMMDD, on which the lists have a probe that one of the globs matches;
 * 0 if there is none.
 */
uint32_t version_known_since(const char *const *globs);

#endif
