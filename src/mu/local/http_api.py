"""The HTTP side: S3, IAM, STS and Lambda on one port of 127.0.0.1, served by web_server.py.

moto's own server has Flask between the socket and its handlers, and a lock and a registry of all of AWS. Here a
request goes directly to the handler in moto's URL tables; the service is in the signature's scope, as for AWS itself,
or it is S3. This module adds:

- Invoke is answered here, as Lambda does it: moto's answer has a random request id, and a body even for an Event.
- An Invoke that waits for its result holds a thread, and the worker that it waits for needs one to reach S3. So the
  pool grows by one for as long as a thread waits (`Pool.lent`).
- The bytes of objects bypass moto, in pieces (objects.py); the kernel sends those in files (web_server.py).
- moto makes a new object visible before it has computed the object's ETag, by reading it without its lock, and closes
  an overwritten object while it may still be read. So requests for the same object are handled one after the other
  (`Locks`), once their bodies have been read.
- No signature is checked, so a web page in the user's browser could run programs here. Requests that a browser sends
  for a page are refused: they name the page's origin, have `Sec-Fetch-Site` for a page, or name a host that is not this
  one. A GET, which old browsers send without either header, may only read.
"""

import http.client
import importlib
import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from moto.awslambda.utils import get_backend
from moto.core.exceptions import JsonRESTError
from moto.core.request import Request
from moto.iam.models import get_account_id_from
from werkzeug.exceptions import HTTPException

from mu.local import listing, moto_s3, objects, upload
from mu.local.account import Account
from mu.local.moto_lambda import ExecutingBackend, InvokeError
from mu.local.unzip import MAX_UNPACKED

MODULES = {"iam": "iam", "sts": "sts", "lambda": "awslambda"}
LOCKS = 256
RETRY_AFTER = 1  # seconds, for throttled callers

ACCOUNT = re.compile(r"/\d{4}-\d\d-\d\d/account-settings/?")
INVOKE = re.compile(r"/\d{4}-\d\d-\d\d/functions/([^/]+)/invocations/?")
SCOPE = re.compile(r"(?:Credential=|^)([^/,= ]{1,256})/\d{8}/([\w-]+)/([\w-]+)/aws4_request")
QUERY = ("iam", "sts")  # services whose action is a parameter, with any method
READING = re.compile(r"(?:Get|List|Simulate)[A-Z]")

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes | Iterator[bytes]]
StartResponse = Callable[[str, Headers], object]


class MotoRequest(Request):
    """A request in the form that moto expects from a server that adds its own Date."""

    from_wsgi_server = True


class Locks:
    """Serializes requests for the same object, and saving."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    @contextmanager
    def held(self, *paths: str) -> Iterator[None]:
        """Holds the locks of these objects (`/bucket/key`, as in a URL); of all, if none is named."""
        chosen = {hash(unquote(path).lstrip("/")) % LOCKS for path in paths} or range(LOCKS)
        with ExitStack() as stack:
            for place in sorted(chosen):  # in a fixed order, to avoid deadlocks
                stack.enter_context(self._locks[place])
            yield


class Application:
    """The WSGI application. `report` is called with internal errors; `account` has the limits."""

    def __init__(self, report: Callable[[str], None], account: Account) -> None:
        self.report = report
        self.account = account
        self.routes = {"s3": moto_s3.routes(), **{name: _routes(module) for name, module in MODULES.items()}}
        self.locks = Locks()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        environ["RAW_URI"] = environ["REQUEST_URI"]
        request = MotoRequest(environ)
        try:
            status, headers, body = self.answer(request)
        except (Exception, SystemExit) as error:  # an error in moto or here must not end the server
            self.report(f"{request.method} {request.raw_path} failed: {error!r}")
            status, headers, body = _error(_scope(request)[2], 500, "InternalError", repr(error))
        if request.method == "HEAD" or status in (204, 304):
            body = b""  # moto may add a body, which the client would take for the next answer
        elif isinstance(body, bytes):
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))
        start_response(f"{status} {http.client.responses.get(status, '-')}", headers)
        if isinstance(body, bytes):
            return [body] if body else []
        return body

    def answer(self, request: MotoRequest) -> Answer:
        """Returns status, headers and body for a request."""
        key, region, service = _scope(request)
        path = request.raw_path
        if _is_from_a_page(request):
            return _error(
                service, 403, "AccessDenied", "requests come from programs on this machine, to 127.0.0.1"
            )
        if (
            service in QUERY
            and request.method != "POST"
            and not READING.match(request.args.get("Action", ""))
        ):
            return _error(service, 403, "AccessDenied", f"{request.method} may only read here: use POST")
        if service not in self.routes:
            known = ", ".join(self.routes)
            return _error(service, 501, "NotImplemented", f"this engine has {known}; it has no '{service}'")
        if service == "lambda" and ACCOUNT.fullmatch(path):
            return _account(self.account, get_account_id_from(key), region)
        invoke = INVOKE.fullmatch(path) if service == "lambda" and request.method == "POST" else None
        if invoke:
            return _invoke(request, get_account_id_from(key), region, unquote(invoke[1]))
        handler = next((handler for pattern, handler in self.routes[service] if pattern.match(path)), None)
        if handler is None:
            return _error(service, 404, "UnknownOperationException", f"{service} has nothing at {path}")
        try:
            if service == "s3" and request.method == "PUT" and _is_about_bytes(request):
                return self._put(request, handler)
            request.get_data(parse_form_data=False)
            if service != "s3":
                return _from_moto(*handler(request, request.raw_url, request.headers))
            if request.method == "GET" and request.args.get("list-type") == "2":
                return _list(request, handler)
            with self.locks.held(*_objects(request)):
                if request.method == "GET" and _is_about_bytes(request):
                    return _get(request, handler)
                return _from_moto(*handler(request, request.raw_url, request.headers))
        except HTTPException as error:
            return _from_moto(error.code or 500, dict(error.get_headers()), error.get_body())
        except KeyError as error:
            if error.args != (region,):
                raise
            return _error(service, 404, "ResourceNotFoundException", f"there is no region '{region}'")
        except NotImplementedError as error:
            return _error(service, 501, "NotImplemented", str(error))

    def _put(self, request: MotoRequest, handler: Callable[..., Any]) -> Answer:
        """Handles PutObject and UploadPart, whose bodies bypass moto."""
        length = request.environ.get("CONTENT_LENGTH")
        stream = request.environ["wsgi.input"]
        try:
            body = upload.receive(stream, int(length) if length else None, dict(request.headers))
        except upload.BadBodyError as error:
            return _error("s3", 400, error.code, str(error))
        told = {f"HTTP_X_AMZ_CHECKSUM_{name}": value for name, value in body.checksums.items()}
        left_out = ("HTTP_X_AMZ_CONTENT_SHA256", "HTTP_X_AMZ_TRAILER", "HTTP_TRANSFER_ENCODING")
        kept = {name: value for name, value in request.environ.items() if name not in left_out}
        bare = MotoRequest(
            {
                **kept,
                **told,
                "HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM": next(iter(body.checksums)),
                "CONTENT_LENGTH": "0",
                "wsgi.input": io.BytesIO(),
            }
        )
        with self.locks.held(*_objects(request)), objects.handed_on(body):
            return _from_moto(*handler(bare, request.raw_url, bare.headers))


def _get(request: MotoRequest, handler: Callable[..., Any]) -> Answer:
    """Handles GetObject: the bytes bypass moto, and so do ranges and parts."""
    whole = MotoRequest({name: value for name, value in request.environ.items() if name != "HTTP_RANGE"})
    with objects.headers_only() as asked_for:
        status, headers, body = _from_moto(*handler(whole, request.raw_url, whole.headers))
        key = asked_for()
    if key is None or status != 200:
        return status, headers, body
    size = key.contentsize
    number = request.args.get("partNumber")
    try:
        part = key.part(number) if number else objects.byte_range(request.headers.get("Range", ""), size)
    except ValueError:
        kind, what = ("InvalidPartNumber", "partnumber") if number else ("InvalidRange", "range")
        return _error("s3", 416, kind, f"The requested {what} is not satisfiable")
    if number and key.multipart:
        headers.append(("x-amz-mp-parts-count", str(len(key.multipart.parts))))
    begin, end = part or (0, size)
    left_out = {"content-length"}
    if part and size:  # an empty object has no range that could be named
        status = 206
        headers.append(("Content-Range", f"bytes {begin}-{end - 1}/{size}"))
        if part != (0, size):
            left_out |= {name.lower() for name, _ in headers if name.lower().startswith("x-amz-checksum-")}
    headers = [(name, value) for name, value in headers if name.lower() not in left_out]
    headers.append(("Content-Length", str(end - begin)))
    try:
        return status, headers, key.pieces(begin, end)
    except FileNotFoundError:
        return _error("s3", 404, "NoSuchKey", "The specified key does not exist.")


def _list(request: MotoRequest, handler: Callable[..., Any]) -> Answer:
    """Handles ListObjectsV2: moto answers all but the objects."""
    with listing.held_back() as held:
        status, headers, body = _from_moto(*handler(request, request.raw_url, request.headers))
        page = held()
    if page is not None and status == 200 and isinstance(body, bytes):
        owner = request.args.get("fetch-owner", "false") == "true"
        restored = "RestoreStatus" in request.headers.get("x-amz-optional-object-attributes", "")
        body = listing.shown(body, page, request.args.get("encoding-type"), owner=owner, restored=restored)
    return status, headers, body


def _routes(module: str) -> list[tuple[re.Pattern[str], Callable[..., Any]]]:
    paths = importlib.import_module(f"moto.{module}.urls").url_paths
    return [(re.compile(path.format("")), handler) for path, handler in paths.items()]


def _scope(request: MotoRequest) -> tuple[str, str, str]:
    """Returns access key, region and service of a signature, in its header or, if presigned, in the query."""
    credential = request.args.get("X-Amz-Credential", "")
    found = SCOPE.search(request.headers.get("Authorization", "") or credential)
    return (found[1], found[2], found[3]) if found else ("", "us-east-1", "s3")


def _is_from_a_page(request: MotoRequest) -> bool:
    """Returns whether a browser has sent this for a page from elsewhere. Programs send no origin."""
    if request.headers.get("Sec-Fetch-Site", "none") != "none":
        return True
    host = request.headers.get("Host", "").rpartition(":")[0] or request.headers.get("Host", "")
    origin = request.headers.get("Origin")
    named = [host] if origin is None else [host, str(urlsplit(origin).hostname)]
    return not all(name in ("", "127.0.0.1", "localhost") or name.endswith(".localhost") for name in named)


def _objects(request: MotoRequest) -> list[str]:
    """Returns the paths of the S3 objects that a request reads or changes; none if they are many."""
    if request.method == "POST" and "delete" in request.args:
        return []
    source = request.headers.get("x-amz-copy-source", "").partition("?")[0]
    return [request.raw_path, *([source] if source else [])]


def _is_about_bytes(request: MotoRequest) -> bool:
    """Returns whether a PUT is PutObject or UploadPart, or a GET is GetObject. Other parameters may be there: those of
    a presigned URL."""
    other = moto_s3.OF_OBJECTS | ({"uploadId"} if request.method == "GET" else set())
    of_an_object = "/" in request.raw_path.strip("/")
    return of_an_object and "x-amz-copy-source" not in request.headers and not request.args.keys() & other


def _account(account: Account, number: str, region: str) -> Answer:
    """Answers GetAccountSettings, which moto does not have."""
    functions = list(get_backend(number, region).list_functions())
    limits = {
        "TotalCodeSize": 80_530_636_800,
        "CodeSizeUnzipped": MAX_UNPACKED,
        "CodeSizeZipped": 52_428_800,
        "ConcurrentExecutions": account.concurrency,
        "UnreservedConcurrentExecutions": account.unreserved(region),
    }
    sizes = sum(int(function.code_size) for function in functions)
    usage = {"TotalCodeSize": sizes, "FunctionCount": len(functions)}
    body = json.dumps({"AccountLimit": limits, "AccountUsage": usage}).encode()
    return 200, [("Content-Type", "application/json")], body


def _invoke(request: MotoRequest, account: str, region: str, name: str) -> Answer:
    headers: dict[str, str] = {}
    qualifier = parse_qs(request.query_string.decode()).get("Qualifier", [None])[0]
    try:
        backend = cast(ExecutingBackend, get_backend(account, region))
        body = backend.invoke(name, qualifier, request.get_data(), dict(request.headers), headers)
    except InvokeError as error:
        return _json(error.code, error.error_type, error.message, error.why)
    except JsonRESTError as error:
        return _json(error.code, error.error_type, error.message)
    except KeyError:
        return _json(404, "ResourceNotFoundException", f"there is no region '{region}'")
    status = {"Event": 202, "DryRun": 204}.get(request.headers.get("X-Amz-Invocation-Type", ""), 200)
    return status, [("Content-Type", "application/json"), *headers.items()], body


def _from_moto(status: int, headers: dict[str, Any], body: str | bytes) -> Answer:
    data = body.encode() if isinstance(body, str) else bytes(body)
    return status, [(name, str(value)) for name, value in headers.items() if name.lower() != "status"], data


def _error(service: str, status: int, kind: str, message: str) -> Answer:
    """Returns an error in the form of a service."""
    if service == "lambda":
        return _json(status, kind, message)
    inner = f"<Code>{kind}</Code><Message>{escape(message)}</Message>"
    body = (
        f"<Error>{inner}</Error>"
        if service == "s3"
        else f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
    )
    return status, [("Content-Type", "application/xml")], body.encode()


def _json(status: int, kind: str, message: str, why: str | None = None) -> Answer:
    """Returns an error in Lambda's form; with `why` it is a throttling error, as Lambda writes it."""
    headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", kind)]
    document = {"Type": "User" if status < 500 else "Service", "Message": message}
    if why is not None:
        headers.append(("Retry-After", str(RETRY_AFTER)))
        document = {"Reason": why, "Type": "User", "message": message}
    return status, headers, json.dumps(document).encode()
