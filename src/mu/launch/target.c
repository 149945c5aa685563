#include "target.h"

#include "liblaunch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API "/2015-03-31/functions/"
#define VERB "/invocations"

static const char *part(CURLU *url, CURLUPart which, char **text)
{
    return curl_url_get(url, which, text, 0) == CURLUE_OK ? *text : NULL;
}

static int has_part(CURLU *url, CURLUPart which)
{
    char *text = NULL;
    int there = part(url, which, &text) != NULL;
    curl_free(text);
    return there;
}

/* Returns what is wrong with an endpoint; NULL if nothing. */
static const char *fault(CURLU *url)
{
    char *scheme = NULL;
    const char *found = NULL;
    if (part(url, CURLUPART_SCHEME, &scheme) == NULL ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        found = "the endpoint is neither http:// nor https://";
    else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
        found = "the endpoint has a user name in it";
    else if (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT))
        found = "the endpoint has a query or fragment";
    curl_free(scheme);
    return found;
}

static char *lower(char *text)
{
    for (char *p = text; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return text;
}

/* "host" or "host:port", as libcurl and botocore write the Host header. */
static char *host_header(CURLU *url)
{
    char *scheme = NULL;
    char *name = NULL;
    char *port = NULL;
    char *out = NULL;
    if (part(url, CURLUPART_SCHEME, &scheme) != NULL && part(url, CURLUPART_HOST, &name) != NULL) {
        const char *own = strcmp(scheme, "https") == 0 ? "443" : "80";
        int shown = part(url, CURLUPART_PORT, &port) != NULL && strcmp(port, own) != 0;
        size_t size = strlen(name) + (shown ? strlen(port) + 1 : 0) + 1;
        out = malloc(size);
        if (out != NULL)
            (void)snprintf(out, size, "%s%s%s", lower(name), shown ? ":" : "", shown ? port : "");
    }
    curl_free(scheme);
    curl_free(name);
    curl_free(port);
    return out;
}

static int port_of(CURLU *url)
{
    char *text = NULL;
    int port = 0;
    if (curl_url_get(url, CURLUPART_PORT, &text, CURLU_DEFAULT_PORT) == CURLUE_OK)
        port = (int)strtol(text, NULL, 10);
    curl_free(text);
    return port;
}

/* Returns the endpoint's own path, without trailing slashes, followed by the path of the function's invocations. */
static char *request_path(CURLU *url, const char *function)
{
    char *base = NULL;
    if (part(url, CURLUPART_PATH, &base) == NULL)
        return NULL;
    size_t base_length = strlen(base);
    while (base_length > 0 && base[base_length - 1] == '/')
        base_length--;
    size_t name_length = strlen(function);
    char *path = malloc(base_length + sizeof API + 3 * name_length + sizeof VERB);
    if (path != NULL) {
        memcpy(path, base, base_length);
        memcpy(path + base_length, API, sizeof API - 1);
        size_t at = base_length + sizeof API - 1;
        at += mu_sigv4_encode(function, name_length, 0, path + at);
        memcpy(path + at, VERB, sizeof VERB);
    }
    curl_free(base);
    return path;
}

int mu_address_make(const char *endpoint, const char *function, mu_address *address, const char **reason)
{
    memset(address, 0, sizeof *address);
    CURLU *url = curl_url();
    if (url == NULL)
        return MU_LAUNCH_ENOMEM;
    int result = MU_LAUNCH_ENOMEM;
    char *path = NULL;
    char *whole = NULL;
    CURLUcode code = curl_url_set(url, CURLUPART_URL, endpoint, 0);
    *reason = code == CURLUE_OK              ? fault(url)
              : code == CURLUE_OUT_OF_MEMORY ? NULL
                                             : "the endpoint is no URL";
    if (*reason != NULL) {
        result = MU_LAUNCH_EINVAL;
    } else if (code == CURLUE_OK && (path = request_path(url, function)) != NULL &&
               (address->host = host_header(url)) != NULL &&
               (address->canonical_path = malloc(3 * strlen(path) + 2)) != NULL) {
        mu_sigv4_path(path, address->canonical_path);
        /* Not assembled by libcurl, which would write the hexadecimal digits of our %XX in lower case. */
        if (curl_url_set(url, CURLUPART_PATH, "/", 0) == CURLUE_OK && part(url, CURLUPART_URL, &whole) != NULL &&
            (address->url = malloc(strlen(whole) + strlen(path))) != NULL) {
            size_t root = strlen(whole) - 1; /* without the slash with which `path` begins */
            memcpy(address->url, whole, root);
            memcpy(address->url + root, path, strlen(path) + 1);
            address->port = port_of(url);
            if ((address->parsed = curl_url()) != NULL &&
                curl_url_set(address->parsed, CURLUPART_URL, address->url, CURLU_PATH_AS_IS) == CURLUE_OK)
                result = MU_LAUNCH_OK;
        }
    }
    curl_free(whole);
    free(path);
    curl_url_cleanup(url);
    if (result != MU_LAUNCH_OK)
        mu_address_free(address);
    return result;
}

void mu_address_free(mu_address *address)
{
    free(address->url);
    curl_url_cleanup(address->parsed);
    free(address->host);
    free(address->canonical_path);
    memset(address, 0, sizeof *address);
}
