/*
 * Loading a BPF program into the kernel.
 */
#ifndef H2OLOG_KERNEL_LOAD_H
#define H2OLOG_KERNEL_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "kernel/maps.h"
#include "kernel/program.h"

/* The functions of a program in the kernel. */
struct loaded {
    int *functions; /* descriptors, in the order of the program's functions */
    size_t num_functions;
    int dispatch; /* descriptor of PROGRAM_DISPATCH; -1: each location has an event of its own */
};

/* Nothing loaded: load_close does nothing. */
#define LOADED_NONE                                                                                \
    {                                                                                              \
        .dispatch = -1                                                                             \
    }

/*
 * Whether this kernel can attach uprobes at all locations of a file with one link. The program is
 * written and loaded either for that, or for one event per location.
 */
bool load_uses_one_link(void);

/*
 * Compiles and loads a program. Output of libbcc goes to stderr if `verbose`, or if it fails. Ends
 * early when `signals` is readable (see interrupt.h). Returns 0, or -1 with `error` set. Call
 * load_close in either case.
 */
int load_program(struct loaded *loaded, const struct program *program, const struct maps *maps,
                 bool verbose, int signals, struct error *error);

void load_close(struct loaded *loaded);

#endif
