#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "server/operand.h"

/* Returns the C expression of the first operand, or "unreadable". */
static void check_operand(enum operand_arch arch, const char *text, const char *expected)
{
    const char *at = text;
    struct operand operand;
    char expression[128] = "unreadable";

    if (operand_parse(arch, &at, &operand) == 0) {
        int length = operand_expression(&operand, expression, sizeof(expression));
        assert_int_equal(length, strlen(expression));
    }
    check_string(text, expression, expected);
}

static void check_file(enum operand_arch arch, const char *name, size_t at_least)
{
    char *text = data_read(name), *rest = text, *columns[2];
    size_t count = 0;

    while (data_row(&rest, columns, 2) == 2) {
        check_operand(arch, columns[0], columns[1]);
        ++count;
    }
    free(text);
    assert_true(count >= at_least);
}

static void reads_all_of_x86_64(void **state)
{
    (void)state;
    check_file(OPERAND_X86_64, "operands-x86_64.tsv", 252);
}

static void reads_all_of_aarch64(void **state)
{
    (void)state;
    check_file(OPERAND_AARCH64, "operands-aarch64.tsv", 149);
}

/* Every note has one operand per '@', and each is parsed to its end. */
static void check_notes(enum operand_arch arch, const char *name)
{
    struct notes notes;

    notes_open(&notes, name);
    for (size_t i = 0; i != notes.num_probes; ++i) {
        for (size_t j = 0; j != notes.probes[i].num_locations; ++j) {
            const char *text = notes.probes[i].locations[j].arguments, *at = text;
            struct operand operand;
            size_t count = 0;
            for (const char *mark = strchr(text, '@'); mark != NULL; mark = strchr(mark + 1, '@'))
                ++count;
            assert_int_equal(operand_count(arch, text), count);
            for (size_t nth = 0; nth != count; ++nth) {
                assert_int_equal(operand_parse(arch, &at, &operand), 0);
                /* the next one begins with its size, or there is none */
                assert_int_equal(*at == '\0', nth + 1 == count);
                assert_true(*at != ' ');
            }
        }
    }
    notes_close(&notes);
}

static void notes_have_one_operand_per_at_sign(void **state)
{
    (void)state;
    check_notes(OPERAND_X86_64, "usdt-notes-2020-06.tsv");
    check_notes(OPERAND_X86_64, "usdt-notes-2024-10.tsv");
    check_notes(OPERAND_X86_64, "usdt-notes-2026-06.tsv");
    check_notes(OPERAND_AARCH64, "usdt-notes-2026-06-aarch64.tsv");
}

struct operand_case {
    const char *operand;
    const char *expression;
};

static void reads_other_operands_of_x86_64(void **state)
{
    static const struct operand_case cases[] = {
        {"1@%ah", "(u8)(ctx->ax >> 8)"},
        {"-1@%bh", "(s8)(ctx->bx >> 8)"},
        {"1@%ch", "(u8)(ctx->cx >> 8)"},
        {"1@%dh", "(u8)(ctx->dx >> 8)"},
        {"1@%spl", "(u8)ctx->sp"},
        {"1@%bpl", "(u8)ctx->bp"},
        {"-1@%dil", "(s8)ctx->di"},
        {"2@%sp", "(u16)ctx->sp"},
        {"-2@%r8w", "(s16)ctx->r8"},
        {"2@%ax", "(u16)ctx->ax"},
        {"8@%rsp", "(u64)ctx->sp"},
        {"4@8(%rax,%rbx,4)", "read_u4(ctx->ax + ctx->bx * 4 + 8)"},
        {"-4@-8(%rsp,%r15,8)", "read_s4(ctx->sp + ctx->r15 * 8 + -8)"},
        {"8@(%rax,%rbx,1)", "read_u8(ctx->ax + ctx->bx * 1 + 0)"},
        {"8@(%rdi,%rsi,2)", "read_u8(ctx->di + ctx->si * 2 + 0)"},
        {"8@16(,%rcx,8)", "read_u8(0 + ctx->cx * 8 + 16)"},
        {"-2@-2(%rbp)", "read_s2(ctx->bp + -2)"},
        {"8@0x10(%rax)", "read_u8(ctx->ax + 16)"},
        {"8@$-1", "(u64)0xffffffffffffffffULL"},
        {"-4@$-1", "(s32)0xffffffffffffffffULL"},
        {"-1@$-128", "(s8)0xffffffffffffff80ULL"},
        {"8@$0x7fffffffffffffff", "(u64)0x7fffffffffffffffULL"},
        {"-8@$-9223372036854775808", "(s64)0x8000000000000000ULL"},
        {"8@$9223372036854775807", "(u64)0x7fffffffffffffffULL"},
        {"8@-9223372036854775808(%rax)", "read_u8(ctx->ax + -9223372036854775808)"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i)
        check_operand(OPERAND_X86_64, cases[i].operand, cases[i].expression);
}

static void reads_other_operands_of_aarch64(void **state)
{
    static const struct operand_case cases[] = {
        {"4@w3", "(u32)ctx->regs[3]"},
        {"-4@w30", "(s32)ctx->regs[30]"},
        {"1@w0", "(u8)ctx->regs[0]"},
        {"-2@x17", "(s16)ctx->regs[17]"},
        {"8@x30", "(u64)ctx->regs[30]"},
        {"8@sp", "(u64)ctx->sp"},
        {"8@[sp]", "read_u8(ctx->sp + 0)"},
        {"-8@[sp, -16]", "read_s8(ctx->sp + -16)"},
        {"8@[x1, #24]", "read_u8(ctx->regs[1] + 24)"},
        {"8@[x1,24]", "read_u8(ctx->regs[1] + 24)"},
        {"8@[x0, x1]", "read_u8(ctx->regs[0] + ctx->regs[1] * 1 + 0)"},
        {"4@[x0, x1, lsl 2]", "read_u4(ctx->regs[0] + ctx->regs[1] * 4 + 0)"},
        {"8@[x20, x21, lsl 3]", "read_u8(ctx->regs[20] + ctx->regs[21] * 8 + 0)"},
        {"8@[x20, x21, lsl #3]", "read_u8(ctx->regs[20] + ctx->regs[21] * 8 + 0)"},
        {"1@[x20, x21, lsl 0]", "read_u1(ctx->regs[20] + ctx->regs[21] * 1 + 0)"},
        {"-4@-1", "(s32)0xffffffffffffffffULL"},
        {"-4@#7", "(s32)0x7ULL"},
        {"-8@-9223372036854775808", "(s64)0x8000000000000000ULL"},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i)
        check_operand(OPERAND_AARCH64, cases[i].operand, cases[i].expression);
}

/* Checks that text is neither parsed as an operand nor skipped. */
static void check_unreadable(enum operand_arch arch, const char *text)
{
    const char *at = text;
    struct operand operand;

    if (operand_parse(arch, &at, &operand) == 0)
        fail_msg("'%s' is not an operand, but was parsed as one", text);
    if (at != text)
        fail_msg("'%s' is not an operand, but the text was moved to '%s'", text, at);
}

static void refuses_what_is_malformed(void **state)
{
    static const char *const malformed[] = {
        "", " ", "@", "8", "8@", "-8@", "-@", "--8@", "8 @", "x@",
    };
    static const char *const x86[] = {
        /* sizes */
        "0@%rax",
        "3@%rax",
        "-3@%rax",
        "16@%rax",
        "-16@%rax",
        "88@%rax",
        "256@%rax",
        "264@%rax",
        "18446744073709551624@%rax",
        "-9223372036854775808@%rax",
        "-9223372036854775816@%rax",
        "%rax",
        "8%rax",
        "8f@%xmm0",
        "-8f@%xmm0",
        /* registers */
        "8@rax",
        "8@%",
        "8@%rip",
        "8@%xmm0",
        "16@%xmm0",
        "8@%st",
        "8@%fs",
        "8@%ra",
        "8@%raxx",
        "8@%r16",
        "8@%r7",
        "8@%r",
        "8@%RAX",
        "8@%x0",
        "8@%rrrrrrrrrrrrrrrrrrrrrrrrrrrrrr",
        "8@%rax%rbx",
        /* relative to a symbol */
        "8@foo(%rip)",
        "8@foo",
        "8@foo+8(%rip)",
        "8@16+foo(%rip)",
        "8@16(%rip)",
        "4@%fs:16",
        "8@%fs:(%rax)",
        "8@$foo",
        "8@*(%rax)",
        /* memory */
        "8@(",
        "8@()",
        "8@(%rax",
        "8@%rax)",
        "8@16",
        "8@16(",
        "8@16()",
        "8@16(%rax",
        "8@-(%rax)",
        "8@16 (%rax)",
        "8@(%rax,)",
        "8@(%rax,%rbx,)",
        "8@(%rax,%rbx,3)",
        "8@(%rax,%rbx,0)",
        "8@(%rax,%rbx,16)",
        "8@(%rax,%rbx,-1)",
        "8@(%rax,%rbx,8",
        "8@(%rax,%rbx,8,8)",
        "8@(%rax,8)",
        "8@(,)",
        "8@(,,8)",
        "8@(%xmm0)",
        "8@(%rax)(%rbx)",
        "8@(%ah)",
        "8@(%rax,%ah)",
        "8@(%ah,%rax)",
        "8@(%ah,%bh)",
        /* constants */
        "8@$",
        "8@$-",
        "8@$x",
        "8@$1x",
        "8@$ 1",
        "8@$99999999999999999999",
        "8@$-9223372036854775809",
        "8@$18446744073709551615",
        "8@99999999999999999999(%rax)",
        "8@5",
        /* text after an operand */
        "8@%rax,",
        "8@%rax\t8@%rbx",
        "8@%rax;",
        "8@%rax*/",
        "8@(%rax)x",
        "8@$1\n",
        "8@%rax\x01",
    };
    static const char *const aarch64[] = {
        "3@x0",
        "16@x0",
        "8@%x0",
        "8@x31",
        "8@x99",
        "8@x",
        "8@y0",
        "8@w31",
        "8@x0x",
        "8@x-1",
        "8@x+1",
        "8@xzr",
        "8@v0",
        "8@q0",
        "8@d0",
        "8@x000000000000000000001",
        "8@X0",
        "8@[",
        "8@[]",
        "8@[x0",
        "8@x0]",
        "8@[x0,",
        "8@[x0,]",
        "8@[x0, ]",
        "8@[x31]",
        "8@[16]",
        "8@[x0, 16",
        "8@[x0, 16]x",
        "8@[x0, 16][",
        "8@[x0, x1, lsl]",
        "8@[x0, x1, lsl ]",
        "8@[x0, x1, lsl 4]",
        "8@[x0, x1, lsl -1]",
        "8@[x0, x1, lsr 2]",
        "8@[x0, x1, lsl 2",
        "8@[x0, x1,]",
        "8@[x0, 8, lsl 2]",
        "8@[x0, :lo12:foo]",
        "8@[foo]",
        "8@foo",
        "8@foo+8",
        "8@#",
        "8@$1",
        "8@5x",
        "8@99999999999999999999",
        "8@[x0, 99999999999999999999]",
        "8@x0,",
        "8@x0*/",
    };

    (void)state;
    for (size_t i = 0; i != sizeof(malformed) / sizeof(malformed[0]); ++i) {
        check_unreadable(OPERAND_X86_64, malformed[i]);
        check_unreadable(OPERAND_AARCH64, malformed[i]);
    }
    for (size_t i = 0; i != sizeof(x86) / sizeof(x86[0]); ++i)
        check_unreadable(OPERAND_X86_64, x86[i]);
    for (size_t i = 0; i != sizeof(aarch64) / sizeof(aarch64[0]); ++i)
        check_unreadable(OPERAND_AARCH64, aarch64[i]);
}

static void counts_operands(void **state)
{
    static const struct {
        const char *text;
        size_t x86, aarch64;
    } cases[] = {
        {"", 0, 0},
        {" ", 0, 0},
        {"8@%rax", 1, 1},
        {"8@%rax ", 1, 1},
        {" 8@%rax  -4@$1", 2, 2},
        {"8@x0 8@[x0, 16] -4@3", 3, 3},
        {"8@[x0, x1, lsl 3] 8@x1", 2, 2},
        /* unreadable operands are counted, too */
        {"8@foo(%rip)", 1, 1},
        {"8@foo(%rip) 8@%rax", 2, 2},
        {"8@%rax 8@foo(%rip)", 2, 2},
        {"8@foo(%rip) 8@bar(%rip) 4@%eax", 3, 3},
        {"8@%rax 8@%fs:16 -4@$1", 3, 3},
        {"8@[x0, :lo12:foo] 8@[x1, 16]", 2, 2},
        {"8@[x0, foo] 8@[x1, bar] 8@x2", 3, 3},
        {"garbage", 1, 1},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        size_t x86 = operand_count(OPERAND_X86_64, cases[i].text);
        size_t aarch64 = operand_count(OPERAND_AARCH64, cases[i].text);
        if (x86 != cases[i].x86 || aarch64 != cases[i].aarch64)
            fail_msg("'%s' has %zu and %zu operands, not %zu and %zu", cases[i].text, cases[i].x86,
                     cases[i].aarch64, x86, aarch64);
    }
}

/* Sizes and signs, which the version compares with the declarations. */
static void parses_size_and_sign(void **state)
{
    static const struct {
        const char *text;
        uint8_t size;
        bool is_signed;
        enum operand_kind kind;
    } cases[] = {
        {"1@%al", 1, false, OPERAND_REGISTER},  {"-1@%al", 1, true, OPERAND_REGISTER},
        {"2@(%rax)", 2, false, OPERAND_MEMORY}, {"-4@$0", 4, true, OPERAND_CONSTANT},
        {"8@%rax", 8, false, OPERAND_REGISTER}, {"-8@8(%rax)", 8, true, OPERAND_MEMORY},
    };

    (void)state;
    for (size_t i = 0; i != sizeof(cases) / sizeof(cases[0]); ++i) {
        const char *at = cases[i].text;
        struct operand operand;
        assert_int_equal(operand_parse(OPERAND_X86_64, &at, &operand), 0);
        assert_int_equal(operand.size, cases[i].size);
        assert_int_equal(operand.is_signed, cases[i].is_signed);
        assert_int_equal(operand.kind, cases[i].kind);
    }
}

/*
 * Like snprintf, it returns the full length, and writes no more than `size` bytes.
 */
static void expression_fits_its_buffer(void **state)
{
    const char *at = "8@3256(%r12,%rdx,8)";
    struct operand operand;
    char whole[128], part[128];
    int length;

    (void)state;
    assert_int_equal(operand_parse(OPERAND_X86_64, &at, &operand), 0);
    length = operand_expression(&operand, whole, sizeof(whole));
    for (size_t room = 1; room <= (size_t)length; ++room) {
        memset(part, 'x', sizeof(part));
        assert_int_equal(operand_expression(&operand, part, room), length);
        assert_int_equal(strlen(part), room - 1);
        assert_memory_equal(part, whole, room - 1);
        assert_int_equal(part[room], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_of_x86_64),
        cmocka_unit_test(reads_all_of_aarch64),
        cmocka_unit_test(notes_have_one_operand_per_at_sign),
        cmocka_unit_test(reads_other_operands_of_x86_64),
        cmocka_unit_test(reads_other_operands_of_aarch64),
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(counts_operands),
        cmocka_unit_test(parses_size_and_sign),
        cmocka_unit_test(expression_fits_its_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
