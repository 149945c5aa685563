/* Writes a YUV4MPEG2 file: a header and complete frames.
 *
 * Format: yuv4mpeg(5) of the MJPEG tools. One line "YUV4MPEG2 W.. H.. F.. I.. A.. C..", then for each
 * frame the line "FRAME" and the planes Y, Cb, Cr, 8 bits a sample, chroma sizes rounded up. */
#ifndef Y4M_H
#define Y4M_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "failure.h"

enum chroma { CHROMA_IS_420, CHROMA_IS_422, CHROMA_IS_444 };

struct y4m_format {
    uint32_t width, height; /* pixels */
    enum chroma chroma;
    unsigned rate_numerator, rate_denominator;
    unsigned aspect_numerator, aspect_denominator;
};

#define Y4M_FRAME_MARK "FRAME\n"

/* The size of a chroma plane, rounded up. */
uint32_t y4m_chroma_width(const struct y4m_format *format);
uint32_t y4m_chroma_height(const struct y4m_format *format);

/* The size of a frame in bytes, including its FRAME line. */
size_t y4m_frame_size(const struct y4m_format *format);

struct y4m_output {
    const char *name; /* for messages */
    int fd;
    bool ours;      /* we opened it, so we close it */
    bool regular;   /* other files can be neither read back nor truncated */
    off_t end;      /* where the last whole frame ends */
    bool truncate;  /* the first write replaces what was there */
    bool header;    /* the first write is the header */
    struct stat status;
};

/* Opens path, or uses standard output if path is NULL. With append, the file must be empty, or a Y4M file of
 * exactly this format that ends with a complete frame. Nothing is changed before the first frame is written,
 * except that a missing file is created. */
int y4m_open(struct y4m_output *output, const char *path, bool append, const struct y4m_format *format,
             struct failure *failure);

/* Writes a frame of y4m_frame_size bytes, including its FRAME line, and the header before the first frame. If that
 * fails, a regular file that we opened is truncated to its previous size. */
int y4m_write(struct y4m_output *output, const struct y4m_format *format, const uint8_t *frame,
              struct failure *failure);

int y4m_close(struct y4m_output *output, struct failure *failure);

#endif
