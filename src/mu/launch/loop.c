/* Sending and receiving: libcurl's multi_socket interface on poll(2).
 *
 * A target has slots. A slot is one libcurl easy handle, and so at most one request under way; between requests
 * libcurl keeps its connection. When a transfer ends, the slot takes the next queued request at once. A
 * request is filled in and signed at that moment and not before.
 *
 * How many slots? Too few, and the answers' way back is spent waiting; too many, and handshakes cost more than
 * they bring: one takes as much of both ends' time as twenty requests. So a target begins with START_CONNECTIONS.
 * Time is cut into spans of WATCH_MS. When most of a span was spent in poll(2), and the target's fastest answers took
 * LATENCY_MS or more, it is latency that limits us, and there is time for as many slots as answers under way at
 * one request in each REQUEST_MS. (The fastest answers, because the others may have waited for a CPU, ours or a
 * local service's; more connections would make that worse.) Where no answer has come for SILENT_MS, the way is
 * long, and that counts too. A service that answers as fast as we can sign never gets more than the start.
 *
 * Connections resume the TLS session of the target's first one, which halves the cost of their handshakes. libcurl
 * keeps one session per host, and OpenSSL spoils it as soon as a connection that has resumed it gets a ticket of its
 * own; so only the first connection may take tickets (on_tls).
 */
#include "internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_CONNECTIONS 8
#define WATCH_MS 5
#define MOST_OF_IT 0.75
#define LATENCY_MS 2.0
#define SILENT_MS 20
#define REQUEST_MS 0.1
#define CONNECT_TIMEOUT_MS 10000
#define ANSWER_MAX ((size_t)8 << 20) /* bytes; a function's answer has at most 6 MB */
#define HEADERS_MAX ((size_t)256 << 10)

static int on_timer(CURLM *multi, long timeout_ms, void *handle)
{
    (void)multi;
    struct mu_launch *l = handle;
    l->curl_due_ms = timeout_ms < 0 ? -1 : mu_now_ms() + timeout_ms;
    return 0;
}

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

/* libcurl says what it waits for on a descriptor. With the descriptor it keeps a pointer of ours, which is made
 * of its place in `fds`, from 1; NULL: it has none yet. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *handle, void *place)
{
    (void)easy;
    struct mu_launch *l = handle;
    int at = (int)(intptr_t)place - 1;
    if (what == CURL_POLL_REMOVE) {
        if (at < 0)
            return 0;
        l->fds[at] = l->fds[--l->fd_count];
        return at == l->fd_count || curl_multi_assign(l->multi, l->fds[at].fd, place) == CURLM_OK ? 0 : -1;
    }
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

static size_t on_header(char *line, size_t one, size_t size, void *data)
{
    (void)one;
    mu_answer *answer = data;
    mu_answer_header(answer, line, size);
    return answer->header_size <= HEADERS_MAX ? size : 0;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *data)
{
    (void)one;
    mu_answer *answer = data;
    mu_answer_body(answer, bytes, size);
    return answer->body_size <= ANSWER_MAX ? size : 0;
}

/* Whether libcurl's TLS is the OpenSSL that we are linked with, so that its pointers are good for us. */
static bool is_our_openssl(void)
{
    const char *theirs = curl_version_info(CURLVERSION_NOW)->ssl_version;
    return theirs != NULL && strncmp(theirs, "OpenSSL/", strlen("OpenSSL/")) == 0 &&
           strcmp(theirs + strlen("OpenSSL/"), OpenSSL_version(OPENSSL_VERSION_STRING)) == 0;
}

/* libcurl is about to make a TLS connection. */
static CURLcode on_tls(CURL *easy, void *context, void *data)
{
    (void)easy;
    const slot *s = data;
    if (s != s->target->slots[0])
        (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return CURLE_OK;
}

static bool set_resumption(slot *s)
{
    return !is_our_openssl() || (curl_easy_setopt(s->easy, CURLOPT_SHARE, s->target->share) == CURLE_OK &&
                                 curl_easy_setopt(s->easy, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK &&
                                 curl_easy_setopt(s->easy, CURLOPT_SSL_CTX_DATA, s) == CURLE_OK);
}

/* Links the headers that all requests of a slot have. What changes is written into the slot's own buffers. */
static void link_headers(struct mu_launch *l, slot *s)
{
    memcpy(s->date_header, "X-Amz-Date: ", sizeof "X-Amz-Date: ");
    memcpy(s->authorization, "Authorization: ", sizeof "Authorization: ");
    const char *lines[] = {
        s->target->host_header, "Content-Type: application/json", l->type_header, s->date_header, s->authorization,
        "Accept:", "Expect:", l->token_header,
    };
    size_t count = sizeof lines / sizeof *lines - (l->token_header == NULL);
    for (size_t i = 0; i < count; i++)
        s->headers[i] = (struct curl_slist){(char *)lines[i], i + 1 < count ? &s->headers[i + 1] : NULL};
}

static CURLcode set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* Which certificates to trust. libcurl parses them once for all connections, and not for each anew (10 ms with a
 * system's bundle), if they are in one file: a directory of them, which a distribution may have set too, is
 * put aside where the file makes it needless. */
static bool set_trust(const struct mu_launch *l, CURL *easy)
{
    const char *file = l->ca_bundle;
    if (file == NULL) {
        file = curl_version_info(CURLVERSION_NOW)->cainfo;
        if (file == NULL || access(file, R_OK) != 0)
            return true;
    }
    return curl_easy_setopt(easy, CURLOPT_CAINFO, file) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK;
}

static bool set_options(struct mu_launch *l, slot *s)
{
    CURL *e = s->easy;
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_POST, 1},
        {CURLOPT_PATH_AS_IS, 1},
        {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1}, /* a proxy's answer is not the service's */
        {CURLOPT_TCP_NODELAY, 1},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_TIMEOUT_MS, l->timeout_ms},
        {CURLOPT_CONNECTTIMEOUT_MS, l->timeout_ms < CONNECT_TIMEOUT_MS ? l->timeout_ms : CONNECT_TIMEOUT_MS},
#if LIBCURL_VERSION_NUM >= 0x075700
        {CURLOPT_QUICK_EXIT, 1}, /* do not wait for a name server when a launch is given up */
#endif
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (curl_easy_setopt(e, numbers[i].option, numbers[i].value) != CURLE_OK)
            return false;
    link_headers(l, s);
    return set_protocols(e) == CURLE_OK && curl_easy_setopt(e, CURLOPT_URL, s->target->address.url) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PRIVATE, s) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_ERRORBUFFER, s->curl_error) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HTTPHEADER, s->headers) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_USERAGENT, "mu-liblaunch/1") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERDATA, &s->answer) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEDATA, &s->answer) == CURLE_OK &&
           set_trust(l, e) && set_resumption(s) &&
           curl_easy_setopt(e, CURLOPT_POSTFIELDS, s->body != NULL ? s->body : mu_payload_data(l->payload)) == CURLE_OK;
}

void mu_slot_free(struct mu_launch *l, slot *s)
{
    if (s->easy != NULL) {
        (void)curl_multi_remove_handle(l->multi, s->easy);
        curl_easy_cleanup(s->easy);
    }
    free(s->body);
    free(s);
}

static slot *slot_new(struct mu_launch *l, target *t)
{
    slot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->target = t;
    s->request = NO_REQUEST;
    s->easy = curl_easy_init();
    /* A name's resolver and two attempts to connect: so many descriptors at most, and libcurl is told of no failure. */
    bool good = s->easy != NULL && reserve_descriptors(l, 4 * ((int)l->progress.connections + 1));
    if (good && mu_payload_is_template(l->payload))
        good = (s->body = malloc(mu_payload_size(l->payload, INT64_MAX))) != NULL;
    /* Without this, libcurl would keep four idle connections for each easy handle that is under way just now. */
    if (good && set_options(l, s) &&
        curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long)l->progress.connections + 1) == CURLM_OK)
        return s;
    mu_slot_free(l, s);
    return NULL;
}

/* Fills in and signs the invocation of a slot. */
static int prepare(struct mu_launch *l, slot *s, const request *r)
{
    target *t = s->target;
    char *date = s->date_header + strlen("X-Amz-Date: ");
    char *authorization = s->authorization + strlen("Authorization: ");
    char hash[MU_SIGV4_HASH_SIZE];
    const mu_sigv4_header headers[] = {
        {"content-type", "application/json"},
        {"host", t->address.host},
        {"x-amz-date", date},
        {"x-amz-invocation-type", l->invocation_type},
        {"x-amz-security-token", l->token},
    };
    const mu_sigv4_request request = {
        .method = "POST",
        .canonical_path = t->address.canonical_path,
        .headers = headers,
        .header_count = sizeof headers / sizeof *headers - (l->token == NULL),
        .payload_hash = hash,
    };
    s->signed_skew = t->skew;
    int result = mu_sigv4_date((int64_t)time(NULL) + t->skew, date);
    if (result == MU_LAUNCH_OK)
        result = mu_payload_hash(l->payload, r->number, hash);
    if (result == MU_LAUNCH_OK)
        result = mu_sigv4_authorization(t->signer, &request, date, authorization,
                                        sizeof s->authorization - strlen("Authorization: "));
    if (result != MU_LAUNCH_OK)
        return result;
    if (s->body != NULL)
        mu_payload_write(l->payload, r->number, s->body);
    curl_off_t size = (curl_off_t)mu_payload_size(l->payload, r->number);
    mu_answer_reset(&s->answer);
    s->curl_error[0] = '\0';
    return curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, size) == CURLE_OK ? MU_LAUNCH_OK : MU_LAUNCH_ECURL;
}

/* Sends the target's queued requests on its idle slots, and on new ones as far as they are allowed. */
static int send_queued(struct mu_launch *l, target *t)
{
    if (t->allowed == 0)
        t->allowed = l->max_connections < START_CONNECTIONS ? l->max_connections : START_CONNECTIONS;
    if (t->busy == 0)
        t->heard = mu_now(); /* from here on we wait */
    while (t->queue.first != NO_REQUEST && t->busy < t->allowed) {
        if (t->silent && !t->answered && l->requests[t->queue.first].attempts == 0)
            break; /* those that have been sent find out whether it is any use; see verdict.c */
        slot *s = t->idle;
        if (s == NULL) {
            s = slot_new(l, t);
            if (s == NULL) {
                if (t->busy > 0)
                    return MU_LAUNCH_OK; /* make do with those that are there */
                return MU_LAUNCH_ENOMEM;
            }
            t->slots[t->open++] = s;
            l->progress.connections++;
            t->idle = s;
        }
        int result = prepare(l, s, &l->requests[t->queue.first]);
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
    for (int i = 0; i < l->target_count && result == MU_LAUNCH_OK; i++)
        result = send_queued(l, l->targets[i]);
    return result;
}

/* Takes the transfers that have ended. */
static int collect(struct mu_launch *l)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(l->multi, &left)) != NULL;) {
        CURLcode code = message->data.result; /* gone when the transfer is removed */
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

/* How long a target's fastest answer of late took, in seconds, or how long we have been waiting for any. */
static double latency_of(const target *t, double now)
{
    return now - t->heard >= SILENT_MS / 1e3 ? now - t->heard : t->latency;
}

/* A span is over. Targets that only latency holds up may have more connections, if most of it was waited. */
static void end_span(struct mu_launch *l, double now, bool waited)
{
    for (int i = 0; i < l->target_count; i++) {
        target *t = l->targets[i];
        if (t->fastest > 0)
            t->latency = t->fastest;
        t->fastest = 0;
        double latency_ms = latency_of(t, now) * 1e3;
        if (!waited || latency_ms < LATENCY_MS || t->queue.first == NO_REQUEST || t->busy < t->allowed)
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

/* Lets libcurl act on the descriptors that are ready, and on its timers. */
static bool act(struct mu_launch *l, int ready)
{
    int running;
    /* A callback may take entries out of the array; the one that then stands there gets its turn in the next round. */
    for (int i = 0; i < l->fd_count && ready > 0; i++) {
        short events = l->fds[i].revents;
        if (events == 0)
            continue;
        ready--;
        l->fds[i].revents = 0;
        int mask = (events & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) | (events & POLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0);
        if (curl_multi_socket_action(l->multi, l->fds[i].fd, mask, &running) != CURLM_OK)
            return false;
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

/* Waits until a descriptor is ready, something is due, or `deadline`. Returns what poll(2) does. */
static int wait_ready(struct mu_launch *l, int64_t deadline)
{
    bool may_grow = is_growing_possible(l);
    int64_t until = deadline;
    if (l->curl_due_ms >= 0)
        until = earlier(until, l->curl_due_ms);
    if (l->progress.waiting > 0)
        until = earlier(until, l->requests[l->heap[0]].due_ms);
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
        result = act(l, ready) ? collect(l) : MU_LAUNCH_ECURL;
        if (result != MU_LAUNCH_OK || ready < 0 || mu_now_ms() >= deadline)
            break;
    }
    if (result == MU_LAUNCH_ECURL)
        l->broken = true;
    if (result != MU_LAUNCH_OK)
        return mu_fail(l, result, NULL);
    return l->progress.queued + l->progress.sent + l->progress.waiting > 0;
}
