/* The handle: creation, options, targets and invocations, outcomes, and its end. */
#include "internal.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000

static const struct {
    const char *name;
    const char *header;
    int success;
    size_t payload_max;
} invocation_types[] = {
    {"Event", "X-Amz-Invocation-Type: Event", 202, (size_t)1 << 20},
    {"RequestResponse", "X-Amz-Invocation-Type: RequestResponse", 200, (size_t)6 << 20},
    {"DryRun", "X-Amz-Invocation-Type: DryRun", 204, (size_t)6 << 20},
};

const char *mu_launch_error_text(const mu_launch *l)
{
    return l->text;
}

int mu_launch_setup(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? MU_LAUNCH_OK : MU_LAUNCH_ECURL;
}

mu_launch *mu_launch_new(void)
{
    mu_launch *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->curl_due_ms = -1;
    l->done.first = l->done.last = NO_REQUEST;
    return l;
}

static void forget_options(mu_launch *l)
{
    mu_payload_free(l->payload);
    mu_credentials_release(l->credentials);
    free(l->ca_bundle);
    l->payload = NULL;
    l->credentials = NULL;
    l->ca_bundle = NULL;
}

/* Whether `text` can stand in a header or a URL: 1 to `most` bytes, printable ASCII without spaces. */
static bool is_word(const char *text, size_t most)
{
    if (text == NULL || *text == '\0')
        return false;
    for (size_t i = 0; text[i] != '\0'; i++)
        if (i >= most || text[i] <= ' ' || text[i] >= 0x7f)
            return false;
    return true;
}

/* Returns what is wrong with these keys; NULL if nothing. */
static const char *fault_of_keys(const char *access_key, const char *secret_key, const char *token)
{
    if (!is_word(access_key, MU_LAUNCH_NAME_MAX))
        return "the access key id is missing, too long, or has odd characters";
    if (!is_word(secret_key, MU_LAUNCH_NAME_MAX))
        return "the secret access key is missing, too long, or has odd characters";
    if (token != NULL && !is_word(token, MU_LAUNCH_TOKEN_MAX))
        return "the session token is empty, too long, or has odd characters";
    return NULL;
}

/* Returns a numeric option: its default if it is 0; -1 if it is not in 1...most. */
static int pick(int given, int otherwise, int most)
{
    return given == 0 ? otherwise : given < 0 || given > most ? -1 : given;
}

static int take_options(mu_launch *l, const mu_launch_options *o, size_t type)
{
    l->invocation_type = invocation_types[type].name;
    l->type_header = invocation_types[type].header;
    l->success = invocation_types[type].success;
    l->payload_max = invocation_types[type].payload_max;
    l->credentials = mu_credentials_new(o->access_key, o->secret_key, o->session_token);
    if (l->credentials == NULL)
        return MU_LAUNCH_ENOMEM;
    if (o->ca_bundle != NULL && (l->ca_bundle = mu_join("", o->ca_bundle)) == NULL)
        return MU_LAUNCH_ENOMEM;
    if (RAND_bytes((unsigned char *)&l->random, sizeof l->random) != 1)
        return MU_LAUNCH_ECRYPTO;
    mu_slot_library(l);
    int result = mu_payload_new(o->payload, o->payload_size, &l->payload);
    return result == MU_LAUNCH_OK ? mu_loop_open(l) : result;
}

int mu_launch_configure(mu_launch *l, const mu_launch_options *o)
{
    const size_t types = sizeof invocation_types / sizeof *invocation_types;
    if (l->configured)
        return mu_fail(l, MU_LAUNCH_EINVAL, "configured twice");
    const char *fault = fault_of_keys(o->access_key, o->secret_key, o->session_token);
    if (fault != NULL)
        return mu_fail(l, MU_LAUNCH_EINVAL, fault);
    size_t type = 0;
    while (type < types && o->invocation_type != NULL && strcmp(o->invocation_type, invocation_types[type].name) != 0)
        type++;
    if (type == types)
        return mu_fail(l, MU_LAUNCH_EINVAL, "the invocation type is not Event, RequestResponse, or DryRun");
    l->max_connections = pick(o->max_connections, MU_LAUNCH_MAX_CONNECTIONS, MU_LAUNCH_CONNECTIONS_MAX);
    l->max_attempts = pick(o->max_attempts, MU_LAUNCH_MAX_ATTEMPTS, INT32_MAX);
    l->wait_while_throttled = o->wait_while_throttled != 0;
    l->refreshable = o->refreshable != 0;
    l->timeout_ms = pick(o->timeout_ms, MU_LAUNCH_TIMEOUT_MS, INT32_MAX);
    l->connect_ms = l->timeout_ms < CONNECT_TIMEOUT_MS ? l->timeout_ms : CONNECT_TIMEOUT_MS;
    l->backoff_base_ms = pick(o->backoff_base_ms, MU_LAUNCH_BACKOFF_BASE_MS, 3600000);
    l->backoff_cap_ms = pick(o->backoff_cap_ms, MU_LAUNCH_BACKOFF_CAP_MS, 3600000);
    if (l->max_connections < 0 || l->max_attempts < 0 || l->timeout_ms < 0 || l->backoff_base_ms < 0 ||
        l->backoff_cap_ms < 0)
        return mu_fail(l, MU_LAUNCH_EINVAL, "a number of connections, attempts, or milliseconds is out of range");

    int result = take_options(l, o, type);
    if (result != MU_LAUNCH_OK) {
        forget_options(l);
        return mu_fail(l, result, NULL);
    }
    l->configured = true;
    return MU_LAUNCH_OK;
}

static void target_free(mu_launch *l, target *t)
{
    if (t == NULL)
        return;
    for (int i = 0; i < t->open; i++)
        mu_slot_free(l, t->slots[i]);
    (void)curl_share_cleanup(t->share);
    mu_sigv4_free(t->signer);
    mu_address_free(&t->address);
    free(t->slots);
    free(t->host_header);
    free(t->region);
    free(t->stopped);
    free(t);
}

int mu_launch_add_target(mu_launch *l, const char *region, const char *endpoint, const char *function)
{
    if (!l->configured)
        return mu_fail(l, MU_LAUNCH_EINVAL, "not configured");
    if (!is_word(region, MU_LAUNCH_NAME_MAX) || strchr(region, '/') != NULL)
        return mu_fail(l, MU_LAUNCH_EINVAL, "the region is missing, too long, or has odd characters");
    if (!is_word(endpoint, 2048))
        return mu_fail(l, MU_LAUNCH_EINVAL, "the endpoint is missing, too long, or has odd characters");
    if (function == NULL || *function == '\0' || strlen(function) > MU_LAUNCH_NAME_MAX ||
        strcmp(function, ".") == 0 || strcmp(function, "..") == 0)
        return mu_fail(l, MU_LAUNCH_EINVAL, "the function's name is missing, too long, or only dots");

    target **targets = realloc(l->targets, ((size_t)l->target_count + 1) * sizeof *targets);
    if (targets == NULL)
        return mu_fail(l, MU_LAUNCH_ENOMEM, NULL);
    l->targets = targets;
    target *t = calloc(1, sizeof *t);
    if (t == NULL)
        return mu_fail(l, MU_LAUNCH_ENOMEM, NULL);
    t->launch = l;
    t->index = l->target_count;
    t->queue.first = t->queue.last = NO_REQUEST;
    const char *reason = NULL;
    int result = mu_address_make(endpoint, function, &t->address, &reason);
    if (result == MU_LAUNCH_OK)
        result = mu_sigv4_new(l->credentials->access_key, l->credentials->secret_key, region, "lambda", &t->signer);
    if (result == MU_LAUNCH_OK && ((t->region = mu_join("", region)) == NULL ||
                                   (t->host_header = mu_join("Host: ", t->address.host)) == NULL ||
                                   (t->slots = calloc((size_t)l->max_connections, sizeof *t->slots)) == NULL ||
                                   (t->share = curl_share_init()) == NULL ||
                                   curl_share_setopt(t->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) !=
                                       CURLSHE_OK))
        result = MU_LAUNCH_ENOMEM;
    if (result != MU_LAUNCH_OK) {
        target_free(l, t);
        return mu_fail(l, result, reason);
    }
    l->targets[l->target_count++] = t;
    return t->index;
}

static bool make_room(mu_launch *l, uint32_t count)
{
    if (count <= l->request_room)
        return true;
    request *requests = realloc(l->requests, (size_t)count * sizeof *requests);
    if (requests == NULL)
        return false;
    l->requests = requests;
    uint32_t *heap = realloc(l->heap, (size_t)count * sizeof *heap);
    if (heap == NULL)
        return false;
    l->heap = heap;
    l->request_room = count;
    return true;
}

int mu_launch_add(mu_launch *l, int index, int64_t first, int64_t count)
{
    if (index < 0 || index >= l->target_count)
        return mu_fail(l, MU_LAUNCH_EINVAL, "no such target");
    if (first < 0 || count < 0 || first > INT64_MAX - count || count >= (int64_t)(NO_REQUEST - l->request_count))
        return mu_fail(l, MU_LAUNCH_EINVAL, "an invocation's number is out of range");
    if (count > 0 && mu_payload_size(l->payload, first + count - 1) > l->payload_max)
        return mu_fail(l, MU_LAUNCH_EINVAL, "the payload is larger than Lambda takes");
    if (!make_room(l, l->request_count + (uint32_t)count))
        return mu_fail(l, MU_LAUNCH_ENOMEM, NULL);
    const char *stopped = l->targets[index]->stopped;
    for (int64_t i = 0; i < count; i++) {
        uint32_t at = l->request_count++;
        l->requests[at] = (request){.number = first + i, .target = index, .state = MU_LAUNCH_QUEUED};
        l->progress.total++;
        l->progress.queued++;
        mu_set_state(l, at, stopped == NULL ? MU_LAUNCH_QUEUED : MU_LAUNCH_FAILED, stopped);
    }
    return MU_LAUNCH_OK;
}

/* New signers for all targets, or none. */
static int new_signers(mu_launch *l, const char *access_key, const char *secret_key)
{
    mu_sigv4 **signers = calloc((size_t)l->target_count + 1, sizeof *signers);
    if (signers == NULL)
        return MU_LAUNCH_ENOMEM;
    int result = MU_LAUNCH_OK;
    for (int i = 0; i < l->target_count && result == MU_LAUNCH_OK; i++)
        result = mu_sigv4_new(access_key, secret_key, l->targets[i]->region, "lambda", &signers[i]);
    for (int i = 0; i < l->target_count; i++) {
        if (result == MU_LAUNCH_OK) {
            mu_sigv4 *old = l->targets[i]->signer;
            l->targets[i]->signer = signers[i];
            signers[i] = old;
        }
        mu_sigv4_free(signers[i]);
    }
    free(signers);
    return result;
}

int mu_launch_wants_credentials(const mu_launch *l)
{
    return l->expired;
}

int mu_launch_set_credentials(mu_launch *l, const char *access_key, const char *secret_key, const char *session_token)
{
    if (!l->configured)
        return mu_fail(l, MU_LAUNCH_EINVAL, "not configured");
    const char *fault = fault_of_keys(access_key, secret_key, session_token);
    if (fault != NULL)
        return mu_fail(l, MU_LAUNCH_EINVAL, fault);
    if (mu_credentials_equal(l->credentials, access_key, secret_key, session_token)) {
        mu_launch_refuse_credentials(l, NULL);
        return MU_LAUNCH_OK;
    }
    mu_credentials *made = mu_credentials_new(access_key, secret_key, session_token);
    if (made == NULL)
        return mu_fail(l, MU_LAUNCH_ENOMEM, NULL);
    int result = new_signers(l, access_key, secret_key);
    if (result != MU_LAUNCH_OK) {
        mu_credentials_release(made);
        return mu_fail(l, result, NULL);
    }
    mu_credentials_release(l->credentials);
    l->credentials = made;
    l->refreshed = l->expired;
    l->worked = l->expired = false;
    return MU_LAUNCH_OK;
}

void mu_launch_refuse_credentials(mu_launch *l, const char *why)
{
    if (!l->expired)
        return;
    l->expired = false;
    l->refreshable = false;
    const char *said = l->expired_text == NULL ? "the credentials have expired" : l->expired_text;
    char text[1024];
    (void)snprintf(text, sizeof text, "%s%s%s", said, why == NULL ? "" : "; ", why == NULL ? "" : why);
    for (int i = 0; i < l->target_count; i++)
        mu_stop_target(l, l->targets[i], text);
}

void mu_launch_cancel(mu_launch *l)
{
    for (int i = 0; i < l->target_count; i++) {
        target *t = l->targets[i];
        for (int j = 0; j < t->open; j++) {
            if (t->slots[j]->request != NO_REQUEST)
                mu_set_state(l, t->slots[j]->request, MU_LAUNCH_CANCELLED, NULL);
            mu_slot_free(l, t->slots[j]);
        }
        l->progress.connections -= t->open;
        t->open = t->busy = 0;
        t->idle = NULL;
        t->silent = false; /* the request that tests whether the service exists was cancelled, too */
        mu_end_queued(l, t, MU_LAUNCH_CANCELLED, NULL);
    }
    mu_end_waiting(l, NULL, MU_LAUNCH_CANCELLED, NULL);
    l->expired = false;
}

void mu_launch_get_progress(const mu_launch *l, mu_launch_progress *progress)
{
    *progress = l->progress;
}

/* Most cancelled requests had no error, and there may be many, so they share one text. */
static const char *error_of(const request *r)
{
    if (r->error != NULL)
        return r->error;
    return r->error_lost ? OUT_OF_MEMORY : r->state == MU_LAUNCH_CANCELLED ? CANCELLED : NULL;
}

size_t mu_launch_take(mu_launch *l, mu_launch_outcome *outcomes, size_t room)
{
    size_t taken = 0;
    for (uint32_t index; taken < room && (index = mu_fifo_pop(l, &l->done)) != NO_REQUEST; taken++) {
        const request *r = &l->requests[index];
        outcomes[taken] = (mu_launch_outcome){
            .number = r->number,
            .target = r->target,
            .state = r->state,
            .status = r->status,
            .attempts = r->attempts,
            .seconds = r->seconds,
            .request_id = r->request_id,
            .error = error_of(r),
        };
    }
    return taken;
}

void mu_launch_free(mu_launch *l)
{
    if (l == NULL)
        return;
    for (int i = 0; i < l->target_count; i++)
        target_free(l, l->targets[i]);
    if (l->multi != NULL)
        (void)curl_multi_cleanup(l->multi);
    for (uint32_t i = 0; i < l->request_count; i++)
        free(l->requests[i].error);
    free(l->targets);
    free(l->requests);
    free(l->heap);
    free(l->fds);
    free(l->expired_text);
    free(l->idle);
    free(l->places);
    forget_options(l);
    free(l);
}
