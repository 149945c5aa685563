/* Connections that wait for a request. What comes in on one meanwhile is no answer to anything, and libcurl would take
 * it for the answer to the next request: it looks before it uses a connection whether it is closed, and old versions
 * let bytes that have come in pass. So we look ourselves before requests are sent, with one poll(2) for all. A
 * connection on which anything has come in (it may be the end of its TLS session, too) is emptied and shut down;
 * libcurl then finds it closed.
 *
 * Which connections are idle follows from libcurl's callbacks: a socket is opened, a transfer waits for it, or none
 * does, it is closed. (A transfer that is under way always waits for its socket, between two calls of libcurl.) Only
 * sockets that we have opened, and whose closing has not been told, are ever touched.
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
        (void)shutdown(fd, SHUT_RDWR); /* first, so that there is an end to it */
        do
            got = recv(fd, stray, sizeof stray, MSG_DONTWAIT);
        while (got > 0);
        mu_idle_use(l, fd);
    }
}
