"""Checks type and size of JSON values that a peer sends, before they are used.

`json` is imported late, since a worker that gets only the original's commands does not need it.
"""

from __future__ import annotations

import re
from typing import Any

# The longest text in a hello.
MAX_FACT = 200
LARGEST = 1 << 62
EXEC_ID = r"[0-9A-Za-z_.-]{1,64}"


def is_seconds(value: object) -> bool:
    """Returns whether it is a duration in seconds, or None for no limit."""
    return value is None or (is_number(value) and value >= 0)  # type: ignore[operator]


def is_amount(value: object) -> bool:
    """Returns whether it is a number above 0."""
    return is_number(value) and value > 0  # type: ignore[operator]


def is_size(value: object) -> bool:
    """Returns whether it is a count; 0 is allowed."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def is_text(value: object) -> bool:
    """Returns whether it is a short text."""
    return isinstance(value, str) and len(value) <= MAX_FACT


def is_flag(value: object) -> bool:
    """Returns whether it is true or false."""
    return isinstance(value, bool)


def is_number(value: object) -> bool:
    """Returns whether it is a finite number of reasonable size."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def is_status(value: object) -> bool:
    """Returns whether it is an exit status."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_words(value: object) -> bool:
    """Returns whether it is a list of arguments for a program: at least one, none with a NUL."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(word, str) and "\0" not in word for word in value)
    )


def is_names(value: object) -> bool:
    """Returns whether it is a list of plain file names, without directories."""
    return isinstance(value, list) and all(
        isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name
        for name in value
    )


def is_shell(value: object) -> bool:
    """Returns whether it is text that can be passed to a system call."""
    return isinstance(value, str) and "\0" not in value


def is_file(value: object) -> bool:
    """Returns whether it is `{"file": NAME}`."""
    return (
        isinstance(value, dict)
        and list(value) == ["file"]
        and isinstance(value["file"], str)
        and bool(value["file"])
        and "\0" not in value["file"]
    )


def is_input(value: object) -> bool:
    """Returns whether it is a program's input: text or a file."""
    return isinstance(value, str) or is_file(value)


def is_environment(value: object) -> bool:
    """Returns whether it is a program's environment: text, or None for variables to be removed."""
    return isinstance(value, dict) and all(
        is_shell(name) and name and "=" not in name and (text is None or is_shell(text))
        for name, text in value.items()
    )


def is_id(value: object) -> bool:
    """Returns whether it is an identifier of an `exec:`."""
    return isinstance(value, str) and bool(re.fullmatch(EXEC_ID, value))


def to_json(value: object) -> str:
    """Returns JSON in one line. Bytes that are not text become escapes, so the line itself is valid UTF-8."""
    import json

    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, separators=(",", ":"))
    return text


def from_json(text: str) -> Any:
    """Parses a peer's JSON. Raises ValueError if it is not JSON, or is nested too deeply."""
    import json

    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def json_object(text: str) -> dict[str, Any] | None:
    """Returns a JSON object; None if the text is not one."""
    try:
        value = from_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
