#include "kernel/compile.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <bcc/bcc_common.h>
#include <bcc/bcc_version.h>

#include "kernel/headers.h"
#include "kernel/limits.h"
#include "kernel/linux_version.h"

/* libbcc has no function for its version. The name of its file has it: libbcc.so.0.26.0. */
void compile_library_version(char *text, size_t size)
{
    static const char begin[] = "libbcc.so.";
    void *function = dlsym(RTLD_DEFAULT, "bpf_module_create_c_from_string");
    Dl_info library;
    char *path = function != NULL && dladdr(function, &library) != 0
                     ? realpath(library.dli_fname, NULL)
                     : NULL;
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;

    if (slash != NULL && strncmp(slash + 1, begin, strlen(begin)) == 0)
        snprintf(text, size, "%s", slash + 1 + strlen(begin));
    else /* for example, libbcc is linked statically */
        snprintf(text, size, "%s", LIBBCC_VERSION);
    free(path);
}

const char *compile_built_with(void)
{
    return LIBBCC_VERSION;
}

/*
 * Redirects descriptors 1 and 2 to a file in memory, because libbcc and clang print to them. The
 * file is shown only if something fails or -d asks for it.
 */
struct silence {
    int memory;
    int copies[2]; /* of descriptors 1 and 2; -1: that one is not redirected */
};

static void silence_begin(struct silence *silence)
{
    silence->memory = memfd_create("h2olog", MFD_CLOEXEC);
    fflush(NULL);
    for (int i = 0; i != 2; ++i) {
        silence->copies[i] =
            silence->memory < 0 ? -1 : fcntl(STDOUT_FILENO + i, F_DUPFD_CLOEXEC, 3);
        if (silence->copies[i] >= 0)
            dup2(silence->memory, STDOUT_FILENO + i);
    }
}

static void silence_end(const struct silence *silence, bool show)
{
    char chunk[4096];
    ssize_t got;

    fflush(NULL);
    for (int i = 0; i != 2; ++i) {
        if (silence->copies[i] < 0)
            continue;
        dup2(silence->copies[i], STDOUT_FILENO + i);
        close(silence->copies[i]);
    }
    if (silence->memory < 0)
        return;
    lseek(silence->memory, 0, SEEK_SET);
    while (show && (got = read(silence->memory, chunk, sizeof(chunk))) > 0)
        fwrite(chunk, 1, (size_t)got, stderr);
    close(silence->memory);
}

/*
 * -g0: by default, libbcc asks for debug information, which takes a sixth of the time.
 * -disable-llvm-passes: libbcc runs the optimiser itself, so clang need not.
 * -disable-lifetime-markers: these let variables share the stack, of which the captures need
 * little, and take a tenth of the time.
 */
static void *create_module(const char *text, bool verbose)
{
    const char *flags[] = {
        "-w", "-g0", "-Xclang", "-disable-llvm-passes", "-Xclang", "-disable-lifetime-markers"};
    struct silence silence;
    void *module;

    silence_begin(&silence);
    module = bpf_module_create_c_from_string(text, 0, flags, sizeof(flags) / sizeof(flags[0]), true,
                                             NULL);
    silence_end(&silence, module == NULL || verbose);
    return module;
}

int compile_program(struct compiled *compiled, const char *text, bool verbose, struct error *error)
{
    struct headers headers;
    char version[64];
    int left;

    *compiled = (struct compiled){NULL};
    if (limits_raise_stack(error) != 0)
        return -1;
    if (headers_open(&headers, linux_version(), error) != 0) {
        headers_close(&headers);
        return -1;
    }
    /* with huge pages, the memory that the compiler leaves behind is many times larger */
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    headers_enter(&headers);
    setenv("BCC_KERNEL_SOURCE", headers.seen_as, 1);
    compiled->module = create_module(text, verbose);
    left = headers_leave(&headers);
    headers_close(&headers);
    if (left != 0)
        return error_set(error, ERROR_FAILED, "cannot return to the root folder: %s",
                         strerror(errno));
    if (compiled->module != NULL)
        return 0;
    compile_library_version(version, sizeof(version));
    return error_set(
        error, ERROR_FAILED,
        "libbcc %s cannot compile the BPF program; its messages are above; -dd shows the "
        "program",
        version);
}

struct instructions compile_find(const struct compiled *compiled, const char *function)
{
    return (struct instructions){
        .start = bpf_function_start(compiled->module, function),
        .count = bpf_function_size(compiled->module, function) / sizeof(struct bpf_insn),
    };
}

void compile_dispose(struct compiled *compiled)
{
    if (compiled->module != NULL)
        bpf_module_destroy(compiled->module);
    compiled->module = NULL;
    malloc_trim(0);
}
