/* RGB to YCbCr, 8 bits a sample.
 *
 * The colour space is ITU-R BT.709 (Recommendation BT.709-6, section 3, signal format): HD video uses it, and
 * players assume it for a Y4M of HD size without a mark. R, G and B from 0 to 1 give
 *
 *     Y  = 0.2126 R + 0.7152 G + 0.0722 B        16 + 219 Y, so black is 16 and white 235
 *     Cb = (B - Y) / 1.8556                      128 + 224 Cb, from 16 to 240
 *     Cr = (R - Y) / 1.5748                      128 + 224 Cr
 *
 * PNG samples are already gamma-encoded (R'G'B'), so no other conversion is needed; gamma and profile chunks
 * are ignored. A chroma sample is the mean of the 1, 2 (4:2:2) or 4 (4:2:0) pixels that share it. In 4:2:0 it
 * is therefore located in the centre of its four pixels, as C420jpeg specifies. If the width or height is
 * odd, the last column or row counts twice.
 *
 * The arithmetic is in fixed point: a level of the output is 2^40. Samples have 16 bits (8-bit samples are
 * multiplied by 257, which is exact) and coefficients 32, so a product has at most 48 bits and the total
 * error is below a millionth of a level. The result is the level nearest to the true value, and the same on
 * every machine.
 *
 * Without dithering, a half is added before the fraction is cut off; with it, a threshold from 0 to 1. The
 * threshold depends only on the sample's position in the plane: a frame is the same in whichever run it is
 * converted, and a still picture gives identical frames, which compress well. The thresholds are the
 * fractional parts of x/p + y/p^2, where p = 1.3247179572 is the real root of p^3 = p + 1, a sequence that
 * fills the plane evenly and without visible rows ("R2", M. Roberts, 2018). They have 16 bits and stay half
 * a step away from 0 and 1, so that a value that is exactly a level, such as the chroma of gray, is never
 * changed. */

#include "convert.h"

#include <stdlib.h>
#include <string.h>

/* (numerator / denominator) * 2^40 / 65535, rounded: a factor for samples of 16 bits. */
#define FACTOR(numerator, denominator) \
    ((uint32_t)((((uint64_t)(numerator) << 40) + UNIT(denominator) / 2) / UNIT(denominator)))
#define UNIT(denominator) ((uint64_t)(denominator) * 65535)

#define LEVEL(level) ((uint64_t)(level) << 40)

/* The thresholds of a row: for sample x, the upper 16 bits of the fraction (start + x * step) / 2^32, plus half
 * a unit of those bits (`half`, which is 0 without dithering). */
struct threshold {
    uint32_t start, step;
    uint64_t half;
};

static struct threshold threshold_row(bool dither, unsigned plane, uint32_t y)
{
    if (!dither)
        return (struct threshold){.start = 1U << 31};
    return (struct threshold){
        .start = plane * 0x55555555U + y * 0x91E10DA5U, /* 1/p^2; each plane is offset by a third */
        .step = 0xC13FA9A9U,                            /* 1/p */
        .half = (uint64_t)1 << 23,
    };
}

static inline uint64_t threshold_at(const struct threshold *threshold, uint32_t x)
{
    return ((uint64_t)((threshold->start + x * threshold->step) >> 16) << 24) + threshold->half;
}

/* Converts a row of samples to 16 bits; gray is written to rgb[0] only. */
static void unpack_row(uint16_t *const rgb[3], const uint8_t *samples, uint32_t width, unsigned channels,
                       unsigned bytes)
{
    unsigned colours = channels < 3 ? 1 : 3;
    size_t stride = channels * bytes;
    for (unsigned c = 0; c < colours; c++) {
        uint16_t *restrict out = rgb[c];
        const uint8_t *restrict in = samples + c * bytes;
        if (bytes == 1) {
            for (size_t x = 0; x < width; x++)
                out[x] = (uint16_t)(in[x * stride] * 257);
        } else {
            for (size_t x = 0; x < width; x++)
                out[x] = (uint16_t)(in[x * stride] << 8 | in[x * stride + 1]);
        }
    }
}

static void luma_row(uint8_t *restrict out, const uint16_t *restrict r, const uint16_t *restrict g,
                     const uint16_t *restrict b, uint32_t width, struct threshold threshold)
{
    const uint32_t red = FACTOR(219 * 2126, 10000), blue = FACTOR(219 * 722, 10000);
    const uint32_t green = FACTOR(219, 1) - red - blue; /* the rest, so that white is exactly 235 */
    for (uint32_t x = 0; x < width; x++) {
        uint64_t level = LEVEL(16) + (uint64_t)red * r[x] + (uint64_t)green * g[x] + (uint64_t)blue * b[x];
        out[x] = (uint8_t)((level + threshold_at(&threshold, x)) >> 40);
    }
}

/* Computes a row of Cb or Cr from sums of pixels: `own` is blue for Cb and red for Cr; `green` and `other` are
 * subtracted. The factors add up to 0, so gray is 128. */
static void chroma_row(uint8_t *restrict out, const uint32_t *restrict own, const uint32_t *restrict green,
                       const uint32_t *restrict other, uint32_t width, uint32_t green_factor,
                       uint32_t other_factor, struct threshold threshold)
{
    const uint32_t own_factor = green_factor + other_factor;
    for (uint32_t x = 0; x < width; x++) {
        uint64_t level = LEVEL(128) + (uint64_t)own_factor * own[x] - (uint64_t)green_factor * green[x] -
                         (uint64_t)other_factor * other[x];
        out[x] = (uint8_t)((level + threshold_at(&threshold, x)) >> 40);
    }
}

/* Sets sums[x] to the sum of this row's pixels of chroma sample x, or adds that sum if `add`. With pairs, a row
 * of odd width must have one more pixel. */
static void sum_row(uint32_t *restrict sums, const uint16_t *restrict row, uint32_t count, bool pairs,
                    bool add)
{
    for (uint32_t x = 0; x < count; x++) {
        uint32_t sum = pairs ? (uint32_t)row[2 * (size_t)x] + row[2 * (size_t)x + 1] : row[x];
        sums[x] = add ? sums[x] + sum : sum;
    }
}

int frame_init(struct frame *frame, const struct y4m_format *format, bool dither, struct failure *failure)
{
    *frame = (struct frame){.format = *format, .dither = dither};
    size_t luma = (size_t)format->width * format->height;
    size_t chroma = (size_t)y4m_chroma_width(format) * y4m_chroma_height(format);
    frame->bytes = malloc(y4m_frame_size(format));
    bool complete = frame->bytes != NULL;
    for (int c = 0; c < 3; c++) {
        frame->rgb[c] = calloc((size_t)format->width + 1, sizeof *frame->rgb[c]);
        frame->sums[c] = calloc(y4m_chroma_width(format), sizeof *frame->sums[c]);
        complete = complete && frame->rgb[c] != NULL && frame->sums[c] != NULL;
    }
    if (!complete)
        return fail(failure, "out of memory for frames of %ux%u pixels", (unsigned)format->width,
                    (unsigned)format->height);
    size_t mark = strlen(Y4M_FRAME_MARK);
    memcpy(frame->bytes, Y4M_FRAME_MARK, mark);
    frame->planes[0] = frame->bytes + mark;
    frame->planes[1] = frame->planes[0] + luma;
    frame->planes[2] = frame->planes[1] + chroma;
    return 0;
}

void frame_free(struct frame *frame)
{
    free(frame->bytes);
    for (int c = 0; c < 3; c++) {
        free(frame->rgb[c]);
        free(frame->sums[c]);
    }
    *frame = (struct frame){0};
}

void frame_begin(struct frame *frame, const struct png_shape *shape)
{
    frame->channels = shape->channels;
    frame->sample_bytes = shape->bytes;
}

static void write_chroma(struct frame *frame, uint32_t y)
{
    uint32_t width = y4m_chroma_width(&frame->format);
    const uint32_t *r = frame->sums[0], *g = frame->sums[1], *b = frame->sums[2];
    uint8_t *cb = frame->planes[1] + (size_t)y * width, *cr = frame->planes[2] + (size_t)y * width;
    struct threshold in_cb = threshold_row(frame->dither, 1, y), in_cr = threshold_row(frame->dither, 2, y);
    switch (frame->format.chroma) {
#define WRITE_CHROMA(pixels) \
    chroma_row(cb, b, g, r, width, FACTOR(224 * 7152, 18556 * (pixels)), FACTOR(224 * 2126, 18556 * (pixels)), \
               in_cb); \
    chroma_row(cr, r, g, b, width, FACTOR(224 * 7152, 15748 * (pixels)), FACTOR(224 * 722, 15748 * (pixels)), \
               in_cr)
    case CHROMA_IS_444:
        WRITE_CHROMA(1);
        break;
    case CHROMA_IS_422:
        WRITE_CHROMA(2);
        break;
    case CHROMA_IS_420:
        WRITE_CHROMA(4);
        break;
#undef WRITE_CHROMA
    }
}

void frame_row(struct frame *frame, uint32_t y, const uint8_t *samples)
{
    const struct y4m_format *format = &frame->format;
    uint32_t width = format->width;
    unpack_row(frame->rgb, samples, width, frame->channels, frame->sample_bytes);
    uint16_t *rgb[3] = {frame->rgb[0], frame->rgb[1], frame->rgb[2]};
    if (frame->channels < 3)
        rgb[1] = rgb[2] = rgb[0];
    luma_row(frame->planes[0] + (size_t)y * width, rgb[0], rgb[1], rgb[2], width,
             threshold_row(frame->dither, 0, y));

    bool second = format->chroma == CHROMA_IS_420 && y % 2 == 1;
    bool last = y == format->height - 1;
    for (int c = 0; c < 3; c++) {
        rgb[c][width] = rgb[c][width - 1];
        sum_row(frame->sums[c], rgb[c], y4m_chroma_width(format), format->chroma != CHROMA_IS_444, second);
        if (format->chroma == CHROMA_IS_420 && last && !second)
            sum_row(frame->sums[c], rgb[c], y4m_chroma_width(format), true, true);
    }
    if (format->chroma != CHROMA_IS_420)
        write_chroma(frame, y);
    else if (second || last)
        write_chroma(frame, y / 2);
}
