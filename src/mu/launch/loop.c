/* Sending and receiving: libcurl's multi_socket interface on poll(2).
 *
 * A target has slots. A slot is one libcurl easy handle, so it has at most one request in progress; between requests
 * libcurl keeps its connection. When a transfer ends, the slot takes the next queued request at once. A request is
 * filled in and signed only at that moment.
 *
 * The number of slots: with too few, we only wait for the network; with too many, handshakes cost more than they
 * gain, since one takes as much time of both ends as twenty requests. So a target begins with START_CONNECTIONS. Time
 * is divided into spans of WATCH_MS. When most of a span was spent in poll(2), and the target's fastest answers took
 * LATENCY_MS or more, latency is the limit, and we may have as many slots as there are requests in progress at one
 * request in each REQUEST_MS. (The fastest answers count, because others may have waited for a CPU, ours or a local
 * service's, which more connections would make worse.) If no answer has come for SILENT_MS, latency is the limit,
 * too. A service that answers as fast as we can sign never gets more than START_CONNECTIONS. At most OPENED_AT_ONCE
 * are opened at a time, so that a call does not exceed its time; when descriptors run out, no more are opened for a
 * while.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define START_CONNECTIONS 8
#define OPENED_AT_ONCE 16
#define WATCH_MS 5
#define MOST_OF_IT 0.75
#define LATENCY_MS 2.0
#define SILENT_MS 20
#define REQUEST_MS 0.1

static int on_timer(CURLM *multi, long timeout_ms, void *handle)
{
    (void)multi;
    struct mu_launch *l = handle;
    l->curl_due_ms = timeout_ms < 0 ? -1 : mu_now_ms() + timeout_ms;
    return 0;
}

/* Makes room for `room` descriptors to poll; false when out of memory. */
static bool reserve_descriptors(struct mu_launch *l, int room)
{
    if (room <= l->fd_room)
        return true;
    struct pollfd *fds = realloc(l->fds, (size_t)room * sizeof *fds);
    if (fds == NULL)
        return false;
    l->fds = fds;
    l->fd_room = room;
    return true;
}

/* Called by libcurl with what it waits for on a descriptor. libcurl stores a pointer of ours with the descriptor: its
 * place in `fds`, from 1; NULL if it has none yet. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *handle, void *place)
{
    (void)easy;
    struct mu_launch *l = handle;
    int at = (int)(intptr_t)place - 1;
    if (what == CURL_POLL_REMOVE) {
        mu_idle_keep(l, fd);
        if (at < 0)
            return 0;
        l->fds[at] = l->fds[--l->fd_count];
        return at == l->fd_count || curl_multi_assign(l->multi, l->fds[at].fd, place) == CURLM_OK ? 0 : -1;
    }
    mu_idle_use(l, fd);
    if (at < 0) {
        at = l->fd_count;
        if (!reserve_descriptors(l, at + 1) ||
            curl_multi_assign(l->multi, fd, (void *)(intptr_t)(at + 1)) != CURLM_OK)
            return -1;
        l->fds[at] = (struct pollfd){.fd = fd};
        l->fd_count++;
    }
    l->fds[at].events = (short)((what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0));
    return 0;
}

int mu_loop_open(struct mu_launch *l)
{
    CURLM *m = l->multi = curl_multi_init();
    if (m == NULL)
        return MU_LAUNCH_ENOMEM;
    if (curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
        curl_multi_setopt(m, CURLMOPT_SOCKETDATA, l) == CURLM_OK &&
        curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
        curl_multi_setopt(m, CURLMOPT_TIMERDATA, l) == CURLM_OK)
        return MU_LAUNCH_OK;
    (void)curl_multi_cleanup(m);
    l->multi = NULL;
    return MU_LAUNCH_ECURL;
}

/* Makes a slot, and room for the descriptors that it may wait for, which is at most those of a resolver and two
 * attempts to connect; libcurl cannot be told later that there is no room. NULL when out of memory. */
static slot *new_slot(struct mu_launch *l, target *t)
{
    return reserve_descriptors(l, 4 * ((int)l->progress.connections + 1)) ? mu_slot_new(l, t) : NULL;
}

/* Sends the target's queued requests on its idle slots, and on as many new ones as are allowed. */
static int send_queued(struct mu_launch *l, target *t)
{
    if (t->allowed == 0)
        t->allowed = l->max_connections < START_CONNECTIONS ? l->max_connections : START_CONNECTIONS;
    if (t->busy == 0)
        t->heard = mu_now(); /* waiting begins now */
    while (t->queue.first != NO_REQUEST && t->busy < t->allowed) {
        if (t->silent && !t->answered && l->requests[t->queue.first].attempts == 0)
            break; /* the requests in progress will show whether the service answers; see verdict.c */
        slot *s = t->idle;
        if (s == NULL) {
            if (l->may_open == 0)
                break;
            l->may_open--;
            s = new_slot(l, t);
            if (s == NULL) {
                if (t->busy > 0)
                    return MU_LAUNCH_OK; /* use the existing ones */
                return MU_LAUNCH_ENOMEM;
            }
            t->slots[t->open++] = s;
            l->progress.connections++;
            t->idle = s;
        }
        int result = mu_slot_prepare(l, s, &l->requests[t->queue.first]);
        if (result != MU_LAUNCH_OK)
            return result;
        if (curl_multi_add_handle(l->multi, s->easy) != CURLM_OK)
            return MU_LAUNCH_ECURL;
        t->idle = s->next;
        t->busy++;
        s->request = mu_fifo_pop(l, &t->queue);
        mu_set_state(l, s->request, MU_LAUNCH_SENT, NULL);
    }
    return MU_LAUNCH_OK;
}

static int send_all(struct mu_launch *l)
{
    int result = MU_LAUNCH_OK;
    l->may_open = OPENED_AT_ONCE;
    if (l->expired)
        return MU_LAUNCH_OK;
    if (l->progress.queued > 0)
        mu_idle_check(l);
    if (++l->turn >= l->target_count)
        l->turn = 0;
    for (int i = 0; i < l->target_count && result == MU_LAUNCH_OK; i++)
        result = send_queued(l, l->targets[(l->turn + i) % l->target_count]);
    return result;
}

/* Handles the transfers that have ended. */
static int collect(struct mu_launch *l)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(l->multi, &left)) != NULL;) {
        CURLcode code = message->data.result; /* freed when the transfer is removed */
        char *data = NULL;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &data) != CURLE_OK)
            return MU_LAUNCH_ECURL;
        slot *s = (slot *)(void *)data;
        if (curl_multi_remove_handle(l->multi, s->easy) != CURLM_OK)
            return MU_LAUNCH_ECURL;
        mu_judge(l, s, code);
        s->next = s->target->idle;
        s->target->idle = s;
        s->target->busy--;
    }
    return MU_LAUNCH_OK;
}

/* Returns how long (seconds) a target's fastest recent answer took, or how long we have been waiting for any. */
static double latency_of(const target *t, double now)
{
    return now - t->heard >= SILENT_MS / 1e3 ? now - t->heard : t->latency;
}

/* Ends a span. If most of it was spent waiting, targets that are limited by latency may have more connections. */
static void end_span(struct mu_launch *l, double now, bool waited)
{
    for (int i = 0; i < l->target_count; i++) {
        target *t = l->targets[i];
        if (t->fastest > 0)
            t->latency = t->fastest;
        t->fastest = 0;
        double latency_ms = latency_of(t, now) * 1e3;
        if (!waited || now < t->crowded_until || latency_ms < LATENCY_MS || t->queue.first == NO_REQUEST ||
            t->busy < t->allowed)
            continue;
        double wanted = latency_ms / REQUEST_MS > 2.0 * t->allowed ? latency_ms / REQUEST_MS : 2.0 * t->allowed;
        t->allowed = wanted < l->max_connections ? (int)wanted : l->max_connections;
    }
}

static bool is_growing_possible(const struct mu_launch *l)
{
    for (int i = 0; i < l->target_count; i++)
        if (l->targets[i]->queue.first != NO_REQUEST && l->targets[i]->allowed < l->max_connections)
            return true;
    return false;
}

/* Lets libcurl handle the descriptors that are ready, and its timers. It stops at `deadline`; the next call continues
 * from there. */
static bool act(struct mu_launch *l, int ready, int64_t deadline)
{
    int running;
    bool late = false;
    /* A callback may remove entries from the array; the entry that moves to its place is handled in the next round.
     * */
    for (int left = l->fd_count; left > 0 && ready > 0 && l->fd_count > 0 && !late; left--) {
        int i = l->fd_next < l->fd_count ? l->fd_next : 0;
        short events = l->fds[i].revents;
        l->fd_next = i + 1;
        if (events == 0)
            continue;
        ready--;
        l->fds[i].revents = 0;
        int mask = (events & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) | (events & POLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0);
        if (curl_multi_socket_action(l->multi, l->fds[i].fd, mask, &running) != CURLM_OK)
            return false;
        late = mu_now_ms() >= deadline;
    }
    if (l->curl_due_ms >= 0 && l->curl_due_ms <= mu_now_ms()) {
        l->curl_due_ms = -1;
        if (curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running) != CURLM_OK)
            return false;
    }
    return true;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Waits until a descriptor is ready, something is due, or `deadline`. Returns the result of poll(2). */
static int wait_ready(struct mu_launch *l, int64_t deadline)
{
    bool may_grow = is_growing_possible(l);
    int64_t until = deadline;
    if (l->curl_due_ms >= 0)
        until = earlier(until, l->curl_due_ms);
    if (l->progress.waiting > 0)
        until = earlier(until, l->requests[l->heap[0]].due_ms);
    if (l->may_open == 0 || l->expired)
        until = 0; /* more slots are to be opened */
    if (may_grow)
        until = earlier(until, (int64_t)(l->span_start * 1e3) + WATCH_MS);
    double before = mu_now();
    int64_t timeout = until - (int64_t)(before * 1e3);
    int ready = poll(l->fds, (nfds_t)l->fd_count, timeout > 0 ? (int)timeout : 0);
    double after = mu_now();
    l->span_waited += after - before;
    double span = after - l->span_start;
    if (span >= WATCH_MS / 1e3) {
        end_span(l, after, l->span_waited > MOST_OF_IT * span);
        l->span_start = after;
        l->span_waited = 0;
    }
    return ready;
}

int mu_launch_poll(struct mu_launch *l, int timeout_ms)
{
    if (!l->configured || timeout_ms < 0)
        return mu_fail(l, MU_LAUNCH_EINVAL, NULL);
    if (l->broken)
        return mu_fail(l, MU_LAUNCH_ECURL, NULL);
    int64_t deadline = mu_now_ms() + timeout_ms;
    int result = MU_LAUNCH_OK;
    while (l->progress.queued + l->progress.sent + l->progress.waiting > 0) {
        mu_wake_due(l, mu_now_ms());
        if ((result = send_all(l)) != MU_LAUNCH_OK)
            break;
        int ready = wait_ready(l, deadline);
        if (ready < 0 && errno != EINTR)
            return mu_fail(l, MU_LAUNCH_ESYSTEM, strerror(errno));
        result = act(l, ready, deadline) ? collect(l) : MU_LAUNCH_ECURL;
        if (result != MU_LAUNCH_OK || ready < 0 || l->expired || mu_now_ms() >= deadline)
            break;
    }
    if (result == MU_LAUNCH_ECURL)
        l->broken = true;
    if (result != MU_LAUNCH_OK)
        return mu_fail(l, result, NULL);
    return l->progress.queued + l->progress.sent + l->progress.waiting > 0;
}
