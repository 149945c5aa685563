/* How a function says why it failed: it returns -1 and leaves one line of text for the user. */
#ifndef FAILURE_H
#define FAILURE_H

struct failure {
    char text[1024];
};

/* Writes the text, cut to what fits, and returns -1, so that `return fail(...)` does both. Control
 * characters (a file's name may hold any) become '?': the message stays one line. */
__attribute__((format(printf, 2, 3))) int fail(struct failure *failure, const char *format, ...);

#endif
