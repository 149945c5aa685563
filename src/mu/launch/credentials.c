/* The credentials that sign requests. A set of keys is kept for as long as a request that was signed with it is in
 * progress, because libcurl may send that again. */
#include "internal.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* Frees text that may be secret. */
static void wipe(char *text)
{
    if (text != NULL)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

mu_credentials *mu_credentials_new(const char *access_key, const char *secret_key, const char *token)
{
    mu_credentials *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->holders = 1;
    c->access_key = mu_join("", access_key);
    c->secret_key = mu_join("", secret_key);
    if (token != NULL) {
        c->token = mu_join("", token);
        c->token_header = mu_join("X-Amz-Security-Token: ", token);
    }
    if (c->access_key != NULL && c->secret_key != NULL &&
        (token == NULL || (c->token != NULL && c->token_header != NULL)))
        return c;
    mu_credentials_release(c);
    return NULL;
}

bool mu_credentials_equal(const mu_credentials *c, const char *access_key, const char *secret_key, const char *token)
{
    return strcmp(c->access_key, access_key) == 0 && strcmp(c->secret_key, secret_key) == 0 &&
           (c->token == NULL || token == NULL ? c->token == token : strcmp(c->token, token) == 0);
}

mu_credentials *mu_credentials_hold(mu_credentials *c)
{
    c->holders++;
    return c;
}

void mu_credentials_release(mu_credentials *c)
{
    if (c == NULL || --c->holders > 0)
        return;
    wipe(c->access_key);
    wipe(c->secret_key);
    wipe(c->token);
    wipe(c->token_header);
    free(c);
}
