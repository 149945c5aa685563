/* Fuzzes payload templates; the first 8 bytes of the input are the number. */
#include "fuzz.h"
#include "liblaunch.h"
#include "payload.h"

#include <inttypes.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t bits = 0;
    if (size < sizeof bits)
        return 0;
    memcpy(&bits, data, sizeof bits);
    int64_t number = (int64_t)(bits >> 1);
    const char *body = (const char *)data + sizeof bits;
    size_t body_size = size - sizeof bits;

    mu_payload *payload;
    MUST(mu_payload_new(body, body_size, &payload) == MU_LAUNCH_OK);
    size_t filled = mu_payload_size(payload, number);
    char *out = malloc(filled + 1);
    MUST(out != NULL);
    mu_payload_write(payload, number, out);

    /* The same, computed in a simple and slow way. */
    size_t mark = 0;
    while (mark + 6 <= body_size && memcmp(body + mark, "##ID##", 6) != 0)
        mark++;
    int there = mark + 6 <= body_size;
    MUST(there == mu_payload_is_template(payload));
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%" PRId64, number);
    if (there) {
        size_t rest = body_size - mark - 6;
        MUST(filled == mark + (size_t)length + rest);
        MUST(memcmp(out, body, mark) == 0 && memcmp(out + mark, digits, (size_t)length) == 0);
        MUST(memcmp(out + mark + length, body + mark + 6, rest) == 0);
    } else {
        MUST(filled == body_size && (body_size == 0 || memcmp(out, body, body_size) == 0));
    }

    /* The hash of the written bytes, computed from a payload of just these bytes. */
    char hash[MU_SIGV4_HASH_SIZE], again[MU_SIGV4_HASH_SIZE];
    MUST(mu_payload_hash(payload, number, hash) == MU_LAUNCH_OK);
    mu_payload *whole;
    MUST(mu_payload_new(out, filled, &whole) == MU_LAUNCH_OK);
    if (!mu_payload_is_template(whole)) {
        MUST(mu_payload_hash(whole, 0, again) == MU_LAUNCH_OK);
        MUST(strcmp(hash, again) == 0);
    }
    mu_payload_free(whole);
    mu_payload_free(payload);
    free(out);
    return 0;
}
