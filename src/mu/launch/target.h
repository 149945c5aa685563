/* The address of one function in one region: its URL, its Host header, and its path for the signature. */
#ifndef MU_TARGET_H
#define MU_TARGET_H

#include "sigv4.h"

#include <curl/curl.h>

/* All strings belong to the address; mu_address_free() frees them. */
typedef struct mu_address {
    char *url; /* of the request, the name percent-encoded once */
    CURLU *parsed; /* the same, so that libcurl need not parse it for each request */
    char *host; /* the value of the Host header: with the port unless it is the scheme's own */
    char *canonical_path; /* for the signature */
    int port;
} mu_address;

/* Makes the address for invoking `function` at `endpoint`. Returns 0, or MU_LAUNCH_EINVAL (with the mistake in
 * *reason, static), MU_LAUNCH_ENOMEM; *address is all zero then. */
int mu_address_make(const char *endpoint, const char *function, mu_address *address, const char **reason);

/* Frees the content, not the struct. */
void mu_address_free(mu_address *address);

#endif
