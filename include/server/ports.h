/*
 * On which ports a process listens. Each network namespace has its own ports, so they are read from
 * the lists of the namespace in which the process is.
 */
#ifndef H2OLOG_SERVER_PORTS_H
#define H2OLOG_SERVER_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A socket that listens. */
struct port {
    uint64_t inode;
    uint16_t number;
    bool is_udp;
};

struct ports {
    struct port *ports; /* to be freed */
    size_t count;
    bool unreadable; /* the descriptors of the process cannot be read: this needs root */
};

/*
 * Finds the ports on which the process listens with TCP or UDP: in ascending order, TCP first, each
 * once. A UDP socket that is not connected to a peer counts as listening.
 */
struct ports ports_find(pid_t pid);

/*
 * Finds the process with the lowest PID that listens on a port in the network namespace of h2olog.
 * Returns 0 if there is none. `in_use` says whether any process listens there, also one that may
 * not be looked into.
 */
pid_t ports_find_owner(uint16_t number, bool *in_use);

bool ports_contain(const struct ports *ports, uint16_t number);

/* Returns the ports as text, to be freed: "80,443,443/udp"; "-" for none; "?" if unreadable. */
char *ports_format(const struct ports *ports);

#endif
