/*
 * The USDT notes of a process: which probes of h2o, quicly and picotls are in its binary and in the
 * libraries that it has mapped, and where. Nothing in these files is trusted.
 */
#ifndef H2OLOG_SERVER_NOTES_H
#define H2OLOG_SERVER_NOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "server/process.h"

/* The binary, or a library. */
struct module {
    int fd;          /* the file; -1 after notes_close_files */
    char *path;      /* opens the same file again: /proc/self/fd/N */
    char *file;      /* name of the file, escaped, for messages */
    bool has_probes; /* of h2o's providers */
};

/* Why a probe cannot fire at a location. */
enum location_flaw {
    LOCATION_SOUND,
    LOCATION_NOT_CODE,     /* there is no code; `offset` is the address in the note */
    LOCATION_NO_SEMAPHORE, /* the kernel cannot increment its semaphore */
};

/* One location of a probe in the code. */
struct location {
    size_t module;             /* index in the modules of the notes */
    const char *file;          /* the module's, for messages; owned by the module */
    uint64_t offset;           /* of the probe's instruction in the file */
    uint64_t semaphore_offset; /* of its semaphore in the file; 0: it has none */
    enum location_flaw flaw;
    char *arguments; /* the operands, as the note has them */
};

/* A probe, with all its locations. */
struct probe {
    char *provider, *name; /* identifiers */
    struct location *locations;
    size_t num_locations;
};

struct notes {
    struct module *modules; /* the first one is the binary */
    size_t num_modules;
    struct probe *probes;
    size_t num_probes;
    size_t num_unread;      /* mapped files that could not be opened: their probes are unknown */
    bool notes_stripped;    /* a module has semaphores of probes, but not their notes */
    bool sections_stripped; /* the binary has no section table, by which notes are found */
};

/*
 * Reads the notes of a process, from the files that it runs, even if their names lead to other
 * files by now. Returns 0, or -1 with `error` set: a file cannot be read, there are no probes, or
 * the process does not serve (see list.h). Call notes_dispose in either case.
 */
int notes_read(struct notes *notes, const struct process *process, struct error *error);

/*
 * Closes the files. Call this after attaching: the paths of the modules are invalid from then on.
 */
void notes_close_files(struct notes *notes);

void notes_dispose(struct notes *notes);

#endif
