/* Fuzzes percent-encoding, and the canonical form of paths. */
#include "fuzz.h"
#include "sigv4.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c - 'A' + 10;
}

static void check_encoding(const uint8_t *data, size_t size)
{
    char *out = malloc(3 * size + 1);
    MUST(out != NULL);
    size_t length = mu_sigv4_encode((const char *)data, size, 0, out);
    MUST(length == strlen(out));
    size_t at = 0;
    for (size_t i = 0; i < length; i++, at++) {
        MUST(out[i] != '/');
        if (out[i] == '%') {
            MUST(data[at] == hex(out[i + 1]) * 16 + hex(out[i + 2]));
            i += 2;
        } else {
            MUST(data[at] == (uint8_t)out[i]);
        }
    }
    MUST(at == size);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_encoding(data, size);
    char *path = text_of(data, size);
    char *out = malloc(3 * strlen(path) + 2);
    MUST(out != NULL);
    size_t length = mu_sigv4_path(path, out);
    MUST(length == strlen(out));
    MUST(out[0] == '/');
    MUST(strstr(out, "//") == NULL && strstr(out, "/./") == NULL && strstr(out, "/../") == NULL);
    free(out);
    free(path);
    return 0;
}
