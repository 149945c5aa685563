/* Decides what an answer means: the request is accepted, is retried and when, has failed, or no more should be sent.
 *
 * Retried up to max_attempts, with exponential back-off and full jitter, are answers that may pass by themselves
 * (meaning.c), and requests that got no status at all. The wait is never shorter than the service asked for. 429 does
 * not count against max_attempts if the caller wants to wait as long as it is throttled; nor does a request for which
 * no descriptor was left, while others are in progress.
 *
 * Final for the whole target are answers that say that the request itself or the function is wrong, because all
 * requests of a target are alike, and a certificate that does not verify. A target that has never answered, and let
 * one request fail, gets no other request until it answers; when a request has failed TRIES_TO_REACH times, the
 * target is stopped, because there is no service.
 *
 * New credentials are requested if they have expired and the caller can provide new ones; requests that were signed
 * with the old ones are sent again, which does not count against max_attempts.
 *
 * The clock: when the service refuses a signature and its Date is far from ours, the difference is stored, once for
 * each target, and the request is signed again. Other requests that were signed with the old clock are refused, too;
 * they are also sent again, once, which does not count against max_attempts (a launch with one attempt must not fail
 * because of the clock).
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKEW_THAT_MATTERS 60 /* seconds; the service allows 5 minutes */
#define TRIES_TO_REACH 4
#define SETTLING 5 /* factor of the longest wait while Lambda prepares something */
#define TEXT_SIZE 768
#define SECRET_MIN 16
#define CROWDED_S 1.0

/* xorshift64*, which is good enough for jitter. The seed is random and not 0, which would stay 0. */
static uint64_t next_random(struct mu_launch *l)
{
    uint64_t x = l->random == 0 ? 1 : l->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    l->random = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* Returns how long to wait after `attempts` requests. */
static int64_t backoff_ms(struct mu_launch *l, int attempts, mu_meaning meaning, int64_t retry_after)
{
    int64_t most = l->backoff_base_ms;
    int64_t cap = (int64_t)l->backoff_cap_ms * (meaning == MU_MEANING_SETTLES ? SETTLING : 1);
    for (int i = 1; i < attempts && most < cap; i++)
        most *= 2;
    if (most > cap)
        most = cap;
    int64_t wait = (int64_t)(next_random(l) % ((uint64_t)most + 1));
    if (retry_after > MU_LAUNCH_RETRY_AFTER_MAX)
        retry_after = MU_LAUNCH_RETRY_AFTER_MAX;
    /* Jitter is added, since otherwise all that were told the same time would come back at the same moment. */
    return retry_after > 0 ? retry_after * 1000 + wait : wait;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

/* Returns whether the signature was refused because of this machine's clock; if so, corrects the clock. */
static bool clock_was_wrong(target *t, const slot *s, long status)
{
    static const char *const types[] = {"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed",
                                        "SignatureDoesNotMatch", NULL};
    if ((status != 400 && status != 403) || !is_one_of(s->answer.error_type, types))
        return false;
    int64_t date = mu_answer_date(&s->answer);
    if (date == MU_ANSWER_UNSET)
        return false;
    int64_t skew = date - (int64_t)time(NULL);
    int64_t off = skew - s->signed_skew;
    if (off > -SKEW_THAT_MATTERS && off < SKEW_THAT_MATTERS)
        return false;
    if (t->skew_corrected)
        return s->signed_skew != t->skew;
    t->skew = skew;
    t->skew_corrected = true;
    return true;
}

/* Real secrets have at least 40 characters; the dummies of a local service ("test") may be ordinary words. */
static void redact(char *message, const char *secret)
{
    if (secret != NULL && strlen(secret) >= SECRET_MIN)
        mu_redact(message, secret);
}

/* Writes one line about an answer: "HTTP 404 ResourceNotFoundException: Function not found: ...". */
static void describe_answer(struct mu_launch *l, slot *s, long status, char *out)
{
    char message[MU_ANSWER_TEXT_SIZE];
    mu_answer_read_error(&s->answer, message);
    redact(message, s->credentials->token);
    redact(message, s->credentials->secret_key);
    const char *why = s->answer.reason;
    if (status == l->success && s->answer.function_error[0] != '\0')
        (void)snprintf(out, TEXT_SIZE, "the function failed (%s)%s%s", s->answer.function_error,
                       message[0] == '\0' ? "" : ": ", message);
    else
        (void)snprintf(out, TEXT_SIZE, "HTTP %ld%s%s%s%s%s%s%s", status, s->answer.error_type[0] == '\0' ? "" : " ",
                       s->answer.error_type, why[0] == '\0' ? "" : " (", why, why[0] == '\0' ? "" : ")",
                       message[0] == '\0' ? "" : ": ", message);
}

/* Returns whether libcurl's text may quote a proxy's URL, which may contain a password. */
static bool is_text_secret(const slot *s, CURLcode code)
{
    return code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_UNSUPPORTED_PROTOCOL ||
           strstr(s->curl_error, "://") != NULL;
}

/* Returns whether the time of a request was over before it could be sent. */
static bool is_unconnected(const slot *s)
{
    curl_off_t sent = 0;
    return curl_easy_getinfo(s->easy, CURLINFO_PRETRANSFER_TIME_T, &sent) == CURLE_OK && sent == 0;
}

/* Writes one line about a request without an answer. Equal reasons are counted together, so it must not contain
 * anything that varies; libcurl's own text contains milliseconds in the cases that come first. */
static void describe_failure(struct mu_launch *l, slot *s, CURLcode code, char *out)
{
    const char *host = s->target->address.host;
    const char *proxy = "";
    if (s->by_proxy || strstr(s->curl_error, "roxy") != NULL)
        proxy = strncmp(s->target->address.url, "https:", 6) == 0 ? " (through a proxy, see https_proxy)"
                                                                  : " (through a proxy, see http_proxy)";
    if (s->out_of_files) {
        (void)snprintf(out, TEXT_SIZE, "too many open files: raise the limit (ulimit -n)");
    } else if (code == CURLE_OPERATION_TIMEDOUT && is_unconnected(s)) {
        (void)snprintf(out, TEXT_SIZE, "cannot reach %s within %.10g s%s", host, l->connect_ms / 1e3, proxy);
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        (void)snprintf(out, TEXT_SIZE, "no answer from %s within %.10g s%s", host, l->timeout_ms / 1e3, proxy);
    } else if (code == CURLE_ABORTED_BY_CALLBACK) { /* on_request() */
        (void)snprintf(out, TEXT_SIZE, "no answer from %s: the connection was closed%s", host, proxy);
    } else if (code == CURLE_COULDNT_CONNECT) {
        char reason[128];
        long number = 0;
        if (curl_easy_getinfo(s->easy, CURLINFO_OS_ERRNO, &number) != CURLE_OK || number == 0 ||
            strerror_r((int)number, reason, sizeof reason) != 0)
            (void)snprintf(reason, sizeof reason, "%s", curl_easy_strerror(code));
        (void)snprintf(out, TEXT_SIZE, "cannot reach %s: %s%s", host, reason, proxy);
    } else {
        mu_one_line(s->curl_error);
        const char *reason = code == CURLE_OK ? "it was cut short" : curl_easy_strerror(code);
        if (s->curl_error[0] != '\0' && !is_text_secret(s, code))
            reason = s->curl_error;
        (void)snprintf(out, TEXT_SIZE, "no answer from %s: %s%s", host, reason, proxy);
    }
}

/* Returns whether a request without an answer means that the others will have none either. */
static bool is_unreachable(const target *t, const request *r, CURLcode code)
{
    int attempts = mu_counted(r);
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           (!t->answered && (attempts >= TRIES_TO_REACH || attempts >= t->launch->max_attempts));
}

/* Returns whether the request can be sent again with other credentials, because those that signed it have expired. If
 * they are still the handle's, new ones are requested, unless they replaced expired ones and have never worked. */
static bool can_be_signed_anew(struct mu_launch *l, const slot *s, long status, const char *text)
{
    static const char *const types[] = {"ExpiredTokenException", "ExpiredToken", NULL};
    bool own = s->credentials == l->credentials;
    if ((status != 400 && status != 403) || !is_one_of(s->answer.error_type, types))
        return false;
    if (!own || l->expired)
        return true;
    if (!l->refreshable || (l->refreshed && !l->worked))
        return false;
    free(l->expired_text);
    l->expired_text = mu_join("", text);
    l->expired = true;
    return true;
}

/* Records that an answer has come on a slot, and how long it took. */
static void note_answer(target *t, const slot *s)
{
    t->answered = true;
    t->heard = mu_now();
    curl_off_t sent = 0;
    curl_off_t answered = 0;
    if (curl_easy_getinfo(s->easy, CURLINFO_PRETRANSFER_TIME_T, &sent) != CURLE_OK ||
        curl_easy_getinfo(s->easy, CURLINFO_STARTTRANSFER_TIME_T, &answered) != CURLE_OK || answered <= sent)
        return;
    double seconds = (double)(answered - sent) / 1e6;
    if (t->fastest == 0 || seconds < t->fastest)
        t->fastest = seconds;
}

/* No descriptor was left: for a while the target uses only the slots that have one. */
static void make_do(target *t)
{
    t->allowed = t->busy > 1 ? t->busy - 1 : 1;
    t->crowded_until = mu_now() + CROWDED_S;
}

void mu_judge(struct mu_launch *l, slot *s, CURLcode code)
{
    target *t = s->target;
    uint32_t index = s->request;
    request *r = &l->requests[index];
    s->request = NO_REQUEST;

    long status = 0;
    (void)curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    /* If the service has reported that it accepted the invocation, an incomplete rest must not make us send it twice.
     * */
    bool taken = s->answer.status == l->success;
    if (taken)
        status = l->success;
    bool too_long = !taken && status != 0 && s->answer.body_size > ANSWER_MAX;
    if (!taken && !too_long && (code != CURLE_OK || !s->answer.complete))
        status = 0;
    if ((taken || status == 429) && s->credentials == l->credentials)
        l->worked = true;
    bool no_file = status == 0 && s->out_of_files;
    if (status != 0)
        note_answer(t, s);
    else if (no_file)
        make_do(t);
    else
        t->silent = true;
    if ((status == 429 && l->wait_while_throttled) || (no_file && l->progress.sent > 1))
        r->uncounted++;
    r->status = (short)status;
    memcpy(r->request_id, s->answer.request_id, sizeof r->request_id);
    if (status == 429)
        l->progress.throttled++;

    if (taken && s->answer.function_error[0] == '\0') {
        mu_set_state(l, index, MU_LAUNCH_ACCEPTED, NULL);
        return;
    }
    char text[TEXT_SIZE];
    if (too_long)
        (void)snprintf(text, sizeof text, "HTTP %ld: the answer has more than %zu MiB", status, ANSWER_MAX >> 20);
    else if (status != 0)
        describe_answer(l, s, status, text);
    else
        describe_failure(l, s, code, text);

    mu_meaning meaning = MU_MEANING_PASSES;
    if (status != 0)
        meaning = mu_meaning_of((int)status, s->answer.error_type);
    else if (!no_file && is_unreachable(t, r, code))
        meaning = MU_MEANING_FINAL;
    if (taken) {
        mu_set_state(l, index, MU_LAUNCH_FAILED, text);
    } else if (t->stopped == NULL && clock_was_wrong(t, s, status)) {
        mu_set_state(l, index, MU_LAUNCH_QUEUED, NULL);
    } else if (t->stopped == NULL && can_be_signed_anew(l, s, status, text)) {
        r->uncounted++;
        mu_set_state(l, index, MU_LAUNCH_QUEUED, NULL);
    } else if (meaning == MU_MEANING_FINAL) {
        mu_set_state(l, index, MU_LAUNCH_FAILED, text);
        mu_stop_target(l, t, text);
    } else if (!too_long && meaning <= MU_MEANING_SETTLES && t->stopped == NULL &&
               mu_counted(r) < l->max_attempts) {
        int64_t now = (int64_t)time(NULL) + t->skew;
        int64_t asked = status == 0 ? MU_ANSWER_UNSET : mu_answer_retry_after(&s->answer, now);
        r->due_ms = mu_now_ms() + backoff_ms(l, r->attempts, meaning, asked);
        mu_set_state(l, index, MU_LAUNCH_WAITING, text);
    } else {
        mu_set_state(l, index, MU_LAUNCH_FAILED, text);
    }
}
