#include "options.h"

#include <getopt.h>
#include <limits.h>
#include <string.h>

const char options_help[] =
    "Usage: png2y4m [-i] [-d] [-o OUT] [--chroma-444|--chroma-422] [-s N -S N] [-f N -F N] [--no-dither]\n"
    "               PATTERN\n"
    "\n"
    "Converts PNG files to one YUV4MPEG2 (Y4M) video, 8 bits, BT.709, studio range.\n"
    "\n"
    "PATTERN is a file's name, or a printf pattern with one number: frames/%08d.png is every such file in\n"
    "frames/, in the order of the numbers; gaps are fine. %% is a plain %.\n"
    "\n"
    "  -o, --output OUT                OUT is the video, instead of standard output (also: -o -)\n"
    "  -i, --append                    add to OUT if it exists; it must be of the same size and format\n"
    "  -d, --delete                    delete each PNG file once its frame is in OUT\n"
    "      --chroma-444                full chroma resolution\n"
    "      --chroma-422                chroma of half the width (default: half the width and height, 4:2:0)\n"
    "  -s, --aspect-numerator N        pixel aspect ratio, with -S (default 0:0, unknown)\n"
    "  -S, --aspect-denominator N\n"
    "  -f, --framerate-numerator N     frames per second, over -F (default 24)\n"
    "  -F, --framerate-denominator N   (default 1)\n"
    "      --no-dither                 round to the nearest level instead of dithering\n"
    "  -h, --help                      show this\n"
    "\n"
    "Example: png2y4m -i -d -o chunk.y4m frames/%08d.png\n"
    "\n"
    "Exit status: 0, or 1 if a file could not be read or written, or 2 for a mistake on the command line.\n";

#define HINT " (see png2y4m --help)"

enum { CHROMA_444 = 256, CHROMA_422, NO_DITHER };

#define SHORT_OPTIONS ":ido:s:S:f:F:h"

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"append", no_argument, NULL, 'i'},
    {"delete", no_argument, NULL, 'd'},
    {"chroma-444", no_argument, NULL, CHROMA_444},
    {"chroma-422", no_argument, NULL, CHROMA_422},
    {"aspect-numerator", required_argument, NULL, 's'},
    {"aspect-denominator", required_argument, NULL, 'S'},
    {"framerate-numerator", required_argument, NULL, 'f'},
    {"framerate-denominator", required_argument, NULL, 'F'},
    {"no-dither", no_argument, NULL, NO_DITHER},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* Parses a number from 0 to 2147483647 (Y4M readers use an int), written in decimal digits only. */
static int parse_number(unsigned *number, char option, const char *text, struct failure *failure)
{
    unsigned long long value = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9' && value <= INT_MAX; c++)
        value = value * 10 + (unsigned)(*c - '0');
    if (c == text || *c != '\0' || value > INT_MAX)
        return fail(failure, "-%c takes a whole number up to %d, not '%s'" HINT, option, INT_MAX, text);
    *number = (unsigned)value;
    return 0;
}

/* Checks the options together, once all have been parsed. */
static int check(const struct options *options, int patterns, struct failure *failure)
{
    const struct y4m_format *format = &options->format;
    if ((format->aspect_numerator == 0) != (format->aspect_denominator == 0))
        return fail(failure, "the pixel aspect ratio is %u:%u; give both -s and -S" HINT,
                    format->aspect_numerator, format->aspect_denominator);
    if (format->rate_numerator == 0 || format->rate_denominator == 0)
        return fail(failure, "the frame rate is %u:%u; neither may be 0" HINT, format->rate_numerator,
                    format->rate_denominator);
    if (options->append && options->output == NULL)
        return fail(failure, "-i adds to a file; name it with -o" HINT);
    if (patterns == 0)
        return fail(failure, "PATTERN is missing" HINT);
    if (patterns > 1)
        return fail(failure, "expected one PATTERN, got %d; one pattern such as %%08d.png matches many files" HINT,
                    patterns);
    return 0;
}

int options_parse(struct options *options, int argc, char **argv, struct failure *failure)
{
    *options = (struct options){
        .dither = true,
        .format = {.chroma = CHROMA_IS_420, .rate_numerator = 24, .rate_denominator = 1},
    };
    struct y4m_format *format = &options->format;
    opterr = 0;
    for (;;) {
        int option = getopt_long(argc, argv, SHORT_OPTIONS, long_options, NULL);
        int status = 0;
        switch (option) {
        case -1:
            options->pattern = optind < argc ? argv[optind] : NULL;
            return check(options, argc - optind, failure);
        case 'i':
            options->append = true;
            break;
        case 'd':
            options->delete_converted = true;
            break;
        case 'o':
            options->output = strcmp(optarg, "-") == 0 ? NULL : optarg;
            break;
        case CHROMA_444:
        case CHROMA_422: {
            enum chroma chroma = option == CHROMA_444 ? CHROMA_IS_444 : CHROMA_IS_422;
            if (format->chroma != CHROMA_IS_420 && format->chroma != chroma)
                return fail(failure, "--chroma-444 and --chroma-422 exclude each other" HINT);
            format->chroma = chroma;
            break;
        }
        case 's':
            status = parse_number(&format->aspect_numerator, 's', optarg, failure);
            break;
        case 'S':
            status = parse_number(&format->aspect_denominator, 'S', optarg, failure);
            break;
        case 'f':
            status = parse_number(&format->rate_numerator, 'f', optarg, failure);
            break;
        case 'F':
            status = parse_number(&format->rate_denominator, 'F', optarg, failure);
            break;
        case NO_DITHER:
            options->dither = false;
            break;
        case 'h':
            options->help = true;
            return 0;
        case ':':
            return fail(failure, "%s needs a value" HINT, argv[optind - 1]);
        default:
            if (optopt < 0) /* one byte of a UTF-8 character */
                optopt = '?';
            if (optopt != 0 && optopt < CHROMA_444 && strchr(SHORT_OPTIONS, optopt) == NULL)
                return fail(failure, "unknown option -%c" HINT, optopt);
            /* For a long option, getopt_long sets optopt to 0, or to the option's letter if it had a value but
             * takes none. */
            return fail(failure, "unknown or ambiguous option %s" HINT, argv[optind - 1]);
        }
        if (status != 0)
            return status;
    }
}
