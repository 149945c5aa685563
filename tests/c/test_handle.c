/* Tests the handle against a server on loopback: every invocation ends exactly once, and the counts are right at any
 * time. */
#include "check.h"
#include "liblaunch.h"
#include "server.h"

#include <curl/curl.h>
#include <time.h>

#define PAYLOAD "{\"id\": ##ID##}"
#define ACCEPTED "HTTP/1.1 202 A\r\nContent-Length: 0\r\nx-amzn-RequestId: abc\r\n\r\n"
#define THROTTLED "HTTP/1.1 429 T\r\nContent-Length: 0\r\n\r\n"
#define BROKEN "!HTTP/1.1 500 E\r\nContent-Length: 99\r\n\r\ncut"

static char url[64];

static mu_launch_options options(void)
{
    return (mu_launch_options){
        .access_key = "AKID",
        .secret_key = "SECRET",
        .payload = PAYLOAD,
        .payload_size = strlen(PAYLOAD),
        .max_connections = 24,
        .backoff_base_ms = 1,
        .backoff_cap_ms = 4,
    };
}

static mu_launch *new_launch(const mu_launch_options *o)
{
    mu_launch *l = mu_launch_new();
    CHECK(l != NULL);
    CHECK(mu_launch_configure(l, o) == MU_LAUNCH_OK);
    return l;
}

static void check_counts(const mu_launch *l)
{
    mu_launch_progress p;
    mu_launch_get_progress(l, &p);
    CHECK(p.queued >= 0 && p.sent >= 0 && p.waiting >= 0 && p.accepted >= 0 && p.failed >= 0 && p.cancelled >= 0);
    CHECK(p.queued + p.sent + p.waiting + p.accepted + p.failed + p.cancelled == p.total);
    CHECK(p.attempts >= p.retries && p.retries >= 0);
}

/* Takes all outcomes, up to 7 a call, and marks each in `seen`; returns how many there were. */
static size_t take(mu_launch *l, mu_launch_outcome *by_number, char *seen)
{
    mu_launch_outcome out[7];
    size_t all = 0;
    for (size_t got; (got = mu_launch_take(l, out, 7)) > 0; all += got)
        for (size_t i = 0; i < got; i++) {
            CHECK(out[i].number >= 0 && out[i].number < SERVER_NUMBERS && !seen[out[i].number]);
            CHECK((out[i].error == NULL) == (out[i].state == MU_LAUNCH_ACCEPTED));
            seen[out[i].number] = 1;
            by_number[out[i].number] = out[i];
        }
    return all;
}

static size_t run(mu_launch *l, mu_launch_outcome *by_number)
{
    static char seen[SERVER_NUMBERS];
    memset(seen, 0, sizeof seen);
    size_t taken = 0;
    int left;
    do {
        left = mu_launch_poll(l, 5);
        CHECK(left == 0 || left == 1);
        check_counts(l);
        taken += take(l, by_number, seen);
    } while (left > 0);
    CHECK(mu_launch_take(l, by_number, 1) == 0);
    CHECK(mu_launch_poll(l, 5) == 0);
    return taken;
}

/* By number modulo 4: 0 is accepted at once, 1 is throttled twice, 2 is closed once, 3 gets one incomplete answer. */
static const char *mixed(int number, int attempt)
{
    if (number % 4 == 1 && attempt <= 2)
        return THROTTLED;
    if (number % 4 == 2 && attempt == 1)
        return "!";
    return number % 4 == 3 && attempt == 1 ? BROKEN : ACCEPTED;
}

static void test_mixed(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add_target(l, "eu-west-1", url, "f") == 1);
    CHECK(mu_launch_add(l, 0, 0, 40) == MU_LAUNCH_OK);
    CHECK(mu_launch_poll(l, 0) >= 0);
    CHECK(mu_launch_add(l, 1, 40, 24) == MU_LAUNCH_OK); /* while other requests are in progress */
    CHECK(run(l, out) == 64);
    for (int i = 0; i < 64; i++) {
        CHECK(out[i].state == MU_LAUNCH_ACCEPTED && out[i].status == 202 && out[i].target == i / 40);
        CHECK_TEXT(out[i].request_id, "abc");
        CHECK(out[i].attempts == server_count(i) && out[i].attempts == (i % 4 == 0 ? 1 : i % 4 == 1 ? 3 : 2) && out[i].seconds > 0);
    }
    mu_launch_progress p;
    mu_launch_get_progress(l, &p);
    CHECK(p.throttled == 32 && p.accepted == 64);
    mu_launch_free(l);
}

/* The server reads the second request on a connection and closes it; libcurl then resends the request by itself. */
static const char *closed_once(int number, int attempt)
{
    return number == 1 && attempt == 1 ? "!" : ACCEPTED;
}

static void test_resent(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    for (int most = 1; most <= 2; most++) {
        server_reset();
        mu_launch_options o = options();
        o.max_connections = 1;
        o.max_attempts = most;
        mu_launch *l = new_launch(&o);
        CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
        CHECK(mu_launch_add(l, 0, 0, 3) == MU_LAUNCH_OK);
        CHECK(run(l, out) == 3);
        CHECK(server_count(1) == most && out[1].attempts == most);
        CHECK(out[1].state == (most == 1 ? MU_LAUNCH_FAILED : MU_LAUNCH_ACCEPTED));
        CHECK(most == 2 || strstr(out[1].error, ": the connection was closed") != NULL);
        CHECK(out[0].attempts == 1 && out[2].state == MU_LAUNCH_ACCEPTED);
        mu_launch_progress p;
        mu_launch_get_progress(l, &p);
        CHECK(p.attempts == 2 + most && p.retries == most - 1);
        mu_launch_free(l);
    }
}

/* Answers whose first header is a folded line that continues no header, after answers with headers: libcurl 7.83.0 to
 * 8.1.0 then uses a header that it has freed, unless the easy handle is new. */
static const char *folded(int number, int attempt)
{
    (void)number;
    if (attempt % 2 == 1)
        return "HTTP/1.1 503 A\r\nX-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\nContent-Length: 0\r\n\r\n";
    return attempt < 8 ? "HTTP/1.1 503 A\r\n folded: x\r\nContent-Length: 0\r\n\r\n"
                       : "HTTP/1.1 202 A\r\n folded: x\r\nContent-Length: 0\r\n\r\n";
}

static void test_folded(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    o.max_connections = 2;
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 6) == MU_LAUNCH_OK);
    CHECK(run(l, out) == 6);
    for (int i = 0; i < 6; i++)
        CHECK(out[i].state == MU_LAUNCH_ACCEPTED && out[i].attempts == 8);
    mu_launch_free(l);
}

/* Answers after which a connection is reused (`sure`), and answers after which it is closed (`doubtful`). */
static const char *const sure[] = {
    ACCEPTED,
    "HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 202 A\r\nContent-Length: 2\r\n\r\n{}",
};
static const char *const doubtful[] = {
    "HTTP/1.1 100 C\r\n\r\n" ACCEPTED,
    "HTTP/1.1 202 A\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 202 A\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 202 A\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 202 A\nContent-Length: 0\n\n",
    "HTTP/1.1 202 A\r\nContent-Length: 2\r\n\r\n{}" ACCEPTED, /* followed by an answer to no request */
    "HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" ACCEPTED,
    ACCEPTED ACCEPTED,
    ACCEPTED "\n",
};

static const char *answer_sure(int number, int attempt)
{
    (void)attempt;
    return sure[number % (int)(sizeof sure / sizeof *sure)];
}

static const char *answer_doubtful(int number, int attempt)
{
    (void)attempt;
    return doubtful[number % (int)(sizeof doubtful / sizeof *doubtful)];
}

static void count_connections(int expected)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    o.max_connections = 1;
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 12) == MU_LAUNCH_OK);
    CHECK(run(l, out) == 12);
    for (int i = 0; i < 12; i++)
        CHECK(out[i].state == MU_LAUNCH_ACCEPTED && out[i].attempts == 1 && server_count(i) == 1);
    CHECK(server_connections() == expected);
    mu_launch_free(l);
}

static void test_sure_answers_keep_the_connection(void)
{
    count_connections(1);
}

static void test_doubtful_answers_close_the_connection(void)
{
    count_connections(12);
}

/* Data that arrives on an idle connection is not taken as the answer to the next request. */
static void test_idle_connections_are_looked_at(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    o.max_connections = 1;
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(mu_launch_add(l, 0, i, 1) == MU_LAUNCH_OK);
        CHECK(run(l, out) == 1);
        CHECK(out[i].state == MU_LAUNCH_ACCEPTED && out[i].attempts == 1 && server_count(i) == 1);
        CHECK_TEXT(out[i].request_id, i == 0 ? "abc" : "");
        server_say("HTTP/1.1 404 N\r\nx-amzn-RequestId: stray\r\nContent-Length: 0\r\n\r\n");
    }
    CHECK(server_connections() == 3);
    mu_launch_progress p;
    mu_launch_get_progress(l, &p);
    CHECK(p.attempts == 3 && p.retries == 0);
    mu_launch_free(l);
}

#define EXPIRED                                                                                                  \
    "HTTP/1.1 403 F\r\nContent-Length: 17\r\nx-amzn-errortype: ExpiredTokenException\r\n\r\n{\"message\":\"old\"}"

static const char *expired_once(int number, int attempt)
{
    (void)number;
    return attempt == 1 ? EXPIRED : ACCEPTED;
}

static const char *expired_always(int number, int attempt)
{
    (void)number;
    (void)attempt;
    return EXPIRED;
}

/* Sends 8 invocations at the same time, each at most once, until new credentials are wanted. */
static mu_launch *until_expired(int refreshable)
{
    mu_launch_options o = options();
    o.session_token = "token";
    o.max_attempts = 1;
    o.refreshable = refreshable;
    mu_launch *l = new_launch(&o);
    CHECK(!mu_launch_wants_credentials(l));
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add_target(l, "eu-west-1", url, "f") == 1);
    CHECK(mu_launch_add(l, 0, 0, 4) == MU_LAUNCH_OK);
    CHECK(mu_launch_add(l, 1, 4, 4) == MU_LAUNCH_OK);
    mu_launch_progress p = {.sent = 1};
    while (refreshable && (!mu_launch_wants_credentials(l) || p.sent > 0)) {
        CHECK(mu_launch_poll(l, 5) == 1);
        mu_launch_get_progress(l, &p);
    }
    return l;
}

static void check_all(mu_launch *l, mu_launch_state state, const char *error)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    CHECK(run(l, out) == 8);
    for (int i = 0; i < 8; i++) {
        CHECK(out[i].state == (int)state && out[i].attempts == server_count(i));
        if (error != NULL)
            CHECK_TEXT(out[i].error, error);
    }
    mu_launch_free(l);
    server_reset();
}

static void test_credentials_are_brought_anew(void)
{
    mu_launch *l = until_expired(1);
    CHECK(mu_launch_set_credentials(l, "", "S", NULL) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_set_credentials(l, "A", NULL, NULL) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_wants_credentials(l));
    CHECK(mu_launch_set_credentials(l, "AKID", "SECRET", "another") == MU_LAUNCH_OK);
    CHECK(!mu_launch_wants_credentials(l));
    check_all(l, MU_LAUNCH_ACCEPTED, NULL);

    l = until_expired(1); /* without a token, so that a header is removed */
    CHECK(mu_launch_set_credentials(l, "AKID", "SECRET", NULL) == MU_LAUNCH_OK);
    check_all(l, MU_LAUNCH_ACCEPTED, NULL);
}

static void test_credentials_that_stay_expired(void)
{
    mu_launch *l = until_expired(1); /* the new credentials are the same as the old */
    CHECK(mu_launch_set_credentials(l, "AKID", "SECRET", "token") == MU_LAUNCH_OK);
    check_all(l, MU_LAUNCH_FAILED, "HTTP 403 ExpiredTokenException: old");

    l = until_expired(1);
    mu_launch_refuse_credentials(l, "no answer");
    check_all(l, MU_LAUNCH_FAILED, "HTTP 403 ExpiredTokenException: old; no answer");

    l = until_expired(1); /* the new ones have expired, too: they are asked for only once */
    CHECK(mu_launch_set_credentials(l, "AKID", "SECRET", "another") == MU_LAUNCH_OK);
    check_all(l, MU_LAUNCH_FAILED, "HTTP 403 ExpiredTokenException: old");

    check_all(until_expired(0), MU_LAUNCH_FAILED, "HTTP 403 ExpiredTokenException: old");
}

/* By number: 0 is throttled five times, 1 always gets status 503, 2 is always throttled. */
static const char *throttles(int number, int attempt)
{
    if (number == 1)
        return "HTTP/1.1 503 U\r\nContent-Length: 0\r\n\r\n";
    return number == 2 || attempt <= 5 ? THROTTLED : ACCEPTED;
}

static void test_throttled(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    o.max_attempts = 2;
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 1) == MU_LAUNCH_OK);
    CHECK(run(l, out) == 1);
    CHECK(out[0].attempts == 2);
    CHECK_TEXT(out[0].error, "HTTP 429");
    mu_launch_free(l);

    server_reset();
    o.wait_while_throttled = 1;
    l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 2) == MU_LAUNCH_OK);
    CHECK(run(l, out) == 2);
    CHECK(out[0].state == MU_LAUNCH_ACCEPTED && out[0].attempts == 6);
    CHECK(out[1].state == MU_LAUNCH_FAILED && out[1].attempts == 2);
    CHECK_TEXT(out[1].error, "HTTP 503");

    CHECK(mu_launch_add(l, 0, 2, 1) == MU_LAUNCH_OK);
    mu_launch_progress p;
    do {
        CHECK(mu_launch_poll(l, 1) == 1);
        mu_launch_get_progress(l, &p);
    } while (p.throttled < 5 + 5);
    mu_launch_cancel(l);
    CHECK(run(l, out) == 1);
    CHECK(out[2].state == MU_LAUNCH_CANCELLED);
    CHECK_TEXT(out[2].error, "cancelled; the last attempt: HTTP 429");
    mu_launch_free(l);
}

static const char *refuse(int number, int attempt)
{
    (void)number;
    (void)attempt;
    return "HTTP/1.1 404 N\r\nContent-Length: 19\r\nx-amzn-errortype: NotFound\r\n\r\n{\"message\":\"gone!\"}";
}

static void test_final_error(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    o.max_connections = 3;
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 1000) == MU_LAUNCH_OK);
    CHECK(run(l, out) == 1000);
    int sent = 0;
    for (int i = 0; i < 1000; i++) {
        CHECK(out[i].state == MU_LAUNCH_FAILED);
        CHECK_TEXT(out[i].error, "HTTP 404 NotFound: gone!");
        sent += out[i].attempts;
    }
    CHECK(sent >= 1 && sent <= 6);
    /* Invocations that are added later fail at once as well. */
    CHECK(mu_launch_add(l, 0, 0, 2) == MU_LAUNCH_OK);
    CHECK(run(l, out) == 2);
    CHECK(out[1].attempts == 0);
    mu_launch_free(l);
}

static const char *never(int number, int attempt)
{
    (void)number;
    (void)attempt;
    return "";
}

static void test_cancel(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 300) == MU_LAUNCH_OK);
    mu_launch_progress p;
    do {
        CHECK(mu_launch_poll(l, 1) == 1);
        mu_launch_get_progress(l, &p);
    } while (p.sent < 8);
    mu_launch_cancel(l);
    check_counts(l);
    CHECK(run(l, out) == 300);
    for (int i = 0; i < 300; i++)
        CHECK(out[i].state == MU_LAUNCH_CANCELLED);
    /* A handle can be used further after a cancellation. */
    CHECK(mu_launch_add(l, 0, 0, 5) == MU_LAUNCH_OK);
    CHECK(mu_launch_poll(l, 1) == 1);
    mu_launch_free(l); /* with requests in progress */
}

static const char *closes(int number, int attempt)
{
    (void)number;
    (void)attempt;
    return "!";
}

/* The first requests, which test whether the service can be reached, are cancelled; later ones are sent anyway. */
static void test_cancelled_before_any_answer(void)
{
    static mu_launch_outcome out[SERVER_NUMBERS];
    mu_launch_options o = options();
    o.backoff_base_ms = o.backoff_cap_ms = 60000;
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 20) == MU_LAUNCH_OK);
    mu_launch_progress p;
    do {
        CHECK(mu_launch_poll(l, 1) == 1);
        mu_launch_get_progress(l, &p);
    } while (p.waiting < 8);
    mu_launch_cancel(l);
    CHECK(run(l, out) == 20);
    CHECK(mu_launch_add(l, 0, 0, 1) == MU_LAUNCH_OK);
    CHECK(mu_launch_poll(l, 0) == 1);
    mu_launch_get_progress(l, &p);
    CHECK(p.queued == 0);
    mu_launch_free(l);
}

/* Each target begins with several connections, so many targets want many at once on a machine of any speed. */
static void test_few_connections_open_at_once(void)
{
    mu_launch_options o = options();
    mu_launch *l = new_launch(&o);
    for (int i = 0; i < 8; i++) {
        CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == i);
        CHECK(mu_launch_add(l, i, 8 * i, 8) == MU_LAUNCH_OK);
    }
    mu_launch_progress p = {0};
    for (int64_t before = 0; before < 60; before = p.connections) {
        CHECK(mu_launch_poll(l, 0) == 1);
        mu_launch_get_progress(l, &p);
        CHECK(p.connections - before <= 16);
    }
    mu_launch_free(l);
}

static void test_poll_keeps_to_its_time(void)
{
    mu_launch_options o = options();
    mu_launch *l = new_launch(&o);
    CHECK(mu_launch_poll(l, 10000) == 0);
    CHECK(mu_launch_add_target(l, "us-east-1", url, "f") == 0);
    CHECK(mu_launch_add(l, 0, 0, 0) == MU_LAUNCH_OK);
    CHECK(mu_launch_poll(l, 10000) == 0);
    CHECK(mu_launch_add(l, 0, 0, 1) == MU_LAUNCH_OK);
    struct timespec before, after;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &before) == 0);
    CHECK(mu_launch_poll(l, 20) == 1);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
    CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 19);
    mu_launch_free(l);
}

static void test_wrong_calls(void)
{
    mu_launch_outcome out;
    mu_launch *l = mu_launch_new();
    CHECK(mu_launch_poll(l, 0) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add_target(l, "r", url, "f") == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add(l, 0, 0, 1) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_take(l, &out, 1) == 0);
    mu_launch_cancel(l);

    char long_token[MU_LAUNCH_TOKEN_MAX + 2];
    memset(long_token, 'x', sizeof long_token - 1);
    long_token[sizeof long_token - 1] = '\0';
    for (int i = 0; i < 12; i++) {
        mu_launch_options o = options();
        switch (i) {
        case 0: o.access_key = NULL; break;
        case 1: o.access_key = ""; break;
        case 2: o.secret_key = "a b"; break;
        case 3: o.session_token = ""; break;
        case 4: o.session_token = long_token; break;
        case 5: o.session_token = "a\r\nb"; break;
        case 6: o.invocation_type = "event"; break;
        case 7: o.max_connections = -1; break;
        case 8: o.max_connections = MU_LAUNCH_CONNECTIONS_MAX + 1; break;
        case 9: o.max_attempts = -1; break;
        case 10: o.timeout_ms = -1; break;
        default: o.backoff_cap_ms = -1; break;
        }
        CHECK(mu_launch_configure(l, &o) == MU_LAUNCH_EINVAL);
        CHECK(mu_launch_error_text(l)[0] != '\0');
    }
    mu_launch_options o = options();
    CHECK(mu_launch_configure(l, &o) == MU_LAUNCH_OK);
    CHECK(mu_launch_configure(l, &o) == MU_LAUNCH_EINVAL);

    CHECK(mu_launch_add_target(l, "a/b", url, "f") == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add_target(l, "", url, "f") == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add_target(l, "r", "gopher://x", "f") == MU_LAUNCH_EINVAL);
    CHECK_TEXT(mu_launch_error_text(l), "the endpoint is neither http:// nor https://");
    CHECK(mu_launch_add_target(l, "r", url, "..") == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add_target(l, "r", url, "") == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add_target(l, "r", url, "f") == 0);
    CHECK(mu_launch_add(l, 1, 0, 1) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add(l, -1, 0, 1) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add(l, 0, -1, 1) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add(l, 0, 0, -1) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add(l, 0, INT64_MAX, 1) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_add(l, 0, 0, INT64_MAX) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_poll(l, -1) == MU_LAUNCH_EINVAL);
    CHECK(mu_launch_poll(l, 0) == 0);
    mu_launch_free(l);
    mu_launch_free(NULL);
    for (int error = 1; error >= -6; error--)
        CHECK(mu_launch_strerror(error)[0] != '\0');
}

static void with_server(server_script script, void (*test)(void))
{
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", server_start(script));
    test();
    server_stop();
}

int main(void)
{
    CHECK(mu_launch_setup() == MU_LAUNCH_OK);
    with_server(mixed, test_mixed);
    with_server(closed_once, test_resent);
    with_server(folded, test_folded);
    with_server(answer_sure, test_sure_answers_keep_the_connection);
    with_server(answer_doubtful, test_doubtful_answers_close_the_connection);
    with_server(answer_sure, test_idle_connections_are_looked_at);
    with_server(expired_once, test_credentials_are_brought_anew);
    with_server(expired_always, test_credentials_that_stay_expired);
    with_server(throttles, test_throttled);
    with_server(refuse, test_final_error);
    with_server(never, test_cancel);
    with_server(closes, test_cancelled_before_any_answer);
    with_server(never, test_few_connections_open_at_once);
    with_server(never, test_poll_keeps_to_its_time);
    with_server(never, test_wrong_calls);
    return 0;
}
