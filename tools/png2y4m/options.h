/* The command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>

#include "failure.h"
#include "y4m.h"

struct options {
    bool append;
    bool delete_converted;
    bool dither;
    bool help;
    const char *output;       /* NULL: standard output */
    const char *pattern;      /* points into argv, as output does; NULL only if help */
    struct y4m_format format; /* all but the size */
};

/* Parses argv, which it may reorder. Returns -1 if the user made a mistake; the text says what to do about it. */
int options_parse(struct options *options, int argc, char **argv, struct failure *failure);

extern const char options_help[];

#endif
