/* What the service answered: the parsers of an Invoke answer's header lines and of its error body.
 *
 * Both take bytes from the network, so they trust none of them: no input makes them read or write out of
 * bounds, and what they do not understand leaves a field unset. They allocate nothing and have no state
 * but the mu_answer.
 */
#ifndef MU_ANSWER_H
#define MU_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#define MU_ANSWER_BODY_KEPT 8192
#define MU_ANSWER_TEXT_SIZE 512
#define MU_ANSWER_UNSET (-1)

typedef struct mu_answer {
    char request_id[64]; /* x-amzn-RequestId; "" if there was none */
    char error_type[64]; /* "TooManyRequestsException"; "" if there was none */
    char reason[64]; /* the Reason in an error's body; see mu_answer_read_error() */
    char function_error[32]; /* X-Amz-Function-Error: the function ran, and failed */
    char date[40]; /* the service's clock, as it stood in the header; see mu_answer_date() */
    char retry_after[40]; /* seconds or a date; see mu_answer_retry_after() */
    int status; /* of the status line; 0: none has come */
    int complete; /* the empty line that ends the headers has come */
    int doubtful; /* where this answer ends is not beyond doubt; see mu_answer_header() */
    int lengths; /* Content-Length headers */
    int codings; /* Transfer-Encoding headers */
    int empty; /* the Content-Length is 0 */
    size_t header_size; /* bytes of header lines so far */
    size_t body_size; /* bytes of body so far, of which the first MU_ANSWER_BODY_KEPT are in `body` */
    char body[MU_ANSWER_BODY_KEPT];
} mu_answer;

/* Makes `answer` ready for a new answer. */
void mu_answer_reset(mu_answer *answer);

/* Takes one header line, its line end included or not. A status line forgets what came before it, which
 * is how the answers 100 and 103 that precede the real one are skipped.
 *
 * An answer is `doubtful` unless all its lines are as RFC 9112 wants them and its end follows from them alone:
 * "HTTP/1.1" and three digits, a final status and no interim answer before it (no request of ours asks for one),
 * one Content-Length or "chunked" but not both, nothing but a length of 0 on a 204, no folded line, no trailer, each
 * line ended by CR LF. What is read from it is used all the same, but a connection after a doubtful answer must not
 * be used again: what comes on it next might be the rest of that answer, and would be taken for the answer to another
 * request. */
void mu_answer_header(mu_answer *answer, const char *line, size_t size);

/* Takes the next bytes of the body. */
void mu_answer_body(mu_answer *answer, const char *data, size_t size);

/* The service's clock, in seconds since 1970; MU_ANSWER_UNSET if it did not say. */
int64_t mu_answer_date(const mu_answer *answer);

/* How many seconds the service asked us to wait, rounded up; MU_ANSWER_UNSET if it did not. A date counts from the
 * answer's own, or from `now` (seconds since 1970) if the answer has none. */
int64_t mu_answer_retry_after(const mu_answer *answer, int64_t now);

/* Reads the body as the JSON object that AWS sends with an error: fills in `reason`, and error_type and retry_after
 * where no header gave them, and writes the message to `text` ("" if there is none), on one line of printable UTF-8,
 * ending before the first line break. */
void mu_answer_read_error(mu_answer *answer, char text[MU_ANSWER_TEXT_SIZE]);

/* Cuts UTF-8 text before its first line break and turns its other control characters into spaces. */
void mu_one_line(char *text);

/* Overwrites each occurrence of `secret` in `text` with asterisks, and its beginning where `text` ends within
 * it. An empty or NULL secret does nothing. */
void mu_redact(char *text, const char *secret);

#endif
