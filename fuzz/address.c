/* Fuzzes endpoint and function: the input before and after its first line feed. */
#include "target.h"

#include "fuzz.h"
#include "liblaunch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memchr(data, '\n', size);
    size_t first = cut == NULL ? size : (size_t)(cut - data);
    char *endpoint = text_of(data, first);
    char *function = cut == NULL ? text_of(data, 0) : text_of(cut + 1, size - first - 1);
    mu_address address;
    const char *reason = NULL;
    int result = mu_address_make(endpoint, function, &address, &reason);
    if (result == MU_LAUNCH_OK) {
        MUST(reason == NULL);
        MUST(strncmp(address.url, "http", 4) == 0 && strstr(address.url, "/2015-03-31/functions/") != NULL);
        MUST(address.canonical_path[0] == '/' && address.host[0] != '\0');
        size_t length = strlen(address.url);
        MUST(length > 12 && strcmp(address.url + length - 12, "/invocations") == 0);
        mu_address_free(&address);
    } else {
        MUST(result == MU_LAUNCH_EINVAL && reason != NULL);
    }
    MUST(address.url == NULL && address.host == NULL && address.canonical_path == NULL);
    free(endpoint);
    free(function);
    return 0;
}
