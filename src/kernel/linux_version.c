#include "kernel/linux_version.h"

#include <stdio.h>
#include <sys/utsname.h>

uint32_t linux_version(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0, patch = 0;

    uname(&name);
    sscanf(name.release, "%u.%u.%u", &major, &minor, &patch);
    return LINUX_VERSION(major, minor) | (patch > 255 ? 255 : patch);
}
