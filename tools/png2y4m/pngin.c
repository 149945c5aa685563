#include "pngin.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The largest picture, 16384 x 16384. It limits the memory that a small hostile file can make us allocate. */
#define MAX_PIXELS ((uint64_t)1 << 28)

/* Everything that is needed after libpng's longjmp. It is a local variable of png_load, which does not call
 * setjmp, so its members keep their values; read_picture calls setjmp, but uses no local variable after the
 * jump. */
struct reader {
    const char *path;
    FILE *file;
    png_structp png;
    png_infop info;
    uint8_t *rows; /* one row, or all of an interlaced picture */
    struct failure *failure;
};

static void on_error(png_structp png, png_const_charp text)
{
    struct reader *reader = png_get_error_ptr(png);
    fail(reader->failure, "%s: corrupt PNG file: %s", reader->path, text);
    png_longjmp(png, 1);
}

/* libpng reports benign errors here as warnings (see configure). Those about the picture's data, such as a wrong
 * checksum or too many rows, are errors for us, except bytes after the end of the compressed stream: they change no
 * pixel, and some writers leave one there. Warnings about other chunks are ignored. */
static void on_warning(png_structp png, png_const_charp text)
{
    static const char data[] = "IDAT: ";
    static const char behind_the_end[] = "IDAT: Extra compressed data";
    if (strncmp(text, data, sizeof data - 1) == 0 && strcmp(text, behind_the_end) != 0)
        png_error(png, text);
}

static void on_read(png_structp png, png_bytep bytes, size_t size)
{
    struct reader *reader = png_get_io_ptr(png);
    if (fread(bytes, 1, size, reader->file) == size)
        return;
    if (ferror(reader->file)) {
        fail(reader->failure, "%s: cannot read: %s", reader->path, strerror(errno));
        png_longjmp(png, 1);
    }
    png_error(png, "it ends early");
}

static void configure(png_structp png)
{
    /* Only IHDR, PLTE, IDAT and IEND are used. The checksums of the others are verified, too. */
    static const png_byte transparency[] = "tRNS";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, transparency, 1);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_benign_errors(png, 1);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* our limit is MAX_PIXELS */
    /* Chunks that are not used are skipped, whatever their size: a profile or XMP may have many megabytes. */
    png_set_chunk_malloc_max(png, 0);
}

static int read_picture(struct reader *reader, const struct png_sink *sink)
{
    png_structp png = reader->png;
    png_infop info = reader->info;
    if (setjmp(png_jmpbuf(png)) != 0)
        return -1;

    configure(png);
    png_set_read_fn(png, reader, on_read);
    png_read_info(png, info);
    struct png_shape shape = {
        .width = png_get_image_width(png, info),
        .height = png_get_image_height(png, info),
    };
    if ((uint64_t)shape.width * shape.height > MAX_PIXELS)
        return fail(reader->failure, "%s: too large: %ux%u pixels", reader->path, (unsigned)shape.width,
                    (unsigned)shape.height);

    if (png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    else if (png_get_bit_depth(png, info) < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    shape.channels = png_get_channels(png, info);
    shape.bytes = png_get_bit_depth(png, info) / 8;
    if (sink->begin(sink->context, &shape, reader->failure) != 0)
        return -1;

    size_t stride = png_get_rowbytes(png, info);
    reader->rows = calloc(passes > 1 ? shape.height : 1, stride);
    if (reader->rows == NULL)
        return fail(reader->failure, "%s: out of memory for %ux%u pixels", reader->path,
                    (unsigned)shape.width, (unsigned)shape.height);
    if (passes > 1) {
        for (int pass = 0; pass < passes; pass++) {
            for (uint32_t y = 0; y < shape.height; y++)
                png_read_row(png, reader->rows + y * stride, NULL);
        }
        for (uint32_t y = 0; y < shape.height; y++)
            sink->row(sink->context, y, reader->rows + y * stride);
    } else {
        for (uint32_t y = 0; y < shape.height; y++) {
            png_read_row(png, reader->rows, NULL);
            sink->row(sink->context, y, reader->rows);
        }
    }
    png_read_end(png, NULL);
    return 0;
}

static int check_signature(const struct reader *reader)
{
    png_byte signature[8];
    struct stat status;
    if (fstat(fileno(reader->file), &status) == 0 && S_ISDIR(status.st_mode))
        return fail(reader->failure, "%s: is a directory", reader->path);
    size_t got = fread(signature, 1, sizeof signature, reader->file);
    if (ferror(reader->file))
        return fail(reader->failure, "%s: cannot read: %s", reader->path, strerror(errno));
    if (got == 0)
        return fail(reader->failure, "%s: is empty", reader->path);
    if (png_sig_cmp(signature, 0, got) != 0)
        return fail(reader->failure, "%s: not a PNG file", reader->path);
    if (got < sizeof signature)
        return fail(reader->failure, "%s: corrupt PNG file: it ends early", reader->path);
    return 0;
}

int png_load(const char *path, const struct png_sink *sink, struct failure *failure)
{
    struct reader reader = {.path = path, .failure = failure};
    reader.file = fopen(path, "rb");
    if (reader.file == NULL)
        return fail(failure, "%s: cannot open: %s", path, strerror(errno));
    int status = check_signature(&reader);
    if (status == 0) {
        reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
        if (reader.png != NULL)
            reader.info = png_create_info_struct(reader.png);
        if (reader.info == NULL) {
            status = fail(failure, "%s: out of memory", path);
        } else {
            png_set_sig_bytes(reader.png, 8);
            status = read_picture(&reader, sink);
        }
        png_destroy_read_struct(&reader.png, &reader.info, NULL);
    }
    free(reader.rows);
    fclose(reader.file);
    return status;
}
