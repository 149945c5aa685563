"""Copies objects to files and files to objects, with the boto3 of the Lambda runtime.

boto3 takes longer to import than all the rest of a worker, and its first client takes long again, so both happen when
they are first needed, or before that in a thread (`warm`). The client is made by boto3's default session: if this
process, or the one that it was forked from, has made one before, the next is cheap.

Objects are moved in one request: for usual sizes that takes half the CPU time of boto3's transfer manager, which
starts a pool of threads for each file. The manager is used only for files that are too big for one request.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from mu.work.transfer import StoreError, deliver, opened

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

CHUNK = 1 << 18
MULTIPART_FROM = 1 << 30
# How often a download is tried; botocore does not retry one that breaks off midway.
DOWNLOADS = 3
# S3 refuses an object that does not match. (Checksums of this kind need no library beside boto3.)
CHECKSUM = {"ChecksumAlgorithm": "CRC32"}

OTHER = ("s3+https://", "s3+http://")
DIGEST = re.compile(r'"?([0-9a-f]{32})"?')


class DamagedError(Exception):
    """The data that came is not the object."""


_prepared: S3 | None = None  # made by `prepare`


def prepare(region: str, bucket: str, connections: int) -> None:
    """Makes access to a bucket ready that this process, and those forked from it, share (`prepared`).

    The requests are rehearsed: the first ones compile regular expressions and fill botocore's caches. What fails is
    left for the workers, which report it.
    """
    global _prepared
    made = S3(connections)
    with contextlib.suppress(Exception):
        _rehearse(*made._client(region, bucket))
        _prepared = made


def prepared() -> S3 | None:
    """Returns what `prepare` has made; None if it was not called."""
    return _prepared


class S3:
    """A worker's access to S3, with up to `connections` connections; each request is tried up to `attempts` times."""

    def __init__(self, connections: int, attempts: int = 6) -> None:
        self._connections = connections
        self._attempts = attempts
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], S3Client] = {}  # by region and endpoint

    def warm(self, region: str, bucket: str) -> None:
        """Begins to load boto3 and make a client, in a thread; that helps little where boto3 is loaded already."""

        def get_ready() -> None:
            with contextlib.suppress(Exception):  # the first transfer reports the error
                self._client(region, bucket)

        if "boto3" in sys.modules:
            return
        with contextlib.suppress(RuntimeError):  # no thread could be started
            threading.Thread(target=get_ready, daemon=True).start()

    def retrieve(self, region: str, bucket: str, key: str, file: str, etag: str = "") -> int:
        """Copies an object to a file (`transfer.deliver`), and checks it; returns its bytes.

        `transfer.failure` describes its exceptions, including the one raised if the object's ETag is no longer
        `etag`.
        """
        client, name = self._client(region, bucket)

        def write(path: str) -> int:
            for left in reversed(range(DOWNLOADS)):
                try:
                    return _download(client, name, key, path, bucket.startswith(OTHER), etag)
                except _broken_off():
                    if not left:
                        raise
            raise AssertionError

        return deliver(file, write)

    def upload(self, region: str, bucket: str, key: str, file: str) -> int:
        """Copies a file to an object, with a checksum that the store compares; returns its bytes. `transfer.failure`
        describes its exceptions, including the one raised if it is no regular file."""
        with open(opened(file), "rb") as body:
            client, name = self._client(region, bucket)
            size = os.fstat(body.fileno()).st_size
            if size >= MULTIPART_FROM:
                client.upload_fileobj(body, name, key, ExtraArgs={} if bucket.startswith(OTHER) else CHECKSUM)
            elif bucket.startswith(OTHER):  # all S3 servers support this checksum
                client.put_object(Bucket=name, Key=key, Body=body, ContentMD5=_content_md5(body))
            else:
                client.put_object(Bucket=name, Key=key, Body=body, ChecksumAlgorithm="CRC32")
            return size

    def _client(self, region: str, bucket: str) -> tuple[S3Client, str]:
        """Returns the client for a bucket, and the bucket's own name. Raises StoreError for an invalid address."""
        endpoint, name = split(bucket)
        with self._lock:
            if (region, endpoint) not in self._clients:
                import boto3
                from botocore.config import Config

                config = Config(
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                    max_pool_connections=self._connections,
                    connect_timeout=10,
                    read_timeout=60,
                )
                if not endpoint:
                    # S3 compares the checksum that is sent with an object. Where the endpoint has no TLS, as that of
                    # `mu local`, botocore would also hash all bytes with SHA-256, for the signature.
                    config = config.merge(Config(s3={"payload_signing_enabled": False}))
                else:
                    config = config.merge(Config(s3={"addressing_style": "path"}))
                    with contextlib.suppress(TypeError):  # older botocore neither has nor needs it
                        config = config.merge(
                            Config(
                                request_checksum_calculation="when_required",
                                response_checksum_validation="when_required",
                            )
                        )
                self._clients[region, endpoint] = boto3.client(
                    "s3", region_name=region, config=config, endpoint_url=endpoint or None
                )
            return self._clients[region, endpoint], name


def _rehearse(client: S3Client, bucket: str) -> None:
    """Makes requests that are not sent."""
    import io

    from botocore.awsrequest import AWSResponse

    class Empty(io.BytesIO):
        def stream(self) -> tuple[()]:
            return ()

    headers: Any = {"x-amz-checksum-crc32": "AAAAAA==", "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}

    def answer(request: Any, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 200, headers, Empty())

    events: Any = client.meta.events
    events.register("before-send.s3", answer)
    try:
        client.get_object(Bucket=bucket, Key="key", ChecksumMode="ENABLED")["Body"].read()
        client.put_object(Bucket=bucket, Key="key", Body=b"", ChecksumAlgorithm="CRC32")
        "".encode("idna")  # as a connection does with the host's name
    finally:
        events.unregister("before-send.s3", answer)


def split(bucket: str) -> tuple[str, str]:
    """Returns endpoint and name of a bucket; the endpoint is empty for S3 itself. `s3+https://host/bucket` is a
    bucket of another server. Raises StoreError for an invalid address."""
    if not bucket.startswith("s3+"):
        return "", bucket
    scheme, _, rest = bucket[len("s3+") :].partition("://")
    host, _, name = rest.rstrip("/").partition("/")
    if scheme not in ("http", "https") or not host or not name or "/" in name:
        raise StoreError("another S3 server's bucket is s3+https://HOST/BUCKET")
    return f"{scheme}://{host}", name


def _content_md5(body: IO[bytes]) -> str:
    """Returns the digest that S3 servers compare with the data that they have received."""
    import binascii
    import hashlib

    digest = hashlib.md5(usedforsecurity=False)
    while data := body.read(CHUNK):
        digest.update(data)
    body.seek(0)
    return binascii.b2a_base64(digest.digest(), newline=False).decode()


def _download(client: S3Client, bucket: str, key: str, file: str, other: bool, etag: str) -> int:
    """Writes an object to a file, and verifies it: by its length, and by the stored checksum, or else by its ETag if
    that is an MD5 digest. Raises DamagedError if it does not match."""
    if etag:
        response = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED", IfMatch=etag)
    else:
        response = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    body = response["Body"]
    # botocore compares the kinds of checksums that it supports.
    checked = type(body).__name__ == "StreamingChecksumBody"
    expected = None if checked else _md5_of(response, bucket, other)
    digest = None
    if expected is not None:
        import hashlib

        digest = hashlib.md5(usedforsecurity=False)
    elif not checked and "ContentLength" not in response:
        raise DamagedError("the store's answer has neither length nor checksum")
    size = 0
    with contextlib.closing(body), open(file, "wb") as out:
        while data := body.read(CHUNK):
            size += out.write(data)
            if digest is not None:
                digest.update(data)
    length = response.get("ContentLength", size)
    if size != length:
        raise DamagedError(f"{size} bytes have come of {length}")
    if digest is not None and digest.hexdigest() != expected:
        raise DamagedError("what has come is not what is stored: another MD5 digest")
    return size


def _md5_of(response: GetObjectOutputTypeDef, bucket: str, other: bool) -> str | None:
    """Returns an object's MD5 digest if its ETag is one: in S3 itself, unless the object was uploaded in parts, is
    encrypted with other keys than S3's, or is in a directory bucket."""
    match = DIGEST.fullmatch(response.get("ETag", ""))
    encrypted = (
        response.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in response
    )
    if match is None or other or encrypted or bucket.endswith("--x-s3"):
        return None
    return match[1]


def _broken_off() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (
        DamagedError,
        exceptions.IncompleteReadError,
        exceptions.ReadTimeoutError,
        exceptions.ResponseStreamingError,
        exceptions.FlexibleChecksumError,
    )
