/* One function in one region: where its requests go and how they are signed. */
#ifndef MU_TARGET_H
#define MU_TARGET_H

#include "sigv4.h"

#include <curl/curl.h>

/* All of it is the address's own, to be freed with mu_address_free(). */
typedef struct mu_address {
    char *url; /* of the request, the name percent-encoded once */
    CURLU *parsed; /* the same, so that libcurl need not parse it for each request */
    char *host; /* the value of the Host header: with the port unless it is the scheme's own */
    char *canonical_path; /* for the signature */
    int port;
} mu_address;

/* Puts together where to invoke `function` at `endpoint`. MU_LAUNCH_EINVAL (with a word in *reason about what is
 * wrong, static), MU_LAUNCH_ENOMEM; *address is then all zero. */
int mu_address_make(const char *endpoint, const char *function, mu_address *address, const char **reason);

/* Frees what is in it, not the struct. */
void mu_address_free(mu_address *address);

#endif
