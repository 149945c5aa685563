"""Records the end of each input: its row in the journal and its output, and whether the job should go on."""

import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from mu.console.system import caught_signals
from mu.errors import MuError, reason
from mu.mapping.attempt import Ended
from mu.mapping.failures import Groups, Watch
from mu.mapping.inputs import is_s3
from mu.mapping.journal import DONE, Row
from mu.mapping.past import version
from mu.mapping.plan import Work
from mu.mapping.results import STDERR_KEPT, Results

FAILED = "failed"
T = TypeVar("T")


class Journal(Protocol):
    """An object that stores rows; `waiting` of those that were added are not written yet."""

    @property
    def waiting(self) -> int: ...

    def add(self, row: Row) -> None: ...
    def tick(self) -> None: ...
    def close(self) -> None: ...


class Printed(Protocol):
    """An object that takes what programs print: see `Collector`."""

    @property
    def full(self) -> bool: ...

    def add(self, position: int, text: str, data: bytes) -> None: ...
    def skip(self, position: int) -> None: ...
    def check(self) -> None: ...
    def close(self) -> None: ...


class Book:
    """The records of one run. `stop` is the reason why the job should end, or empty; a failure to write sets it.

    Standard output and the results are written independently of one another: if one cannot be written, the other still
    gets the inputs that end meanwhile. `unrecorded` counts the inputs that have no row in the journal, although they
    are over, because it or their output could not be written. `command` identifies the run's command in the journal.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        journal: Journal | None,
        results: Results | None,
        collector: Printed | None,
        command: str = "",
    ) -> None:
        self.watch = watch
        self.groups = Groups()
        self.stop = ""
        # If a list, gets the seconds of each attempt that decided its input.
        self.attempts: list[float] | None = None
        self.bytes = 0
        self.unrecorded = 0
        self.failed_before: set[int] = set()  # see `Feed`; inputs that are over are removed
        self._command = command
        self._journal = journal
        self._results = results
        self._collector = collector

    @property
    def full(self) -> bool:
        """Whether no more inputs should be begun for now, because nobody reads what programs have printed."""
        return self._collector is not None and self._collector.full

    def skip(self, position: int) -> None:
        """Records that an input was done before."""
        self.watch.skip()
        if self._collector is not None:
            self._print(self._collector.skip, position)

    def over(self, work: Work, ended: Ended, attempt: int, seconds: float, worker: Mapping[str, Any]) -> None:
        """Records that an input is done, or has failed for good."""
        item = work.item
        self.failed_before.discard(item.number)
        if self.attempts is not None:
            self.attempts.append(seconds)
        if ended.verdict is None:
            self.watch.success()
            self.bytes += ended.bytes or 0
        else:
            text, shown = ended.generic or ended.verdict.text, ended.shown or ended.verdict.text
            self.groups.add(item.number, text, item.text, shown)
            why = self.watch.failure(text, program=ended.verdict.program, shown=shown)
            self.stop = self.stop or why
        if self._collector is not None:
            if ended.verdict is None:
                self._print(self._collector.add, work.position, item.text, ended.stdout)
            else:
                self._print(self._collector.skip, work.position)
        if not self._record(self._keep, work, ended, attempt, seconds, worker):
            self.unrecorded += 1

    def _keep(
        self, work: Work, ended: Ended, attempt: int, seconds: float, worker: Mapping[str, Any]
    ) -> None:
        if self._results is not None:
            self._results.keep(work.item.number, ended.stdout, ended.stderr)
        if self._journal is not None:
            self._journal.add(row(work, ended, attempt, seconds, worker) | {"command": self._command})

    def _print(self, call: Callable[..., None], *arguments: Any) -> None:
        """Calls a method of the collector, which gets no more once it has failed."""
        try:
            call(*arguments)
        except OSError as error:  # a reader such as `head` may have closed the pipe
            self._collector = None
            self.stop = self.stop or f"cannot write to standard output: {reason(error)}"

    def _record(self, call: Callable[..., None], *arguments: Any) -> bool:
        """Calls what writes the results or the journal; returns whether it could."""
        try:
            call(*arguments)
        except MuError as error:
            self.stop = self.stop or str(error)
            return False
        return True

    def tick(self) -> None:
        """Lets the journal write what has waited long enough, and looks whether standard output could be written. Who
        runs the map calls it at short intervals, since no input may end for hours."""
        if self._collector is not None:
            self._print(self._collector.check)
        if self._journal is not None:
            self._record(self._journal.tick)

    def close(self) -> None:
        """Closes the journal and the output at the end of the run. Each is closed once, even if Ctrl-C ends that."""
        journal, self._journal = self._journal, None
        if journal is not None and not self._record(journal.close):
            self.unrecorded += journal.waiting
        collector, self._collector = self._collector, None
        if collector is not None:
            self._print(collector.close)


def close(book: Book) -> int:
    """Closes a run's book; returns 0, or if a signal ends the waiting for a bucket or a reader of standard output, 128
    and its number. Then `book.stop` tells that, unless the run was ended before."""
    caught: list[int] = []

    def on_signal(number: int) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    try:
        with caught_signals(on_signal):
            book.close()
    except KeyboardInterrupt:
        number = caught[0] if caught else signal.SIGINT
        book.stop = book.stop or f"stopped by {signal.Signals(number).name}"
        return 128 + number
    return 0


def row(work: Work, ended: Ended, attempt: int, seconds: float, worker: Mapping[str, Any]) -> Row:
    """Returns an input's line of the journal. `seconds` is the whole attempt's time, `program_seconds` the
    program's."""
    item = work.item
    made: Row = {
        "number": item.number,
        "input": item.text,
        "status": DONE if ended.verdict is None else FAILED,
        "attempt": attempt,
        "time": round(time.time(), 3),
        "seconds": round(seconds, 4),
    }
    if item.fields is not None and ended.verdict is not None:
        made["fields"] = dict(item.fields)  # `mu retry` needs them
    if ended.verdict is not None:
        made["error"] = ended.verdict.text
    if ended.status is not None:
        made |= {
            "exit": ended.status,
            "program_seconds": round(ended.seconds, 4),
            "cpu": round(ended.cpu, 4),
            "max_rss": ended.max_rss,
        }
    if worker.get("request_id"):
        made["worker"] = worker["request_id"]
    if work.places:
        made["output"] = _alone(work.places)
        if ended.verdict is None:
            here = {name: place for name, place in work.places.items() if not is_s3(place)}
            if here:  # `--resume` compares them
                made["output_version"] = _alone({name: version(place) for name, place in here.items()})
    if ended.bytes is not None:
        made["bytes"] = ended.bytes
    if ended.stderr:
        made["stderr"] = ended.stderr[-STDERR_KEPT:].decode("utf-8", "replace")
    made["identity"] = work.identity
    return made


def _alone(by_name: Mapping[str, T]) -> T | dict[str, T]:
    """Returns what each output has, by name, or that of the only one if it has no name."""
    return by_name[""] if list(by_name) == [""] else dict(by_name)
