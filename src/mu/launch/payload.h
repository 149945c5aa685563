/* The payload template: the part that all invocations share is stored once, and hashed once up to the number.
 *
 * A payload belongs to one thread at a time, because hashing uses a context that it keeps.
 */
#ifndef MU_PAYLOAD_H
#define MU_PAYLOAD_H

#include "sigv4.h"

typedef struct mu_payload mu_payload;

/* Makes a payload: `size` bytes in which the first ##ID##, if there is one, is replaced by the invocation's number.
 * The bytes are copied. Returns 0, or MU_LAUNCH_ENOMEM, MU_LAUNCH_ECRYPTO; *payload is NULL then. */
int mu_payload_new(const void *data, size_t size, mu_payload **payload);

/* Frees a payload; NULL is allowed. */
void mu_payload_free(mu_payload *payload);

/* Returns whether invocations have different payloads. */
int mu_payload_is_template(const mu_payload *payload);

/* Returns the size in bytes of invocation `number`'s payload. */
size_t mu_payload_size(const mu_payload *payload, int64_t number);

/* Writes them to `out`, which has room for mu_payload_size(); no NUL is added. */
void mu_payload_write(const mu_payload *payload, int64_t number, char *out);

/* Returns the payload itself when it is not a template; it lives as long as `payload`. */
const char *mu_payload_data(const mu_payload *payload);

/* Writes the SHA-256 of invocation `number`'s payload. Returns 0 or MU_LAUNCH_ECRYPTO. */
int mu_payload_hash(mu_payload *payload, int64_t number, char out[MU_SIGV4_HASH_SIZE]);

#endif
