"""Checks of what a peer sends as JSON: its type and its size, before anything is done with it.

`json` is imported late, since a worker that gets only the original's commands does not need it.
"""

from __future__ import annotations

import re
from typing import Any

# The longest text in a hello, and the largest number anywhere.
MAX_FACT = 200
LARGEST = 1 << 62
EXEC_ID = re.compile(r"[0-9A-Za-z_.-]{1,64}")


def is_seconds(value: object) -> bool:
    """A duration, or None for none."""
    return value is None or (is_number(value) and value >= 0)  # type: ignore[operator]


def is_amount(value: object) -> bool:
    """A number above 0."""
    return is_number(value) and value > 0  # type: ignore[operator]


def is_size(value: object) -> bool:
    """A count that may be 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def is_text(value: object) -> bool:
    """A short text."""
    return isinstance(value, str) and len(value) <= MAX_FACT


def is_flag(value: object) -> bool:
    """True or false."""
    return isinstance(value, bool)


def is_number(value: object) -> bool:
    """A finite number of reasonable size."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def is_status(value: object) -> bool:
    """An exit status."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_words(value: object) -> bool:
    """Arguments for a program: at least one, none with a NUL."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(word, str) and "\0" not in word for word in value)
    )


def is_names(value: object) -> bool:
    """A list of plain names of files in one directory."""
    return isinstance(value, list) and all(
        isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name
        for name in value
    )


def is_shell(value: object) -> bool:
    """Text that a system call takes."""
    return isinstance(value, str) and "\0" not in value


def is_file(value: object) -> bool:
    """`{"file": NAME}`."""
    return (
        isinstance(value, dict)
        and list(value) == ["file"]
        and isinstance(value["file"], str)
        and bool(value["file"])
        and "\0" not in value["file"]
    )


def is_input(value: object) -> bool:
    """What a program may read: text or a file."""
    return isinstance(value, str) or is_file(value)


def is_environment(value: object) -> bool:
    """Variables for a program: text, or None for one to be removed."""
    return isinstance(value, dict) and all(
        name and "=" not in name and "\0" not in name and (text is None or is_shell(text))
        for name, text in value.items()
    )


def is_id(value: object) -> bool:
    """What tells one `exec:` from another."""
    return isinstance(value, str) and bool(EXEC_ID.fullmatch(value))


def to_json(value: object) -> str:
    """JSON in one line. Bytes that are no text become escapes, so the line itself is good UTF-8."""
    import json

    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, separators=(",", ":"))
    return text


def from_json(text: str) -> Any:
    """What a peer's JSON says; ValueError if it is none, or nested beyond reason."""
    import json

    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def json_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None if it is none."""
    try:
        value = from_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
