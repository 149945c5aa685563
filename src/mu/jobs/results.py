"""What commands return."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mu.report.failure import program_failure
from mu.wire import protocol

MAX_STORY = 8000  # characters of a program's output that are kept of a failure


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended. `status` is its exit status, negative for a signal.

    `stdout` and `stderr` are text, bytes that are not UTF-8 as lone surrogates (`os.fsencode` gets them back); `cut` is
    how many bytes of both were left out of the middle. `seconds` of wall time, `cpu` seconds of processor time, and the
    largest resident size `max_rss` in bytes. `timed_out`: it was ended after the `timeout` that it was given. A program
    that was run by `Worker.program` has all its output in `stdout`, and 0 where nothing is known.
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
        """How it ended, in words."""
        if self.timed_out:
            return f"ended after its {self.seconds:.1f} s were over"
        return f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"


class File(NamedTuple):
    """A file of the worker's directory: its name there, and its size in bytes."""

    name: str
    size: int


def completed(result: Mapping[str, Any]) -> Completed:
    """From the checked fields of an `exec:` answer. ValueError if what was printed is damaged."""
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
    """A failed program for people: how it ended, what it was, and the end of what it printed."""
    return program_failure(ended.fate(), what, (ended.stderr or ended.stdout).rstrip()[-MAX_STORY:])
