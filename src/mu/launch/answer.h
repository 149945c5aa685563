/* Parsers of the service's answer to an Invoke: of its header lines and of its error body.
 *
 * Both parse bytes from the network and do not trust them: no input makes them read or write out of bounds, and a
 * field whose text they do not understand stays unset. They allocate nothing and have no state but the mu_answer.
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
    char date[40]; /* the service's clock, as in the header; see mu_answer_date() */
    char retry_after[40]; /* seconds or a date; see mu_answer_retry_after() */
    int status; /* of the status line; 0 if none has come */
    int complete; /* whether the empty line that ends the headers has come */
    int doubtful; /* whether the end of this answer is uncertain; see mu_answer_header() */
    int lengths; /* number of Content-Length headers */
    int codings; /* number of Transfer-Encoding headers */
    int empty; /* whether the Content-Length is 0 */
    size_t header_size; /* bytes of header lines so far */
    size_t body_size; /* bytes of body so far, of which the first MU_ANSWER_BODY_KEPT are in `body` */
    char body[MU_ANSWER_BODY_KEPT];
} mu_answer;

/* Prepares `answer` for a new answer. */
void mu_answer_reset(mu_answer *answer);

/* Takes one header line, with or without its line end. A status line resets what came before it, so that the answers
 * 100 and 103 before the final one are skipped.
 *
 * An answer is `doubtful` unless all its lines conform to RFC 9112 and its end follows from them alone: "HTTP/1.1"
 * and three digits, a final status and no interim answer before it (none of our requests asks for one), one
 * Content-Length or "chunked" but not both, no length but 0 on a 204, no folded line, no trailer, and CR LF at the
 * end of each line. Its content is used all the same, but its connection must not be used again: the next bytes on it
 * might belong to that answer, and would be mistaken for the answer to another request. */
void mu_answer_header(mu_answer *answer, const char *line, size_t size);

/* Takes the next bytes of the body. */
void mu_answer_body(mu_answer *answer, const char *data, size_t size);

/* Returns the service's clock in seconds since 1970; MU_ANSWER_UNSET if the answer has none. */
int64_t mu_answer_date(const mu_answer *answer);

/* Returns how many seconds the service asks us to wait, rounded up; MU_ANSWER_UNSET if it does not. A date counts
 * from the answer's own date, or from `now` (seconds since 1970) if it has none. */
int64_t mu_answer_retry_after(const mu_answer *answer, int64_t now);

/* Parses the body as AWS's JSON object for an error. Sets `reason`, and error_type and retry_after if no header gave
 * them, and writes the message to `text` ("" if there is none), as one line of printable UTF-8 that ends before the
 * first line break. */
void mu_answer_read_error(mu_answer *answer, char text[MU_ANSWER_TEXT_SIZE]);

/* Cuts UTF-8 text before its first line break and turns its other control characters into spaces. */
void mu_one_line(char *text);

/* Overwrites each occurrence of `secret` in `text` with asterisks, and also the beginning of it if `text` is cut off
 * within it. An empty or NULL secret does nothing. */
void mu_redact(char *text, const char *secret);

#endif
