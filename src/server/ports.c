#include "server/ports.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "memory.h"
#include "server/proc.h"

/* States of sockets in these lists: TCP_LISTEN and TCP_CLOSE of the kernel's tcp_states.h. */
#define STATE_LISTEN      0x0a
#define STATE_UNCONNECTED 0x07

static void add(struct ports *ports, const struct port *port)
{
    ports->ports = memory_grow(ports->ports, ports->count + 1, sizeof(ports->ports[0]));
    ports->ports[ports->count++] = *port;
}

/* Adds the sockets that listen in the network namespace of a process. */
static void read_sockets(struct ports *sockets, const char *process, const char *name, bool is_udp)
{
    const unsigned listens = is_udp ? STATE_UNCONNECTED : STATE_LISTEN;
    char path[64], line[512];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%s/net/%s", process, name);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        unsigned number, state;
        uint64_t inode;
        if (sscanf(line,
                   " %*u: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %" SCNu64,
                   &number, &state, &inode) != 3)
            continue; /* the heading */
        if (state == listens)
            add(sockets, &(struct port){inode, (uint16_t)number, is_udp});
        else if (!is_udp)
            break; /* the kernel lists the sockets that listen first; there can be a million others */
    }
    if (file != NULL)
        fclose(file);
}

static int compare_inodes(const void *one, const void *other)
{
    const struct port *a = one, *b = other;

    return (a->inode > b->inode) - (a->inode < b->inode);
}

static int compare_numbers(const void *one, const void *other)
{
    const struct port *a = one, *b = other;

    if (a->is_udp != b->is_udp)
        return a->is_udp ? 1 : -1;
    return (a->number > b->number) - (a->number < b->number);
}

/* `process` is a PID, or "self". */
static struct ports read_namespace(const char *process)
{
    struct ports sockets = {NULL, 0, false};

    read_sockets(&sockets, process, "tcp", false);
    read_sockets(&sockets, process, "tcp6", false);
    read_sockets(&sockets, process, "udp", true);
    read_sockets(&sockets, process, "udp6", true);
    if (sockets.count != 0)
        qsort(sockets.ports, sockets.count, sizeof(sockets.ports[0]), compare_inodes);
    return sockets;
}

/* Returns those of the sockets, sorted by inode, that the process has open. */
static struct ports find_open(const struct ports *sockets, pid_t pid)
{
    struct ports found = {NULL, 0, false};
    struct dirent *entry;
    char path[64];
    DIR *folder;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    folder = opendir(path);
    found.unreadable = folder == NULL && errno == EACCES;
    while (folder != NULL && sockets->count != 0 && (entry = readdir(folder)) != NULL) {
        char target[64];
        struct port key = {.inode = 0};
        const struct port *socket = NULL;
        ssize_t length = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        if (sscanf(target, "socket:[%" SCNu64 "]", &key.inode) == 1)
            socket = bsearch(&key, sockets->ports, sockets->count, sizeof(key), compare_inodes);
        if (socket != NULL)
            add(&found, socket);
    }
    if (folder != NULL)
        closedir(folder);
    return found;
}

struct ports ports_find(pid_t pid)
{
    char name[16];
    struct ports sockets, found;
    size_t kept = 0;

    snprintf(name, sizeof(name), "%d", (int)pid);
    sockets = read_namespace(name);
    found = find_open(&sockets, pid);
    free(sockets.ports);
    if (found.count != 0)
        qsort(found.ports, found.count, sizeof(found.ports[0]), compare_numbers);
    for (size_t i = 0; i != found.count; ++i) {
        if (kept == 0 || compare_numbers(&found.ports[kept - 1], &found.ports[i]) != 0)
            found.ports[kept++] = found.ports[i];
    }
    found.count = kept;
    return found;
}

pid_t ports_find_owner(uint16_t number, bool *in_use)
{
    struct ports sockets = read_namespace("self");
    struct pids processes = proc_list();
    pid_t owner = 0;
    size_t kept = 0;

    for (size_t i = 0; i != sockets.count; ++i) {
        if (sockets.ports[i].number == number)
            sockets.ports[kept++] = sockets.ports[i];
    }
    sockets.count = kept;
    *in_use = kept != 0;
    for (size_t i = 0; i != processes.count; ++i) {
        struct ports found = find_open(&sockets, processes.ids[i]);
        if (found.count != 0 && (owner == 0 || processes.ids[i] < owner))
            owner = processes.ids[i];
        free(found.ports);
    }
    free(processes.ids);
    free(sockets.ports);
    return owner;
}

bool ports_contain(const struct ports *ports, uint16_t number)
{
    for (size_t i = 0; i != ports->count; ++i) {
        if (ports->ports[i].number == number)
            return true;
    }
    return false;
}

/* A server can listen on hundreds of ports. */
#define FORMATTED_MAX 8

char *ports_format(const struct ports *ports)
{
    char *text = memory_format("%s", ports->count != 0 ? "" : ports->unreadable ? "?" : "-");

    for (size_t i = 0; i != ports->count; ++i) {
        const struct port *port = &ports->ports[i];
        char *longer;
        if (i == FORMATTED_MAX) {
            longer = memory_format("%s,+%zu", text, ports->count - i);
            i = ports->count - 1;
        } else {
            longer = memory_format("%s%s%u%s", text, i != 0 ? "," : "", (unsigned)port->number,
                                   port->is_udp ? "/udp" : "");
        }
        free(text);
        text = longer;
    }
    return text;
}
