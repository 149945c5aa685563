/* Table-driven tests of the code that parses answers and builds requests. The signer has larger tests in Python. */
#include "answer.h"
#include "check.h"
#include "liblaunch.h"
#include "payload.h"
#include "target.h"

static mu_answer answer;

static void read_headers(const char *const *lines)
{
    mu_answer_reset(&answer);
    for (; *lines != NULL; lines++) {
        /* The buffer has exactly that size, so that sanitizers detect a read beyond its end. */
        size_t size = strlen(*lines);
        char *copy = malloc(size == 0 ? 1 : size);
        CHECK(copy != NULL);
        memcpy(copy, *lines, size);
        mu_answer_header(&answer, copy, size);
        free(copy);
    }
}

static void test_headers(void)
{
    static const char *const usual[] = {
        "HTTP/1.1 429 Too Many Requests\r\n", "Date: Sun, 09 Sep 2001 01:46:40 GMT\r\n", "X-AMZN-RequestId:  abc-1 \r\n",
        "x-amzn-errortype: TooManyRequestsException:http://x/\r\n", "Retry-After: 7\r\n",
        "X-Amz-Function-Error: Unhandled\r\n", "\r\n", NULL,
    };
    read_headers(usual);
    CHECK(answer.status == 429 && answer.complete);
    CHECK_TEXT(answer.request_id, "abc-1");
    CHECK_TEXT(answer.error_type, "TooManyRequestsException");
    CHECK_TEXT(answer.function_error, "Unhandled");
    CHECK(mu_answer_date(&answer) == 1000000000);
    CHECK(mu_answer_retry_after(&answer, 0) == 7);

    static const char *const preceded[] = {
        "HTTP/1.1 100 Continue\r\n", "X-Amzn-RequestId: first\r\n", "\r\n", "HTTP/1.1 202 Accepted\n", "\n", NULL,
    };
    read_headers(preceded);
    CHECK(answer.status == 202 && answer.complete);
    CHECK_TEXT(answer.request_id, "");
    CHECK(answer.header_size > 60);

    static const char *const odd[] = {
        "HTTP/1.1 20", "Date:", ":", "x-amzn-requestid", "x-amzn-requestids: no", "retry-after: soon",
        "X-Amzn-RequestId: a\x01\x1b[31mb\xff", "", NULL,
    };
    read_headers(odd);
    CHECK(answer.status == 0 && answer.complete);
    CHECK_TEXT(answer.request_id, "a[31mb");
    CHECK(mu_answer_date(&answer) == MU_ANSWER_UNSET);
    CHECK(mu_answer_retry_after(&answer, 0) == MU_ANSWER_UNSET);

    char line[300];
    (void)snprintf(line, sizeof line, "x-amzn-requestid: %0200d", 1);
    mu_answer_header(&answer, line, strlen(line));
    CHECK(strlen(answer.request_id) == sizeof answer.request_id - 1);
}

static void test_status_lines(void)
{
    static const struct {
        const char *line;
        int status;
    } cases[] = {
        {"HTTP/1.1 202 Accepted\r\n", 202}, {"HTTP/2 404\r\n", 404}, {"HTTP/1.1 202\n", 202}, {"HTTP/1.1 20\r\n", 0},
        {"HTTP/1.1 2022 x\r\n", 0},         {"HTTP/1.1\r\n", 0},     {"HTTP/1.1 20x \r\n", 0}, {"HTTP/1.1 202", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *lines[] = {cases[i].line, NULL};
        read_headers(lines);
        CHECK(answer.status == cases[i].status);
    }
}

/* After answers with these lines, may the connection be used again? `doubtful` is 1 if not. */
static void test_doubts(void)
{
    static const struct {
        const char *lines[6];
        int doubtful;
    } cases[] = {
        {{"HTTP/1.1 202 Accepted\r\n", "Content-Length: 0\r\n", "\r\n"}, 0},
        {{"HTTP/1.1 202 \r\n", "content-length:\t12 \r\n", "X-A: b\tc\xff\r\n", "X-B:\r\n", "\r\n"}, 0},
        {{"HTTP/1.1 200 OK\r\n", "Transfer-Encoding: chunked\r\n", "\r\n"}, 0},
        {{"HTTP/1.1 200 OK\r\n", "Transfer-Encoding: Chunked \r\n", "\r\n"}, 0},
        {{"HTTP/1.1 204 N\r\n", "\r\n"}, 0},
        {{"HTTP/1.1 204 N\r\n", "Content-Length: 0\r\n", "\r\n"}, 0},
        /* The status line. */
        {{"HTTP/1.0 202 A\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1  202 A\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 101 S\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 100 C\r\n", "\r\n", "HTTP/1.1 202 A\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"X: y\r\n", "HTTP/1.1 202 A\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "HTTP/1.1 202 A\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        /* The body's end. */
        {{"HTTP/1.1 202 A\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length: 0\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Transfer-Encoding: gzip, chunked\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length: +1\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length: 1, 1\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length:\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length: 1000000000000000000\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 204 N\r\n", "Content-Length: 5\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 204 N\r\n", "Transfer-Encoding: chunked\r\n", "\r\n"}, 1},
        /* The header lines. */
        {{"HTTP/1.1 202 A\r\n", " folded: x\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "X-A: b\r\n", "\tc\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length : 0\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "no colon\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "X-A: \x01\r\n", "Content-Length: 0\r\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length: 0\n", "\r\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Content-Length: 0\r\n", "\n"}, 1},
        {{"HTTP/1.1 202 A\r\n", "Transfer-Encoding: chunked\r\n", "\r\n", "X-Trailer: a\r\n", "\r\n"}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        read_headers(cases[i].lines);
        if (answer.doubtful != cases[i].doubtful)
            (void)fprintf(stderr, "case %zu\n", i);
        CHECK(answer.doubtful == cases[i].doubtful);
    }
}

static void test_retry_after(void)
{
    static const struct {
        const char *value;
        int64_t seconds;
    } cases[] = {
        {"0", 0},     {"1", 1},   {"1.5", 2},           {"999999999", 999999999},
        {"1.0", 1},   {"1.", 1},  {"0.01", 1},          {"1.5s", -1},
        {"-1", -1},   {"", -1},   {"1000000000", -1},   {"99999999999999999999999999999", -1},
        {"1e3", -1},  {"x", -1},  {"Sun, 09 Sep 2001 01:47:40 GMT", 60},
        {"Sun, 09 Sep 2001 01:40:00 GMT", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[100];
        (void)snprintf(line, sizeof line, "Retry-After: %s\r\n", cases[i].value);
        const char *lines[] = {"HTTP/1.1 429 x\r\n", "Date: Sun, 09 Sep 2001 01:46:40 GMT\r\n", line, NULL};
        read_headers(lines);
        CHECK(mu_answer_retry_after(&answer, 5) == cases[i].seconds);
    }
    /* Without a Date header, the caller's clock is used. */
    const char *lines[] = {"HTTP/1.1 429 x\r\n", "Retry-After: Sun, 09 Sep 2001 01:47:40 GMT\r\n", NULL};
    read_headers(lines);
    CHECK(mu_answer_retry_after(&answer, 1000000000) == 60);
}

static void read_body(const char *body, size_t size, char *text)
{
    mu_answer_reset(&answer);
    for (size_t i = 0; i < size; i++)
        mu_answer_body(&answer, body + i, 1);
    mu_answer_read_error(&answer, text);
}

static void test_bodies(void)
{
    static const struct {
        const char *body, *message, *type, *retry_after;
    } cases[] = {
        {"{\"message\": \"Rate Exceeded.\"}", "Rate Exceeded.", "", ""},
        {"{\"Type\":\"User\",\"Message\":\"no\"}", "no", "", ""},
        {" {\n\"errorMessage\" : \"x\" , \"errorType\" : \"KeyError\", \"stackTrace\": [[\"}\"], {\"message\": \"in\"}]}", "x", "",
         ""},
        {"{\"__type\": \"com.amazonaws.lambda#FooException\", \"message\": \"m\"}", "m", "FooException", ""},
        {"{\"__type\": \"BarException:http://x\"}", "", "BarException", ""},
        {"{\"a\":{\"message\":\"deep\"},\"retryAfterSeconds\":12.5}", "", "", "12.5"},
        {"{\"retryAfterSeconds\" : \"3\" , \"b\":[1,-2.5e+3,true,false,null,{}]}", "", "", "3"},
        {"{\"message\":\"a\\\"b\\\\c\\/d\\te\"}", "a\"b\\c/d e", "", ""},
        {"{\"message\":\"one\\ntwo\"}", "one", "", ""},
        {"{\"message\":\"\\u00fc \\u20AC \\ud83d\\ude00 \\ud83d \\ude00!\"}",
         "\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbd \xef\xbf\xbd!", "", ""},
        {"{\"message\":\"\xc3\xbc\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\"}",
         "\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef"
         "\xbf\xbd",
         "", ""},
        {"{\"message\":\"\\u009b31m \\u001b[31m\"}", "  31m  [31m", "", ""},
        {"{\"message\":\"cut sho", "cut sho", "", ""},
        {"{\"message\":\"bad \\x escape\"}", "bad ", "", ""},
        {"{\"message\":12}", "", "", ""},
        {"{\"message\":\"last\",\"message\":\"wins\"}", "wins", "", ""},
        {"<html>message</html>", "", "", ""},
        {"[\"message\",\"x\"]", "", "", ""},
        {"", "", "", ""},
        {"{", "", "", ""},
        {"{\"a\":}", "", "", ""},
        {"{\"a\":@,\"message\":\"x\"}", "", "", ""},
        {"{\"a\":]],\"message\":\"x\"}", "", "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[MU_ANSWER_TEXT_SIZE];
        read_body(cases[i].body, strlen(cases[i].body), text);
        CHECK_TEXT(text, cases[i].message);
        CHECK_TEXT(answer.error_type, cases[i].type);
        CHECK_TEXT(answer.retry_after, cases[i].retry_after);
    }
}

static void test_large_bodies(void)
{
    static char body[3 * MU_ANSWER_BODY_KEPT];
    char text[MU_ANSWER_TEXT_SIZE];
    memset(body, '[', sizeof body); /* nested too deeply */
    memcpy(body, "{\"a\":", 5);
    read_body(body, sizeof body, text);
    CHECK_TEXT(text, "");
    CHECK(answer.body_size == sizeof body);
    memset(body, 'x', sizeof body);
    memcpy(body, "{\"message\":\"", 12);
    read_body(body, sizeof body, text);
    CHECK(strlen(text) == sizeof text - 1);
    /* A character of several bytes that does not fit is omitted completely. */
    for (size_t i = 12; i + 2 <= sizeof body; i += 2)
        memcpy(body + i, "\xc3\xbc", 2);
    read_body(body, sizeof body, text);
    CHECK(strlen(text) == sizeof text - 2);
}

static void test_redaction(void)
{
    static const struct {
        const char *text, *secret, *redacted;
    } cases[] = {
        {"nothing here", "token", "nothing here"},
        {"token, tokentoken; toke", "token", "*****, **********; ****"},
        {"cut off: tok", "token", "cut off: tok"},
        {"token", "", "token"},
        {"token", NULL, "token"},
        {"", "token", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s", cases[i].text);
        mu_redact(text, cases[i].secret);
        CHECK_TEXT(text, cases[i].redacted);
    }
}

static void test_addresses(void)
{
    static const struct {
        const char *endpoint, *function, *url, *host, *canonical;
    } cases[] = {
        {"https://lambda.us-east-1.amazonaws.com", "work",
         "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/work/invocations", "lambda.us-east-1.amazonaws.com",
         "/2015-03-31/functions/work/invocations"},
        {"http://LocalHost:5000/", "a:b", "http://LocalHost:5000/2015-03-31/functions/a%3Ab/invocations",
         "localhost:5000", "/2015-03-31/functions/a%253Ab/invocations"},
        {"https://h:443/p//", "a/..", "https://h:443/p/2015-03-31/functions/a%2F../invocations", "h",
         "/p/2015-03-31/functions/a%252F../invocations"},
        {"http://[::1]:80", "%", "http://[::1]:80/2015-03-31/functions/%25/invocations", "[::1]",
         "/2015-03-31/functions/%2525/invocations"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_address address;
        const char *reason;
        CHECK(mu_address_make(cases[i].endpoint, cases[i].function, &address, &reason) == MU_LAUNCH_OK);
        CHECK_TEXT(address.url, cases[i].url);
        CHECK_TEXT(address.host, cases[i].host);
        CHECK_TEXT(address.canonical_path, cases[i].canonical);
        mu_address_free(&address);
    }
    static const char *const wrong[] = {"",           "ftp://h",      "h:80",         "http://",    "http://h?x",
                                        "http://h#x", "http://u@h/x", "http://:p@h/", "http://h:0x1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mu_address address;
        const char *reason = NULL;
        CHECK(mu_address_make(wrong[i], "f", &address, &reason) == MU_LAUNCH_EINVAL);
        CHECK(reason != NULL && address.url == NULL && address.host == NULL && address.canonical_path == NULL);
    }
}

static void test_dates(void)
{
    char date[MU_SIGV4_DATE_SIZE];
    CHECK(mu_sigv4_date(1440938160, date) == MU_LAUNCH_OK);
    CHECK_TEXT(date, "20150830T123600Z");
    CHECK(mu_sigv4_date(253402300799, date) == MU_LAUNCH_OK);
    CHECK_TEXT(date, "99991231T235959Z");
    CHECK(mu_sigv4_date(253402300800, date) == MU_LAUNCH_EINVAL);
    CHECK(mu_sigv4_date(-1, date) == MU_LAUNCH_EINVAL);
    CHECK(mu_sigv4_date(INT64_MAX, date) == MU_LAUNCH_EINVAL);
}

static void test_authorization_needs_room(void)
{
    mu_sigv4 *signer;
    CHECK(mu_sigv4_new("AKID", "SECRET", "us-east-1", "lambda", &signer) == MU_LAUNCH_OK);
    const mu_sigv4_header header = {"host", "h"};
    const mu_sigv4_request request = {"POST", "/", &header, 1, "hash"};
    char out[400];
    CHECK(mu_sigv4_authorization(signer, &request, "20150830T123600Z", out, sizeof out) == MU_LAUNCH_OK);
    size_t length = strlen(out);
    for (size_t room = 0; room <= length + 1; room++) {
        char *exact = malloc(room == 0 ? 1 : room);
        CHECK(exact != NULL);
        int expected = room == length + 1 ? MU_LAUNCH_OK : MU_LAUNCH_EINVAL;
        CHECK(mu_sigv4_authorization(signer, &request, "20150830T123600Z", exact, room) == expected);
        free(exact);
    }
    CHECK(mu_sigv4_authorization(signer, &request, "2015", out, sizeof out) == MU_LAUNCH_EINVAL);
    mu_sigv4_free(signer);
    mu_sigv4_free(NULL);
}

static void test_payload_sizes(void)
{
    mu_payload *payload;
    CHECK(mu_payload_new("<##ID##>##ID##", 14, &payload) == MU_LAUNCH_OK);
    CHECK(mu_payload_is_template(payload));
    static const struct {
        int64_t number;
        const char *text;
    } cases[] = {{0, "<0>##ID##"}, {10, "<10>##ID##"}, {INT64_MAX, "<9223372036854775807>##ID##"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = mu_payload_size(payload, cases[i].number);
        CHECK(size == strlen(cases[i].text));
        char *out = malloc(size);
        CHECK(out != NULL);
        mu_payload_write(payload, cases[i].number, out);
        CHECK(memcmp(out, cases[i].text, size) == 0);
        free(out);
    }
    mu_payload_free(payload);
    CHECK(mu_payload_new(NULL, 0, &payload) == MU_LAUNCH_OK);
    CHECK(!mu_payload_is_template(payload) && mu_payload_size(payload, 5) == 0);
    mu_payload_free(payload);
    mu_payload_free(NULL);
}

int main(void)
{
    test_headers();
    test_status_lines();
    test_doubts();
    test_retry_after();
    test_bodies();
    test_large_bodies();
    test_redaction();
    test_addresses();
    test_dates();
    test_authorization_needs_room();
    test_payload_sizes();
    return 0;
}
