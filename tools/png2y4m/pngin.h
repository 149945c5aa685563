/* Reading a PNG file, row by row. */
#ifndef PNGIN_H
#define PNGIN_H

#include <stdint.h>

#include "failure.h"

struct png_shape {
    uint32_t width, height; /* pixels */
    unsigned channels;      /* 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha */
    unsigned bytes;         /* of a sample, 1 or 2, the high one first */
};

/* Where the picture goes: begin once, which may refuse it, then row for each row from the top. */
struct png_sink {
    void *context;
    int (*begin)(void *context, const struct png_shape *shape, struct failure *failure);
    void (*row)(void *context, uint32_t y, const uint8_t *samples);
};

/* Reads the whole file. Palettes come as 8-bit RGB (a colour that the palette lacks is black), 1, 2 and 4
 * bits as 8. Samples are as stored: gamma, colour profiles, transparency and other ancillary chunks are
 * passed over. Any damage, a bad checksum or a missing end included, is an error, though rows may have
 * been delivered by then. */
int png_load(const char *path, const struct png_sink *sink, struct failure *failure);

#endif
