/*
 * A server with a header that is a constant and that nothing has read yet. A test checks that
 * h2olog can read it. The name is in .rodata, the value in relro. Empty pages around them keep the
 * kernel from mapping them together with other pages. On SIGUSR1, it fires
 * h2o:receive_request_header, traced or not.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

/* Around a page that is accessed, the kernel maps 64 KiB, or what it has read at once. */
#define EMPTY (1 << 20)

struct constant {
    char before[EMPTY], text[16], after[EMPTY];
};

unsigned short h2o_receive_request_header_semaphore __attribute__((section(".probes")));

static const struct constant name = {.text = "x-constant"};
static const struct constant value __attribute__((section(".data.rel.ro"))) = {.text = "untouched"};

int main(void)
{
    sigset_t set;
    int number = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    dprintf(STDOUT_FILENO, "ready pid %d\n", (int)getpid());
    while (sigwait(&set, &number) == 0) {
        STAP_PROBE6(h2o, receive_request_header, (uint64_t)1, (uint64_t)2, name.text, (size_t)10,
                    value.text, (size_t)9);
        dprintf(STDOUT_FILENO, "fired\n");
    }
    return 1;
}
