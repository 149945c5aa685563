"""What transfers have in common, whichever store they use."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable

from mu.errors import reason

# Error codes and HTTP statuses, if an answer has no text -> words. Others are told as the store tells them.
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
    """A store's refusal; its text is one of `REASONS`, or says as much in one line."""


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


def deliver(file: str, write: Callable[[str], int]) -> int:
    """Have `write` make a file, which is there all at once or not at all; returns how many bytes, as `write` does.

    `write` is given a path beside the file. A link's target is replaced, a file keeps its mode, and into a pipe or
    device `write` writes directly.
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
    """A file's type and permissions; None if it is not there."""
    try:
        return os.stat(file).st_mode
    except FileNotFoundError:
        return None
