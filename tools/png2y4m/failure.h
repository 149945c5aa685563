/* Error reporting: a function that fails returns -1 and leaves one line of text for the user. */
#ifndef FAILURE_H
#define FAILURE_H

struct failure {
    char text[1024];
};

/* Formats the text, truncated to the buffer, and returns -1, so that `return fail(...)` does both. Control
 * characters, which a file name may contain, become '?', so that the message is one line. */
__attribute__((format(printf, 2, 3))) int fail(struct failure *failure, const char *format, ...);

#endif
