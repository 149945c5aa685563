#include "answer.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#define DEEPEST 64 /* nesting of arrays and objects in an error's body */
#define LENGTH_DIGITS 18 /* digits of a Content-Length, so that it fits into 64 bits */

void mu_answer_reset(mu_answer *a)
{
    a->request_id[0] = a->error_type[0] = a->reason[0] = a->function_error[0] = a->date[0] = a->retry_after[0] = '\0';
    a->status = a->complete = a->doubtful = a->lengths = a->codings = a->empty = 0;
    a->header_size = a->body_size = 0;
}

/* Copies the printable ASCII of a header's value, as far as it fits. */
static void copy_value(char *out, size_t room, const char *value, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < size && at + 1 < room; i++)
        if (value[i] >= ' ' && value[i] < 0x7f)
            out[at++] = value[i];
    out[at] = '\0';
}

/* "FooException:http://internal.amazon.com/..." and "com.amazonaws.lambda#FooException" are both FooException. */
static void copy_error_type(char *out, size_t room, const char *value, size_t size)
{
    const char *hash = memchr(value, '#', size);
    if (hash != NULL) {
        size -= (size_t)(hash + 1 - value);
        value = hash + 1;
    }
    const char *colon = memchr(value, ':', size);
    copy_value(out, room, value, colon == NULL ? size : (size_t)(colon - value));
}

/* Parses an HTTP date into seconds since 1970. Called only when it is needed: it takes as long as all the rest of an
 * answer. */
static int64_t read_date(const char *text)
{
    time_t date = text[0] == '\0' ? -1 : curl_getdate(text, NULL);
    return date < 0 ? MU_ANSWER_UNSET : (int64_t)date;
}

int64_t mu_answer_date(const mu_answer *a)
{
    return read_date(a->date);
}

/* Parses a number of seconds below 10^9, rounded up; MU_ANSWER_UNSET for anything else. */
static int64_t read_seconds(const char *text)
{
    int64_t seconds = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        seconds = seconds * 10 + (text[digits] - '0');
        if (seconds >= 1000000000)
            return MU_ANSWER_UNSET;
    }
    if (digits == 0 || (text[digits] != '\0' && text[digits] != '.'))
        return MU_ANSWER_UNSET;
    if (text[digits] == '.') {
        const char *fraction = text + digits + 1;
        if (fraction[strspn(fraction, "0123456789")] != '\0')
            return MU_ANSWER_UNSET;
        seconds += fraction[strspn(fraction, "0")] != '\0';
    }
    return seconds;
}

int64_t mu_answer_retry_after(const mu_answer *a, int64_t now)
{
    int64_t seconds = read_seconds(a->retry_after);
    if (seconds != MU_ANSWER_UNSET)
        return seconds;
    int64_t until = read_date(a->retry_after);
    if (until == MU_ANSWER_UNSET)
        return MU_ANSWER_UNSET;
    int64_t date = mu_answer_date(a);
    if (date != MU_ANSWER_UNSET)
        now = date;
    return until > now ? until - now : 0;
}

/* Returns the three digits after the first space of a status line; 0 if there are none. */
static int read_status(const char *line, size_t size)
{
    const char *space = memchr(line, ' ', size);
    if (space == NULL || size - (size_t)(space - line) < 5 || strchr(" \r\n", space[4]) == NULL)
        return 0;
    int status = 0;
    for (int i = 1; i < 4; i++) {
        if (space[i] < '0' || space[i] > '9')
            return 0;
        status = status * 10 + (space[i] - '0');
    }
    return status;
}

static int is_header(const char *line, size_t size, const char *name)
{
    size_t length = strlen(name);
    return size > length && line[length] == ':' && strncasecmp(line, name, length) == 0;
}

/* Whether a line ends in CR LF, and has no other control character but tabs. */
static int is_whole_line(const char *line, size_t size)
{
    if (size < 2 || line[size - 2] != '\r' || line[size - 1] != '\n')
        return 0;
    for (size_t i = 0; i < size - 2; i++)
        if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
            return 0;
    return 1;
}

/* Whether a status line is valid without doubt, and belongs to a final answer. */
static int is_sure_status(int status, const char *line, size_t size)
{
    static const char version[] = "HTTP/1.1 ";
    return status >= 200 && is_whole_line(line, size) && size > sizeof version - 1 &&
           memcmp(line, version, sizeof version - 1) == 0;
}

/* Whether `line` begins with a header's name, a token of RFC 9110, up to `colon`. */
static int has_name(const char *line, const char *colon)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (const char *p = line; p < colon; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              (*p != '\0' && strchr(others, *p) != NULL)))
            return 0;
    return colon > line;
}

/* Whether the end of an answer is certain from its complete headers. */
static int is_end_sure(const mu_answer *a)
{
    if (a->status == 204 || a->status == 304)
        return a->codings == 0 && (a->lengths == 0 || (a->lengths == 1 && a->empty));
    return a->lengths + a->codings == 1;
}

/* Records a Content-Length. */
static void read_length(mu_answer *a, const char *value, size_t length)
{
    a->lengths++;
    a->empty = length == 1 && value[0] == '0';
    if (length == 0 || length > LENGTH_DIGITS)
        a->doubtful = 1;
    for (size_t i = 0; i < length; i++)
        if (value[i] < '0' || value[i] > '9')
            a->doubtful = 1;
}

/* Records a Transfer-Encoding. */
static void read_coding(mu_answer *a, const char *value, size_t length)
{
    static const char chunked[] = "chunked";
    a->codings++;
    if (length != sizeof chunked - 1 || strncasecmp(value, chunked, length) != 0)
        a->doubtful = 1;
}

void mu_answer_header(mu_answer *a, const char *line, size_t size)
{
    if (size >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        size_t seen = a->header_size;
        int doubtful = a->doubtful;
        mu_answer_reset(a);
        a->header_size = seen + size;
        a->status = read_status(line, size);
        a->doubtful = doubtful || seen > 0 || !is_sure_status(a->status, line, size);
        return;
    }
    a->header_size += size;
    if (a->complete || !is_whole_line(line, size))
        a->doubtful = 1;
    if (size == 0 || line[0] == '\r' || line[0] == '\n') {
        a->complete = 1;
        if (!is_end_sure(a))
            a->doubtful = 1;
        return;
    }
    const char *colon = memchr(line, ':', size);
    if (colon == NULL || !has_name(line, colon))
        a->doubtful = 1;
    if (colon == NULL)
        return;
    const char *value = colon + 1;
    size_t length = size - (size_t)(value - line);
    while (length > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        length--;
    }
    while (length > 0 && strchr(" \t\r\n", value[length - 1]) != NULL)
        length--;

    if (is_header(line, size, "x-amzn-requestid")) {
        copy_value(a->request_id, sizeof a->request_id, value, length);
    } else if (is_header(line, size, "x-amzn-errortype")) {
        copy_error_type(a->error_type, sizeof a->error_type, value, length);
    } else if (is_header(line, size, "x-amz-function-error")) {
        copy_value(a->function_error, sizeof a->function_error, value, length);
    } else if (is_header(line, size, "date")) {
        copy_value(a->date, sizeof a->date, value, length);
    } else if (is_header(line, size, "retry-after")) {
        copy_value(a->retry_after, sizeof a->retry_after, value, length);
    } else if (is_header(line, size, "content-length")) {
        read_length(a, value, length);
    } else if (is_header(line, size, "transfer-encoding")) {
        read_coding(a, value, length);
    }
}

void mu_answer_body(mu_answer *a, const char *data, size_t size)
{
    if (a->body_size < MU_ANSWER_BODY_KEPT) {
        size_t room = MU_ANSWER_BODY_KEPT - a->body_size;
        memcpy(a->body + a->body_size, data, size < room ? size : room);
    }
    a->body_size += size;
}

/* A position in JSON text. Each reader below advances over what it reads, and never past `end`. */
typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

/* The destination of a string's characters; `out` NULL: none. What does not fit is dropped. */
typedef struct sink {
    char *out;
    size_t room;
    size_t used;
} sink;

static void skip_space(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\r' || *c->at == '\n'))
        c->at++;
}

static int next_is(cursor *c, char wanted)
{
    skip_space(c);
    if (c->at >= c->end || *c->at != wanted)
        return 0;
    c->at++;
    return 1;
}

/* Writes a code point as UTF-8, completely or not at all. */
static void put(sink *s, uint32_t point)
{
    char bytes[4];
    size_t size;
    if (point < 0x80) {
        bytes[0] = (char)point;
        size = 1;
    } else if (point < 0x800) {
        bytes[0] = (char)(0xc0 | point >> 6);
        bytes[1] = (char)(0x80 | (point & 0x3f));
        size = 2;
    } else if (point < 0x10000) {
        bytes[0] = (char)(0xe0 | point >> 12);
        bytes[1] = (char)(0x80 | (point >> 6 & 0x3f));
        bytes[2] = (char)(0x80 | (point & 0x3f));
        size = 3;
    } else {
        bytes[0] = (char)(0xf0 | point >> 18);
        bytes[1] = (char)(0x80 | (point >> 12 & 0x3f));
        bytes[2] = (char)(0x80 | (point >> 6 & 0x3f));
        bytes[3] = (char)(0x80 | (point & 0x3f));
        size = 4;
    }
    if (s->out == NULL || s->room - s->used <= size)
        return;
    memcpy(s->out + s->used, bytes, size);
    s->used += size;
    s->out[s->used] = '\0';
}

/* Returns the four hexadecimal digits of a \u escape; -1 if there are none. */
static int32_t read_hex4(cursor *c)
{
    int32_t value = 0;
    if (c->end - c->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char d = *c->at++;
        int digit = d >= '0' && d <= '9'   ? d - '0'
                    : d >= 'a' && d <= 'f' ? d - 'a' + 10
                    : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Reads one escape, after its backslash. */
static int read_escape(cursor *c, sink *s)
{
    if (c->at >= c->end)
        return 0;
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char letter = *c->at++;
    if (letter != 'u') {
        const char *found = letter == '\0' ? NULL : strchr(letters, letter);
        if (found == NULL)
            return 0;
        put(s, (unsigned char)meanings[found - letters]);
        return 1;
    }
    int32_t point = read_hex4(c);
    if (point < 0)
        return 0;
    if (point >= 0xd800 && point < 0xdc00 && c->end - c->at >= 2 && c->at[0] == '\\' && c->at[1] == 'u') {
        cursor second = {c->at + 2, c->end};
        int32_t low = read_hex4(&second);
        if (low >= 0xdc00 && low < 0xe000) {
            c->at = second.at;
            point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    put(s, point >= 0xd800 && point < 0xe000 ? 0xfffd : (uint32_t)point);
    return 1;
}

/* Reads one UTF-8 sequence of a string; a byte that begins none becomes U+FFFD. */
static void read_utf8(cursor *c, sink *s)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    unsigned char lead = (unsigned char)*c->at++;
    for (ptrdiff_t extra = 0; extra < 4; extra++) {
        if ((lead & forms[extra].mask) != forms[extra].lead)
            continue;
        uint32_t point = lead & (unsigned char)~forms[extra].mask;
        ptrdiff_t i = 0;
        while (i < extra && c->at + i < c->end && ((unsigned char)c->at[i] & 0xc0) == 0x80)
            point = point << 6 | ((unsigned char)c->at[i++] & 0x3f);
        if (i < extra || point < forms[extra].least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            break;
        c->at += extra;
        put(s, point);
        return;
    }
    put(s, 0xfffd);
}

/* Reads a string with its quotes. Returns 0 if it does not end; what was read of it is in the sink. */
static int read_string(cursor *c, sink *s)
{
    if (!next_is(c, '"'))
        return 0;
    while (c->at < c->end) {
        if (*c->at == '"') {
            c->at++;
            return 1;
        }
        if (*c->at == '\\') {
            c->at++;
            if (!read_escape(c, s))
                return 0;
        } else {
            read_utf8(c, s);
        }
    }
    return 0;
}

/* Skips any value. Its content is not needed, so brackets are only counted. */
static int skip_value(cursor *c)
{
    sink nowhere = {NULL, 0, 0};
    int depth = 0;
    do {
        skip_space(c);
        if (c->at >= c->end)
            return 0;
        if (*c->at == '"') {
            if (!read_string(c, &nowhere))
                return 0;
        } else if (*c->at == '{' || *c->at == '[') {
            c->at++;
            if (++depth > DEEPEST)
                return 0;
        } else if (*c->at == '}' || *c->at == ']') {
            c->at++;
            if (--depth < 0)
                return 0;
        } else if (depth > 0 && (*c->at == ',' || *c->at == ':')) {
            c->at++;
        } else {
            const char *start = c->at;
            while (c->at < c->end && strchr("+-.0123456789Eaeflnrstu", *c->at) != NULL && *c->at != '\0')
                c->at++;
            if (c->at == start)
                return 0;
        }
    } while (depth > 0);
    return 1;
}

void mu_one_line(char *text)
{
    text[strcspn(text, "\r\n")] = '\0';
    for (char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
        else if ((unsigned char)*p == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0)
            p[0] = p[1] = ' '; /* U+0080 to U+009F are control characters too, some terminals obey them */
}

void mu_answer_read_error(mu_answer *a, char text[MU_ANSWER_TEXT_SIZE])
{
    text[0] = '\0';
    size_t size = a->body_size < MU_ANSWER_BODY_KEPT ? a->body_size : MU_ANSWER_BODY_KEPT;
    cursor c = {a->body, a->body + size};
    if (!next_is(&c, '{'))
        return;
    do {
        char key[32] = "";
        sink name = {key, sizeof key, 0};
        if (!read_string(&c, &name) || !next_is(&c, ':'))
            break;
        skip_space(&c);
        const char *start = c.at;
        int is_string = c.at < c.end && *c.at == '"';
        if (is_string && (strcasecmp(key, "message") == 0 || strcasecmp(key, "errorMessage") == 0)) {
            sink message = {text, MU_ANSWER_TEXT_SIZE, 0};
            text[0] = '\0';
            if (!read_string(&c, &message))
                break;
        } else if (is_string && strcmp(key, "Reason") == 0) {
            char reason[64] = "";
            sink value = {reason, sizeof reason, 0};
            int whole = read_string(&c, &value);
            copy_value(a->reason, sizeof a->reason, reason, strlen(reason));
            if (!whole)
                break;
        } else if (is_string && strcmp(key, "__type") == 0 && a->error_type[0] == '\0') {
            char type[128] = "";
            sink value = {type, sizeof type, 0};
            int whole = read_string(&c, &value);
            copy_error_type(a->error_type, sizeof a->error_type, type, strlen(type));
            if (!whole)
                break;
        } else {
            if (!skip_value(&c))
                break;
            if (strcasecmp(key, "retryAfterSeconds") == 0 && a->retry_after[0] == '\0') {
                const char *value = start + is_string; /* less the quotes */
                copy_value(a->retry_after, sizeof a->retry_after, value, (size_t)(c.at - is_string - value));
            }
        }
    } while (next_is(&c, ','));
    mu_one_line(text);
}

void mu_redact(char *text, const char *secret)
{
    size_t length = secret == NULL ? 0 : strlen(secret);
    if (length == 0)
        return;
    for (char *p = text; (p = strstr(p, secret)) != NULL; p += length)
        memset(p, '*', length);
    /* A text that was cut short may end within the secret. */
    size_t size = strlen(text);
    for (size_t part = length - 1 < size ? length - 1 : size; part >= 4; part--)
        if (memcmp(text + size - part, secret, part) == 0)
            memset(text + size - part, '*', part);
}
