/* PATTERN: a file's name, or a printf pattern that matches many names. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "failure.h"

/* DIR/PREFIX<number>SUFFIX. Without a number, the prefix is the file's name and the suffix is empty. */
struct pattern {
    const char *text; /* as given, for messages */
    char *directory; /* with its last '/'; empty for a name without one */
    char *prefix;
    char *suffix;
    bool numbered;
    bool zero_padded;
    size_t width;
};

struct frame_file {
    char *path;
    size_t digits;        /* offset in path of the number's digits, after the padding */
    size_t digits_length; /* at least 1 */
};

struct frame_list {
    struct frame_file *files;
    size_t count;
};

/* Parses the text: `%%` is a '%', and the last component may contain one of %d, %i, %u, with '0' and a width
 * (%08d). Anything else after a '%' is an error; the text is never used as a format. Free with pattern_free,
 * also after an error. */
int pattern_parse(struct pattern *pattern, const char *text, struct failure *failure);
void pattern_free(struct pattern *pattern);

/* Lists the existing files in the order of their numbers: exactly the names that printf would print for a number
 * from 0 up, of any length; numbers may be missing. It is an error if there is no file. A pattern without a
 * number gives that one file, which need not exist. Free with frame_list_free, also after an error. */
int pattern_list(const struct pattern *pattern, struct frame_list *list, struct failure *failure);
void frame_list_free(struct frame_list *list);

#endif
