/* A slot: a libcurl easy handle, its options, and the request that is filled in and signed for it.
 *
 * Connections resume the TLS session of the target's first one, which halves the cost of their handshakes. libcurl
 * keeps one session per host, and OpenSSL invalidates it when a connection that has resumed it gets a ticket of its
 * own; so only the first connection may accept tickets (on_tls).
 *
 * A connection is reused only after an answer whose end is certain (mu_answer_header()), with which no further bytes
 * came (on_log), and if nothing has arrived since (idle.c); such bytes would be mistaken for the answer to the next
 * request. libcurl itself closes a connection after errors and timeouts. One case remains: an unrequested answer that
 * arrives just when a request is sent; HTTP/1.1 cannot distinguish it from that request's own.
 */
#include "internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADERS_MAX ((size_t)256 << 10)
#define EXPECT_MIN ((size_t)1 << 20)

/* The size of a TLS record, so that one read leaves nothing of it behind. libcurl looks for bytes after an answer in
 * the socket only: it would take what OpenSSL still holds for the next answer. */
#define RECEIVE_BUFFER 16384
#define SEND_BUFFER 16384
#define KEEPALIVE_S 30

/* Whether libcurl's TLS is the OpenSSL that we are linked with, so that we can use its pointers. */
static bool is_our_openssl(const char *theirs)
{
    return theirs != NULL && strncmp(theirs, "OpenSSL/", strlen("OpenSSL/")) == 0 &&
           strcmp(theirs + strlen("OpenSSL/"), OpenSSL_version(OPENSSL_VERSION_STRING)) == 0;
}

/* libcurl 7.83.0 to 8.1.0 keeps a pointer to an answer's last header when it frees that header, and uses it if the
 * handle's next answer begins with a folded line (curl's pull request 11103). Only a new handle avoids that. */
static bool keeps_freed_header(unsigned version)
{
    return version >= 0x075300 && version <= 0x080100;
}

void mu_slot_library(struct mu_launch *l)
{
    const curl_version_info_data *library = curl_version_info(CURLVERSION_NOW);
    l->renews = keeps_freed_header(library->version_num);
    l->resumes = is_our_openssl(library->ssl_version);
}

/* Makes libcurl close a slot's connection when its transfer has ended. */
static bool close_after(slot *s)
{
    if (!s->closing)
        s->closing = curl_easy_setopt(s->easy, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK;
    return s->closing;
}

static size_t on_header(char *line, size_t one, size_t size, void *data)
{
    (void)one;
    slot *s = data;
    mu_answer *answer = &s->answer;
    mu_answer_header(answer, line, size);
    if (answer->doubtful && !close_after(s))
        return 0;
    if (answer->complete && !s->listening) {
        s->listening = true;
        if (curl_easy_setopt(s->easy, CURLOPT_VERBOSE, 1L) != CURLE_OK)
            return 0;
    }
    return answer->header_size <= HEADERS_MAX ? size : 0;
}

/* libcurl drops bytes that it has read after the end of an answer. Old versions then keep the connection, on which
 * more of them may follow, and report it only in their log. So we read the log, but only after the end of the
 * headers, because all of it would take too long. */
static int on_log(CURL *easy, curl_infotype type, char *text, size_t size, void *data)
{
    (void)easy;
    static const char *const starts[] = {"Excess found", "Leftovers after chunking"};
    for (size_t i = 0; type == CURLINFO_TEXT && i < sizeof starts / sizeof *starts; i++)
        if (size > strlen(starts[i]) && memcmp(text, starts[i], strlen(starts[i])) == 0)
            (void)close_after(data);
    return 0;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *data)
{
    (void)one;
    mu_answer *answer = data;
    mu_answer_body(answer, bytes, size);
    return answer->body_size <= ANSWER_MAX ? size : 0;
}

/* Called when a request will be sent on a connection. libcurl sends it again by itself if a kept connection turns out
 * to be closed before any answer; each time counts. */
static int on_request(void *data, char *ip, char *own_ip, int port, int own_port)
{
    (void)ip, (void)own_ip, (void)port, (void)own_port;
    slot *s = data;
    struct mu_launch *l = s->target->launch;
    bool again = s->begun;
    s->begun = true;
    if (again && mu_counted(&l->requests[s->request]) >= l->max_attempts)
        return CURL_PREREQFUNC_ABORT;
    if (again)
        mu_set_state(l, s->request, MU_LAUNCH_SENT, NULL);
    return CURL_PREREQFUNC_OK;
}

/* Makes a connection's socket as libcurl would, but records why that failed, and whether it leads to a proxy. */
static curl_socket_t on_open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    slot *s = data;
    int port = 0;
    if (address->family == AF_INET)
        port = ntohs(((struct sockaddr_in *)(void *)&address->addr)->sin_port);
    else if (address->family == AF_INET6)
        port = ntohs(((struct sockaddr_in6 *)(void *)&address->addr)->sin6_port);
    s->by_proxy = port != 0 && port != s->target->address.port;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE))
        s->out_of_files = true;
    if (fd >= 0 && !mu_idle_open(s->target->launch, fd)) {
        (void)close(fd);
        fd = -1;
    }
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int on_close_socket(void *data, curl_socket_t fd)
{
    mu_idle_close(data, fd);
    return close(fd);
}

/* Called before libcurl makes a TLS connection. */
static CURLcode on_tls(CURL *easy, void *context, void *data)
{
    (void)easy;
    const slot *s = data;
    if (s != s->target->slots[0])
        (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return CURLE_OK;
}

static bool set_share(slot *s)
{
    return !s->target->launch->resumes || curl_easy_setopt(s->easy, CURLOPT_SHARE, s->target->share) == CURLE_OK;
}

static bool set_resumption(slot *s)
{
    return !s->target->launch->resumes || (set_share(s) &&
                                 curl_easy_setopt(s->easy, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK &&
                                 curl_easy_setopt(s->easy, CURLOPT_SSL_CTX_DATA, s) == CURLE_OK);
}

/* Links the headers that all requests of a slot have. Variable values are written into the slot's own buffers.
 * "Expect:" is removed, since libcurl would wait for the answer 100 before it sends a body of more than EXPECT_MIN. */
static void link_headers(struct mu_launch *l, slot *s)
{
    memcpy(s->date_header, "X-Amz-Date: ", sizeof "X-Amz-Date: ");
    memcpy(s->authorization, "Authorization: ", sizeof "Authorization: ");
    const char *lines[] = {
        s->target->host_header, "Content-Type: application/json", l->type_header, s->date_header, s->authorization,
        l->credentials->token_header, mu_payload_size(l->payload, INT64_MAX) > EXPECT_MIN ? "Expect:" : NULL,
    };
    struct curl_slist *next = NULL;
    mu_credentials_release(s->credentials);
    s->credentials = mu_credentials_hold(l->credentials);
    for (size_t i = sizeof lines / sizeof *lines; i-- > 0;)
        if (lines[i] != NULL) {
            s->headers[i] = (struct curl_slist){(char *)lines[i], next};
            next = &s->headers[i];
        }
}

static CURLcode set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* Sets the trusted certificates. If they are in one file, libcurl parses them once for all connections instead of for
 * each (10 ms with a system's bundle). So a directory of certificates, which a distribution may also have set, is
 * removed if the file makes it unnecessary. */
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
        {CURLOPT_HTTP09_ALLOWED, 0},
        {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1}, /* the answer of a proxy is not the service's */
        {CURLOPT_TCP_NODELAY, 1},
        /* Nothing is sent while a synchronous invocation runs, and gateways forget a connection that is silent (AWS's
         * NAT gateways after 350 s). Linux would wait for two hours before its first probe. */
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S},
        {CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S},
        {CURLOPT_BUFFERSIZE, RECEIVE_BUFFER},
        {CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_TIMEOUT_MS, l->timeout_ms},
        {CURLOPT_CONNECTTIMEOUT_MS, l->connect_ms},
#if LIBCURL_VERSION_NUM >= 0x075700
        {CURLOPT_QUICK_EXIT, 1}, /* do not wait for a name server when a launch is cancelled */
#endif
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (curl_easy_setopt(e, numbers[i].option, numbers[i].value) != CURLE_OK)
            return false;
    link_headers(l, s);
    return set_protocols(e) == CURLE_OK && curl_easy_setopt(e, CURLOPT_CURLU, s->target->address.parsed) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PRIVATE, s) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_ERRORBUFFER, s->curl_error) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HTTPHEADER, s->headers) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_USERAGENT, "mu-liblaunch/1") == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HEADERDATA, s) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, on_log) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_DEBUGDATA, s) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_WRITEDATA, &s->answer) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, s) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, l) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_request) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_PREREQDATA, s) == CURLE_OK && set_trust(l, e) &&
           set_resumption(s) &&
           curl_easy_setopt(e, CURLOPT_POSTFIELDS, s->body != NULL ? s->body : mu_payload_data(l->payload)) == CURLE_OK;
}

void mu_slot_free(struct mu_launch *l, slot *s)
{
    if (s->easy != NULL) {
        (void)curl_multi_remove_handle(l->multi, s->easy);
        curl_easy_cleanup(s->easy);
    }
    mu_credentials_release(s->credentials);
    free(s->body);
    free(s);
}

slot *mu_slot_new(struct mu_launch *l, target *t)
{
    slot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->target = t;
    s->request = NO_REQUEST;
    s->easy = curl_easy_init();
    bool good = s->easy != NULL;
    if (good && mu_payload_is_template(l->payload))
        good = (s->body = malloc(mu_payload_size(l->payload, INT64_MAX))) != NULL;
    /* Otherwise libcurl would keep four idle connections for each easy handle that is in use at present. */
    if (good && set_options(l, s) &&
        curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, (long)l->progress.connections + 1) == CURLM_OK)
        return s;
    mu_slot_free(l, s);
    return NULL;
}

/* Gives a slot a new easy handle with the same options; false when out of memory, and the slot is unchanged then. The
 * connection belongs to the multi handle and stays. */
static bool renew(slot *s)
{
    CURL *old = s->easy;
    s->easy = curl_easy_duphandle(old);
    if (s->easy == NULL || !set_share(s)) { /* a copy has no share */
        curl_easy_cleanup(s->easy);
        s->easy = old;
        return false;
    }
    curl_easy_cleanup(old);
    s->answer.header_size = 0;
    return true;
}

int mu_slot_prepare(struct mu_launch *l, slot *s, const request *r)
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
        {"x-amz-security-token", l->credentials->token},
    };
    const mu_sigv4_request request = {
        .method = "POST",
        .canonical_path = t->address.canonical_path,
        .headers = headers,
        .header_count = sizeof headers / sizeof *headers - (l->credentials->token == NULL),
        .payload_hash = hash,
    };
    if (s->credentials != l->credentials)
        link_headers(l, s);
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
    if (s->answer.header_size > 0 && l->renews && !renew(s))
        return MU_LAUNCH_ENOMEM;
    if ((s->closing && curl_easy_setopt(s->easy, CURLOPT_FORBID_REUSE, 0L) != CURLE_OK) ||
        (s->listening && curl_easy_setopt(s->easy, CURLOPT_VERBOSE, 0L) != CURLE_OK))
        return MU_LAUNCH_ECURL;
    mu_answer_reset(&s->answer);
    s->closing = s->listening = false;
    s->curl_error[0] = '\0';
    s->begun = s->out_of_files = false;
    return curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, size) == CURLE_OK ? MU_LAUNCH_OK : MU_LAUNCH_ECURL;
}
