"""Transfers with a server that misbehaves as the test says. (With moto: tests/integration/test_worker_s3.py.)"""

import base64
import hashlib
import os
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import boto3
import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from mu import worker
from mu.wire import protocol
from mu.work import s3
from mu.work.outside import Outside
from mu.work.s3 import S3
from mu.work.time_limit import TimeLimit
from mu.work.transfer import StoreError, failure

Response = tuple[int, bytes, int]  # status, body, how many bytes of the body are sent


class Server(ThreadingHTTPServer):
    """Answers with `responses`, in order, and repeats the last one. `requests`: method, path and body of each."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignores errors, since in some tests the client hangs up."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.responses: list[Response] = []
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []
        self.length: int | None = -1  # the value of Content-Length; -1: the right one; None: no such header
        self.requests: list[tuple[str, str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        assert isinstance(self.server, Server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, body))
        self.server.asked.append({name.lower(): value for name, value in self.headers.items()})
        responses = self.server.responses
        status, body, sent = responses.pop(0) if len(responses) > 1 else responses[0]
        self.send_response(status)
        length = len(body) if self.server.length == -1 or status != 200 else self.server.length
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        for name, value in {"ETag": '"x"', **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:sent])
        if sent < len(body):
            self.close_connection = True

    do_GET = do_PUT = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server() as made, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.server_port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "not so secret")
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield made
        made.shutdown()


@pytest.fixture
def server(running: Server) -> Server:
    running.requests.clear()
    running.asked.clear()
    running.headers, running.length = {}, -1
    return running


@pytest.fixture(scope="module")
def access(running: Server) -> S3:
    """Transfers with two attempts for errors that may be retried."""
    return S3(4, attempts=2)


@pytest.fixture(scope="module")
def impatient(running: Server) -> S3:
    """Transfers with one attempt."""
    return S3(4, attempts=1)


def ok(body: bytes, sent: int | None = None) -> Response:
    return 200, body, len(body) if sent is None else sent


def error(status: int, code: str = "", message: str = "") -> Response:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode() if code else b""
    return status, body, len(body)


def test_retrieve(server: Server, access: S3, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    server.responses = [ok(data)]
    (tmp_path / "f").write_bytes(b"old")
    assert access.retrieve("us-east-1", "bucket", "a/b c", f"{tmp_path}/f") == len(data)
    assert (tmp_path / "f").read_bytes() == data
    assert os.listdir(tmp_path) == ["f"]
    assert server.requests == [("GET", "/bucket/a/b%20c", b"")]


def test_retrieve_to_what_is_no_plain_file(server: Server, access: S3, tmp_path: Path) -> None:
    """Links stay links, modes are kept, and a pipe gets the object's bytes instead of being replaced."""
    server.responses = [ok(b"new")]
    tool, link, pipe = (tmp_path / name for name in ("tool", "link", "pipe"))
    tool.touch(0o755)
    link.symlink_to("tool")
    os.mkfifo(pipe)
    access.retrieve("us-east-1", "bucket", "k", str(link))
    assert link.is_symlink()
    assert tool.read_bytes() == b"new"
    assert tool.stat().st_mode & 0o777 == 0o755
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert access.retrieve("us-east-1", "bucket", "k", str(pipe)) == 3
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe", "tool"]


def test_a_download_that_breaks_off_is_repeated(server: Server, access: S3, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    server.responses = [ok(data, 0), ok(data, 300_000), ok(data)]
    access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert (tmp_path / "f").read_bytes() == data
    assert len(server.requests) == 3


def test_one_that_always_breaks_off_leaves_nothing(server: Server, access: S3, tmp_path: Path) -> None:
    server.responses = [ok(b"x" * 1000, 500)]
    with pytest.raises(Exception, match="500 read, but total bytes expected is 1000") as caught:
        access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert "\n" not in failure(caught.value)
    assert os.listdir(tmp_path) == []
    assert len(server.requests) == s3.DOWNLOADS


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


DATA = b"0123456789" * 1000
FLIPPED = b"0123456788" + DATA[10:]


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{md5(DATA)}"'},
        {"ETag": f'"{md5(DATA)}"', "x-amz-server-side-encryption": "AES256"},
        {"x-amz-checksum-crc32": crc32(DATA)},
    ],
)
@pytest.mark.parametrize(("sent", "length"), [(FLIPPED, -1), (DATA, len(DATA) - 1), (DATA[:5000], None)])
def test_what_is_not_the_object_is_asked_for_again_and_never_kept(
    headers: dict[str, str], sent: bytes, length: int | None, server: Server, access: S3, tmp_path: Path
) -> None:
    server.headers, server.length, server.responses = headers, length, [ok(sent)]
    with pytest.raises(Exception, match=r"MD5|checksum"):
        access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert os.listdir(tmp_path) == []
    assert len(server.requests) == s3.DOWNLOADS
    server.length, server.responses = -1, [ok(FLIPPED), ok(DATA)]
    assert access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f") == len(DATA)
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{"0" * 32}-3"'},
        {"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"},
        {"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"ETag": f'"{md5(DATA)}"'},
        {"ETag": f'"{"0" * 32}"', "x-amz-checksum-crc32": crc32(DATA)},
    ],
)
def test_etags_that_are_no_digest_are_not_compared(
    headers: dict[str, str], server: Server, access: S3, tmp_path: Path
) -> None:
    server.headers, server.responses = headers, [ok(DATA)]
    assert access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f") == len(DATA)


def test_etags_of_directory_buckets_are_no_digest() -> None:
    response: Any = {"ETag": f'"{md5(DATA)}"'}
    assert s3._md5_of(response, "bucket", False) == md5(DATA)
    assert s3._md5_of(response, "bucket--use1-az4--x-s3", False) is None


@pytest.mark.parametrize(
    "error",
    [
        s3.DamagedError("x"),
        exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        exceptions.ReadTimeoutError(endpoint_url="x"),
        exceptions.ResponseStreamingError(error="x"),
        exceptions.FlexibleChecksumError(error_msg="x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_goes_wrong_midway_is_tried_again(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def download(client: object, bucket: str, key: str, file: str, other: bool, etag: str) -> int:
        tries.append(file)
        if len(tries) < s3.DOWNLOADS:
            raise error
        return Path(file).write_bytes(DATA)

    access = S3(1)
    monkeypatch.setattr(access, "_client", lambda region, bucket: (None, bucket))
    monkeypatch.setattr(s3, "_download", download)
    assert access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f") == len(DATA)
    assert (tmp_path / "f").read_bytes() == DATA


def test_an_answer_that_nothing_can_be_compared_with(server: Server, impatient: S3, tmp_path: Path) -> None:
    server.length, server.responses = None, [ok(DATA)]
    with pytest.raises(s3.DamagedError, match="neither length nor checksum"):
        impatient.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    server.headers = {"ETag": f'"{md5(DATA)}"'}
    assert impatient.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f") == len(DATA)


def upload(server: Server, access: S3, directory: Path) -> None:
    """Uploads DATA to a server that accepts it."""
    (directory / "f").write_bytes(DATA)
    server.responses = [ok(b"")]
    access.upload("us-east-1", "bucket", "k", f"{directory}/f")


def test_downloads_ask_for_checksums_and_uploads_bring_one(
    server: Server, access: S3, tmp_path: Path
) -> None:
    upload(server, access, tmp_path)
    server.responses = [ok(DATA)]
    access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    put, get = server.asked
    trailer = put.get("x-amz-trailer") == "x-amz-checksum-crc32"
    assert trailer or put["x-amz-checksum-crc32"] == crc32(DATA)
    assert not trailer or crc32(DATA).encode() in server.requests[0][2]
    assert get["x-amz-checksum-mode"] == "ENABLED"


@pytest.mark.parametrize(
    ("bucket", "checksum"), [("bucket", {"ChecksumAlgorithm": "CRC32"}), ("s3+https://host/bucket", {})]
)
def test_uploads_in_several_requests_bring_a_checksum_too(
    bucket: str, checksum: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions of boto3 send none unless they are told to."""
    given = []

    class Client:
        def upload_fileobj(self, body: object, name: str, key: str, ExtraArgs: dict[str, str]) -> None:
            given.append((name, key, ExtraArgs))

    access = S3(1)
    monkeypatch.setattr(access, "_client", lambda region, bucket: (Client(), "bucket"))
    monkeypatch.setattr(s3, "MULTIPART_FROM", 3)
    (tmp_path / "f").write_bytes(b"abc")
    assert access.upload("us-east-1", bucket, "k", f"{tmp_path}/f") == 3
    assert given == [("bucket", "k", checksum)]


def test_no_second_digest_of_what_is_uploaded_where_there_is_no_tls(
    server: Server, access: S3, tmp_path: Path
) -> None:
    upload(server, access, tmp_path)
    assert "UNSIGNED-PAYLOAD" in server.asked[0]["x-amz-content-sha256"]
    assert "Signature=" in server.asked[0]["authorization"]


def test_an_upload_that_was_damaged_on_its_way(server: Server, impatient: S3, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    server.responses = [error(400, "BadDigest", "...")]
    with pytest.raises(ClientError) as caught:
        impatient.upload("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert failure(caught.value) == "what the store has received is not what was sent"


def test_other_servers(server: Server, access: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    bucket = f"s3+http://127.0.0.1:{server.server_port}/other"
    (tmp_path / "f").write_bytes(DATA)
    server.responses = [ok(b"")]
    assert access.upload("us-east-1", bucket, "a/k", f"{tmp_path}/f") == len(DATA)
    server.headers, server.responses = {"ETag": f'"{"0" * 32}"'}, [ok(DATA)]
    assert access.retrieve("us-east-1", bucket, "a/k", f"{tmp_path}/g") == len(DATA)
    assert [request[:2] for request in server.requests] == [("PUT", "/other/a/k"), ("GET", "/other/a/k")]
    assert server.asked[0]["content-md5"] == base64.b64encode(hashlib.md5(DATA).digest()).decode()
    assert server.requests[0][2] == DATA


@pytest.mark.parametrize(
    "bucket",
    ["s3+https://host", "s3+https://host/", "s3+https:///b", "s3+ftp://host/b", "s3+https://h/b/c", "s3+x"],
)
def test_addresses_that_are_no_buckets(bucket: str, access: S3, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for call in (access.retrieve, access.upload):
        with pytest.raises(StoreError) as caught:
            call("us-east-1", bucket, "k", f"{tmp_path}/f")
        assert failure(caught.value) == "another S3 server's bucket is s3+https://HOST/BUCKET"
    assert s3.split("s3+https://host:9000/b/") == ("https://host:9000", "b")


def test_upload(server: Server, access: S3, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "f").write_bytes(data)
    server.responses = [ok(b"")]
    assert access.upload("us-east-1", "bucket", "k", f"{tmp_path}/f") == len(data)
    ((method, path, body),) = server.requests
    assert (method, path.partition("?")[0]) == ("PUT", "/bucket/k")
    assert data in body


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (error(404, "NoSuchKey", "The specified key does not exist."), "no such key"),
        (error(404), "no such key"),
        (error(404, "NoSuchBucket", "..."), "no such bucket"),
        (error(403, "AccessDenied", "Access Denied"), "access denied"),
        (error(403), "access denied"),
        (error(503, "SlowDown", "Please reduce your request rate."), "slow down, S3 has too many requests"),
        (error(400, "ExpiredToken", "..."), "the credentials have expired"),
        (error(301, "PermanentRedirect", "..."), "the bucket is in another region"),
        (
            error(400, "Odd", "something\nodd"),
            "An error occurred (Odd) when calling the GetObject operation (reached max retries: 0): something odd",
        ),
    ],
)
def test_what_s3_refuses(response: Response, why: str, server: Server, impatient: S3, tmp_path: Path) -> None:
    server.responses = [response]
    with pytest.raises(ClientError) as caught:
        impatient.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert failure(caught.value) == why
    assert os.listdir(tmp_path) == []


def test_slow_down_is_tried_again(server: Server, access: S3, tmp_path: Path) -> None:
    server.responses = [error(503, "SlowDown", "..."), ok(b"data")]
    access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert (tmp_path / "f").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("missing/f", "no such file or directory"),
        ("", "is a directory"),
        ("a\0b", "embedded null"),
        ("x" * 300, "file name too long"),
    ],
)
def test_files_that_cannot_be_written(
    file: str, why: str, server: Server, access: S3, tmp_path: Path
) -> None:
    server.responses = [ok(b"data")]
    base = tmp_path / "base"
    base.mkdir()
    with pytest.raises((OSError, ValueError)) as caught:
        access.retrieve("us-east-1", "bucket", "k", f"{base}/{file}" if file else str(base))
    assert why in failure(caught.value)
    assert os.listdir(base) == []
    assert os.listdir(tmp_path) == ["base"]


def test_a_full_disk(server: Server, access: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.responses = [ok(b"x" * 1000)]
    original = s3._download

    def download(*args: object) -> None:
        (tmp_path / os.path.basename(str(args[3]))).symlink_to("/dev/full")
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(s3, "_download", download)
    with pytest.raises(OSError, match="No space left") as caught:
        access.retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert failure(caught.value) == "no space left on device"
    assert os.listdir(tmp_path) == []


def test_nobody_listens(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Exception, match="Could not connect") as caught:
        S3(1, attempts=1).retrieve("us-east-1", "bucket", "k", f"{tmp_path}/f")
    assert failure(caught.value) == 'Could not connect to the endpoint URL: "http://127.0.0.1:1/bucket/k"'


def test_one_client_for_a_region_whoever_asks_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = boto3.client
    monkeypatch.setattr(
        boto3,
        "client",
        lambda *args, **kwargs: made.append(kwargs["region_name"]) or original(*args, **kwargs),
    )
    fresh = S3(4)
    threads = [threading.Thread(target=fresh._client, args=("us-east-1", "b")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh._client("eu-west-1", "other")
    assert made == ["us-east-1", "eu-west-1"]


@pytest.fixture
def no_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_prepared", None)


@pytest.mark.usefixtures("no_prepared")
def test_what_is_prepared_is_what_workers_use(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Requests are rehearsed and not sent; after that they are sent, by the client that was prepared."""
    made = []
    original = boto3.client
    monkeypatch.setattr(
        boto3, "client", lambda *args, **kwargs: made.append(args) or original(*args, **kwargs)
    )
    assert s3.prepared() is None
    worker.prepare({"bucket": "b", "region": "us-east-1"})
    assert server.requests == []
    outside = Outside(str(tmp_path), TimeLimit(inf, inf))
    server.responses = [ok(b"data")]
    assert outside.s3.retrieve("us-east-1", "b", "k", f"{tmp_path}/f") == 4
    assert len(server.requests) == len(made) == 1
    outside.tasks.stop(monotonic())


@pytest.mark.usefixtures("no_prepared", "server")
def test_nothing_is_prepared_that_cannot_be_or_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    worker.prepare({"bucket": "file:///b"})
    assert s3.prepared() is None
    worker.prepare({"bucket": "s3+ftp://host/b"})
    assert s3.prepared() is None
    monkeypatch.delitem(sys.modules, "boto3")
    worker.prepare({"bucket": "b"})
    assert s3.prepared() is None


@pytest.mark.parametrize(("imported", "made"), [(False, ["us-east-1"]), (True, [])])
def test_warm(imported: bool, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is made in a thread, but not if boto3 has been imported already."""
    asked = []
    if not imported:
        monkeypatch.delitem(sys.modules, "boto3")
    monkeypatch.setattr(S3, "_client", lambda _, region, bucket: asked.append(region))
    before = set(threading.enumerate())
    S3(1).warm("us-east-1", "b")
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert asked == made


def test_what_keeps_boto3_from_being_made_ready_is_told_by_the_first_transfer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = threading.Event()
    unseen: list[object] = []

    def refuse(*_: object) -> NoReturn:
        tried.set()
        raise MemoryError

    monkeypatch.setattr(threading, "excepthook", unseen.append)
    monkeypatch.delitem(sys.modules, "boto3")
    monkeypatch.setattr(S3, "_client", refuse)
    before = set(threading.enumerate())
    access = S3(1)
    access.warm("us-east-1", "b")
    assert tried.wait(300)
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert unseen == []
    with pytest.raises(MemoryError) as raised:
        access.retrieve("us-east-1", "b", "k", f"{tmp_path}/f")
    assert failure(raised.value) == "MemoryError"


@pytest.mark.parametrize(
    ("key", "spread"),
    [
        ("video/00000001.png", "c124-video/00000001.png"),  # printf 00000001.png | md5sum
        ("00000001.png", "c124-00000001.png"),
        ("a/b/", "d41d-a/b/"),
    ],
)
def test_spread(key: str, spread: str) -> None:
    assert protocol.spread(key) == spread
