"""What a worker's INFO messages have set, and how much memory that takes: of one part, and of a whole run.

A part's worker may set what it likes, as often as it likes, so both are bounded. Whoever goes over a bound ends its own
part only; what that part held is free for others as soon as nothing refers to it any more.
"""

import sys
from collections.abc import Mapping
from typing import Any

# Limits on what the INFO messages of a part may set: names, and bytes of memory of names and values together.
MAX_INFO = 10_000
MAX_INFO_BYTES = 16 << 20
# Limit on those bytes of all parts of a run that are kept at the same time.
MAX_INFO_OF_RUN = 256 << 20


class Told:
    """How many bytes the `Info` of all parts of a run take."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class Info(dict[str, Any]):
    """A machine's `info`. `held` is how many bytes of it come from INFO messages: an upper limit, as a script's own
    code may have removed some. `of_run` is shared by all parts of a run."""

    __slots__ = ("held", "of_run")

    def __init__(self, of_run: Told | None = None, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        self.held = 0
        self.of_run = Told() if of_run is None else of_run

    def take(self, key: str, value: str) -> str:
        """Set what an INFO message says. Returns why it is too much, if it is; then nothing is set."""
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

    def __del__(self) -> None:
        self.of_run.held -= self.held
