"""Attempts of workers that need no connection, and a recorder of their run."""

from pathlib import Path
from typing import Any

from mu.history import record
from mu.history.blank import blanker
from mu.history.recorder import Recorder
from mu.machine import ErrorState, MachineState, TerminalState
from mu.report.worker_log import Track
from mu.wire import clock


class Socket:
    """A socket that transfers nothing."""

    def setblocking(self, flag: bool) -> None:
        pass

    def close(self) -> None:
        pass

    def fileno(self) -> int:
        return -1

    recv = send = None


def under_way(part: int, state: type[MachineState] = MachineState, *, number: int = 1) -> Track:
    """Returns an attempt that has just started."""
    return Track(state(Socket(), part), "192.0.2.7", number=number, keep=8, worker=part + 1)  # type: ignore[arg-type]


def ended(part: int, *, number: int = 1, failure: str = "") -> Track:
    """Returns an attempt that has ended, with some answers."""
    return end(under_way(part, number=number), failure)


def end(track: Track, failure: str = "") -> Track:
    """Ends an attempt, after some answers."""
    machine = track.machine
    for answer in (
        b"OK:RETRIEVE(bucket/key)",
        b"OK:RETVAL(0):OUTPUT():COMMAND(./x)",
        b"OK:UPLOAD(bucket/key)",
    ):
        track.hear(answer)
    track.machine = ErrorState(machine, failure) if failure else TerminalState(machine)
    track.finished = clock.now()
    return track


def recorder(directory: Path, parts: list[int] | None = None, secrets: Any = list) -> Recorder:
    """Returns the recorder of a run that starts now and has these `parts`."""
    start = clock.now()
    about = record.so_far("job.py", start, {"num_parts": 3}, parts, blanker([]))
    return Recorder(record.path_in(directory), about, start, secrets)


def finish(
    made: Recorder, parts: list[int], *, status: int = 0, ended: str = "", more_parts: bool = False
) -> None:
    """Ends the run two seconds after its start."""
    made.finish(
        record.build(
            made.about,
            seconds=2.0,
            ended=ended,
            status=status,
            strangers=0,
            launch=None,
            cost=None,
            blank=made.blank,
            more_parts=more_parts,
        ),
        parts,
    )
