/*
 * Which probes there are in which version of h2o, and which version a server was built from.
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

/* A probe of the server, and how it is to be read. */
struct server_probe {
    const struct probe *probe;
    const struct signature *signature;
    struct guess
        *guess;         /* no list knows it: `signature` was made of its operands, and is in here */
    size_t num_ignored; /* arguments that it has behind those of the signature */
    bool is_traceable;  /* at some location it can fire, and its operands can be read */
};

struct version {
    uint32_t since, until; /* YYYYMMDD: the version that fits; until is 0 for the current one */
    uint32_t earliest;     /* since when versions fit as well as that */
    size_t num_matching;   /* probes of the server that the version has just so */
    struct server_probe *probes; /* every probe of the server, in the order of its notes */
    size_t num_probes;
};

/*
 * Finds the version of the lists that fits the server best as a whole, and with it each probe's
 * signature. Names count most, then numbers of arguments, then whether the operands can hold what
 * was declared.
 *
 * A signature is taken only if the operands can be its arguments: that of the version; or that of
 * the version for the first arguments of more (num_ignored); or that of another version. The last
 * two take operands of the very widths and signs that are declared, and operands that can be read.
 */
void version_open(struct version *version, enum operand_arch arch, const struct notes *notes);

void version_dispose(struct version *version);

/* Whether a probe can fire at a location, and all operands of it that are wanted can be read. */
bool version_reads(enum operand_arch arch, const struct server_probe *server_probe,
                   const struct location *location);

/*
 * A version as text: "h2o 2020-06-05 to 2020-06-06", "h2o since 2026-06-10", "the source tree that
 * this h2olog was built with".
 */
void version_name(const struct version *version, char *text, size_t size);

/* Whether the lists have a probe of that name, whatever its arguments. */
bool version_knows(const struct probe *probe);

/* Whether a signature is one of the version that fits. */
bool version_is_of_version(const struct version *version, const struct signature *signature);

/* A date of the tables as text: 2026-06-10. */
void version_date(uint32_t date, char *text, size_t size);

/*
 * Whether a probe is meant by a glob: "quicly:accept", "accept", "quicly:*", "h2o:h3s_*"; '-' and
 * '_' are the same.
 */
bool version_matches(const char *glob, const char *provider, const char *probe);

/* Whether any of the globs, which end with NULL, means a probe. */
bool version_matches_any(const char *const *globs, const char *provider, const char *probe);

/* Whether the server has a probe that a glob means, with whatever arguments. */
bool version_has(const struct version *version, const char *glob);

/* The first date, YYYYMMDD, on which the lists have a probe that one of the globs means; 0 for none. */
uint32_t version_known_since(const char *const *globs);

#endif
