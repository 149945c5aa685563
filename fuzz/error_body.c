/* Fuzzes an error's body, in two pieces, and the removal of secrets from it. */
#include "answer.h"
#include "fuzz.h"

/* Whether `text` is UTF-8 without control characters. */
static int is_clean(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0';) {
        int extra = *p < 0x80 ? 0 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : 3;
        if (*p < ' ' || *p == 0x7f || (*p >= 0x80 && *p < 0xc2) || *p > 0xf4)
            return 0;
        if (*p == 0xc2 && p[1] < 0xa0)
            return 0;
        for (int i = 1; i <= extra; i++)
            if ((p[i] & 0xc0) != 0x80)
                return 0;
        p += 1 + extra;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mu_answer answer;
    char text[MU_ANSWER_TEXT_SIZE];
    mu_answer_reset(&answer);
    size_t half = size / 2;
    mu_answer_body(&answer, (const char *)data, half);
    mu_answer_body(&answer, (const char *)data + half, size - half);
    MUST(answer.body_size == size);
    memset(text, 'x', sizeof text);
    mu_answer_read_error(&answer, text);
    MUST(memchr(text, '\0', sizeof text) != NULL && is_clean(text));
    MUST(memchr(answer.error_type, '\0', sizeof answer.error_type) != NULL);
    MUST(mu_answer_retry_after(&answer, 1000000000) >= MU_ANSWER_UNSET);

    char secret[9];
    size_t length = size < sizeof secret - 1 ? size : sizeof secret - 1;
    memcpy(secret, data, length);
    secret[length] = '\0';
    size_t before = strlen(text);
    mu_redact(text, secret);
    MUST(strlen(text) == before);
    if (secret[0] != '\0' && strchr(secret, '*') == NULL)
        MUST(strstr(text, secret) == NULL);
    return 0;
}
