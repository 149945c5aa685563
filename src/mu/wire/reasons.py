"""Which of the reasons that workers give for a failure mean that another attempt would fail in the same way."""

from __future__ import annotations

from mu.wire.protocol import FAIL

# How such reasons end. The first ones are S3's (`mu.work.transfer`), then come those of a directory as the store.
FINAL = (
    "no such key",
    "no such bucket",
    "access denied",
    "the object has changed",
    "must be restored first",
    "a key of a file store is a relative path without empty parts, '.' and '..'",
    "the key leads out of the store over a link",
    "the store has a directory of that name",
    "the store has a file where the key names a directory",
    "a store of files is file:/// and an absolute path",
    "upload it instead",  # a file is too long for a message
    "it is no regular file",
    ":KEY, NUL, FILE",  # how to write a transfer that was written otherwise
)
UNKNOWN = "no such command"
LONGEST = 100  # characters at a reason's end that are looked at


def is_final(reason: str) -> bool:
    """Returns whether another attempt would fail in the same way. `reason` may also be the answer that contains it,
    `FAIL(reason)`."""
    end = reason[-LONGEST:].removesuffix(")")
    return end.endswith(FINAL) or reason.removeprefix(FAIL).startswith(UNKNOWN)
