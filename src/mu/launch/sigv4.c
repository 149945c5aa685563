#include "sigv4.h"

#include "liblaunch.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_BYTES 32
#define DAY_LENGTH 8
#define ALGORITHM "AWS4-HMAC-SHA256"

struct mu_sigv4 {
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    EVP_MAC *hmac;
    EVP_MAC_CTX *mac; /* keyed with the signing key of `day`; NULL before the first */
    char day[DAY_LENGTH + 1];
    char *access_key;
    char *secret; /* "AWS4" and the secret access key: what the key of a day is derived from */
    char *region;
    char *service;
};

void mu_hex(const unsigned char *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * size] = '\0';
}

static char *copy_text(const char *prefix, const char *text)
{
    size_t size = strlen(prefix) + strlen(text) + 1;
    char *copy = malloc(size);
    if (copy != NULL)
        (void)snprintf(copy, size, "%s%s", prefix, text);
    return copy;
}

int mu_sigv4_new(const char *access_key, const char *secret_key, const char *region, const char *service,
                 mu_sigv4 **signer)
{
    mu_sigv4 *s = *signer = calloc(1, sizeof *s);
    if (s == NULL)
        return MU_LAUNCH_ENOMEM;
    s->access_key = copy_text("", access_key);
    s->secret = copy_text("AWS4", secret_key);
    s->region = copy_text("", region);
    s->service = copy_text("", service);
    int result = MU_LAUNCH_OK;
    if (s->access_key == NULL || s->secret == NULL || s->region == NULL || s->service == NULL) {
        result = MU_LAUNCH_ENOMEM;
    } else {
        s->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        s->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        s->digest = EVP_MD_CTX_new();
        if (s->sha256 == NULL || s->digest == NULL || s->hmac == NULL)
            result = MU_LAUNCH_ECRYPTO;
    }
    if (result != MU_LAUNCH_OK) {
        mu_sigv4_free(s);
        *signer = NULL;
    }
    return result;
}

void mu_sigv4_free(mu_sigv4 *s)
{
    if (s == NULL)
        return;
    EVP_MAC_CTX_free(s->mac);
    EVP_MAC_free(s->hmac);
    EVP_MD_CTX_free(s->digest);
    EVP_MD_free(s->sha256);
    if (s->secret != NULL)
        OPENSSL_cleanse(s->secret, strlen(s->secret));
    free(s->secret);
    free(s->access_key);
    free(s->region);
    free(s->service);
    free(s);
}

/* One HMAC with a key of its own; `out` may be `key`. */
static int hmac_step(mu_sigv4 *s, const void *key, size_t key_size, const char *text, unsigned char *out)
{
    char name[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end(),
    };
    size_t written = 0;
    return EVP_MAC_init(s->mac, key, key_size, params) == 1 &&
           EVP_MAC_update(s->mac, (const unsigned char *)text, strlen(text)) == 1 &&
           EVP_MAC_final(s->mac, out, &written, HASH_BYTES) == 1;
}

/* Keys `mac` with the signing key of this day. It makes a new context, because one in which something has failed, for
 * example for lack of memory, must not be used again. */
static int key_for_day(mu_sigv4 *s, const char *amz_date)
{
    if (strncmp(s->day, amz_date, DAY_LENGTH) == 0)
        return 1;
    char day[DAY_LENGTH + 1] = {0};
    memcpy(day, amz_date, DAY_LENGTH);
    unsigned char key[HASH_BYTES];
    s->day[0] = '\0';
    EVP_MAC_CTX_free(s->mac);
    s->mac = EVP_MAC_CTX_new(s->hmac);
    int good = s->mac != NULL && hmac_step(s, s->secret, strlen(s->secret), day, key) &&
               hmac_step(s, key, HASH_BYTES, s->region, key) && hmac_step(s, key, HASH_BYTES, s->service, key) &&
               hmac_step(s, key, HASH_BYTES, "aws4_request", key) && EVP_MAC_init(s->mac, key, HASH_BYTES, NULL) == 1;
    OPENSSL_cleanse(key, sizeof key);
    if (good)
        memcpy(s->day, day, sizeof day);
    return good;
}

static int hash_text(mu_sigv4 *s, const char *text)
{
    return EVP_DigestUpdate(s->digest, text, strlen(text)) == 1;
}

/* Hashes the canonical request, which is never assembled: its pieces go to the digest one by one. */
static int hash_canonical_request(mu_sigv4 *s, const mu_sigv4_request *r, char *out)
{
    int good = EVP_DigestInit_ex2(s->digest, s->sha256, NULL) == 1 && hash_text(s, r->method) && hash_text(s, "\n") &&
               hash_text(s, r->canonical_path) && hash_text(s, "\n\n");
    for (size_t i = 0; good && i < r->header_count; i++)
        good = hash_text(s, r->headers[i].name) && hash_text(s, ":") && hash_text(s, r->headers[i].value) &&
               hash_text(s, "\n");
    for (size_t i = 0; good && i < r->header_count; i++)
        good = hash_text(s, i == 0 ? "\n" : ";") && hash_text(s, r->headers[i].name);
    unsigned char hash[HASH_BYTES];
    good = good && hash_text(s, "\n") && hash_text(s, r->payload_hash) &&
           EVP_DigestFinal_ex(s->digest, hash, NULL) == 1;
    if (good)
        mu_hex(hash, HASH_BYTES, out);
    else
        EVP_MD_CTX_reset(s->digest); /* as for `mac` */
    return good;
}

static int sign_text(mu_sigv4 *s, const char *text)
{
    return EVP_MAC_update(s->mac, (const unsigned char *)text, strlen(text)) == 1;
}

/* Appends to `out`; returns the new length, or `room` once it does not fit. */
static size_t append(char *out, size_t room, size_t at, const char *text)
{
    size_t length = strlen(text);
    if (at >= room || length >= room - at)
        return room;
    memcpy(out + at, text, length + 1);
    return at + length;
}

int mu_sigv4_authorization(mu_sigv4 *s, const mu_sigv4_request *r, const char *amz_date, char *out, size_t room)
{
    if (strlen(amz_date) != MU_SIGV4_DATE_SIZE - 1)
        return MU_LAUNCH_EINVAL;
    char request_hash[MU_SIGV4_HASH_SIZE];
    if (!key_for_day(s, amz_date) || !hash_canonical_request(s, r, request_hash))
        return MU_LAUNCH_ECRYPTO;

    /* Initializing without a key starts a new message with the present key. */
    unsigned char mac[HASH_BYTES];
    size_t written = 0;
    int good = EVP_MAC_init(s->mac, NULL, 0, NULL) == 1 && sign_text(s, ALGORITHM "\n") && sign_text(s, amz_date) &&
               sign_text(s, "\n") && sign_text(s, s->day) && sign_text(s, "/") && sign_text(s, s->region) &&
               sign_text(s, "/") && sign_text(s, s->service) && sign_text(s, "/aws4_request\n") &&
               sign_text(s, request_hash) && EVP_MAC_final(s->mac, mac, &written, HASH_BYTES) == 1;
    if (!good) {
        s->day[0] = '\0';
        return MU_LAUNCH_ECRYPTO;
    }
    char signature[MU_SIGV4_HASH_SIZE];
    mu_hex(mac, HASH_BYTES, signature);

    const char *head[] = {ALGORITHM " Credential=", s->access_key, "/", s->day,          "/",
                          s->region,                "/",           s->service, "/aws4_request, SignedHeaders="};
    size_t at = 0;
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        at = append(out, room, at, head[i]);
    for (size_t i = 0; i < r->header_count; i++) {
        at = append(out, room, at, i == 0 ? "" : ";");
        at = append(out, room, at, r->headers[i].name);
    }
    at = append(out, room, at, ", Signature=");
    at = append(out, room, at, signature);
    return at < room ? MU_LAUNCH_OK : MU_LAUNCH_EINVAL;
}

int mu_sigv4_date(int64_t seconds, char out[MU_SIGV4_DATE_SIZE])
{
    time_t now = (time_t)seconds;
    struct tm parts;
    if (seconds < 0 || gmtime_r(&now, &parts) == NULL || parts.tm_year > 9999 - 1900)
        return MU_LAUNCH_EINVAL;
    return strftime(out, MU_SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &parts) == MU_SIGV4_DATE_SIZE - 1 ? MU_LAUNCH_OK
                                                                                                : MU_LAUNCH_EINVAL;
}

size_t mu_sigv4_encode(const char *text, size_t size, int keep_slash, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        int kept = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                   c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
        if (kept) {
            out[at++] = (char)c;
        } else {
            out[at++] = '%';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 15];
        }
    }
    out[at] = '\0';
    return at;
}

size_t mu_sigv4_path(const char *path, char *out)
{
    size_t at = 0;
    out[at++] = '/';
    int trailing_slash = 0;
    for (const char *p = path; *p != '\0';) {
        size_t length = strcspn(p, "/");
        trailing_slash = p[length] == '/';
        if (length == 2 && p[0] == '.' && p[1] == '.') {
            /* Back to the slash before the last segment, which the encoding cannot have produced. */
            if (at > 1)
                at--;
            while (out[at - 1] != '/')
                at--;
        } else if (length > 0 && !(length == 1 && p[0] == '.')) {
            at += mu_sigv4_encode(p, length, 0, out + at);
            out[at++] = '/';
        }
        p += length + (size_t)trailing_slash;
    }
    if (at > 1 && !trailing_slash)
        at--;
    out[at] = '\0';
    return at;
}
