"""Asks Lambda about an account or a function: signed GET requests of its API, which a run needs before it launches.

botocore would do the same, but its import and its client take longer than all the rest of a small run's start: 0.3 s
of CPU time, and 25 MB.
"""

import functools
import hashlib
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from typing import Any
from urllib.parse import quote, urlsplit

from mu import aws
from mu.errors import UsageError, one_line, reason
from mu.launch._liblaunch import ffi, lib
from mu.launch.credentials import Keys
from mu.launch.service import Service

Ask = Callable[[str], dict[str, Any]]

# The paths of what can be asked, as in botocore's model of Lambda (2015-03-31/service-2.json).
ACCOUNT = "/2016-08-19/account-settings"
CONCURRENCY = "/2019-09-30/functions/{}/concurrency"
EVENT_CONFIG = "/2019-09-25/functions/{}/event-invoke-config"
CONFIGURATION = "/2015-03-31/functions/{}/configuration"

PATIENCE = 4.0  # seconds for one step of a request: a run can do without the answer
TRIES = 2
PAUSE = 0.2  # seconds before the second
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
PASSES = (429, 500, 502, 503, 504)  # HTTP statuses after which the request is tried again
MAX_ANSWER = 1 << 20  # bytes of an answer; a function's configuration has at most some 10 KB
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # of an error
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
AUTHORIZATION_ROOM = 1024  # bytes


class UnansweredError(Exception):
    """Lambda gave no answer. `code` is its name for the error, such as AccessDeniedException, or else an exception's
    name."""

    def __init__(self, code: str, text: str, *, passes: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.passes = passes


def code(error: Exception) -> str:
    """Returns AWS's name for an error, or else the exception's."""
    return error.code if isinstance(error, UnansweredError) else type(error).__name__


def about(path: str, function: str) -> str:
    """Returns the path for a function: a name, name:alias, or ARN."""
    return path.format(quote(function, safe="", errors="surrogateescape"))


def askers(service: Service) -> dict[str, Ask]:
    """Returns an asker for each region of the service."""
    return {region: asker(service, region) for region in service.endpoints}


def asker(service: Service, region: str) -> Ask:
    """Returns a function that returns the answer to a GET of a path in this region, without fields that are null. It
    may be called by several threads at once, and raises UnansweredError. Raises UsageError if the endpoint is no URL,
    or the CA bundle has no certificates."""
    endpoint = service.endpoints[region].rstrip("/")
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if "@" in endpoint:  # not shown, since it may be a password
        raise UsageError(f"cannot use Lambda in {region}: its endpoint has a user's name: check the endpoint")
    if not good:
        raise UsageError(f"cannot use Lambda in {region}: {one_line(endpoint)} is no URL: check the endpoint")
    opener = (
        urllib.request.OpenerDirector()
    )  # as it is, it follows no redirection, which would get the signed headers
    opener.addheaders = [("User-Agent", "mu")]
    trusted = _trusted(service.ca_bundle) if parts.scheme == "https" else None
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=trusted),
    ):
        opener.add_handler(handler)

    def ask(path: str) -> dict[str, Any]:
        url = endpoint + path
        for left in reversed(range(TRIES)):
            try:
                headers = _signed(service.credentials.keys(), region, url)
                return _get(opener, urllib.request.Request(url, headers=headers))  # noqa: S310  (checked above)
            except UnansweredError as error:
                if not left or not error.passes:
                    raise
                time.sleep(PAUSE)
            except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
                inner = error.reason if isinstance(error, urllib.error.URLError) else error
                cause = inner if isinstance(inner, Exception) else error
                if not left or isinstance(error, ValueError | RecursionError):
                    text = f"{parts.scheme}://{parts.netloc}: {reason(cause)}"
                    raise UnansweredError(type(cause).__name__, text) from None
        raise AssertionError

    return ask


@functools.lru_cache(maxsize=8)
def _trusted(bundle: str | None) -> ssl.SSLContext:
    """Returns a context that trusts the certificates in a file, or the system's: reading these takes 20 ms."""
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise UsageError(f"cannot use the CA bundle {bundle}: {reason(error)}") from None


def _get(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> dict[str, Any]:
    with opener.open(request, timeout=PATIENCE) as response:
        status, headers, data = response.status, response.headers, _read(response)
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if status == 200 and isinstance(found, dict):
        return {name: value for name, value in found.items() if value is not None}
    raise _refusal(status, headers, found)


def _read(response: http.client.HTTPResponse) -> bytes:
    data, end = b"", time.monotonic() + PATIENCE
    while piece := response.read1(MAX_ANSWER):
        data += piece
        if len(data) > MAX_ANSWER:
            raise http.client.HTTPException(f"the answer is longer than {MAX_ANSWER} bytes")
        if time.monotonic() > end:
            raise TimeoutError(f"the answer takes longer than {PATIENCE:g} s")
    if response.length:  # bytes that were announced and have not come
        raise http.client.IncompleteRead(data, response.length)
    return data


def _refusal(status: int, headers: Message, found: Any) -> UnansweredError:
    """Returns the error in an answer; AWS names its type in a header, or else in the JSON document."""
    document = found if isinstance(found, dict) else {}
    named = str(headers.get("x-amzn-ErrorType") or document.get("__type") or status)
    name = named.rpartition("#")[2].partition(":")[0]
    if not NAME.fullmatch(name):
        name = str(status)
    text = aws.refusal(name, str(document.get("message") or document.get("Message") or ""))
    return UnansweredError(name, text, passes=status in PASSES)


def _signed(keys: Keys, region: str, url: str) -> dict[str, str]:
    """Returns the headers of a signed GET (AWS Signature Version 4)."""
    parts = urlsplit(url)
    if not all(text.isascii() and text.isprintable() for text in keys if text):
        raise UnansweredError("credentials", "the AWS credentials contain invalid characters: set them again")
    date = ffi.new("char[]", 17)
    if lib.mu_sigv4_date(int(time.time()), date) != lib.MU_LAUNCH_OK:
        raise UnansweredError("Clock", "this machine's clock is wrong")
    headers = {
        "host": parts.netloc.removesuffix(DEFAULT_PORTS[parts.scheme]),
        "x-amz-date": ffi.string(date).decode(),
    }
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    path = parts.path.encode()
    canonical = ffi.new("char[]", 3 * len(path) + 2)
    lib.mu_sigv4_path(path, canonical)
    # The request has pointers only, so what they point to is kept until it is signed.
    texts = [(ffi.new("char[]", k.encode()), ffi.new("char[]", v.encode())) for k, v in headers.items()]
    table, method = ffi.new("mu_sigv4_header[]", texts), ffi.new("char[]", b"GET")
    digest = ffi.new("char[]", EMPTY_HASH.encode())
    request = ffi.new("mu_sigv4_request *", (method, canonical, table, len(texts), digest))
    holder = ffi.new("mu_sigv4 **")
    made = lib.mu_sigv4_new(
        keys.access_key.encode(), keys.secret_key.encode(), region.encode(), b"lambda", holder
    )
    try:
        out = ffi.new("char[]", AUTHORIZATION_ROOM)
        if made == lib.MU_LAUNCH_OK:
            made = lib.mu_sigv4_authorization(holder[0], request, date, out, AUTHORIZATION_ROOM)
        if made != lib.MU_LAUNCH_OK:
            raise UnansweredError(
                "Signature", f"cannot sign: {ffi.string(lib.mu_launch_strerror(made)).decode()}"
            )
    finally:
        lib.mu_sigv4_free(holder[0])
    return {**headers, "authorization": ffi.string(out).decode()}
