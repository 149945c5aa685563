#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WIDTH = 255 }; /* no file name is longer */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Parses the conversion after a '%'. Returns a pointer to its end, or NULL if it is not supported. */
static const char *parse_conversion(struct pattern *pattern, const char *c)
{
    for (; *c == '0'; c++)
        pattern->zero_padded = true;
    for (; is_digit(*c); c++) {
        pattern->width = pattern->width * 10 + (size_t)(*c - '0');
        if (pattern->width > MAX_WIDTH)
            return NULL;
    }
    return *c == 'd' || *c == 'i' || *c == 'u' ? c + 1 : NULL;
}

int pattern_parse(struct pattern *pattern, const char *text, struct failure *failure)
{
    *pattern = (struct pattern){.text = text};
    size_t room = strlen(text) + 1;
    pattern->directory = calloc(room, 1);
    pattern->prefix = calloc(room, 1);
    pattern->suffix = calloc(room, 1);
    if (pattern->directory == NULL || pattern->prefix == NULL || pattern->suffix == NULL)
        return fail(failure, "out of memory");
    if (*text == '\0')
        return fail(failure, "PATTERN is empty");

    char *out = pattern->prefix;
    for (const char *c = text; *c != '\0';) {
        if (*c != '%') {
            *out++ = *c++;
        } else if (c[1] == '%') {
            *out++ = '%';
            c += 2;
        } else if (pattern->numbered) {
            return fail(failure, "PATTERN '%s' has more than one conversion; %%%% is a plain %%", text);
        } else {
            const char *end = parse_conversion(pattern, c + 1);
            if (end == NULL)
                return fail(failure, "PATTERN '%s' may have one number as in %%d or %%08d; %%%% is a plain %%",
                            text);
            pattern->numbered = true;
            out = pattern->suffix;
            c = end;
        }
    }
    if (strchr(pattern->suffix, '/') != NULL)
        return fail(failure, "PATTERN '%s' has its number in a directory's name, not in the file's", text);
    const char *slash = strrchr(pattern->prefix, '/');
    if (slash != NULL) {
        size_t length = (size_t)(slash + 1 - pattern->prefix);
        memcpy(pattern->directory, pattern->prefix, length);
        memmove(pattern->prefix, slash + 1, strlen(slash + 1) + 1);
    }
    return 0;
}

void pattern_free(struct pattern *pattern)
{
    free(pattern->directory);
    free(pattern->prefix);
    free(pattern->suffix);
    *pattern = (struct pattern){0};
}

/* Returns whether printf could print this name, and if so sets the place and length of its digits after the padding. */
static bool matches(const struct pattern *pattern, const char *name, size_t *digits, size_t *digits_length)
{
    size_t length = strlen(name), before = strlen(pattern->prefix), behind = strlen(pattern->suffix);
    if (length < before + 1 + behind || memcmp(name, pattern->prefix, before) != 0 ||
        memcmp(name + length - behind, pattern->suffix, behind) != 0)
        return false;
    size_t end = length - behind, i = before;
    char pad = pattern->zero_padded ? '0' : ' ';
    while (i < end - 1 && name[i] == pad)
        i++;
    *digits = i;
    *digits_length = end - i;
    for (; i < end; i++) {
        if (!is_digit(name[i]))
            return false;
    }
    if (name[*digits] == '0' && *digits_length > 1)
        return false;
    return *digits == before ? end - before >= pattern->width : end - before == pattern->width;
}

static int add(struct frame_list *list, const struct pattern *pattern, const char *name, size_t digits,
               size_t digits_length, struct failure *failure)
{
    if ((list->count & (list->count - 1)) == 0) { /* full: the capacity is doubled */
        size_t room = list->count == 0 ? 1 : list->count * 2;
        struct frame_file *files = realloc(list->files, room * sizeof *files);
        if (files == NULL)
            return fail(failure, "out of memory");
        list->files = files;
    }
    size_t before = strlen(pattern->directory), length = strlen(name);
    char *path = malloc(before + length + 1);
    if (path == NULL)
        return fail(failure, "out of memory");
    memcpy(path, pattern->directory, before);
    memcpy(path + before, name, length + 1);
    list->files[list->count++] =
        (struct frame_file){.path = path, .digits = before + digits, .digits_length = digits_length};
    return 0;
}

/* Compares by number: without padding, the longer number is the greater. No two files are equal, because each
 * number has one name. */
static int by_number(const void *left, const void *right)
{
    const struct frame_file *a = left, *b = right;
    if (a->digits_length != b->digits_length)
        return a->digits_length < b->digits_length ? -1 : 1;
    return memcmp(a->path + a->digits, b->path + b->digits, a->digits_length);
}

int pattern_list(const struct pattern *pattern, struct frame_list *list, struct failure *failure)
{
    *list = (struct frame_list){0};
    if (!pattern->numbered)
        return add(list, pattern, pattern->prefix, 0, 0, failure);

    const char *shown = pattern->directory[0] == '\0' ? "." : pattern->directory;
    DIR *directory = opendir(shown);
    if (directory == NULL)
        return fail(failure, "cannot open the directory %s: %s", shown, strerror(errno));
    int status = 0;
    while (status == 0) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            if (errno != 0)
                status = fail(failure, "cannot read the directory %s: %s", shown, strerror(errno));
            break;
        }
        size_t digits, digits_length;
        if (matches(pattern, entry->d_name, &digits, &digits_length))
            status = add(list, pattern, entry->d_name, digits, digits_length, failure);
    }
    closedir(directory);
    if (status != 0)
        return status;
    if (list->count == 0)
        return fail(failure, "no file matches %s", pattern->text);
    qsort(list->files, list->count, sizeof *list->files, by_number);
    return 0;
}

void frame_list_free(struct frame_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->files[i].path);
    free(list->files);
    *list = (struct frame_list){0};
}
