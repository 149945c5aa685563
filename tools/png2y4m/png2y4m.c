/* png2y4m: converts PNG files to one Y4M video. See options.c for the command line.
 *
 * A frame is converted completely in memory, then written completely, then its PNG file is deleted (-d): at any
 * time each frame is in a file, and the output contains only complete frames. The conversion keeps no state
 * between frames, so that one run over many files and one run (-i) for each file give the same bytes. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert.h"
#include "failure.h"
#include "options.h"
#include "pattern.h"
#include "pngin.h"
#include "y4m.h"

struct run {
    const struct options *options;
    const struct frame_list *list;
    const char *path; /* of the current file */
    struct frame frame;
    bool sized; /* the first picture has set the size, and frame is ready */
    struct y4m_output output;
    bool open;
};

static int begin_picture(void *context, const struct png_shape *shape, struct failure *failure)
{
    struct run *run = context;
    if (!run->sized) {
        struct y4m_format format = run->options->format;
        format.width = shape->width;
        format.height = shape->height;
        if (frame_init(&run->frame, &format, run->options->dither, failure) != 0)
            return -1;
        run->sized = true;
    }
    const struct y4m_format *format = &run->frame.format;
    if (shape->width != format->width || shape->height != format->height)
        return fail(failure, "%s: is %ux%u pixels, the frames before it are %ux%u", run->path,
                    (unsigned)shape->width, (unsigned)shape->height, (unsigned)format->width,
                    (unsigned)format->height);
    frame_begin(&run->frame, shape);
    return 0;
}

static void take_row(void *context, uint32_t y, const uint8_t *samples)
{
    struct run *run = context;
    frame_row(&run->frame, y, samples);
}

/* Opens the output. Called once the first frame is converted, so that a bad first picture changes no output. */
static int open_output(struct run *run, struct failure *failure)
{
    const struct options *options = run->options;
    run->open = true;
    if (y4m_open(&run->output, options->output, options->append, &run->frame.format, failure) != 0)
        return -1;
    for (size_t i = 0; i < run->list->count && run->output.regular; i++) {
        struct stat status;
        if (stat(run->list->files[i].path, &status) == 0 && status.st_dev == run->output.status.st_dev &&
            status.st_ino == run->output.status.st_ino)
            return fail(failure, "%s: is both the output and one of the PNG files", run->output.name);
    }
    return 0;
}

static int store(struct run *run, struct failure *failure)
{
    if (y4m_write(&run->output, &run->frame.format, run->frame.bytes, failure) != 0)
        return -1;
    if (run->options->delete_converted && unlink(run->path) != 0)
        return fail(failure, "%s: is converted but cannot be deleted: %s", run->path, strerror(errno));
    return 0;
}

/* Stores a frame with SIGHUP, SIGINT and SIGTERM blocked until it is written and its PNG file deleted. They are
 * not blocked if the output is a pipe, because writing to it may block for ever. */
static int store_undisturbed(struct run *run, struct failure *failure)
{
    if (!run->output.regular)
        return store(run, failure);
    sigset_t interrupts, before;
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGHUP);
    sigaddset(&interrupts, SIGINT);
    sigaddset(&interrupts, SIGTERM);
    sigprocmask(SIG_BLOCK, &interrupts, &before);
    int status = store(run, failure);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

static int convert_all(struct run *run, struct failure *failure)
{
    const struct png_sink sink = {.context = run, .begin = begin_picture, .row = take_row};
    for (size_t i = 0; i < run->list->count; i++) {
        run->path = run->list->files[i].path;
        if (png_load(run->path, &sink, failure) != 0)
            return -1;
        if (!run->open && open_output(run, failure) != 0)
            return -1;
        if (store_undisturbed(run, failure) != 0)
            return -1;
    }
    return 0;
}

static int convert(const struct options *options, const struct pattern *pattern, struct failure *failure)
{
    struct frame_list list;
    struct run run = {.options = options, .list = &list};
    struct failure closing;
    int status = pattern_list(pattern, &list, failure);
    if (status == 0)
        status = convert_all(&run, failure);
    if (run.open && y4m_close(&run.output, &closing) != 0 && status == 0) {
        *failure = closing;
        status = -1;
    }
    frame_free(&run.frame);
    frame_list_free(&list);
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    struct pattern pattern = {0};
    struct failure failure;
    int status = 0;
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow causes a write error, like a full disk */
    if (options_parse(&options, argc, argv, &failure) != 0) {
        status = 2;
    } else if (options.help) {
        if (fputs(options_help, stdout) == EOF || fflush(stdout) != 0) {
            fail(&failure, "standard output: %s", strerror(errno));
            status = 1;
        }
    } else if (pattern_parse(&pattern, options.pattern, &failure) != 0) {
        status = 2;
    } else if (convert(&options, &pattern, &failure) != 0) {
        status = 1;
    }
    pattern_free(&pattern);
    if (status != 0)
        fprintf(stderr, "png2y4m: %s\n", failure.text);
    return status;
}
