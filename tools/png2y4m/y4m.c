#include "y4m.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_ROOM = 160 }; /* enough for seven numbers of at most ten digits, and the letters */

uint32_t y4m_chroma_width(const struct y4m_format *format)
{
    return format->chroma == CHROMA_IS_444 ? format->width : format->width / 2 + format->width % 2;
}

uint32_t y4m_chroma_height(const struct y4m_format *format)
{
    return format->chroma == CHROMA_IS_420 ? format->height / 2 + format->height % 2 : format->height;
}

size_t y4m_frame_size(const struct y4m_format *format)
{
    return strlen(Y4M_FRAME_MARK) + (size_t)format->width * format->height +
           2 * (size_t)y4m_chroma_width(format) * y4m_chroma_height(format);
}

static size_t make_header(char header[HEADER_ROOM], const struct y4m_format *format)
{
    static const char *const names[] = {
        [CHROMA_IS_420] = "420jpeg",
        [CHROMA_IS_422] = "422jpeg",
        [CHROMA_IS_444] = "444",
    };
    int length = snprintf(header, HEADER_ROOM, "YUV4MPEG2 W%u H%u F%u:%u Ip A%u:%u C%s\n",
                          (unsigned)format->width, (unsigned)format->height, format->rate_numerator,
                          format->rate_denominator, format->aspect_numerator, format->aspect_denominator,
                          names[format->chroma]);
    return (size_t)length;
}

/* Reads size bytes at the offset, or fewer at the file's end. Returns their number, or -1. */
static ssize_t read_at(int fd, void *buffer, size_t size, off_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, (char *)buffer + done, size - done, offset + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* Checks that frames of this format can be added to the file. */
static int check_existing(const struct y4m_output *output, const struct y4m_format *format,
                          struct failure *failure)
{
    char header[HEADER_ROOM], found[HEADER_ROOM + 1], mark[sizeof Y4M_FRAME_MARK - 1];
    size_t length = make_header(header, format);
    ssize_t got = read_at(output->fd, found, HEADER_ROOM, 0);
    if (got < 0)
        return fail(failure, "%s: cannot read: %s", output->name, strerror(errno));
    if ((size_t)got < length || memcmp(found, header, length) != 0) {
        if (got < 10 || memcmp(found, "YUV4MPEG2 ", 10) != 0)
            return fail(failure, "%s: not a Y4M file, nothing was added", output->name);
        found[got] = '\0';
        found[strcspn(found, "\n")] = '\0';
        return fail(failure, "%s: is '%s', the new frames are '%.*s', nothing was added", output->name, found,
                    (int)length - 1, header);
    }
    size_t frame = y4m_frame_size(format);
    off_t frames = output->end - (off_t)length;
    if (frames % (off_t)frame != 0)
        return fail(failure, "%s: is damaged, its last frame is not whole; nothing was added", output->name);
    if (frames > 0) {
        got = read_at(output->fd, mark, sizeof mark, output->end - (off_t)frame);
        if (got != (ssize_t)sizeof mark || memcmp(mark, Y4M_FRAME_MARK, sizeof mark) != 0)
            return fail(failure, "%s: is damaged, its last frame is not in its place; nothing was added",
                        output->name);
    }
    return 0;
}

int y4m_open(struct y4m_output *output, const char *path, bool append, const struct y4m_format *format,
             struct failure *failure)
{
    *output = (struct y4m_output){.name = "standard output", .fd = STDOUT_FILENO, .header = true};
    if (path != NULL) {
        output->name = path;
        output->ours = true;
        output->fd = open(path, (append ? O_RDWR : O_WRONLY) | O_CREAT, 0666);
        if (output->fd < 0)
            return fail(failure, "%s: cannot open for writing: %s", path, strerror(errno));
    }
    if (fstat(output->fd, &output->status) != 0)
        return fail(failure, "%s: %s", output->name, strerror(errno));
    output->regular = output->ours && S_ISREG(output->status.st_mode);
    output->truncate = output->regular && !append;
    if (!append)
        return 0;
    if (!output->regular)
        return fail(failure, "%s: not a regular file, -i cannot add to it", output->name);
    if (output->status.st_size == 0)
        return 0;
    output->end = output->status.st_size;
    output->header = false;
    if (check_existing(output, format, failure) != 0)
        return -1;
    if (lseek(output->fd, output->end, SEEK_SET) < 0)
        return fail(failure, "%s: %s", output->name, strerror(errno));
    return 0;
}

static int write_all(int fd, const void *bytes, size_t size)
{
    const char *next = bytes;
    while (size > 0) {
        ssize_t written = write(fd, next, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        next += written;
        size -= (size_t)written;
    }
    return 0;
}

int y4m_write(struct y4m_output *output, const struct y4m_format *format, const uint8_t *frame,
              struct failure *failure)
{
    if (output->truncate && ftruncate(output->fd, 0) != 0)
        return fail(failure, "%s: cannot empty it: %s", output->name, strerror(errno));
    output->truncate = false;

    char header[HEADER_ROOM];
    size_t header_size = output->header ? make_header(header, format) : 0;
    size_t frame_size = y4m_frame_size(format);
    if (write_all(output->fd, header, header_size) != 0 || write_all(output->fd, frame, frame_size) != 0) {
        int error = errno;
        if (output->regular && ftruncate(output->fd, output->end) != 0)
            return fail(failure, "%s: cannot write: %s; it now ends with part of a frame", output->name,
                        strerror(error));
        return fail(failure, "%s: cannot write: %s", output->name, strerror(error));
    }
    output->header = false;
    output->end += (off_t)(header_size + frame_size);
    return 0;
}

int y4m_close(struct y4m_output *output, struct failure *failure)
{
    if (output->ours && output->fd >= 0 && close(output->fd) != 0)
        return fail(failure, "%s: cannot write: %s", output->name, strerror(errno));
    output->fd = -1;
    return 0;
}
