/* Where there is no libFuzzer: gives the files that are named to the target, and pieces and mutations of each. */
#include "fuzz.h"

#include <stdio.h>

enum { MOST = 1 << 16 };

static void try(const uint8_t *data, size_t size)
{
    /* In memory of just that size. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    MUST(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

int main(int argc, char **argv)
{
    static uint8_t data[MOST];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        MUST(file != NULL);
        size_t size = fread(data, 1, MOST, file);
        MUST(fclose(file) == 0);
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
    return 0;
}
