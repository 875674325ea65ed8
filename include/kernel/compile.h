/*
 * libbcc's compiler: the text of a BPF program -> the instructions of its functions.
 */
#ifndef H2OLOG_KERNEL_COMPILE_H
#define H2OLOG_KERNEL_COMPILE_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

/* A compiled program. It takes 20 MiB: dispose of it once its functions are loaded. */
struct compiled {
    void *module; /* libbcc's */
};

/* Instructions of a function, owned by the compiled program. */
struct instructions {
    const void *start; /* array of struct bpf_insn */
    size_t count;
};

/* Writes the version of the libbcc that is loaded: "0.26.0". */
void compile_library_version(char *text, size_t size);

/* Returns the version of the libbcc that h2olog was built with. */
const char *compile_built_with(void);

/*
 * Compiles a program. Output of libbcc and clang goes to stderr if `verbose`, or if it fails.
 * Returns 0, or -1 with `error` set. Call compile_dispose in either case.
 */
int compile_program(struct compiled *compiled, const char *text, bool verbose, struct error *error);

/* Returns the instructions of a function, which must be in the program. */
struct instructions compile_find(const struct compiled *compiled, const char *function);

/* Frees the program, and gives the compiler's memory back to the system. */
void compile_dispose(struct compiled *compiled);

#endif
