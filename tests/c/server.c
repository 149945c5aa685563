#include "server.h"

#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 64, REQUEST_MAX = 8192 };

static struct {
    pthread_t thread;
    server_script script;
    int wake[2];
    atomic_int counts[SERVER_NUMBERS];
    atomic_int connections;
    struct pollfd fds[2 + CONNECTIONS]; /* the pipe that stops the thread, the listener, connections */
    struct {
        char text[REQUEST_MAX];
        size_t size;
    } requests[2 + CONNECTIONS];
} server;

/* Returns the length of the request that `text` begins with, or 0 if it is not complete yet. */
static size_t whole_request(const char *text, size_t size)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");
    if (end == NULL)
        return 0;
    CHECK(length != NULL && length < end);
    size_t whole = (size_t)(end + 4 - text) + (size_t)strtol(length + strlen("Content-Length: "), NULL, 10);
    return whole <= size ? whole : 0;
}

/* Answers all complete requests of connection i. Returns 0 if the connection is to be closed. */
static int answer(int i)
{
    size_t whole;
    while ((whole = whole_request(server.requests[i].text, server.requests[i].size)) > 0) {
        char *text = server.requests[i].text;
        const char *id = strstr(text, "\r\n\r\n{\"id\": ");
        int number = id == NULL ? 0 : (int)strtol(id + strlen("\r\n\r\n{\"id\": "), NULL, 10);
        CHECK(number >= 0 && number < SERVER_NUMBERS);
        const char *reply = server.script(number, ++server.counts[number]);
        int last = reply[0] == '!';
        reply += last;
        /* The client may have closed the connection already: an error here only closes our side. */
        if (send(server.fds[i].fd, reply, strlen(reply), MSG_NOSIGNAL) < 0 || last)
            return 0;
        server.requests[i].size -= whole;
        memmove(text, text + whole, server.requests[i].size + 1);
    }
    return 1;
}

static void accept_connection(void)
{
    int fd = accept(server.fds[1].fd, NULL, NULL);
    CHECK(fd >= 0);
    int i = 2;
    while (i < 2 + CONNECTIONS && server.fds[i].fd >= 0)
        i++;
    CHECK(i < 2 + CONNECTIONS);
    int on = 1;
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    server.fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    server.requests[i].size = 0;
    server.requests[i].text[0] = '\0';
    server.connections++;
}

static void receive(int i)
{
    char *text = server.requests[i].text;
    size_t have = server.requests[i].size;
    CHECK(have < REQUEST_MAX - 1);
    ssize_t got = recv(server.fds[i].fd, text + have, REQUEST_MAX - 1 - have, 0);
    if (got > 0) {
        server.requests[i].size = have + (size_t)got;
        text[server.requests[i].size] = '\0';
        if (answer(i))
            return;
    }
    (void)close(server.fds[i].fd);
    server.fds[i].fd = -1;
}

static void *serve(void *unused)
{
    (void)unused;
    for (;;) {
        CHECK(poll(server.fds, 2 + CONNECTIONS, -1) > 0);
        if (server.fds[0].revents != 0)
            break;
        for (int i = 2; i < 2 + CONNECTIONS; i++)
            if (server.fds[i].fd >= 0 && server.fds[i].revents != 0)
                receive(i);
        if (server.fds[1].revents != 0)
            accept_connection();
    }
    for (int i = 0; i < 2 + CONNECTIONS; i++)
        if (server.fds[i].fd >= 0)
            (void)close(server.fds[i].fd);
    return NULL;
}

int server_start(server_script script)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 64) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    CHECK(pipe(server.wake) == 0);
    server.script = script;
    for (int i = 0; i < 2 + CONNECTIONS; i++)
        server.fds[i] = (struct pollfd){.fd = -1};
    server.fds[0] = (struct pollfd){.fd = server.wake[0], .events = POLLIN};
    server.fds[1] = (struct pollfd){.fd = listener, .events = POLLIN};
    server_reset();
    CHECK(pthread_create(&server.thread, NULL, serve, NULL) == 0);
    return ntohs(address.sin_port);
}

void server_reset(void)
{
    for (int i = 0; i < SERVER_NUMBERS; i++)
        server.counts[i] = 0;
    server.connections = 0;
}

int server_count(int number)
{
    return server.counts[number];
}

int server_connections(void)
{
    return server.connections;
}

void server_say(const char *text)
{
    for (int i = 2; i < 2 + CONNECTIONS; i++)
        if (server.fds[i].fd >= 0)
            CHECK(send(server.fds[i].fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

void server_stop(void)
{
    CHECK(write(server.wake[1], "x", 1) == 1);
    CHECK(pthread_join(server.thread, NULL) == 0);
    (void)close(server.wake[1]);
}
