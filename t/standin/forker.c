/*
 * A server that forks workers. A test checks that they are not traced. SIGUSR1: fires
 * h2o:send_response with its own pid as the connection, traced or not. SIGUSR2: forks a worker.
 * SIGHUP: executes its argument. It prints what it did, and the value of its semaphore.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#define FIRINGS 100

unsigned short h2o_send_response_semaphore __attribute__((section(".probes")));

/* One write per line, because all processes print to the same pipe. */
static void say(const char *what)
{
    dprintf(STDOUT_FILENO, "%s pid %d semaphore %u\n", what, (int)getpid(),
            (unsigned)*(volatile unsigned short *)&h2o_send_response_semaphore);
}

static void fire(void)
{
    for (uint64_t request = 0; request != FIRINGS; ++request)
        STAP_PROBE3(h2o, send_response, (uint64_t)getpid(), request, (int32_t)200);
}

static void fork_worker(void)
{
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        say("forked");
    }
}

int main(int argc, char **argv)
{
    sigset_t set;
    int number = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    say("ready");
    while (sigwait(&set, &number) == 0) {
        if (number == SIGHUP) {
            execv(argv[argc - 1], argv);
        } else if (number == SIGUSR2) {
            fork_worker();
        } else {
            fire();
            say("fired");
        }
    }
    return 1;
}
