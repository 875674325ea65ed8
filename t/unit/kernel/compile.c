#include "child.h"

#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/compile.h"
#include "kernel/linux_version.h"

#define BEGIN                                                                                      \
    "#include <linux/version.h>\n"                                                                 \
    "#include <uapi/linux/ptrace.h>\n"

/* Compiles a program that must be valid. */
static void compile(struct compiled *compiled, const char *text)
{
    struct error error = {0};

    if (compile_program(compiled, text, false, &error) != 0)
        fail_msg("%s", error.text);
    check_string("error", error.text, "");
}

/* Checks that a function is `return VALUE;`. */
static void check_returns(const struct compiled *compiled, const char *function, uint32_t value)
{
    const struct instructions instructions = compile_find(compiled, function);
    const struct bpf_insn *code = instructions.start;

    assert_int_equal(instructions.count, 2);
    assert_int_equal(code[0].code, BPF_ALU64 | BPF_MOV | BPF_K);
    assert_int_equal(code[0].dst_reg, BPF_REG_0);
    assert_int_equal((uint32_t)code[0].imm, value);
    assert_int_equal(code[1].code, BPF_JMP | BPF_EXIT);
}

static void finds_each_function(void **state)
{
    struct compiled compiled;

    (void)state;
    compile(&compiled, BEGIN "int one(struct pt_regs *ctx) { return 1; }\n"
                             "int second(struct pt_regs *ctx) { return LINUX_VERSION_CODE; }\n");
    check_returns(&compiled, "one", 1);
    check_returns(&compiled, "second", linux_version());
    compile_dispose(&compiled);
}

/* libbcc optimises: a constant condition leaves no code, and helper functions are inlined. */
static void optimises(void **state)
{
    struct compiled compiled;

    (void)state;
    compile(&compiled,
            BEGIN "static inline __attribute__((always_inline)) int add(int a, int b)\n"
                  "{ return a + b; }\n"
                  "int sum(struct pt_regs *ctx) { return 0 ? (int)ctx->sp : add(3, 4); }\n");
    check_returns(&compiled, "sum", 7);
    compile_dispose(&compiled);
}

/* The compiler runs as root, so it must not read files of the disk. */
static void reads_no_other_files(void **state)
{
    struct compiled compiled;
    struct stat before, after;

    (void)state;
    child_needs_root();
    assert_int_equal(stat("/", &before), 0);
    compile(&compiled,
            BEGIN "int root(struct pt_regs *ctx) {\n"
                  "#if __has_include(\"/etc/passwd\") || __has_include(\"/proc/self/maps\")\n"
                  "return 1;\n"
                  "#else\n"
                  "return 2;\n"
                  "#endif\n"
                  "}\n");
    check_returns(&compiled, "root", 2);
    compile_dispose(&compiled);
    assert_int_equal(stat("/", &after), 0); /* the root folder is the same as before */
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(access("/etc/passwd", R_OK), 0);
}

/* A program, and how to compile it. */
struct attempt {
    const char *text;
    bool verbose;
    int output; /* gets standard output and standard error */
};

static int compile_in_child(const void *argument)
{
    const struct attempt *attempt = argument;
    struct compiled compiled;
    int result;

    if (dup2(attempt->output, STDOUT_FILENO) < 0 || dup2(attempt->output, STDERR_FILENO) < 0)
        return 3;
    result = compile_program(&compiled, attempt->text, attempt->verbose, child_error);
    compile_dispose(&compiled);
    fputs("standard error\n", stderr);
    puts("standard output");
    fflush(NULL);
    return result != 0;
}

/* Compiles in a child. Returns its exit status; `said` gets its output. */
static int attempt(const char *text, bool verbose, char *said, size_t size)
{
    struct attempt attempt = {text, verbose, memfd_create("output", MFD_CLOEXEC)};
    const int status = child_run(compile_in_child, &attempt);
    const ssize_t got = pread(attempt.output, said, size - 1, 0);

    assert_true(got > 0);
    said[got] = '\0';
    close(attempt.output);
    return status;
}

static void explains_an_error(void **state)
{
    char said[65536], version[64], expected[256];

    (void)state;
    assert_true(attempt(BEGIN "int broken(struct pt_regs *ctx) { return nowhere; }\n", false, said,
                        sizeof(said)) != 0);
    compile_library_version(version, sizeof(version));
    snprintf(expected, sizeof(expected),
             "libbcc %s cannot compile the BPF program; its messages are above; -dd shows the "
             "program",
             version);
    assert_int_equal(child_error->status, ERROR_FAILED);
    check_string("error", child_error->text, expected);
    assert_non_null(strstr(said, "use of undeclared identifier 'nowhere'"));
    assert_non_null(strstr(said, "standard error\nstandard output\n")); /* both are restored */
}

/* With a valid program, output of clang is shown only if `verbose`. The pragma prints a macro. */
static void shows_output_if_asked(void **state)
{
    static const char text[] = BEGIN "#define MARK 4711\n"
                                     "#pragma clang __debug macro MARK\n"
                                     "int one(struct pt_regs *ctx) { return 1; }\n";
    char said[65536];

    (void)state;
    child_check("compile", attempt(text, false, said, sizeof(said)));
    check_string("output", said, "standard error\nstandard output\n");
    child_check("compile", attempt(text, true, said, sizeof(said)));
    assert_non_null(strstr(said, "MARK"));
}

/* compile_dispose can be called twice. */
static void disposes_twice(void **state)
{
    struct compiled compiled;

    (void)state;
    compile(&compiled, BEGIN "int one(struct pt_regs *ctx) { return 1; }\n");
    compile_dispose(&compiled);
    assert_null(compiled.module);
    compile_dispose(&compiled);
}

static void knows_the_version_of_libbcc(void **state)
{
    unsigned major, minor, patch;
    char version[64];
    int end = 0;

    (void)state;
    compile_library_version(version, sizeof(version));
    assert_int_equal(sscanf(version, "%u.%u.%u%n", &major, &minor, &patch, &end), 3);
    assert_int_equal(end, strlen(version));
    check_string("version", version, compile_built_with()); /* tests run where they were built */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_each_function),         cmocka_unit_test(optimises),
        cmocka_unit_test(reads_no_other_files),        cmocka_unit_test(explains_an_error),
        cmocka_unit_test(shows_output_if_asked),       cmocka_unit_test(disposes_twice),
        cmocka_unit_test(knows_the_version_of_libbcc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
