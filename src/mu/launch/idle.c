/* Idle connections, which wait for a request. Bytes that arrive on one belong to no request, but libcurl would take
 * them for the answer to the next one: before it uses a connection it checks only whether it is closed, and old
 * versions ignore bytes that have arrived. So we check before requests are sent, with one poll(2) for all. A
 * connection on which anything has arrived (which may be the end of its TLS session) is emptied and shut down;
 * libcurl then finds it closed.
 *
 * libcurl's callbacks tell which connections are idle: a socket is opened, a transfer waits for it, or none does, it
 * is closed. (Between two calls of libcurl a running transfer always waits for its socket.) We touch only sockets
 * that we have opened and whose closing was not reported.
 */
#include "internal.h"

#include <stdlib.h>
#include <sys/socket.h>

bool mu_idle_open(struct mu_launch *l, int fd)
{
    if (fd >= l->place_count) {
        int count = fd + 64;
        int *places = realloc(l->places, (size_t)count * sizeof *places);
        if (places == NULL)
            return false;
        l->places = places;
        struct pollfd *idle = realloc(l->idle, (size_t)count * sizeof *idle);
        if (idle == NULL)
            return false;
        l->idle = idle;
        while (l->place_count < count)
            l->places[l->place_count++] = -1;
    }
    l->places[fd] = 0;
    return true;
}

static bool is_known(const struct mu_launch *l, int fd)
{
    return fd >= 0 && fd < l->place_count && l->places[fd] >= 0;
}

void mu_idle_use(struct mu_launch *l, int fd)
{
    if (!is_known(l, fd) || l->places[fd] == 0)
        return;
    int at = l->places[fd] - 1;
    l->idle[at] = l->idle[--l->idle_count];
    l->places[l->idle[at].fd] = at + 1;
    l->places[fd] = 0;
}

void mu_idle_close(struct mu_launch *l, int fd)
{
    mu_idle_use(l, fd);
    if (is_known(l, fd))
        l->places[fd] = -1;
}

void mu_idle_keep(struct mu_launch *l, int fd)
{
    if (!is_known(l, fd) || l->places[fd] > 0)
        return;
    l->idle[l->idle_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    l->places[fd] = l->idle_count;
}

void mu_idle_check(struct mu_launch *l)
{
    if (l->idle_count == 0 || poll(l->idle, (nfds_t)l->idle_count, 0) <= 0)
        return;
    for (int i = l->idle_count; i-- > 0;) {
        if (l->idle[i].revents == 0)
            continue;
        int fd = l->idle[i].fd;
        char stray[4096];
        ssize_t got;
        (void)shutdown(fd, SHUT_RDWR); /* first, so that reading reaches an end */
        do
            got = recv(fd, stray, sizeof stray, MSG_DONTWAIT);
        while (got > 0);
        mu_idle_use(l, fd);
    }
}
