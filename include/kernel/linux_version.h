/*
 * Versions of Linux, as LINUX_VERSION_CODE has them.
 */
#ifndef H2OLOG_KERNEL_LINUX_VERSION_H
#define H2OLOG_KERNEL_LINUX_VERSION_H

#include <stdint.h>

#define LINUX_VERSION(major, minor) (uint32_t)((major) << 16 | (minor) << 8)

/* Returns the version of the running kernel. */
uint32_t linux_version(void);

#endif
