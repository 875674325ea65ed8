#include "interrupt.h"

#include <poll.h>

bool interrupt_is_due(int signals)
{
    struct pollfd pollfd = {.fd = signals, .events = POLLIN};

    return poll(&pollfd, 1, 0) > 0;
}
