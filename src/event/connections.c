#include "event/connections.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* The smallest table. */
#define SLOTS_MIN ((size_t)1024)

static void allocate(struct connections *connections, size_t num_slots)
{
    connections->slots = memory_grow(NULL, num_slots, sizeof(connections->slots[0]));
    memset(connections->slots, 0, num_slots * sizeof(connections->slots[0]));
    connections->num_slots = num_slots;
}

void connections_open(struct connections *connections)
{
    *connections = (struct connections){0};
    allocate(connections, SLOTS_MIN);
}

void connections_close(struct connections *connections)
{
    free(connections->slots);
    *connections = (struct connections){0};
}

/*
 * Returns the first slot of a search. Addresses of objects of one size differ in their middle bits.
 */
static size_t home(const struct connections *connections, uint64_t address)
{
    return (size_t)(address * 0x9e3779b97f4a7c15 >> 32) & (connections->num_slots - 1);
}

static size_t after(const struct connections *connections, size_t slot)
{
    return (slot + 1) & (connections->num_slots - 1);
}

/* Finds the connection at an address, or the free slot for it. */
static struct connection *find(struct connections *connections, uint64_t address)
{
    size_t slot = home(connections, address);

    while (connections->slots[slot].address != 0 && connections->slots[slot].address != address)
        slot = after(connections, slot);
    return &connections->slots[slot];
}

/* Makes a new table. Keeps connections whose latest event is after `silent_since`. */
static void rebuild(struct connections *connections, size_t num_slots, uint64_t silent_since)
{
    struct connection *old = connections->slots;
    size_t num_old = connections->num_slots;

    allocate(connections, num_slots);
    for (size_t i = 0; i != num_old; ++i) {
        if (old[i].address == 0)
            continue;
        if (old[i].last > silent_since)
            *find(connections, old[i].address) = old[i];
        else
            --connections->count;
    }
    free(old);
}

/* Whether a search from slot `from` reaches `to` before or at `end`. */
static bool is_before(const struct connections *connections, size_t from, size_t to, size_t end)
{
    const size_t mask = connections->num_slots - 1;

    return ((to - from) & mask) <= ((end - from) & mask);
}

/* Frees a slot, and moves later entries that a search would not find any more. */
static void forget(struct connections *connections, struct connection *connection)
{
    size_t gap = (size_t)(connection - connections->slots), slot = gap;

    for (;;) {
        slot = after(connections, slot);
        if (connections->slots[slot].address == 0)
            break;
        if (is_before(connections, home(connections, connections->slots[slot].address), gap,
                      slot)) {
            connections->slots[gap] = connections->slots[slot];
            gap = slot;
        }
    }
    connections->slots[gap] = (struct connection){0};
    --connections->count;
}

/* Forgets the connection that ended CONNECTIONS_FREED ends ago, unless its address is in use. */
static void forget_freed(struct connections *connections)
{
    uint64_t end = connections->freed + 1 - CONNECTIONS_FREED;
    struct connection *connection;

    if (connections->freed < CONNECTIONS_FREED)
        return;
    connection = find(connections, connections->freed_addresses[end % CONNECTIONS_FREED]);
    if (connection->address == 0 || connection->freed != end)
        return;
    forget(connections, connection);
    if (connections->count < connections->num_slots / 8 && connections->num_slots > SLOTS_MIN)
        rebuild(connections, connections->num_slots / 2, 0);
}

/* Makes room: forgets connections whose latest event is in the oldest eighth of all. */
static void forget_silent(struct connections *connections)
{
    uint64_t oldest = connections->events;

    for (size_t i = 0; i != connections->num_slots; ++i) {
        const struct connection *connection = &connections->slots[i];
        if (connection->address != 0 && connection->last < oldest)
            oldest = connection->last;
    }
    rebuild(connections, connections->num_slots, oldest + (connections->events - oldest) / 8);
}

static struct connection *add(struct connections *connections, uint64_t address)
{
    struct connection *connection;

    if (connections->count == CONNECTIONS_MAX)
        forget_silent(connections);
    if (++connections->count > connections->num_slots / 4 * 3)
        rebuild(connections, connections->num_slots * 2, 0);
    connection = find(connections, address);
    *connection = (struct connection){.address = address};
    return connection;
}

/* Whether an event belongs to a new connection at the address of `connection`. */
static bool is_another(const struct connection *connection, enum connections_step step,
                       const uint32_t *conn)
{
    bool has_none_yet = connection->is_made && !connection->has_begun && connection->conn == 0;
    bool differs =
        conn != NULL && connection->has_conn && connection->conn != *conn && !has_none_yet;

    switch (step) {
    case CONNECTIONS_FIRST_PATH:
        return true;
    case CONNECTIONS_BEGINS:
        return connection->freed != 0 || connection->has_begun || differs;
    case CONNECTIONS_ENDS:
        return connection->freed != 0 || differs;
    default:
        return differs;
    }
}

struct connection *connections_follow(struct connections *connections, enum connections_step step,
                                      uint64_t address, const uint32_t *conn)
{
    struct connection *connection;

    if (step == CONNECTIONS_ENDS)
        forget_freed(connections);
    connection = find(connections, address);
    if (connection->address == 0)
        connection = add(connections, address);
    else if (is_another(connection, step, conn))
        *connection = (struct connection){.address = address};
    connection->last = ++connections->events;
    if (conn != NULL) {
        connection->conn = *conn;
        connection->has_conn = true;
    }
    if (step == CONNECTIONS_FIRST_PATH)
        connection->is_made = true;
    if (step == CONNECTIONS_BEGINS)
        connection->has_begun = true;
    if (step == CONNECTIONS_ENDS) {
        connection->freed = ++connections->freed;
        connections->freed_addresses[connection->freed % CONNECTIONS_FREED] = address;
    }
    return connection;
}

uint64_t connections_number(struct connections *connections, struct connection *connection)
{
    if (connection->number == 0)
        connection->number = ++connections->numbered;
    return connection->number;
}
