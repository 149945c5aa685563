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
import stat
import sys
import threading
from typing import TYPE_CHECKING

from mu.errors import reason

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK = 1 << 18
MULTIPART_FROM = 1 << 30
# A download that breaks off midway is no longer botocore's to repeat.
DOWNLOADS = 3

# S3's error code, or the HTTP status if an answer has no text -> words. Others are told as S3 tells them.
REASONS = {
    "NoSuchKey": "no such key",
    "404": "no such key",
    "NoSuchBucket": "no such bucket",
    "AccessDenied": "access denied",
    "403": "access denied",
    "SlowDown": "slow down, S3 has too many requests",
    "503": "slow down, S3 has too many requests",
    "PreconditionFailed": "the object has changed",
    "412": "the object has changed",
    "ExpiredToken": "the credentials have expired",
    "PermanentRedirect": "the bucket is in another region",
    "AuthorizationHeaderMalformed": "the bucket is in another region",
}


class S3:
    """A worker's access to S3: `connections` at a time, each request tried up to `attempts` times."""

    def __init__(self, connections: int, attempts: int = 6) -> None:
        self._connections = connections
        self._attempts = attempts
        self._lock = threading.Lock()
        self._clients: dict[str, S3Client] = {}

    def warm(self, region: str) -> None:
        """Begin to make ready, in a thread; where boto3 is there already, little is won by that."""

        def get_ready() -> None:
            with contextlib.suppress(Exception):  # the first transfer will tell
                self._client(region)

        if "boto3" in sys.modules:
            return
        with contextlib.suppress(RuntimeError):  # no thread to be had
            threading.Thread(target=get_ready, daemon=True).start()

    def retrieve(self, region: str, bucket: str, key: str, file: str, etag: str = "") -> int:
        """Object to file, which is there all at once or not at all; returns how many bytes. `failure` has words
        for what is raised, also if the object's ETag is not `etag` any more.

        A link's target is replaced, a file keeps its mode, and into a pipe or device the object is written.
        """
        client = self._client(region)
        file = os.path.realpath(file)
        mode = _mode(file)
        if mode is not None and not stat.S_ISREG(mode):
            return _download(client, bucket, key, file, etag)
        part = os.path.join(os.path.dirname(file), f".{os.urandom(6).hex()}.part")
        try:
            for left in reversed(range(DOWNLOADS)):
                try:
                    size = _download(client, bucket, key, part, etag)
                    break
                except _broken_off():
                    if not left:
                        raise
            if mode is not None:
                os.chmod(part, stat.S_IMODE(mode))
            os.replace(part, file)
            return size
        except BaseException:
            with contextlib.suppress(OSError, ValueError):
                os.unlink(part)
            raise

    def upload(self, region: str, bucket: str, key: str, file: str) -> int:
        """File to object; returns how many bytes. `failure` has words for what is raised."""
        with open(file, "rb") as body:
            client = self._client(region)
            size = os.fstat(body.fileno()).st_size
            if size < MULTIPART_FROM:
                client.put_object(Bucket=bucket, Key=key, Body=body)
            else:
                client.upload_fileobj(body, bucket, key)
            return size

    def _client(self, region: str) -> S3Client:
        with self._lock:
            if region not in self._clients:
                import boto3
                from botocore.config import Config

                config = Config(
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                    max_pool_connections=self._connections,
                    connect_timeout=10,
                    read_timeout=60,
                )
                self._clients[region] = boto3.client("s3", region_name=region, config=config)
            return self._clients[region]


def failure(error: Exception) -> str:
    """Why a transfer failed, in one line."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        words = REASONS.get(str(response.get("Error", {}).get("Code")))
        if words:
            return words
    if isinstance(error, ModuleNotFoundError):
        return "there is no boto3 here"
    return reason(error)


def _download(client: S3Client, bucket: str, key: str, file: str, etag: str) -> int:
    if etag:
        body = client.get_object(Bucket=bucket, Key=key, IfMatch=etag)["Body"]
    else:
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
    size = 0
    with contextlib.closing(body), open(file, "wb") as out:
        while data := body.read(CHUNK):
            size += out.write(data)
    return size


def _mode(file: str) -> int | None:
    """A file's type and permissions; None if it is not there."""
    try:
        return os.stat(file).st_mode
    except FileNotFoundError:
        return None


def _broken_off() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (
        exceptions.IncompleteReadError,
        exceptions.ReadTimeoutError,
        exceptions.ResponseStreamingError,
        exceptions.FlexibleChecksumError,
    )
