#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

int fail(struct failure *failure, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    for (unsigned char *c = (unsigned char *)failure->text; *c != '\0'; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    return -1;
}
