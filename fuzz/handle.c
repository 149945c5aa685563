/* Fuzzes the whole handle against a service whose answers are the input: its pieces, separated by 0x1e bytes, in turn,
 * then ordinary answers. "%I" in a piece is replaced by the request id of the request that it answers.
 *
 * Checked for every input: each invocation ends once; the counts add up; an outcome that has a request id has that of
 * an answer to its own invocation, although connections are reused; and an invocation that got an ordinary answer of
 * success is accepted, and never sent again.
 *
 * The service runs in the same thread, between two polls, so only the waits between attempts, of a millisecond, depend
 * on time.
 */
#include "fuzz.h"
#include "liblaunch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD "{\"id\": ##ID##}"
#define ORDINARY "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nx-amzn-RequestId: %I\r\n\r\n"
#define SEPARATOR 0x1e

enum { REQUESTS = 6, CONNECTIONS = 64, REQUEST_MAX = 4096, ANSWER_MAX = 1 << 16, QUIET_ROUNDS = 4, LONGEST_MS = 2000 };

const char *const fuzz_words[] = {
    "\r\n", "\r\n\r\n", "\n", " ", "\t", "\x1e", "%I", "0", "1", "5", "10", "HTTP/1.1 202 A\r\n", "HTTP/1.1 100 C\r\n\r\n",
    "HTTP/1.0 ", "HTTP/1.1 101 S\r\n", "HTTP/1.1 204 N\r\n", "HTTP/1.1 503 S\r\n", "HTTP/1.1 404 N\r\n",
    "HTTP/1.1 409 C\r\n", "HTTP/1.1 403 F\r\n", "Content-Length: ", "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", "x-amzn-RequestId: %I\r\n",
    "x-amzn-ErrorType: ", "ExpiredTokenException", "ResourceConflictException", "InvalidSignatureException",
    "Date: Sun, 09 Sep 2001 01:46:40 GMT\r\n", "2\r\n{}\r\n0\r\n\r\n", "0\r\n\r\n", ORDINARY, "\x1e" ORDINARY "\x1e", "X: y\r\n",
    " folded: x\r\n", "{\"message\":\"m\"}", "WWW-Authenticate: Basic\r\n", "Location: /\r\n", "Upgrade: h2c\r\n", NULL,
};

typedef struct connection {
    int fd;
    size_t size;
    char text[REQUEST_MAX];
} connection;

static struct {
    int listener;
    int port;
    connection connections[CONNECTIONS];
    const uint8_t *script; /* what is left of it */
    size_t left;
    bool done[REQUESTS]; /* got an ordinary answer */
} service;

static void open_service(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    service.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    MUST(service.listener >= 0 && bind(service.listener, (struct sockaddr *)&address, size) == 0);
    MUST(listen(service.listener, CONNECTIONS) == 0);
    MUST(getsockname(service.listener, (struct sockaddr *)&address, &size) == 0);
    service.port = ntohs(address.sin_port);
    for (int i = 0; i < CONNECTIONS; i++)
        service.connections[i].fd = -1;
    (void)signal(SIGPIPE, SIG_IGN);
    MUST(mu_launch_setup() == MU_LAUNCH_OK);
}

/* A request's id, with a check on its number, so that no mutation turns one into another. */
static void write_id(char out[32], int number)
{
    (void)snprintf(out, 32, "id-%d-%08x", number, (unsigned)(number + 1) * 2654435761u);
}

/* Puts the next piece of the script into `out`, filled in; returns its size. */
static size_t next_answer(char *out, int number)
{
    char id[32];
    write_id(id, number);
    const uint8_t *piece = (const uint8_t *)ORDINARY;
    size_t size = sizeof ORDINARY - 1;
    if (service.left > 0) {
        const uint8_t *end = memchr(service.script, SEPARATOR, service.left);
        piece = service.script;
        size = end == NULL ? service.left : (size_t)(end - piece);
        size_t step = end == NULL ? size : size + 1;
        service.script += step;
        service.left -= step;
    }
    if (size == sizeof ORDINARY - 1 && memcmp(piece, ORDINARY, size) == 0)
        service.done[number] = true;
    size_t used = 0;
    for (size_t i = 0; i < size && used + sizeof id < ANSWER_MAX; i++) {
        if (piece[i] == '%' && i + 1 < size && piece[i + 1] == 'I') {
            memcpy(out + used, id, strlen(id));
            used += strlen(id);
            i++;
        } else {
            out[used++] = (char)piece[i];
        }
    }
    return used;
}

/* Answers a request that has come whole; returns whether there was one. */
static bool answer_one(connection *c)
{
    static char answer[ANSWER_MAX];
    c->text[c->size] = '\0';
    const char *body = strstr(c->text, "\r\n\r\n{\"id\": ");
    const char *end = body == NULL ? NULL : strchr(body, '}');
    if (end == NULL)
        return false;
    int number = (int)strtol(body + strlen("\r\n\r\n{\"id\": "), NULL, 10);
    MUST(number >= 0 && number < REQUESTS);
    MUST(!service.done[number]); /* once is enough */
    size_t size = next_answer(answer, number);
    (void)send(c->fd, answer, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    size_t whole = (size_t)(end + 1 - c->text);
    c->size -= whole;
    memmove(c->text, c->text + whole, c->size);
    return true;
}

static void hang_up(connection *c)
{
    (void)close(c->fd);
    c->fd = -1;
}

/* Lets the service accept, read and answer once; returns whether it did anything. */
static bool serve(void)
{
    bool happened = false;
    for (int i = 0; i < CONNECTIONS; i++) {
        connection *c = &service.connections[i];
        if (c->fd < 0) {
            c->fd = accept(service.listener, NULL, NULL);
            c->size = 0;
            if (c->fd < 0)
                continue;
            MUST(fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0);
            happened = true;
        }
        ssize_t got = recv(c->fd, c->text + c->size, REQUEST_MAX - 1 - c->size, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            hang_up(c);
            happened = true;
        } else if (got > 0) {
            c->size += (size_t)got;
            happened = true;
            while (answer_one(c))
                continue;
            MUST(c->size < REQUEST_MAX - 1);
        }
    }
    return happened;
}

static void hang_up_all(void)
{
    for (int i = 0; i < CONNECTIONS; i++)
        if (service.connections[i].fd >= 0)
            hang_up(&service.connections[i]);
}

static int64_t now_ms(void)
{
    struct timespec t;
    MUST(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Polls until all have ended. The service hangs up when it has been quiet for a while: the client waits for more. */
static bool drive(mu_launch *l)
{
    int quiet = 0;
    mu_launch_progress p;
    for (int64_t until = now_ms() + LONGEST_MS;;) {
        mu_launch_get_progress(l, &p);
        MUST(p.queued + p.sent + p.waiting + p.accepted + p.failed + p.cancelled == p.total && p.total == REQUESTS);
        int left = mu_launch_poll(l, p.sent == 0 && p.waiting > 0 ? 1 : 0);
        MUST(left == 0 || left == 1);
        if (left == 0)
            return true;
        if (now_ms() > until) {
            mu_launch_cancel(l); /* an answer asked for a long wait */
            MUST(mu_launch_poll(l, 0) == 0);
            return false;
        }
        quiet = serve() ? 0 : quiet + 1;
        if (quiet >= QUIET_ROUNDS) {
            hang_up_all();
            quiet = 0;
        }
    }
}

/* Checks that a request id, if it is one that the service gave out, was given to this invocation. */
static void check_id(const char *given, int64_t number)
{
    char id[32];
    for (int i = 0; i < REQUESTS; i++) {
        write_id(id, i);
        MUST(i == number || strcmp(given, id) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (service.port == 0)
        open_service();
    if (size == 0)
        return 0;
    service.script = data + 1;
    service.left = size - 1;
    memset(service.done, 0, sizeof service.done);

    mu_launch *l = mu_launch_new();
    MUST(l != NULL);
    const mu_launch_options options = {
        .access_key = "AKID",
        .secret_key = "SECRET-OF-SOME-LENGTH",
        .session_token = data[0] & 4 ? "TOKEN-OF-SOME-LENGTH" : NULL,
        .payload = PAYLOAD,
        .payload_size = sizeof PAYLOAD - 1,
        .max_connections = 1 + data[0] % 3,
        .max_attempts = 3,
        .backoff_base_ms = 1,
        .backoff_cap_ms = 1,
    };
    MUST(mu_launch_configure(l, &options) == MU_LAUNCH_OK);
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", service.port);
    MUST(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    MUST(mu_launch_add(l, 0, 0, REQUESTS) == MU_LAUNCH_OK);
    bool finished = drive(l);

    bool seen[REQUESTS] = {false};
    mu_launch_outcome o;
    for (int i = 0; i < REQUESTS; i++) {
        MUST(mu_launch_take(l, &o, 1) == 1);
        MUST(o.number >= 0 && o.number < REQUESTS && !seen[o.number]);
        seen[o.number] = true;
        MUST((o.error == NULL) == (o.state == MU_LAUNCH_ACCEPTED));
        MUST(o.state != MU_LAUNCH_CANCELLED || !finished);
        MUST(!service.done[o.number] || !finished || o.state == MU_LAUNCH_ACCEPTED);
        check_id(o.request_id, o.number);
    }
    MUST(mu_launch_take(l, &o, 1) == 0);
    mu_launch_free(l);
    hang_up_all();
    (void)serve(); /* what has not been accepted yet */
    hang_up_all();
    return 0;
}
