/* Checks that print the file and line of a failure and abort the program. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                \
    do {                                                                                \
        if (!(condition)) {                                                             \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);       \
            abort();                                                                    \
        }                                                                               \
    } while (0)

#define CHECK_TEXT(got, expected)                                                                            \
    do {                                                                                                     \
        if (strcmp((got), (expected)) != 0) {                                                                \
            (void)fprintf(stderr, "%s:%d: got \"%s\", not \"%s\"\n", __FILE__, __LINE__, (got), (expected)); \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#endif
