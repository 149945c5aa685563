/* Converts rows of PNG samples to the planes of a Y4M frame. */
#ifndef CONVERT_H
#define CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "failure.h"
#include "pngin.h"
#include "y4m.h"

struct frame {
    struct y4m_format format;
    bool dither;
    uint8_t *bytes; /* y4m_frame_size bytes: the FRAME line, then the planes */
    uint8_t *planes[3];
    uint16_t *rgb[3];  /* the current row, samples from 0 to 65535 */
    uint32_t *sums[3]; /* for each chroma sample, the sum of its pixels */
    unsigned channels, sample_bytes;
};

/* Allocates memory for frames of this format. Free with frame_free, also after an error. */
int frame_init(struct frame *frame, const struct y4m_format *format, bool dither, struct failure *failure);
void frame_free(struct frame *frame);

/* Sets the sample layout of the next picture's rows; its size must be the format's. */
void frame_begin(struct frame *frame, const struct png_shape *shape);

/* Converts row y; the rows must come in order, each once. */
void frame_row(struct frame *frame, uint32_t y, const uint8_t *samples);

#endif
