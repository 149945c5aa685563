"""The results of commands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mu.report.failure import program_failure
from mu.wire import protocol

MAX_STORY = 8000  # characters of a failed program's output that are kept


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended. `status` is its exit status, or the negative number of the signal that ended it.

    `stdout` and `stderr` are text, in which bytes that are not UTF-8 are lone surrogates (`os.fsencode` restores
    them); `cut` is how many bytes of both were left out of the middle. `seconds` is wall time, `cpu` is processor
    time in seconds, and `max_rss` is the largest resident size in bytes. `timed_out` is true if it was ended because
    its `timeout` was over. For `Worker.program`, all output is in `stdout`, and values that are not known are 0.
    """

    status: int
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    max_rss: int = 0
    cut: int = 0
    timed_out: bool = False

    def fate(self) -> str:
        """Returns how it ended, in words."""
        if self.timed_out:
            return f"ended after its {self.seconds:.1f} s were over"
        return f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


class File(NamedTuple):
    """A file of the worker's directory: its name there, and its size in bytes."""

    name: str
    size: int


def completed(result: Mapping[str, Any]) -> Completed:
    """Returns the result with the checked fields of an `exec:` answer. Raises ValueError if its output is damaged."""
    return Completed(
        result["status"],
        protocol.decoded(protocol.exec_output(result, "stdout")),
        protocol.decoded(protocol.exec_output(result, "stderr")),
        result["seconds"],
        result["cpu"],
        result["max_rss"],
        result["cut"],
        result["timed_out"],
    )


def story(what: str, ended: Completed) -> str:
    """Returns the failure text of a program: how it ended, its command, and the end of its output."""
    return program_failure(ended.fate(), what, (ended.stderr or ended.stdout).rstrip()[-MAX_STORY:])
