#include "server/version.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/*
 * What a probe adds to the score of a version. If the version lacks the name, or has it with other
 * arguments, the server is of another version. A probe that the server lacks can be missing for
 * another reason: it was not compiled in. An operand is only a hint: it has the size of the
 * expression at the location, not the declared size.
 */
enum {
    SCORE_NAME = 10000, /* more than all operands and missing probes together */
    SCORE_ARGUMENTS = 10000,
    SCORE_OPERAND = 2,
    SCORE_MISSING = -20,
};

static bool is_current(const struct signature *signature, uint32_t date)
{
    return signature->since <= date && (signature->until == 0 || date < signature->until);
}

static const struct signature *find_signature(const struct probe *probe, uint32_t date)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        if (is_current(&signatures[i], date) && strcmp(signatures[i].probe, probe->name) == 0 &&
            strcmp(signatures[i].provider, probe->provider) == 0)
            return &signatures[i];
    }
    return NULL;
}

/* Whether the first `count` operands of a location can be read. */
static bool has_operands(enum operand_arch arch, const struct location *location, size_t count)
{
    const char *text = location->arguments;
    struct operand operand;

    for (size_t i = 0; i != count; ++i) {
        if (operand_parse(arch, &text, &operand) != 0)
            return false;
    }
    return true;
}

/*
 * Returns the operands to compare with signatures: those of the first location where all of them
 * can be read, or, without such a location, of the first one.
 */
static const char *probe_operands(enum operand_arch arch, const struct probe *probe)
{
    for (size_t i = 0; i != probe->num_locations; ++i) {
        const struct location *location = &probe->locations[i];
        if (has_operands(arch, location, operand_count(arch, location->arguments)))
            return location->arguments;
    }
    return probe->locations[0].arguments;
}

static bool has_shape(enum operand_arch arch, const struct probe *probe,
                      const struct signature *signature)
{
    return operand_count(arch, probe_operands(arch, probe)) == signature->num_arguments;
}

/*
 * Whether an operand has a typical size for the declared type: a pointer has 8 bytes, and an int
 * not more than 4.
 */
static bool operand_fits(const struct operand *operand, const struct argument *argument)
{
    if (operand->kind == OPERAND_CONSTANT)
        return true;
    if (argument->is_pointer)
        return operand->size == 8 && !operand->is_signed;
    if (argument->width == 8)
        return operand->size == 8;
    return operand->size <= 4;
}

/*
 * Whether an operand can hold a value of the declared type: a pointer has 8 bytes, and no bits of
 * an integer are cut off. A narrower integer has the same value, and is common in real servers.
 */
static bool operand_holds(const struct operand *operand, const struct argument *argument)
{
    if (operand->kind == OPERAND_CONSTANT)
        return !argument->is_pointer || operand->value == 0;
    if (argument->is_pointer)
        return operand->size == 8 && !operand->is_signed;
    return argument->is_loose || argument->width == 8 || operand->size <= 4;
}

/* Whether an operand has the width and the sign of the declared argument. */
static bool operand_equals(const struct operand *operand, const struct argument *argument)
{
    if (!operand_holds(operand, argument))
        return false;
    if (operand->kind == OPERAND_CONSTANT || argument->is_pointer || argument->is_loose)
        return true;
    if (argument->width == 8)
        return operand->size == 8 && operand->is_signed == argument->is_signed;
    /* C widens a type narrower than int to int, whatever its sign is */
    return operand->size != argument->width || operand->size != 4 ||
           operand->is_signed == argument->is_signed;
}

typedef bool operand_test(const struct operand *operand, const struct argument *argument);

/* Whether the first operands of a location pass a test. Stops at an operand that cannot be read. */
static bool location_passes(enum operand_arch arch, const struct location *location,
                            const struct signature *signature, operand_test *test)
{
    const char *text = location->arguments;

    for (size_t i = 0; i != signature->num_arguments; ++i) {
        struct operand operand;
        if (operand_parse(arch, &text, &operand) != 0)
            return true;
        if (!test(&operand, &signature->arguments[i]))
            return false;
    }
    return true;
}

/*
 * Whether the first operands of a probe pass a test at all locations. Locations with another number
 * of operands than probe_operands() are skipped, because the program leaves them out.
 */
static bool probe_passes(enum operand_arch arch, const struct probe *probe,
                         const struct signature *signature, operand_test *test)
{
    const size_t count = operand_count(arch, probe_operands(arch, probe));

    for (size_t i = 0; i != probe->num_locations; ++i) {
        const struct location *location = &probe->locations[i];
        if (operand_count(arch, location->arguments) == count &&
            !location_passes(arch, location, signature, test))
            return false;
    }
    return true;
}

/* Whether the operands of a signature can be read, and so be compared, at one location at least. */
static bool is_comparable(enum operand_arch arch, const struct probe *probe,
                          const struct signature *signature)
{
    const size_t count = operand_count(arch, probe_operands(arch, probe));

    for (size_t i = 0; i != probe->num_locations; ++i) {
        if (operand_count(arch, probe->locations[i].arguments) == count &&
            has_operands(arch, &probe->locations[i], signature->num_arguments))
            return true;
    }
    return false;
}

/*
 * Whether a probe fits a signature. Operands that cannot be read count only by their number:
 * nothing is printed of them.
 */
static bool is_as_declared(enum operand_arch arch, const struct probe *probe,
                           const struct signature *signature)
{
    return has_shape(arch, probe, signature) && probe_passes(arch, probe, signature, operand_holds);
}

/* Whether the arguments of a signature are the first ones of a probe that has more. */
static bool is_extended(enum operand_arch arch, const struct probe *probe,
                        const struct signature *signature)
{
    return signature->num_arguments != 0 &&
           operand_count(arch, probe_operands(arch, probe)) > signature->num_arguments &&
           is_comparable(arch, probe, signature) &&
           probe_passes(arch, probe, signature, operand_equals);
}

/*
 * Returns the newest signature that the operands fit, for a server of a revision that is not h2o's
 * own.
 */
static const struct signature *find_other(enum operand_arch arch, const struct probe *probe)
{
    const struct signature *newest = NULL;

    for (size_t i = 0; i != num_signatures; ++i) {
        const struct signature *signature = &signatures[i];
        if (strcmp(signature->probe, probe->name) == 0 &&
            strcmp(signature->provider, probe->provider) == 0 &&
            has_shape(arch, probe, signature) && is_comparable(arch, probe, signature) &&
            probe_passes(arch, probe, signature, operand_equals) &&
            (newest == NULL || signature->since > newest->since))
            newest = signature;
    }
    return newest;
}

/*
 * Chooses the signature of a probe: the version's, or another one that is certain to fit. NULL:
 * none.
 */
static const struct signature *choose_signature(enum operand_arch arch, const struct probe *probe,
                                                uint32_t date)
{
    const struct signature *signature = find_signature(probe, date);

    if (signature != NULL &&
        (is_as_declared(arch, probe, signature) || is_extended(arch, probe, signature)))
        return signature;
    return find_other(arch, probe);
}

static int score_probe(enum operand_arch arch, const struct probe *probe,
                       const struct signature *signature, bool *matches)
{
    const char *text = probe_operands(arch, probe);
    int score = SCORE_NAME;

    *matches = is_as_declared(arch, probe, signature);
    if (!*matches)
        return score;
    score += SCORE_ARGUMENTS;
    for (size_t i = 0; i != signature->num_arguments; ++i) {
        struct operand operand;
        if (operand_parse(arch, &text, &operand) != 0)
            break;
        score += operand_fits(&operand, &signature->arguments[i]) ? SCORE_OPERAND : -SCORE_OPERAND;
    }
    return score;
}

static bool has_probe(const struct notes *notes, const struct signature *signature)
{
    for (size_t i = 0; i != notes->num_probes; ++i) {
        if (strcmp(notes->probes[i].name, signature->probe) == 0 &&
            strcmp(notes->probes[i].provider, signature->provider) == 0)
            return true;
    }
    return false;
}

static int score_version(enum operand_arch arch, const struct notes *notes, uint32_t date,
                         size_t *num_matching)
{
    int score = 0;

    *num_matching = 0;
    for (size_t i = 0; i != notes->num_probes; ++i) {
        const struct signature *signature = find_signature(&notes->probes[i], date);
        bool matches = false;
        if (signature != NULL)
            score += score_probe(arch, &notes->probes[i], signature, &matches);
        *num_matching += matches;
    }
    for (size_t i = 0; i != num_signatures; ++i) {
        if (is_current(&signatures[i], date) && !has_probe(notes, &signatures[i]))
            score += SCORE_MISSING;
    }
    return score;
}

/* The next day after `date` on which a probe was added, changed or removed; 0 if there is none. */
static uint32_t next_change(uint32_t date)
{
    uint32_t next = 0;

    for (size_t i = 0; i != num_signatures; ++i) {
        const uint32_t dates[] = {signatures[i].since, signatures[i].until};
        for (size_t j = 0; j != 2; ++j) {
            if (dates[j] > date && (next == 0 || dates[j] < next))
                next = dates[j];
        }
    }
    return next;
}

/*
 * Chooses the newest of the versions that fit best, because renamed probes were more often repaired
 * than broken. `earliest` is the first one in the row of versions before it that fit equally well.
 */
static void find_version(struct version *version, enum operand_arch arch, const struct notes *notes)
{
    int best = 0, last = 0;
    uint32_t date = 0;

    do {
        size_t num_matching;
        int score = score_version(arch, notes, date, &num_matching);
        if (version->since == 0 || score >= best) {
            if (version->since == 0 || score != best || last != best)
                version->earliest = date;
            best = score;
            version->since = date;
            version->num_matching = num_matching;
        }
        last = score;
        date = next_change(date);
    } while (date != 0);
    version->until = next_change(version->since);
}

/*
 * The signature of a probe that is in no list: the generic one with the same number of arguments,
 * and with the signs of the operands.
 */
struct guess {
    struct signature signature;
    struct field fields[PROBE_ARGUMENTS_MAX + 1]; /* of the arguments, and the time */
    char *declaration;
};

static struct guess *guess_signature(enum operand_arch arch, const struct probe *probe)
{
    struct guess *guess = memory_grow(NULL, 1, sizeof(*guess));
    const char *text = probe_operands(arch, probe);
    bool is_signed[PROBE_ARGUMENTS_MAX];
    struct operand operand;
    size_t count = 0, size;
    FILE *declaration;

    *guess = (struct guess){0};
    declaration = open_memstream(&guess->declaration, &size);
    if (declaration == NULL)
        abort();
    fprintf(declaration, "%s:%s(", probe->provider, probe->name);
    for (; count != PROBE_ARGUMENTS_MAX && operand_parse(arch, &text, &operand) == 0; ++count) {
        is_signed[count] = operand.is_signed;
        fprintf(declaration, "%s%sint%u_t arg%zu", count != 0 ? ", " : "",
                operand.is_signed ? "" : "u", operand.size * 8u, count + 1);
    }
    if (text[0] != '\0')
        fputs(count != 0 ? ", ..." : "...", declaration);
    fputs(")", declaration);
    fclose(declaration);
    guess->signature = generic_signatures[count];
    memcpy(guess->fields, guess->signature.fields,
           guess->signature.num_fields * sizeof(guess->fields[0]));
    for (size_t i = 0; i != count; ++i) /* the fields of the arguments come first */
        guess->fields[i].kind = is_signed[i] ? FIELD_SIGNED : FIELD_UNSIGNED;
    guess->signature.provider = probe->provider;
    guess->signature.probe = probe->name;
    guess->signature.declaration = guess->declaration;
    guess->signature.fields = guess->fields;
    return guess;
}

bool version_reads(enum operand_arch arch, const struct server_probe *server_probe,
                   const struct location *location)
{
    const struct signature *signature = server_probe->signature;

    return location->flaw == LOCATION_SOUND &&
           operand_count(arch, location->arguments) ==
               signature->num_arguments + server_probe->num_ignored &&
           has_operands(arch, location, signature->num_arguments);
}

static bool is_traceable(enum operand_arch arch, const struct server_probe *server_probe)
{
    for (size_t i = 0; i != server_probe->probe->num_locations; ++i) {
        if (version_reads(arch, server_probe, &server_probe->probe->locations[i]))
            return true;
    }
    return false;
}

void version_open(struct version *version, enum operand_arch arch, const struct notes *notes)
{
    *version = (struct version){.num_probes = notes->num_probes};
    find_version(version, arch, notes);
    version->probes = memory_grow(NULL, notes->num_probes, sizeof(version->probes[0]));
    for (size_t i = 0; i != notes->num_probes; ++i) {
        const struct probe *probe = &notes->probes[i];
        const struct signature *signature = choose_signature(arch, probe, version->since);
        version->probes[i] = (struct server_probe){.probe = probe, .signature = signature};
        if (signature != NULL) {
            version->probes[i].num_ignored =
                operand_count(arch, probe_operands(arch, probe)) - signature->num_arguments;
        } else {
            version->probes[i].guess = guess_signature(arch, probe);
            version->probes[i].signature = &version->probes[i].guess->signature;
        }
        version->probes[i].is_traceable = is_traceable(arch, &version->probes[i]);
    }
}

void version_dispose(struct version *version)
{
    for (size_t i = 0; i != version->num_probes; ++i) {
        struct guess *guess = version->probes[i].guess;
        if (guess != NULL) {
            free(guess->declaration);
            free(guess);
        }
    }
    free(version->probes);
}

bool version_knows(const struct probe *probe)
{
    for (size_t i = 0; i != num_signatures; ++i) {
        if (strcmp(signatures[i].probe, probe->name) == 0 &&
            strcmp(signatures[i].provider, probe->provider) == 0)
            return true;
    }
    return false;
}

bool version_is_of_version(const struct version *version, const struct signature *signature)
{
    return is_current(signature, version->since);
}

void version_date(uint32_t date, char *text, size_t size)
{
    snprintf(text, size, "%04u-%02u-%02u", date / 10000, date / 100 % 100, date % 100);
}

void version_name(const struct version *version, char *text, size_t size)
{
    char since[32], until[32];

    version_date(version->earliest, since, sizeof(since));
    version_date(version->until, until, sizeof(until));
    if (version->since == PROBE_SOURCE_DATE)
        snprintf(text, size, "the source tree that this h2olog was built with");
    else if (version->until == PROBE_SOURCE_DATE)
        snprintf(text, size, "h2o since %s, up to the source tree that this h2olog was built with",
                 since);
    else if (version->until == 0)
        snprintf(text, size, "h2o since %s", since);
    else
        snprintf(text, size, "h2o %s to %s", since, until);
}

/* Copies text with '-' replaced by '_', except in a range of a glob ([a-f]). */
static void normalize(char *to, size_t size, const char *from)
{
    bool in_range = false;
    size_t i = 0;

    for (; from[i] != '\0' && i + 1 < size; ++i) {
        in_range = from[i] == '[' || (in_range && from[i] != ']');
        to[i] = (char)(from[i] == '-' && !in_range ? '_' : from[i]);
    }
    to[i] = '\0';
}

bool version_matches(const char *glob, const char *provider, const char *probe)
{
    char pattern[256], full[256], name[128];

    if (strlen(glob) >= sizeof(pattern)) /* longer than any name */
        return false;
    normalize(pattern, sizeof(pattern), glob);
    normalize(name, sizeof(name), probe);
    snprintf(full, sizeof(full), "%.100s:%s", provider, name);
    return fnmatch(pattern, strchr(pattern, ':') != NULL ? full : name, 0) == 0;
}

bool version_matches_any(const char *const *globs, const char *provider, const char *probe)
{
    for (; *globs != NULL; ++globs) {
        if (version_matches(*globs, provider, probe))
            return true;
    }
    return false;
}

bool version_has(const struct version *version, const char *glob)
{
    for (size_t i = 0; i != version->num_probes; ++i) {
        const struct probe *probe = version->probes[i].probe;
        if (version_matches(glob, probe->provider, probe->name))
            return true;
    }
    return false;
}

uint32_t version_known_since(const char *const *globs)
{
    uint32_t first = 0;

    for (size_t i = 0; i != num_signatures; ++i) {
        if (version_matches_any(globs, signatures[i].provider, signatures[i].probe) &&
            (first == 0 || signatures[i].since < first))
            first = signatures[i].since;
    }
    return first;
}
