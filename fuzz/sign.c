/* Fuzzes signing: keys, region, path, and headers are the lines of the input. */
#include "fuzz.h"
#include "liblaunch.h"
#include "sigv4.h"

enum { LINES = 8, HEADERS = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size);
    const char *lines[LINES];
    char *next = text;
    for (int i = 0; i < LINES; i++) {
        lines[i] = next;
        next += strcspn(next, "\n");
        if (*next == '\n')
            *next++ = '\0';
    }
    mu_sigv4 *signer;
    MUST(mu_sigv4_new(lines[0], lines[1], lines[2], "lambda", &signer) == MU_LAUNCH_OK);
    const mu_sigv4_header headers[HEADERS] = {{lines[4], lines[5]}, {lines[6], lines[7]}};
    const mu_sigv4_request request = {"POST", lines[3], headers, HEADERS, "hash"};
    size_t fits = size + 256;
    char *out = malloc(fits);
    MUST(out != NULL);
    MUST(mu_sigv4_authorization(signer, &request, "20150830T123600Z", out, fits) == MU_LAUNCH_OK);
    size_t length = strlen(out);
    char *exact = malloc(length + 1);
    MUST(exact != NULL);
    MUST(mu_sigv4_authorization(signer, &request, "20150830T123600Z", exact, length + 1) == MU_LAUNCH_OK);
    MUST(strcmp(out, exact) == 0);
    MUST(mu_sigv4_authorization(signer, &request, "20150830T123600Z", exact, length) == MU_LAUNCH_EINVAL);
    free(exact);
    free(out);
    mu_sigv4_free(signer);
    free(text);
    return 0;
}
