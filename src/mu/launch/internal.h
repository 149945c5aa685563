/* The declarations that the files of a handle share. Each file calls only those to the right of it:
 *
 *     liblaunch.c (the handle) -> loop.c (sending and receiving) -> verdict.c (judging answers), slot.c (a transfer)
 *     -> requests.c (their lists and states), idle.c (idle connections),
 *     credentials.c -> base.c
 *
 *     handle ── targets (function × region) ── slots (one connection's libcurl handle each)
 *        └───── requests (one per invocation), each in one of: a target's queue, a slot, the heap, the done list
 *
 * Requests are identified by index, because their array moves when it grows; 0xffffffff is none. All memory that is
 * needed to move a request from one place to another is allocated before it is queued, so that no failing malloc can
 * lose one.
 */
#ifndef MU_LAUNCH_INTERNAL_H
#define MU_LAUNCH_INTERNAL_H

#include "answer.h"
#include "liblaunch.h"
#include "meaning.h"
#include "payload.h"
#include "sigv4.h"
#include "target.h"

#include <curl/curl.h>
#include <openssl/opensslv.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#if LIBCURL_VERSION_NUM < 0x075000
#error "liblaunch needs libcurl 7.80.0 or later; liblaunch.h says why"
#endif
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "liblaunch needs OpenSSL 3.0 or later; liblaunch.h says why"
#endif

#define NO_REQUEST UINT32_MAX
#define AUTHORIZATION_SIZE 1024
#define CANCELLED "cancelled"
#define OUT_OF_MEMORY "out of memory"
#define ANSWER_MAX ((size_t)8 << 20) /* bytes; a function's answer has at most 6 MB */

typedef struct request {
    int64_t number;
    int64_t due_ms; /* WAITING: when it is retried */
    double started; /* of the first attempt, monotonic seconds */
    double seconds;
    char *error; /* own copy of the reason of its end or retry; NULL with `error_lost` if out of memory */
    uint32_t next; /* the next request in its list */
    int target;
    int attempts;
    int uncounted; /* number of these that do not count against max_attempts */
    short status;
    unsigned char state; /* mu_launch_state */
    bool error_lost;
    char request_id[64];
} request;

/* A list of requests, linked through `next`. */
typedef struct fifo {
    uint32_t first;
    uint32_t last;
} fifo;

/* Keys for signing requests. */
typedef struct mu_credentials {
    int holders; /* reference count: slots, and the handle */
    char *access_key;
    char *secret_key;
    char *token; /* NULL: none */
    char *token_header; /* "X-Amz-Security-Token: ..." */
} mu_credentials;

struct target;

/* A libcurl easy handle with all that a request on it needs; it is reused if libcurl permits that (slot.c). */
typedef struct slot {
    CURL *easy;
    struct target *target;
    struct slot *next; /* in the target's list of idle slots */
    uint32_t request; /* NO_REQUEST: idle */
    mu_credentials *credentials; /* that signed its request; NULL before the first */
    int64_t signed_skew; /* the target's skew when this request was signed */
    bool closing; /* whether its connection must not be reused, because an answer was doubtful */
    bool listening; /* whether libcurl's log is read */
    bool begun; /* whether libcurl has begun to send the request */
    bool out_of_files; /* whether no descriptor was left for its connection */
    bool by_proxy; /* whether its connections lead to a proxy */
    char *body; /* buffer for a filled-in payload; NULL if all are equal */
    struct curl_slist headers[7]; /* linked by hand: libcurl only reads them */
    char date_header[16 + MU_SIGV4_DATE_SIZE];
    char authorization[AUTHORIZATION_SIZE];
    char curl_error[CURL_ERROR_SIZE];
    mu_answer answer;
} slot;

typedef struct target {
    struct mu_launch *launch;
    int index;
    char *region;
    mu_sigv4 *signer; /* with the handle's credentials */
    mu_address address;
    char *host_header; /* "Host: ..." */
    CURLSH *share; /* the TLS session that its connections resume */
    fifo queue;
    slot **slots; /* room for max_connections */
    slot *idle;
    int open; /* number of slots that exist */
    int busy; /* number of slots with a request */
    int allowed; /* slots that may have a request now; grows up to max_connections ... */
    double crowded_until; /* ... but not before this, because descriptors ran out; monotonic seconds */
    double heard; /* when its last answer came, or it began to wait for one, monotonic seconds */
    double fastest; /* answer of this span of loop.c, in seconds from request to answer; 0: none yet */
    double latency; /* the same of the last span that had answers */
    bool answered; /* whether the service has answered at least once */
    bool silent; /* whether a request got no answer */
    bool skew_corrected;
    int64_t skew; /* seconds to add to this machine's clock */
    char *stopped; /* why nothing more is sent; NULL if it is not stopped */
} target;

struct mu_launch {
    char text[256];
    bool configured;
    bool broken; /* whether libcurl's multi handle is unusable */
    bool renews; /* whether this libcurl's easy handles must not be reused for a second answer */
    bool resumes; /* whether we can resume this libcurl's TLS sessions */
    CURLM *multi;
    mu_payload *payload;
    size_t payload_max; /* bytes of the filled-in payload */
    mu_credentials *credentials;
    bool refreshable; /* whether the caller provides new ones when they have expired */
    bool refreshed; /* whether they replace expired ones ... */
    bool worked; /* ... and whether a request that they signed was accepted or throttled */
    bool expired; /* whether nothing is sent until the caller provides new ones */
    char *expired_text; /* the answer that reported it; NULL if out of memory */
    char *ca_bundle; /* NULL: the system's */
    const char *invocation_type; /* static */
    const char *type_header; /* static */
    int success; /* the HTTP status that means it */
    int max_connections;
    int max_attempts;
    bool wait_while_throttled;
    int timeout_ms;
    int connect_ms; /* of it, for connecting */
    int backoff_base_ms;
    int backoff_cap_ms;
    uint64_t random;

    target **targets;
    int target_count;
    request *requests;
    uint32_t request_count;
    uint32_t request_room;
    uint32_t *heap; /* the WAITING ones, soonest first; as much room as `requests` */
    fifo done; /* requests that have ended and were not taken yet */
    mu_launch_progress progress;

    double span_start; /* of the present span, monotonic seconds */
    double span_waited; /* seconds of the span that were spent in poll(2) */
    int64_t curl_due_ms; /* when libcurl must be called without an event; -1: never */
    int turn; /* the target that may open connections first */
    int may_open; /* how many slots may be made in this turn */
    struct pollfd *fds;
    int fd_count;
    int fd_next; /* whose turn it is */
    int fd_room;
    struct pollfd *idle; /* the idle connections; see idle.c */
    int idle_count;
    int *places; /* of each descriptor in `idle`, from 1; 0: open, but not idle; -1: not open, or not libcurl's */
    int place_count;
};

/* Monotonic milliseconds. */
int64_t mu_now_ms(void);

/* Monotonic seconds. */
double mu_now(void);

/* `prefix` and `text` joined, in memory of their own; NULL when out of memory. */
char *mu_join(const char *prefix, const char *text);

/* Sets the handle's error text; returns `error`. */
int mu_fail(struct mu_launch *launch, int error, const char *text);

/* The only function that changes a request's state. It updates the counts, and puts the request into the list of its
 * new state: QUEUED into its target's queue (at the front if it was sent before), WAITING into the heap (by due_ms),
 * the ended ones into the done list. SENT may follow SENT, when libcurl sends it again. For WAITING and FAILED
 * `error` is copied; otherwise it is NULL. A CANCELLED request keeps the reason for which it was WAITING before, if
 * it was. */
void mu_set_state(struct mu_launch *launch, uint32_t index, mu_launch_state state, const char *error);

/* Returns a copy of these keys with one reference; NULL when out of memory. */
mu_credentials *mu_credentials_new(const char *access_key, const char *secret_key, const char *token);

bool mu_credentials_equal(const mu_credentials *credentials, const char *access_key, const char *secret_key,
                          const char *token);

/* Adds a reference; returns `credentials`. */
mu_credentials *mu_credentials_hold(mu_credentials *credentials);

/* Drops a reference; wipes and frees the keys with the last one. NULL is allowed. */
void mu_credentials_release(mu_credentials *credentials);

/* Records that libcurl has opened a socket; false when out of memory. */
bool mu_idle_open(struct mu_launch *launch, int fd);

/* Records that a socket will be closed. */
void mu_idle_close(struct mu_launch *launch, int fd);

/* Records that no transfer waits for a socket any more. */
void mu_idle_keep(struct mu_launch *launch, int fd);

/* Records that a transfer waits for a socket. */
void mu_idle_use(struct mu_launch *launch, int fd);

/* Checks all idle connections, and shuts down those on which anything has arrived. */
void mu_idle_check(struct mu_launch *launch);

/* Returns how many of its attempts count against max_attempts. */
int mu_counted(const request *r);

/* Removes the first request of a list; NO_REQUEST if it is empty. */
uint32_t mu_fifo_pop(struct mu_launch *launch, fifo *list);

/* Moves the waiting requests that are due back to their queues. */
void mu_wake_due(struct mu_launch *launch, int64_t now_ms);

/* Ends the queued requests of a target. */
void mu_end_queued(struct mu_launch *launch, target *t, mu_launch_state state, const char *error);

/* Ends the waiting requests of a target, or all of them if `t` is NULL. */
void mu_end_waiting(struct mu_launch *launch, const target *t, mu_launch_state state, const char *error);

/* Ends a target's queued and waiting requests: sending them would only repeat `error`. */
void mu_stop_target(struct mu_launch *launch, target *t, const char *error);

/* Decides the next state of the request on a slot, whose transfer has ended with `code`: calls mu_set_state(), and
 * mu_stop_target() if necessary. The slot is idle afterwards. */
void mu_judge(struct mu_launch *launch, slot *s, CURLcode code);

/* Makes the multi handle. MU_LAUNCH_ENOMEM, MU_LAUNCH_ECURL. */
int mu_loop_open(struct mu_launch *launch);

/* Finds out which features of slots the loaded libcurl permits. */
void mu_slot_library(struct mu_launch *launch);

/* Makes an idle slot; NULL when out of memory. */
slot *mu_slot_new(struct mu_launch *launch, target *t);

/* Fills in and signs a request on an idle slot. MU_LAUNCH_EINVAL (the clock), MU_LAUNCH_ENOMEM,
 * MU_LAUNCH_ECRYPTO, MU_LAUNCH_ECURL. */
int mu_slot_prepare(struct mu_launch *launch, slot *s, const request *r);

/* Frees a slot, ending its transfer. */
void mu_slot_free(struct mu_launch *launch, slot *s);

#endif
