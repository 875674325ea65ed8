#include "kernel/maps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "event.h"
#include "kernel/bpf.h"
#include "kernel/limits.h"
#include "kernel/linux_version.h"
#include "root/diagnose.h"

#define MAPPABLE (1 << 10) /* BPF_F_MMAPABLE */

/*
 * The most HTTP/3 connections of h2o at a time. If there are more, the least recently used are
 * forgotten.
 */
#define TIES_MAX 65536

/* Functions of a program: one per probe and set of operands, 150 in a server of 2026. */
#define ENTRIES_MAX 4096

/* Returns a descriptor, or -1 with errno. */
static int create(enum bpf_map_type type, const char *name, size_t key, size_t value,
                  size_t entries, uint32_t flags)
{
    union bpf_attr attributes = {0};

    attributes.map_type = type;
    attributes.key_size = (uint32_t)key;
    attributes.value_size = (uint32_t)value;
    attributes.max_entries = (uint32_t)entries;
    attributes.map_flags = flags;
    snprintf(attributes.map_name, sizeof(attributes.map_name), "%s", name);
    return bpf_call(BPF_MAP_CREATE, &attributes, sizeof(attributes));
}

/* Creates an array of one entry, and maps it. Returns the memory, or NULL with errno. */
static void *create_mapped(int *fd, const char *name, size_t size, int protection)
{
    void *memory;

    *fd = create(BPF_MAP_TYPE_ARRAY, name, 4, size, 1, MAPPABLE);
    if (*fd < 0)
        return NULL;
    memory = mmap(NULL, size, protection, MAP_SHARED, *fd, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

static int explain_ring(size_t ring_size, struct error *error)
{
    const int code = errno;

    if (code == EPERM || code == EACCES || code == ENOSYS || code == EMFILE)
        return diagnose_refusal("BPF maps", code, error);
    if (linux_version() < LINUX_VERSION(5, 8))
        return error_set(error, ERROR_FAILED,
                         "this kernel has no BPF ring buffers; h2olog needs Linux 5.10");
    return error_set(error, ERROR_FAILED,
                     "the kernel refuses a ring of %zu KiB: %s; give -b a smaller SIZE",
                     ring_size >> 10, strerror(code));
}

static size_t lost_size(const struct maps *maps)
{
    return (maps->num_probes + 1) * sizeof(maps->lost[0]);
}

int maps_open(struct maps *maps, size_t num_probes, size_t ring_size, struct error *error)
{
    struct program_maps *fds = &maps->fds;

    *maps = (struct maps)MAPS_NONE;
    maps->num_probes = num_probes;
    limits_raise();
    fds->ring = create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, ring_size, 0);
    if (fds->ring < 0)
        return explain_ring(ring_size, error);
    fds->scratch = create(BPF_MAP_TYPE_PERCPU_ARRAY, "scratch", 4, 8 + EVENT_MAX, 2, 0);
    if (fds->scratch < 0)
        return diagnose_refusal("BPF maps", errno, error);
    fds->ties = create(BPF_MAP_TYPE_LRU_HASH, "ties", 8, sizeof(struct tie), TIES_MAX, 0);
    if (fds->ties < 0)
        return diagnose_refusal("BPF maps", errno, error);
    fds->entries = create(BPF_MAP_TYPE_PROG_ARRAY, "entries", 4, 4, ENTRIES_MAX, 0);
    if (fds->entries < 0)
        return diagnose_refusal("BPF maps", errno, error);
    maps->lost = create_mapped(&fds->lost, "lost", lost_size(maps), PROT_READ);
    if (maps->lost == NULL)
        return diagnose_refusal("BPF maps", errno, error);
    maps->gate = create_mapped(&fds->gate, "gate", sizeof(*maps->gate), PROT_READ | PROT_WRITE);
    if (maps->gate == NULL)
        return diagnose_refusal("BPF maps", errno, error);
    return 0;
}

void maps_open_gate(struct maps *maps)
{
    __atomic_store_n(&maps->gate->is_open, 1, __ATOMIC_RELEASE);
}

void maps_close_gate(struct maps *maps)
{
    __atomic_store_n(&maps->gate->is_open, 0, __ATOMIC_RELEASE);
}

uint64_t maps_lost(const struct maps *maps, size_t id)
{
    return __atomic_load_n(&maps->lost[id], __ATOMIC_RELAXED);
}

void maps_close(struct maps *maps)
{
    const int fds[] = {maps->fds.ring, maps->fds.lost,    maps->fds.scratch,
                       maps->fds.ties, maps->fds.entries, maps->fds.gate};

    if (maps->lost != NULL)
        munmap((void *)maps->lost, lost_size(maps));
    if (maps->gate != NULL)
        munmap(maps->gate, sizeof(*maps->gate));
    for (size_t i = 0; i != sizeof(fds) / sizeof(fds[0]); ++i) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    *maps = (struct maps)MAPS_NONE;
}
