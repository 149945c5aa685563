/* The functions that all other files use: the clock, texts, and texts of errors. It calls none of the other files. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t mu_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

double mu_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int mu_fail(mu_launch *l, int error, const char *text)
{
    (void)snprintf(l->text, sizeof l->text, "%s", text == NULL ? mu_launch_strerror(error) : text);
    return error;
}

const char *mu_launch_strerror(int error)
{
    switch (error) {
    case MU_LAUNCH_OK:
        return "no error";
    case MU_LAUNCH_ENOMEM:
        return OUT_OF_MEMORY;
    case MU_LAUNCH_EINVAL:
        return "an argument that is not allowed";
    case MU_LAUNCH_ECRYPTO:
        return "OpenSSL failed";
    case MU_LAUNCH_ECURL:
        return "libcurl failed";
    case MU_LAUNCH_ESYSTEM:
        return "poll failed";
    default:
        return "unknown error";
    }
}

char *mu_join(const char *prefix, const char *text)
{
    size_t size = strlen(prefix) + strlen(text) + 1;
    char *copy = malloc(size);
    if (copy != NULL)
        (void)snprintf(copy, size, "%s%s", prefix, text);
    return copy;
}
