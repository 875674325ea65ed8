/*
 * The operands of USDT notes ("-4@12(%rsp)"), in assembler syntax: where an argument is when the
 * probe fires. systemtap's sys/sdt.h documents "N@OP".
 */
#ifndef H2OLOG_SERVER_OPERAND_H
#define H2OLOG_SERVER_OPERAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum operand_arch {
    OPERAND_X86_64,
    OPERAND_AARCH64,
};

enum operand_kind {
    OPERAND_CONSTANT, /* value */
    OPERAND_REGISTER, /* base */
    OPERAND_MEMORY,   /* at base + index * scale + value */
};

/* "ctx->" and a register's name in struct pt_regs, an array index included. */
#define OPERAND_REGISTER_MAX 16

struct operand {
    enum operand_kind kind;
    uint8_t size; /* 1, 2, 4 or 8 bytes */
    bool is_signed;
    int64_t value;
    char base[OPERAND_REGISTER_MAX];  /* member of struct pt_regs; "" for none */
    char index[OPERAND_REGISTER_MAX]; /* the same */
    uint8_t scale;
    uint8_t shift; /* first bit in the register: 8 for %ah to %dh */
};

/* Returns the architecture that this program was compiled for. */
enum operand_arch operand_native(void);

/*
 * Parses the first operand of *text, and moves *text past it and the spaces after it. Returns 0, or
 * -1 if it is not an operand, or one that a BPF program cannot read, for example relative to a
 * symbol.
 */
int operand_parse(enum operand_arch arch, const char **text, struct operand *operand);

/* Returns the number of operands in the arguments of a note. */
size_t operand_count(enum operand_arch arch, const char *text);

/*
 * Writes the C expression for the value of the operand, with its size and sign, for a BPF function
 * with the parameter `struct pt_regs *ctx`. Returns what snprintf returns.
 */
int operand_expression(const struct operand *operand, char *text, size_t size);

#endif
