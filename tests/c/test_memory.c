/* Makes each allocation of our library and of OpenSSL fail in turn, and checks that nothing crashes or leaks and that
 * no invocation is lost or returned twice. libcurl's allocations do not fail here: version 7.88 divides by zero if it
 * cannot allocate the table of a connection's hash. */
#include "check.h"
#include "liblaunch.h"
#include "server.h"

#include <openssl/crypto.h>
#include <stdbool.h>

#define PAYLOAD "{\"id\": ##ID##}"
#define ACCEPTED "HTTP/1.1 202 A\r\nContent-Length: 0\r\n\r\n"
#define THROTTLED "HTTP/1.1 429 T\r\nContent-Length: 0\r\n\r\n"
#define REFUSED "HTTP/1.1 403 F\r\nContent-Length: 17\r\n\r\n{\"message\":\"no!\"}"

enum { COUNT = 4 };

/* The number of allocations until one fails; 0 if none is to fail. Per thread: the server's thread is not affected. */
static _Thread_local long countdown;
static _Thread_local bool from_then_on;
static _Thread_local bool failed;

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    failed = true;
    if (from_then_on)
        countdown = 1;
    return true;
}

/* The linker replaces our library's calls by these (-Wl,--wrap). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : __real_malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : __real_realloc(old, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory);
}

static const char *script(int number, int attempt)
{
    return number == 1 && attempt == 1 ? THROTTLED : number == 3 ? REFUSED : ACCEPTED;
}

/* Adds invocations, polls, and takes the outcomes as a caller would; cancels after five errors. */
static void use(mu_launch *l, const char *url)
{
    mu_launch_options o = {.access_key = "AKID",
                           .secret_key = "SECRET",
                           .session_token = "TOKEN",
                           .payload = PAYLOAD,
                           .payload_size = strlen(PAYLOAD),
                           .backoff_base_ms = 1,
                           .max_connections = 2};
    if (mu_launch_configure(l, &o) != MU_LAUNCH_OK || mu_launch_add_target(l, "us-east-1", url, "work") != 0 ||
        mu_launch_add(l, 0, 0, COUNT) != MU_LAUNCH_OK)
        return;
    int errors = 0;
    while (errors < 5) {
        int left = mu_launch_poll(l, 50);
        if (left == 0)
            break;
        if (left < 0) {
            CHECK(mu_launch_error_text(l)[0] != '\0');
            errors++;
        }
    }
    if (errors == 5)
        mu_launch_cancel(l);
    bool seen[COUNT] = {false};
    mu_launch_outcome out;
    for (int i = 0; i < COUNT; i++) {
        CHECK(mu_launch_take(l, &out, 1) == 1);
        CHECK(out.number >= 0 && out.number < COUNT && !seen[out.number]);
        CHECK((out.error == NULL) == (out.state == MU_LAUNCH_ACCEPTED));
        seen[out.number] = true;
    }
    CHECK(mu_launch_take(l, &out, 1) == 0);
    if (errors == 0 && !failed)
        CHECK(out.attempts > 0);
}

/* Returns whether the failing allocation was reached. */
static bool run(long nth, bool persistent, const char *url)
{
    failed = false;
    from_then_on = persistent;
    countdown = nth;
    mu_launch *l = mu_launch_new();
    if (l != NULL)
        use(l, url);
    mu_launch_free(l);
    countdown = 0;
    return failed;
}

int main(int argc, char **argv)
{
    CHECK(CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1);
    CHECK(mu_launch_setup() == MU_LAUNCH_OK);
    long step = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", server_start(script));
    CHECK(!run(0, false, url)); /* once without a failure, so that OpenSSL has allocated what it keeps until exit */
    long tried = 0;
    for (int persistent = 0; persistent < 2; persistent++)
        for (long nth = 1; run(nth, persistent, url); nth += step)
            tried++;
    server_stop();
    (void)printf("failed %ld allocations in turn\n", tried);
    CHECK(tried > 50 / step);
    return 0;
}
