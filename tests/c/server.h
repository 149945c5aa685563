/* A plain HTTP server on loopback for C tests, in its own thread. It allocates no memory, so that tests in which
 * allocations fail do not affect it. */
#ifndef SERVER_H
#define SERVER_H

/* Returns the answer to the `attempt`-th request (from 1) whose payload is {"id": `number`...}. If the text begins
 * with "!", the rest of it is sent and then the connection is closed. Called in the server's thread; the text must be
 * static. */
typedef const char *(*server_script)(int number, int attempt);

enum { SERVER_NUMBERS = 4096 };

/* Starts the server; returns its port. Only one server can run at a time. */
int server_start(server_script script);

/* Resets all counts to 0, between two runs of a test. */
void server_reset(void);

/* Returns the number of requests received for `number`. */
int server_count(int number);

/* Returns the number of accepted connections. */
int server_connections(void);

/* Sends text that no request asked for on all connections. Call it only while no connection is opened or closed. */
void server_say(const char *text);

/* Stops the server. */
void server_stop(void);

#endif
