"""Error texts and file handling that all stores share."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

from mu.errors import reason

# Error codes, or HTTP statuses if an answer has no text, and our texts for them. Other errors keep the store's text.
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
    "InvalidObjectState": "the object is archived and must be restored first",
    "BadDigest": "what the store has received is not what was sent",
}


class StoreError(Exception):
    """A store's refusal; its text is one of `REASONS`, or another line."""


def failure(error: Exception) -> str:
    """Returns why a transfer failed, in one line."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        words = REASONS.get(str(response.get("Error", {}).get("Code")))
        if words:
            return words
    if isinstance(error, ModuleNotFoundError):
        return "there is no boto3 here"
    return reason(error)


def opened(file: str) -> int:
    """Returns a descriptor to read a regular file. Raises OSError, or ValueError if it is none.

    Opening does not wait, as it would for the writer of a FIFO.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory")
    raise ValueError("it is no regular file")


def deliver(file: str, write: Callable[[str], int]) -> int:
    """Lets `write` make a file, which then is complete or does not exist; returns its bytes, as `write` does.

    `write` is given a temporary path beside the file. A link's target is replaced, an existing file keeps its mode,
    and `write` writes directly into a pipe or device.
    """
    file = os.path.realpath(file)
    mode = _mode(file)
    if mode is not None and not stat.S_ISREG(mode):
        return write(file)
    part = os.path.join(os.path.dirname(file), f".{os.urandom(6).hex()}.part")
    try:
        size = write(part)
        if mode is not None:
            os.chmod(part, stat.S_IMODE(mode))
        os.replace(part, file)
        return size
    except BaseException:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(part)
        raise


def _mode(file: str) -> int | None:
    """Returns a file's type and permissions; None if it does not exist."""
    try:
        return os.stat(file).st_mode
    except FileNotFoundError:
        return None
