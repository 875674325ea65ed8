#include "interrupt.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/time.h>

bool interrupt_is_due(int signals)
{
    struct pollfd pollfd = {.fd = signals, .events = POLLIN};

    return poll(&pollfd, 1, 0) > 0;
}

void interrupt_after(uint64_t ns)
{
    const struct itimerval timer = {.it_value = {.tv_sec = (time_t)(ns / 1000000000),
                                                 .tv_usec = (suseconds_t)(ns % 1000000000 / 1000)}};

    setitimer(ITIMER_REAL, &timer, NULL);
}

int interrupt_open(void)
{
    struct sigaction hangup;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT); /* a shell ignores it for jobs in the background */
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGALRM);                                                  /* interrupt_after */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup */
        sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN); /* write(2) fails, too */
    signal(SIGXFSZ, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}
