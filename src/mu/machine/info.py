"""The values that a worker's INFO messages set, and bounds on their memory for one part and for a whole run.

A worker may set any values, any number of times, so both are bounded. A worker that exceeds a bound fails only its own
part; that part's memory is available to others when nothing refers to its values any more.
"""

import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from mu.wire.framing import to_text
from mu.wire.protocol import INFO

INFO_BYTES = INFO.encode()

# Limits on the INFO messages of a part: number of names, and bytes of memory of names and values together.
MAX_INFO = 10_000
MAX_INFO_BYTES = 16 << 20
# Limit on those bytes for all parts of a run together, while they are kept.
MAX_INFO_OF_RUN = 256 << 20


class Told:
    """The bytes that the `Info` of all parts of a run take."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class Info(dict[str, Any]):
    """A machine's `info`. `of_run` is shared by all parts of a run.

    `held` is the bytes that INFO messages have set: an upper limit, since a script's own code may have removed some.
    """

    __slots__ = ("held", "of_run")

    def __init__(self, of_run: Told | None = None, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        self.held = 0
        self.of_run = Told() if of_run is None else of_run

    def take(self, key: str, value: str) -> str:
        """Sets an INFO message's value. Returns why it is too much, and sets nothing then; otherwise an empty text."""
        before = self.get(key)
        more = sys.getsizeof(value)
        more += (
            sys.getsizeof(key) if before is None else -sys.getsizeof(before) if isinstance(before, str) else 0
        )
        if self.held + more > MAX_INFO_BYTES:
            return f"it sent more than {MAX_INFO_BYTES >> 20} MiB by INFO"
        if before is None and len(self) >= MAX_INFO:
            return f"it sent more than {MAX_INFO} names by INFO"
        if self.of_run.held + more > MAX_INFO_OF_RUN and more > 0:
            return f"its INFO does not fit into the {MAX_INFO_OF_RUN >> 20} MiB that all parts have together"
        self.held += more
        self.of_run.held += more
        self[key] = value
        return ""

    def __copy__(self) -> dict[str, Any]:
        """Returns a plain dictionary: only one object may count the bytes."""
        return dict(self)

    def __del__(self) -> None:
        self.of_run.held -= self.held


def set_info(state: Any, key: str, value: str) -> str:
    """Stores an INFO message's value for a state; returns why it is too much, or an empty text."""
    if not isinstance(state.info, Info):  # a script has put a dictionary of its own there
        state.info = Info(state._channel.of_run, state.info)
    too_much: str = state.info.take(key, value)
    return too_much


def take_in(state: Any, waiting: deque[bytes]) -> str:
    """Moves the INFO messages among `waiting` into a state's `info`. Returns the error if one is malformed or too much,
    otherwise an empty text."""
    found = [message for message in waiting if message.startswith(INFO_BYTES)]
    rest = [message for message in waiting if not message.startswith(INFO_BYTES)]
    waiting.clear()
    waiting.extend(rest)
    for message in found:
        text = to_text(message)
        key, colon, value = text[len(INFO) :].partition(":")
        if not key or not colon:
            return text
        too_much = set_info(state, key, value)
        if too_much:
            return too_much
    return ""
