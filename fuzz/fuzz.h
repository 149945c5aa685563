/* Helpers of all fuzz targets. Each target checks properties of every result, not only that nothing crashes. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) \
    do {                \
        if (!(condition)) \
            abort();    \
    } while (0)

/* Returns a copy as a C string, which the caller frees. It ends at the first NUL of the data. */
static inline char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    MUST(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

#endif
