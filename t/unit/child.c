#include "child.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct error *child_error;

static struct error *share(void)
{
    void *memory =
        mmap(NULL, sizeof(struct error), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

pid_t child_start(int (*function)(const void *), const void *argument)
{
    pid_t child;

    if (child_error == NULL)
        child_error = share();
    *child_error = (struct error){0};
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no process */
        _exit(function(argument));
    }
    return child;
}

int child_wait(pid_t child)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

int child_run(int (*function)(const void *), const void *argument)
{
    return child_wait(child_start(function, argument));
}

void child_end(pid_t child)
{
    kill(child, SIGKILL);
    child_wait(child);
}

void child_check(const char *what, int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: ended with %s %d", what, WIFEXITED(status) ? "status" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

int child_drop_capabilities(uint64_t capabilities)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) != 0)
        return -1;
    for (size_t i = 0; i != 2; ++i) {
        data[i].effective &= ~(uint32_t)(capabilities >> 32 * i);
        data[i].permitted &= data[i].effective;
    }
    return (int)syscall(SYS_capset, &header, data);
}

void child_needs_root(void)
{
    if (geteuid() != 0)
        skip();
}
