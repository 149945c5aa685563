"""Objects to files and files to objects, with boto3 as the Lambda runtime brings it.

boto3 takes longer to import than all the rest of a worker, and its first client takes long again,
so both happen when they are first needed, or in a thread beforehand (`warm`). The client comes from
boto3's default session: where this process, or the one that it was forked from, has made one
before, the next costs little.

Whole objects go in one request: for the sizes at hand that takes half the CPU time of boto3's
transfer manager, which starts a pool of threads for each file. It is left for what is too big.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from typing import IO, TYPE_CHECKING

from mu.work.transfer import StoreError, deliver

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

CHUNK = 1 << 18
MULTIPART_FROM = 1 << 30
# A download that breaks off midway is no longer botocore's to repeat.
DOWNLOADS = 3
# S3 refuses what does not match. (Checksums of this kind need nothing beside boto3.)
CHECKSUM = {"ChecksumAlgorithm": "CRC32"}

OTHER = ("s3+https://", "s3+http://")
DIGEST = re.compile(r'"?([0-9a-f]{32})"?')


class DamagedError(Exception):
    """What has come is not the object."""


class S3:
    """A worker's access to S3: `connections` at a time, each request tried up to `attempts` times."""

    def __init__(self, connections: int, attempts: int = 6) -> None:
        self._connections = connections
        self._attempts = attempts
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], S3Client] = {}  # by region and endpoint

    def warm(self, region: str, bucket: str) -> None:
        """Begin to make ready, in a thread; where boto3 is there already, little is won by that."""

        def get_ready() -> None:
            with contextlib.suppress(Exception):  # the first transfer will tell
                self._client(region, bucket)

        if "boto3" in sys.modules:
            return
        with contextlib.suppress(RuntimeError):  # no thread to be had
            threading.Thread(target=get_ready, daemon=True).start()

    def retrieve(self, region: str, bucket: str, key: str, file: str, etag: str = "") -> int:
        """Object to file (`transfer.deliver`), checked; returns how many bytes. `transfer.failure` has words for what
        is raised, also if the object's ETag is not `etag` any more."""
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
        """File to object, with a checksum that the store compares; returns how many bytes. `transfer.failure` has words
        for what is raised."""
        with open(file, "rb") as body:
            client, name = self._client(region, bucket)
            size = os.fstat(body.fileno()).st_size
            if size >= MULTIPART_FROM:
                client.upload_fileobj(body, name, key, ExtraArgs={} if bucket.startswith(OTHER) else CHECKSUM)
            elif bucket.startswith(OTHER):  # every S3 server knows this one
                client.put_object(Bucket=name, Key=key, Body=body, ContentMD5=_content_md5(body))
            else:
                client.put_object(Bucket=name, Key=key, Body=body, ChecksumAlgorithm="CRC32")
            return size

    def _client(self, region: str, bucket: str) -> tuple[S3Client, str]:
        """The client for a bucket, and the bucket's own name. Raises StoreError for an address that is none."""
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
                    # S3 compares the checksum that goes along with an object. botocore signs a SHA-256 of the bytes
                    # beside it only where the endpoint has no TLS, which is the case on this machine.
                    config = config.merge(Config(s3={"payload_signing_enabled": False}))
                else:
                    config = config.merge(Config(s3={"addressing_style": "path"}))
                    with contextlib.suppress(TypeError):  # an older one has no such option, and need not
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


def split(bucket: str) -> tuple[str, str]:
    """Endpoint and name of a bucket: the endpoint is empty for S3 itself. `s3+https://host/bucket` is one of another
    server. Raises StoreError for an address that is none."""
    if not bucket.startswith("s3+"):
        return "", bucket
    scheme, _, rest = bucket[len("s3+") :].partition("://")
    host, _, name = rest.rstrip("/").partition("/")
    if scheme not in ("http", "https") or not host or not name or "/" in name:
        raise StoreError("another S3 server's bucket is s3+https://HOST/BUCKET")
    return f"{scheme}://{host}", name


def _content_md5(body: IO[bytes]) -> str:
    """The digest that S3 servers compare what they have received with."""
    import binascii
    import hashlib

    digest = hashlib.md5(usedforsecurity=False)
    while data := body.read(CHUNK):
        digest.update(data)
    body.seek(0)
    return binascii.b2a_base64(digest.digest(), newline=False).decode()


def _download(client: S3Client, bucket: str, key: str, file: str, other: bool, etag: str) -> int:
    """Write an object to a file, and make sure that it is the object: by its length, and by the checksum that is stored
    with it, or else by its ETag where that is an MD5 digest. Raises DamagedError if it is not."""
    if etag:
        response = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED", IfMatch=etag)
    else:
        response = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    body = response["Body"]
    # botocore compares checksums of the kinds that it knows.
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
    """An object's MD5 digest, where the ETag is one: in S3 itself, unless the object was uploaded in parts, is
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
