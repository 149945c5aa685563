/* Replaces libFuzzer where it is missing: runs the target on the files named on the command line, on pieces and
 * mutations of each, and then, for FUZZ_SECONDS, on random mutations. FUZZ_SEED (a number) seeds the random generator.
 * When the target or a sanitizer ends the program by abort(), the input that caused it is written to the file
 * FUZZ_FINDING. */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 16, FILES_MOST = 256, CHANGES_MOST = 8 };

extern const char *const fuzz_words[] __attribute__((weak)); /* what a target's inputs are made of; NULL ends it */

static struct {
    uint8_t *data;
    size_t size;
} files[FILES_MOST];
static size_t file_count;
static const uint8_t *tried;
static size_t tried_size;
static const char *finding;
static uint64_t state = 0x9E3779B97F4A7C15;

static void on_abort(int number)
{
    int fd = finding == NULL ? -1 : open(finding, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0 && write(fd, tried, tried_size) == (ssize_t)tried_size)
        (void)close(fd);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void try(const uint8_t *data, size_t size)
{
    /* A copy of exactly that size, so that a sanitizer finds a read beyond its end. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    MUST(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    tried = data;
    tried_size = size;
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static uint64_t draw(uint64_t below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return below == 0 ? 0 : state * UINT64_C(0x2545F4914F6CDD1D) % below;
}

/* Puts `size` bytes into the data at `at`, as far as there is room; returns the new size. */
static size_t insert(uint8_t *data, size_t have, size_t at, const void *bytes, size_t size)
{
    if (have + size > MOST)
        return have;
    uint8_t *copy = malloc(size + 1); /* `bytes` may be part of the data */
    MUST(copy != NULL);
    memcpy(copy, bytes, size);
    memmove(data + at + size, data + at, have - at);
    memcpy(data + at, copy, size);
    free(copy);
    return have + size;
}

static size_t change(uint8_t *data, size_t size)
{
    size_t at = draw(size + 1);
    size_t part = size == at ? 0 : draw(size - at + 1);
    const size_t other = draw(file_count);
    size_t from;
    uint8_t byte = (uint8_t)draw(256);
    switch (draw(7)) {
    case 0:
        if (at < size)
            data[at] = byte;
        return size;
    case 1:
        if (at < size)
            data[at] ^= (uint8_t)(1u << draw(8));
        return size;
    case 2:
        return insert(data, size, at, &byte, 1);
    case 3: /* take a piece out */
        part = draw(2) == 0 && part > 0 ? 1 : part;
        memmove(data + at, data + at + part, size - at - part);
        return size - part;
    case 4: /* a piece twice, or elsewhere */
        return insert(data, size, draw(size + 1), data + at, part);
    case 5: /* a piece of another file */
        from = draw(files[other].size + 1);
        return insert(data, size, at, files[other].data + from, draw(files[other].size - from + 1));
    default:
        if (fuzz_words == NULL)
            return insert(data, size, at, "\r\n", 2);
        for (from = 0; fuzz_words[from] != NULL;)
            from++;
        from = draw(from);
        return insert(data, size, at, fuzz_words[from], strlen(fuzz_words[from]));
    }
}

static size_t mutate_until(time_t end)
{
    static uint8_t data[MOST];
    size_t count = 0;
    for (; time(NULL) < end; count++) {
        size_t from = draw(file_count);
        size_t size = files[from].size;
        memcpy(data, files[from].data, size);
        for (uint64_t changes = 1 + draw(CHANGES_MOST); changes > 0; changes--)
            size = change(data, size);
        try(data, size);
    }
    return count;
}

static void try_file(uint8_t *data, size_t size)
{
    try(data, size);
    for (size_t cut = 0; cut < size; cut++)
        try(data, cut);
    for (size_t at = 0; at < size; at++) {
        uint8_t kept = data[at];
        static const uint8_t odd[] = {0, '\n', '"', '\\', '%', '/', '#', 0x7f, 0x80, 0xff};
        for (size_t j = 0; j < sizeof odd; j++) {
            data[at] = odd[j];
            try(data, size);
        }
        data[at] = kept;
    }
}

int main(int argc, char **argv)
{
    const char *seconds = getenv("FUZZ_SECONDS");
    const char *seed = getenv("FUZZ_SEED");
    const long most = seconds == NULL ? 0 : strtol(seconds, NULL, 10);
    state ^= seed == NULL ? 0 : strtoull(seed, NULL, 10);
    finding = getenv("FUZZ_FINDING");
    (void)signal(SIGABRT, on_abort);
    for (int i = 1; i < argc && file_count < FILES_MOST; i++) {
        uint8_t *data = malloc(MOST);
        FILE *file = fopen(argv[i], "rb");
        MUST(data != NULL && file != NULL);
        size_t size = fread(data, 1, MOST, file);
        MUST(fclose(file) == 0);
        files[file_count].data = data;
        files[file_count++].size = size;
        try_file(data, size);
    }
    if (seconds != NULL && file_count > 0)
        (void)printf("%zu random inputs\n", mutate_until(time(NULL) + most));
    for (size_t i = 0; i < file_count; i++)
        free(files[i].data);
    return 0;
}
