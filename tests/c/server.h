/* A plain HTTP service on loopback for C tests, in a thread of its own. It allocates no memory, so that tests that let
 * allocations fail do not disturb it. */
#ifndef SERVER_H
#define SERVER_H

/* What to answer to the `attempt`-th request (from 1) with the payload {"id": `number`...}: the bytes. If they begin with
 * "!", what follows it is sent and the connection closed. Called in the server's thread; the text is static. */
typedef const char *(*server_script)(int number, int attempt);

enum { SERVER_NUMBERS = 4096 };

/* Starts the service; returns its port. One at a time. */
int server_start(server_script script);

/* Sets all counts back, between two runs of a test. */
void server_reset(void);

/* How many requests for `number` came. */
int server_count(int number);

/* Connections accepted. */
int server_connections(void);

/* Sends text on all connections, though nobody asked. Only while none is made or closed. */
void server_say(const char *text);

/* Ends the service. */
void server_stop(void);

#endif
