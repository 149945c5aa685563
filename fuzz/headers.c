/* Fuzzes header lines, as libcurl passes them: the input is split after each line feed. */
#include "answer.h"
#include "fuzz.h"

static void check_word(const char *text, size_t room)
{
    MUST(memchr(text, '\0', room) != NULL);
    for (; *text != '\0'; text++)
        MUST(*text >= ' ' && *text < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mu_answer answer;
    mu_answer_reset(&answer);
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t length = end == NULL ? size - at : (size_t)(end + 1 - (data + at));
        /* In memory of its own size, so that a sanitizer finds a read beyond its end. */
        char *line = malloc(length);
        MUST(line != NULL);
        memcpy(line, data + at, length);
        mu_answer_header(&answer, line, length);
        free(line);
        at += length;
    }
    check_word(answer.request_id, sizeof answer.request_id);
    check_word(answer.error_type, sizeof answer.error_type);
    check_word(answer.function_error, sizeof answer.function_error);
    check_word(answer.date, sizeof answer.date);
    check_word(answer.retry_after, sizeof answer.retry_after);
    MUST(answer.header_size == size);
    MUST(answer.status >= 0 && answer.status <= 999);
    MUST(mu_answer_date(&answer) >= MU_ANSWER_UNSET);
    MUST(mu_answer_retry_after(&answer, 1000000000) >= MU_ANSWER_UNSET);
    return 0;
}
