/* liblaunch: many AWS Lambda invocations at once, over few connections.
 *
 * A handle is created, configured, given targets and invocations, polled until none is left, asked for the outcome of
 * each, and freed:
 *
 *     mu_launch_setup();
 *     mu_launch *l = mu_launch_new();
 *     mu_launch_options options = {.access_key = ..., .payload = ...};    (0 and NULL: the default)
 *     mu_launch_configure(l, &options);
 *     int target = mu_launch_add_target(l, "us-east-1", "https://lambda.us-east-1.amazonaws.com", "name");
 *     mu_launch_add(l, target, 0, 1000);
 *     while (mu_launch_poll(l, 50) > 0)
 *         while (mu_launch_take(l, outcomes, 64) > 0)
 *             ...
 *     mu_launch_free(l);
 *
 * Threads: a handle is used by one thread at a time; different handles are independent. There is no mutable global
 * state but libcurl's own, which mu_launch_setup() initializes.
 *
 * Errors: functions return a negative mu_launch_error when the *call* failed; mu_launch_error_text() then returns a
 * line about it. The failure of an *invocation* is not an error of a call; its outcome reports it.
 *
 * Ownership: everything passed in is copied. What a returned pointer points to belongs to the handle, and lives until
 * the next mu_launch_add() or mu_launch_free(), unless stated otherwise. Secrets are wiped from the library's memory
 * when they are freed, and are in no text that it makes.
 *
 * Versions: libcurl 7.80.0 or later, because only CURLOPT_PREREQFUNCTION (new in it) lets us count the requests that
 * libcurl sends again by itself. Known faults of libcurl are worked around: 7.83.0 to 8.1.0 follow a pointer to a
 * freed header when an easy handle is used again (slot.c, renew()), and versions 7 keep connections on which bytes
 * follow an answer (slot.c, on_log(); idle.c). OpenSSL 3.0 or later, for EVP_MD_fetch() and EVP_MAC. Both are checked
 * when this is compiled. The tests run with libcurl 7.88.1 and OpenSSL 3.0 (Debian 12).
 *
 * Units: times are in milliseconds (int, `_ms`) or seconds (double).
 */
#ifndef MU_LIBLAUNCH_H
#define MU_LIBLAUNCH_H

#include <stddef.h>
#include <stdint.h>

typedef enum mu_launch_error {
    MU_LAUNCH_OK = 0,
    MU_LAUNCH_ENOMEM = -1, /* out of memory; the handle can still be used */
    MU_LAUNCH_EINVAL = -2, /* an argument that is not allowed */
    MU_LAUNCH_ECRYPTO = -3, /* OpenSSL failed (SHA-256 or HMAC not available, or out of memory) */
    MU_LAUNCH_ECURL = -4, /* libcurl's multi interface failed; the handle can only be asked and freed */
    MU_LAUNCH_ESYSTEM = -5, /* poll(2) failed */
} mu_launch_error;

/* The states of an invocation: QUEUED -> SENT -> one of the last three, or WAITING (for a retry) -> QUEUED. */
typedef enum mu_launch_state {
    MU_LAUNCH_QUEUED = 0,
    MU_LAUNCH_SENT = 1,
    MU_LAUNCH_WAITING = 2,
    MU_LAUNCH_ACCEPTED = 3, /* the service answered with the status of success of this invocation type */
    MU_LAUNCH_FAILED = 4, /* it did not, and a retry was useless or max_attempts was reached */
    MU_LAUNCH_CANCELLED = 5, /* mu_launch_cancel() ended it; if it had been sent, it may still happen. Its error is the
                              * reason of the last retry, if there was one */
} mu_launch_state;

enum {
    MU_LAUNCH_MAX_CONNECTIONS = 128, /* default of max_connections */
    MU_LAUNCH_MAX_ATTEMPTS = 30, /* default of max_attempts */
    MU_LAUNCH_TIMEOUT_MS = 30000, /* default of timeout_ms */
    MU_LAUNCH_BACKOFF_BASE_MS = 50, /* default of backoff_base_ms */
    MU_LAUNCH_BACKOFF_CAP_MS = 2000, /* default of backoff_cap_ms */
    MU_LAUNCH_RETRY_AFTER_MAX = 60, /* seconds; the longest wait that an answer can ask for */
    MU_LAUNCH_NAME_MAX = 256, /* bytes of a function's name or ARN, a region, an access key id */
    MU_LAUNCH_TOKEN_MAX = 7168, /* bytes of a session token */
    MU_LAUNCH_CONNECTIONS_MAX = 10000, /* upper limit of max_connections */
};

typedef struct mu_launch mu_launch;

typedef struct mu_launch_options {
    const char *access_key; /* required */
    const char *secret_key; /* required */
    const char *session_token; /* NULL: none */
    const char *ca_bundle; /* a file of PEM certificates; NULL: the system's */
    const char *invocation_type; /* "Event", "RequestResponse", "DryRun"; NULL: Event */
    const char *payload; /* JSON, in which the first ##ID## stands for the invocation's number; not NUL-terminated */
    size_t payload_size; /* its bytes */
    int max_connections; /* for each target; 0: the default */
    int max_attempts; /* for each invocation; 0: the default */
    int wait_while_throttled; /* not 0: answers 429 do not count against max_attempts */
    int timeout_ms; /* for each attempt, from connecting (10 s at most) to the end of the answer; 0: the default */
    int backoff_base_ms; /* the n-th wait is random, up to base * 2^(n-1) ... */
    int backoff_cap_ms; /* ... but at most this; 0: the default */
    int refreshable; /* not 0: the caller can provide new credentials; see mu_launch_set_credentials() */
} mu_launch_options;

/* The progress of a launch. Each invocation is in exactly one of queued ... cancelled; these six add up to total. */
typedef struct mu_launch_progress {
    int64_t total;
    int64_t queued;
    int64_t sent;
    int64_t waiting;
    int64_t accepted;
    int64_t failed;
    int64_t cancelled;
    int64_t attempts; /* requests sent */
    int64_t retries; /* requests beyond each invocation's first */
    int64_t throttled; /* answers 429 */
    int64_t connections; /* requests that can be in progress at once now, over all targets */
} mu_launch_progress;

typedef struct mu_launch_outcome {
    int64_t number; /* of the invocation */
    int target; /* as mu_launch_add_target() returned it */
    int state; /* ACCEPTED, FAILED or CANCELLED */
    int status; /* of the last answer; 0 if there was none */
    int attempts; /* requests sent; 0 if a final error of another invocation came first */
    double seconds; /* from the first request to the end; 0 if there was none */
    const char *request_id; /* of the last answer; "" if it had none */
    const char *error; /* one line; NULL if accepted */
} mu_launch_outcome;

/* Initializes libcurl. Must be called once in a process, before the first handle, while no other thread calls it.
 * Returns 0 or MU_LAUNCH_ECURL. */
int mu_launch_setup(void);

/* Makes a handle; NULL when out of memory. */
mu_launch *mu_launch_new(void);

/* Sets what all invocations of a new handle share. Must be called once for each handle, before the functions below.
 * Returns 0, or MU_LAUNCH_EINVAL (a missing or overlong field, a control character in one, a number out of range),
 * MU_LAUNCH_ENOMEM, MU_LAUNCH_ECRYPTO, MU_LAUNCH_ECURL; the handle is unchanged then. */
int mu_launch_configure(mu_launch *launch, const mu_launch_options *options);

/* Adds a function in a region. `endpoint` is the service's URL: http or https, a host, and optionally a port and a
 * path, nothing else. `function` is a name, name:alias, or ARN, not encoded. Each target has its own connections and
 * does not wait for another. May be called at any time, also between polls. Returns the target's index (0, 1, ...),
 * or MU_LAUNCH_EINVAL, MU_LAUNCH_ENOMEM, MU_LAUNCH_ECRYPTO. */
int mu_launch_add_target(mu_launch *launch, const char *region, const char *endpoint, const char *function);

/* Queues `count` invocations of a target, numbered from `first`. May be called at any time, also between polls.
 * Returns 0, or MU_LAUNCH_EINVAL (no such target, a negative number, a payload of more than 1 MiB for Event or 6 MiB
 * for the other types), MU_LAUNCH_ENOMEM; nothing is queued then. */
int mu_launch_add(mu_launch *launch, int target, int64_t first, int64_t count);

/* Sends and receives for up to `timeout_ms`, less if nothing is left to do or a signal came. Returns 1 if invocations
 * are left, 0 if all have ended, or MU_LAUNCH_ENOMEM, MU_LAUNCH_ECRYPTO, MU_LAUNCH_ECURL, MU_LAUNCH_ESYSTEM: no
 * invocation is lost by these; the remaining ones can be polled again, or cancelled. */
int mu_launch_poll(mu_launch *launch, int timeout_ms);

/* Returns whether the service has reported that the credentials have expired, so that nothing is sent until there are
 * others. Only if the option `refreshable` is set. mu_launch_poll() then returns 1 at once; the caller must call
 * mu_launch_set_credentials() or mu_launch_refuse_credentials(). */
int mu_launch_wants_credentials(const mu_launch *launch);

/* Signs all requests from now on with these keys. Requests in progress are not changed; if they are refused because
 * the previous keys have expired, they are sent again, which does not count against max_attempts. May be called at
 * any time after mu_launch_configure(), also between polls, and should be called before the keys expire.
 * `session_token` is NULL if there is none. If the handle wants credentials and these are the ones that have expired,
 * or if new ones are refused as expired before any request was accepted or throttled, all remaining invocations fail.
 * Returns 0, or MU_LAUNCH_EINVAL, MU_LAUNCH_ENOMEM, MU_LAUNCH_ECRYPTO; the handle is unchanged then. */
int mu_launch_set_credentials(mu_launch *launch, const char *access_key, const char *secret_key,
                              const char *session_token);

/* Reports that there are no new credentials: if the handle wants some, all remaining invocations fail, with the
 * service's message and `why` (one line; NULL: nothing). */
void mu_launch_refuse_credentials(mu_launch *launch, const char *why);

/* Writes the present counts. */
void mu_launch_get_progress(const mu_launch *launch, mu_launch_progress *progress);

/* Writes up to `room` outcomes that have not been taken yet, in the order in which the invocations ended. Each is
 * returned once. Returns how many were written; 0 if there are none now. */
size_t mu_launch_take(mu_launch *launch, mu_launch_outcome *outcomes, size_t room);

/* Ends all remaining invocations as CANCELLED, and closes their connections. */
void mu_launch_cancel(mu_launch *launch);

/* Frees a handle and all memory that it has returned; NULL is allowed. */
void mu_launch_free(mu_launch *launch);

/* Returns the text of a mu_launch_error; static. */
const char *mu_launch_strerror(int error);

/* Returns a line about the handle's last failed call; it lives until the next call with the handle. */
const char *mu_launch_error_text(const mu_launch *launch);

#endif
