/* Reads a PNG file row by row. */
#ifndef PNGIN_H
#define PNGIN_H

#include <stdint.h>

#include "failure.h"

struct png_shape {
    uint32_t width, height; /* pixels */
    unsigned channels;      /* 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha */
    unsigned bytes;         /* per sample: 1, or 2 in big-endian order */
};

/* Callbacks that receive the picture: begin is called once and may refuse it, then row for each row from the top. */
struct png_sink {
    void *context;
    int (*begin)(void *context, const struct png_shape *shape, struct failure *failure);
    void (*row)(void *context, uint32_t y, const uint8_t *samples);
};

/* Reads the whole file. Palettes are converted to 8-bit RGB (a colour that is not in the palette is black), and
 * 1, 2 and 4 bits to 8. Samples are otherwise as stored: gamma, colour profiles, transparency and other
 * ancillary chunks are ignored. Returns -1 on any damage, such as a bad checksum or a missing end; rows may have
 * been delivered before. */
int png_load(const char *path, const struct png_sink *sink, struct failure *failure);

#endif
