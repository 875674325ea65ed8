#ifndef STANDIN_SERVER_H
#define STANDIN_SERVER_H

#include <stdint.h>

struct server;

/*
 * Listens on 127.0.0.1 and serves HTTP/1.1 with `num_threads` threads until it is stopped. Port 0:
 * the kernel chooses one. Returns NULL on error, with a message on stderr.
 */
struct server *server_start(uint16_t port, unsigned num_threads);
uint16_t server_port(const struct server *server);

/* Closes all connections, ends the threads and frees the server. */
void server_stop(struct server *server);

#endif
