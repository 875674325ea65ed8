#include "event/open_requests.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "memory.h"

/* The smallest table has 1 << SLOT_BITS_MIN slots. */
#define SLOT_BITS_MIN 10

/* What a request takes besides its headers. The connection and the slots are counted fully. */
#define REQUEST_SIZE                                                                               \
    (sizeof(struct open_request) + sizeof(struct open_connection) + 2 * sizeof(void *))

/* Limits of the pools of freed requests and connections: at most 4 MiB of headers are kept. */
#define UNUSED_MAX        ((size_t)1024)
#define UNUSED_HEADER_MAX 4096

/* Keys of dropped requests, in sets: a new key replaces the oldest of its set. 2 MiB. */
#define DROPPED_SET_BITS 14
#define DROPPED_WAYS     8

struct dropped_requests {
    struct {
        struct request_key keys[DROPPED_WAYS];
        uint32_t count; /* of all keys that were put into the set */
    } sets[1 << DROPPED_SET_BITS];
};

/*
 * The 16 random bytes that the kernel gives each process: they need no system call, which could
 * fail or be forbidden.
 */
static void make_seed(uint64_t seed[2])
{
    const void *random = (const void *)getauxval(AT_RANDOM); /* NOLINT(performance-no-int-to-ptr) */

    seed[0] = seed[1] = (uint64_t)(uintptr_t)seed;
    if (random != NULL)
        memcpy(seed, random, 2 * sizeof(seed[0]));
    seed[1] |= 1;
}

/* A multiplication by a random odd number spreads any numbers over the upper bits. */
static size_t slot_of(const struct open_requests *table, uint64_t conn, uint64_t req, unsigned bits)
{
    uint64_t hash = (conn ^ table->seed[0]) * table->seed[1];

    hash ^= hash >> 32;
    hash = (hash + req) * table->seed[1];
    hash ^= hash >> 32;
    return (size_t)(hash * table->seed[1] >> (64 - bits));
}

static struct open_request **slot_of_request(const struct open_requests *table, uint64_t conn,
                                             uint64_t req)
{
    return &table->requests[slot_of(table, conn, req, table->slot_bits)];
}

static struct open_connection **slot_of_connection(const struct open_requests *table, uint64_t conn)
{
    return &table->connections[slot_of(table, conn, 0, table->slot_bits)];
}

static void allocate_slots(struct open_requests *table, unsigned bits)
{
    const size_t count = (size_t)1 << bits;

    table->slot_bits = bits;
    table->requests = memory_grow(NULL, count, sizeof(struct open_request *));
    memset(table->requests, 0, count * sizeof(struct open_request *));
    table->connections = memory_grow(NULL, count, sizeof(struct open_connection *));
    memset(table->connections, 0, count * sizeof(struct open_connection *));
}

void open_requests_open(struct open_requests *table)
{
    *table = (struct open_requests){0};
    make_seed(table->seed);
    TAILQ_INIT(&table->by_age);
    allocate_slots(table, SLOT_BITS_MIN);
}

static void free_request(struct open_request *open)
{
    request_dispose(&open->request);
    free(open);
}

void open_requests_close(struct open_requests *table)
{
    struct open_request *each, *next;

    for (each = TAILQ_FIRST(&table->by_age); each != NULL; each = next) {
        next = TAILQ_NEXT(each, by_age);
        open_requests_remove(table, each);
    }
    while (table->unused != NULL) {
        struct open_request *open = table->unused;
        table->unused = open->next_in_slot;
        free_request(open);
    }
    while (table->unused_connections != NULL) {
        struct open_connection *connection = table->unused_connections;
        table->unused_connections = connection->next_in_slot;
        free(connection);
    }
    free(table->requests);
    free(table->connections);
    free(table->dropped);
    *table = (struct open_requests){0};
}

struct open_request *open_requests_find(const struct open_requests *table,
                                        const struct request_key *key)
{
    struct open_request *open = *slot_of_request(table, key->conn, key->req);

    while (open != NULL && (open->request.conn != key->conn || open->request.req != key->req))
        open = open->next_in_slot;
    return open;
}

struct open_connection *open_requests_find_connection(const struct open_requests *table,
                                                      uint64_t conn)
{
    struct open_connection *connection = *slot_of_connection(table, conn);

    while (connection != NULL && connection->conn != conn)
        connection = connection->next_in_slot;
    return connection;
}

static void insert_request(struct open_requests *table, struct open_request *open)
{
    struct open_request **slot = slot_of_request(table, open->request.conn, open->request.req);

    open->next_in_slot = *slot;
    *slot = open;
}

static void insert_connection(struct open_requests *table, struct open_connection *connection)
{
    struct open_connection **slot = slot_of_connection(table, connection->conn);

    connection->next_in_slot = *slot;
    *slot = connection;
}

/* Doubles the slots. Each connection is inserted with its first request. */
static void grow(struct open_requests *table)
{
    struct open_request *open;

    free(table->requests);
    free(table->connections);
    allocate_slots(table, table->slot_bits + 1);
    for (open = TAILQ_FIRST(&table->by_age); open != NULL; open = TAILQ_NEXT(open, by_age)) {
        insert_request(table, open);
        if (open == TAILQ_FIRST(&open->connection->requests))
            insert_connection(table, open->connection);
    }
}

static struct open_connection *add_connection(struct open_requests *table, uint64_t conn)
{
    struct open_connection *connection = table->unused_connections;

    if (connection != NULL) {
        table->unused_connections = connection->next_in_slot;
        --table->num_unused_connections;
    } else {
        connection = memory_grow(NULL, 1, sizeof(*connection));
    }
    connection->conn = conn;
    TAILQ_INIT(&connection->requests);
    insert_connection(table, connection);
    return connection;
}

/* Takes a request from the pool, or a new one. It keeps the memory for headers. */
static struct open_request *allocate_request(struct open_requests *table)
{
    struct open_request *open = table->unused;
    struct request request = {0};

    if (open != NULL) {
        table->unused = open->next_in_slot;
        --table->num_unused;
        request.headers = open->request.headers;
        request.allocated = open->request.allocated;
    } else {
        open = memory_grow(NULL, 1, sizeof(*open));
    }
    *open = (struct open_request){.request = request};
    return open;
}

struct open_request *open_requests_add(struct open_requests *table, const struct request_key *key)
{
    struct open_request *open = allocate_request(table);

    if (table->count >> table->slot_bits != 0)
        grow(table);
    open->request.conn = key->conn;
    open->request.req = key->req;
    open->connection = open_requests_find_connection(table, key->conn);
    if (open->connection == NULL)
        open->connection = add_connection(table, key->conn);
    TAILQ_INSERT_TAIL(&open->connection->requests, open, in_connection);
    TAILQ_INSERT_TAIL(&table->by_age, open, by_age);
    insert_request(table, open);
    ++table->count;
    table->bytes += REQUEST_SIZE + open->request.allocated;
    return open;
}

void open_requests_add_header(struct open_requests *table, struct open_request *open,
                              enum request_side side, const struct value *name,
                              const struct value *value)
{
    const size_t before = open->request.allocated;

    request_add_header(&open->request, side, name, value);
    table->bytes += open->request.allocated - before;
}

static void remove_connection(struct open_requests *table, struct open_connection *connection)
{
    struct open_connection **at = slot_of_connection(table, connection->conn);

    while (*at != connection)
        at = &(*at)->next_in_slot;
    *at = connection->next_in_slot;
    if (table->num_unused_connections == UNUSED_MAX) {
        free(connection);
        return;
    }
    connection->next_in_slot = table->unused_connections;
    table->unused_connections = connection;
    ++table->num_unused_connections;
}

void open_requests_remove(struct open_requests *table, struct open_request *open)
{
    struct open_request **at = slot_of_request(table, open->request.conn, open->request.req);

    while (*at != open)
        at = &(*at)->next_in_slot;
    *at = open->next_in_slot;
    TAILQ_REMOVE(&table->by_age, open, by_age);
    TAILQ_REMOVE(&open->connection->requests, open, in_connection);
    if (TAILQ_EMPTY(&open->connection->requests))
        remove_connection(table, open->connection);
    --table->count;
    table->bytes -= REQUEST_SIZE + open->request.allocated;
    if (open->request.allocated > UNUSED_HEADER_MAX)
        request_dispose(&open->request);
    if (table->num_unused == UNUSED_MAX) {
        free_request(open);
        return;
    }
    open->next_in_slot = table->unused;
    table->unused = open;
    ++table->num_unused;
}

void open_requests_remember(struct open_requests *table, const struct request_key *key)
{
    const size_t nth = slot_of(table, key->conn, key->req, DROPPED_SET_BITS);

    if (table->dropped == NULL) {
        table->dropped = memory_grow(NULL, 1, sizeof(*table->dropped));
        memset(table->dropped, 0, sizeof(*table->dropped));
    }
    table->dropped->sets[nth].keys[table->dropped->sets[nth].count++ % DROPPED_WAYS] = *key;
}

bool open_requests_is_remembered(const struct open_requests *table, const struct request_key *key)
{
    const size_t nth = slot_of(table, key->conn, key->req, DROPPED_SET_BITS);
    size_t count;

    if (table->dropped == NULL)
        return false;
    count = table->dropped->sets[nth].count;
    for (size_t i = 0; i != DROPPED_WAYS && i < count; ++i) {
        const struct request_key *dropped = &table->dropped->sets[nth].keys[i];
        if (dropped->conn == key->conn && dropped->req == key->req)
            return true;
    }
    return false;
}
