/* AWS Signature Version 4, for services other than S3, with OpenSSL's EVP interface.
 *
 * A signer belongs to one thread at a time. It copies what it is given; secrets are wiped when it is freed. Functions
 * return 0, or a negative mu_launch_error (liblaunch.h). They have no global state.
 */
#ifndef MU_SIGV4_H
#define MU_SIGV4_H

#include <stddef.h>
#include <stdint.h>

#define MU_SIGV4_HASH_SIZE 65 /* a SHA-256 in lower-case hexadecimal, and the NUL */
#define MU_SIGV4_DATE_SIZE 17 /* "20150830T123600Z", and the NUL */

typedef struct mu_sigv4 mu_sigv4;

/* One header to sign: the name in lower case, the value without spaces at its ends. */
typedef struct mu_sigv4_header {
    const char *name;
    const char *value;
} mu_sigv4_header;

/* What is signed. There is no query string in an Invoke, so there is none here. */
typedef struct mu_sigv4_request {
    const char *method;
    const char *canonical_path; /* from mu_sigv4_path() */
    const mu_sigv4_header *headers; /* sorted by name, each name once */
    size_t header_count;
    const char *payload_hash; /* from mu_payload_hash(), payload.h */
} mu_sigv4_request;

/* Makes a signer in *signer, to be freed with mu_sigv4_free().
 * MU_LAUNCH_ENOMEM, MU_LAUNCH_ECRYPTO; *signer is then NULL. */
int mu_sigv4_new(const char *access_key, const char *secret_key, const char *region, const char *service,
                 mu_sigv4 **signer);

/* Frees a signer; NULL is allowed. */
void mu_sigv4_free(mu_sigv4 *signer);

/* Writes the value of the Authorization header to `out` (`room` bytes, NUL included).
 * `amz_date` is the value of X-Amz-Date. The signing key is kept for as long as the day stays the same.
 * MU_LAUNCH_EINVAL if `room` is too small or the date has another form; MU_LAUNCH_ECRYPTO. */
int mu_sigv4_authorization(mu_sigv4 *signer, const mu_sigv4_request *request, const char *amz_date, char *out,
                           size_t room);

/* Writes `seconds` since 1970 as an X-Amz-Date. MU_LAUNCH_EINVAL outside the years 1970 to 9999. */
int mu_sigv4_date(int64_t seconds, char out[MU_SIGV4_DATE_SIZE]);

/* Percent-encodes `size` bytes of `text` for a path: all but A-Z a-z 0-9 - . _ ~ become %XX; a slash is
 * kept when `keep_slash`. `out` needs 3 * size + 1 bytes. Returns the length written, less the NUL. */
size_t mu_sigv4_encode(const char *text, size_t size, int keep_slash, char *out);

/* The canonical URI of a path as it stands in the request line (so already percent-encoded once):
 * dot segments and doubled slashes are removed, and the rest is encoded again.
 * `out` needs 3 * strlen(path) + 2 bytes. Returns the length written, less the NUL. */
size_t mu_sigv4_path(const char *path, char *out);

/* Writes `size` bytes as lower-case hexadecimal to `out`, which needs 2 * size + 1 bytes. */
void mu_hex(const unsigned char *bytes, size_t size, char *out);

#endif
