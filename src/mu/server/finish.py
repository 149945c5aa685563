"""The end of a run: writes its files, then prints how it ended.

Files come first, because printing may have to wait for a terminal, and the estimate for Lambda's price.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mu.console.system import caught_signals
from mu.history import times_file
from mu.machine import ErrorState
from mu.report import cost
from mu.report.failure import failure_of

if TYPE_CHECKING:
    import cProfile

    from mu.engines.protocol import Engine
    from mu.machine import MachineState
    from mu.report.failure import Failure
    from mu.report.reporter import Counts
    from mu.report.telling import Telling
    from mu.server.loop import Loop
    from mu.server.recording import Recording
    from mu.server.settings import Setup


class Ended(Protocol):
    """The attributes of a finished run (`mu.server.run.Run`) that this module uses."""

    setup: "Setup"
    profile: "cProfile.Profile | None"
    states: "list[MachineState] | None"
    lookup: cost.Lookup | None
    engine: "Engine | None"
    estimate: dict[str, Any] | None
    recorded: str
    error: BaseException | None
    recording: "Recording | None"

    @property
    def loop(self) -> "Loop":
        """The loop that has ended."""

    @property
    def counts(self) -> "Counts":
        """How far the run is: parts done, failed and running."""

    @property
    def failures(self) -> "list[Failure]":
        """The parts that failed, for the summary."""

    @property
    def attempts_made(self) -> int:
        """How many attempts have begun."""

    @property
    def part_numbers(self) -> Sequence[int] | None:
        """The numbers of all parts, if they are known."""


def conclude(run: Ended, telling: "Telling") -> list[str]:
    """Writes the files that the run's flags name, and reports how it has ended; returns the paths that failed.

    A first signal while files are written stops the run once they are complete; a second one stops it at once.
    """
    setup, loop, profile, states = run.setup, run.loop, run.profile, run.states
    recording = run.recording
    estimate = _estimate(run, patience=0)
    unwritten: list[tuple[str, str]] = []

    def leave(path: str | None, write: Callable[[str], object]) -> bool:
        if not path:
            return False
        try:
            write(path)
        except OSError as error:
            unwritten.append((str(path), error.strerror or str(error)))
            return False
        return True

    signal, counts = loop.signal, run.counts
    with caught_signals(loop.on_signal):
        leave(setup.out_file, lambda path: times_file.write(path, states or [], loop.start))
        if profile is not None:
            leave(setup.profiling, profile.dump_stats)
        recorded = False
        if recording is not None:
            status = _status(run)
            recorded = leave(
                recording.path,
                lambda _: recording.write(loop, run.part_numbers, counts, status, estimate),
            )

    outputs = telling.outputs
    if outputs is not None and outputs.error:
        unwritten.append((str(outputs.directory), outputs.error))
    telling.summary(_failures(run), counts.parts - counts.begun, loop.ended)
    if run.lookup is not None and run.attempts_made and (estimate is not None or loop.signal == signal):
        if estimate is None:
            estimate = _estimate(run, patience=cost.PATIENCE)
            if estimate is not None and recording is not None and recorded:
                recorded = leave(recording.path, lambda _: recording.write_cost(run.part_numbers, estimate))
        telling.note(cost.describe(estimate))
    run.estimate = estimate
    for path, why in unwritten:
        telling.line(f"cannot write {path}: {why}")
    if recording is not None:
        if recorded:
            recording.recorder.remove()
            run.recorded = recording.path
            telling.note(f"record: {run.recorded}")
        recording.recorder.close()
    return [path for path, _ in unwritten]


def _failures(run: Ended) -> "list[Failure]":
    """Returns the failures to report: those of the script's own machines, in their order, if it kept them."""
    if run.states is None:
        return run.failures
    return [failure_of(state) for state in run.states if isinstance(state, ErrorState)]


def _estimate(run: Ended, patience: float) -> dict[str, Any] | None:
    """Returns the cost estimate; None if nothing ran, or the function's price is not known within `patience`
    seconds."""
    lookup = run.lookup
    function = lookup.result(patience) if lookup is not None and run.attempts_made else None
    if lookup is None or function is None:
        return None
    requests = 0 if run.engine is None else run.engine.requests
    return cost.estimate(function, run.loop.billed_seconds, requests, lookup.regions, starts=requests)


def _status(run: Ended) -> int:
    """Returns the exit status of the run, before the files are written that could still change it."""
    counts = run.counts
    if run.loop.signal:
        return 128 + run.loop.signal
    return int(run.error is not None or counts.done < counts.parts or not counts.parts_known)
