#include "payload.h"

#include "liblaunch.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "##ID##"
#define MARK_LENGTH (sizeof MARK - 1)
#define NUMBER_SIZE 24
#define HASH_BYTES 32

struct mu_payload {
    char *data;
    size_t size;
    size_t head; /* bytes before the mark; all bytes if there is none */
    size_t tail; /* where the bytes after it begin */
    EVP_MD *sha256;
    EVP_MD_CTX *hashed_head;
    EVP_MD_CTX *digest;
};

static size_t find_mark(const char *data, size_t size)
{
    const char *end = data + size;
    for (const char *p = data; p < end && (p = memchr(p, '#', (size_t)(end - p))) != NULL; p++) {
        if ((size_t)(end - p) >= MARK_LENGTH && memcmp(p, MARK, MARK_LENGTH) == 0)
            return (size_t)(p - data);
    }
    return size;
}

int mu_payload_new(const void *data, size_t size, mu_payload **payload)
{
    mu_payload *p = *payload = calloc(1, sizeof *p);
    if (p == NULL)
        return MU_LAUNCH_ENOMEM;
    int result = MU_LAUNCH_OK;
    p->data = malloc(size + 1);
    if (p->data == NULL) {
        result = MU_LAUNCH_ENOMEM;
    } else {
        if (size > 0)
            memcpy(p->data, data, size);
        p->size = size;
        p->head = find_mark(p->data, size);
        p->tail = p->head == size ? size : p->head + MARK_LENGTH;
        p->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        p->hashed_head = EVP_MD_CTX_new();
        p->digest = EVP_MD_CTX_new();
        if (p->sha256 == NULL || p->hashed_head == NULL || p->digest == NULL ||
            EVP_DigestInit_ex2(p->hashed_head, p->sha256, NULL) != 1 ||
            EVP_DigestUpdate(p->hashed_head, p->data, p->head) != 1)
            result = MU_LAUNCH_ECRYPTO;
    }
    if (result != MU_LAUNCH_OK) {
        mu_payload_free(p);
        *payload = NULL;
    }
    return result;
}

void mu_payload_free(mu_payload *p)
{
    if (p == NULL)
        return;
    EVP_MD_CTX_free(p->digest);
    EVP_MD_CTX_free(p->hashed_head);
    EVP_MD_free(p->sha256);
    if (p->data != NULL)
        OPENSSL_cleanse(p->data, p->size); /* an event holds a worker's private key */
    free(p->data);
    free(p);
}

int mu_payload_is_template(const mu_payload *p)
{
    return p->head < p->size;
}

const char *mu_payload_data(const mu_payload *p)
{
    return p->data;
}

/* Returns the digits of `number`, or none when there is no mark to replace. */
static size_t digits_of(const mu_payload *p, int64_t number, char out[NUMBER_SIZE])
{
    out[0] = '\0';
    return mu_payload_is_template(p) ? (size_t)snprintf(out, NUMBER_SIZE, "%" PRId64, number) : 0;
}

size_t mu_payload_size(const mu_payload *p, int64_t number)
{
    char digits[NUMBER_SIZE];
    return p->head + digits_of(p, number, digits) + (p->size - p->tail);
}

void mu_payload_write(const mu_payload *p, int64_t number, char *out)
{
    char digits[NUMBER_SIZE];
    size_t length = digits_of(p, number, digits);
    memcpy(out, p->data, p->head);
    memcpy(out + p->head, digits, length);
    memcpy(out + p->head + length, p->data + p->tail, p->size - p->tail);
}

int mu_payload_hash(mu_payload *p, int64_t number, char out[MU_SIGV4_HASH_SIZE])
{
    char digits[NUMBER_SIZE];
    size_t length = digits_of(p, number, digits);
    unsigned char hash[HASH_BYTES];
    if (EVP_MD_CTX_copy_ex(p->digest, p->hashed_head) != 1 || EVP_DigestUpdate(p->digest, digits, length) != 1 ||
        EVP_DigestUpdate(p->digest, p->data + p->tail, p->size - p->tail) != 1 ||
        EVP_DigestFinal_ex(p->digest, hash, NULL) != 1) {
        EVP_MD_CTX_reset(p->digest); /* a failed copy leaves the context in an invalid state */
        return MU_LAUNCH_ECRYPTO;
    }
    mu_hex(hash, HASH_BYTES, out);
    return MU_LAUNCH_OK;
}
