"""Reports failures of functions to the user, each with the end of its log, but only the first few of a function."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mu.console.terminal import visible

TAIL_BYTES, TAIL_LINES = 4096, 20
TAILS = 10  # most failures of a function that are reported singly, with the end of their log
REQUEST = re.compile(r"RequestId: \S+ (?:Error: )?")


class FailureReports:
    """Calls `report` with texts for the user, in which functions' output is made safe for terminals."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self._warned: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._untold: Counter[tuple[str, str]] = (
            Counter()
        )  # number of further failures, by function and message
        self._dropped: Counter[str] = Counter()

    def failed(self, function: str, error: bytes, request_id: str, log: Path) -> None:
        """Reports an invocation that has failed; `error` is Lambda's JSON."""
        message = visible(str(json.loads(error)["errorMessage"]))
        self._failures[function] += 1
        if self._failures[function] <= TAILS:
            self.report(f"{function} failed: {message}\n  request {request_id}{tail(log)}")
        else:
            self._untold[function, REQUEST.sub("", message)] += 1

    def failed_together(self, function: str, error: bytes, count: int, log: Path) -> None:
        """Reports invocations that have failed together, for the same reason."""
        message = visible(str(json.loads(error)["errorMessage"]))
        many = f"{count} invocation{'s' if count > 1 else ''}"
        self.report(f"{function} failed: {message}\n  {many}{tail(log)}")

    def dropped(self, function: str) -> None:
        """Counts a dropped event. Lambda does not report these; the engine does when nothing runs any more."""
        self._dropped[function] += 1

    def tell_untold(self) -> None:
        """Reports the failures that were only counted."""
        for (name, message), count in self._untold.items():
            self.report(f"{name} failed {count} times more: {message}")
        self._untold.clear()
        for name, count in self._dropped.items():
            self.report(
                f"{name}: {count} event{'s' if count > 1 else ''} dropped, older than the function's maximum event age"
                " or without any concurrency; Lambda drops them silently"
            )
        self._dropped.clear()

    def warn_once(self, text: str) -> None:
        """Reports a warning, unless it was reported before."""
        if text not in self._warned:
            self._warned.add(text)
            self.report(f"warning: {text}")


def tail(log: Path) -> str:
    """Returns the last lines of a log, each on its own line and made safe for terminals, or an empty text."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="backslashreplace").splitlines()
    except OSError:
        return ""
    return "".join(f"\n  | {visible(line)}" for line in lines[-TAIL_LINES:])
