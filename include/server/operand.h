/*
 * The operands of USDT notes ("-4@12(%rsp)"): where an argument of a probe lies when the probe
 * fires, in the assembler's syntax, as the compiler left it there. See systemtap's sys/sdt.h for
 * "N@OP".
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
    uint8_t shift; /* the register's bits begin here: 8 for %ah to %dh */
};

/* The architecture that this program was compiled for. */
enum operand_arch operand_native(void);

/*
 * Parses the first operand of *text and moves *text behind it and the blanks that follow. Returns
 * 0, or -1 for an operand that cannot be read by a BPF program (one that is relative to a symbol,
 * say) or is none.
 */
int operand_parse(enum operand_arch arch, const char **text, struct operand *operand);

/* How many operands a note's arguments have. */
size_t operand_count(enum operand_arch arch, const char *text);

/*
 * Writes the C expression that has the operand's value, in the operand's size and with its sign,
 * inside a BPF function whose parameter is `struct pt_regs *ctx`. Returns what snprintf returns.
 */
int operand_expression(const struct operand *operand, char *text, size_t size);

#endif
