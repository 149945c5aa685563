"""The end of a run: writes its files, then prints how it ended.

Files come first, because printing may have to wait for a terminal, and the estimate for Lambda's price.
"""

import cProfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from mu.console.system import caught_signals
from mu.history import record, schema, times_file
from mu.history.blank import blanker, worth_hiding
from mu.history.recorder import Recorder
from mu.machine import ErrorState
from mu.report import cost
from mu.report.failure import failure_of
from mu.wire import clock

if TYPE_CHECKING:
    from mu.engines.protocol import Engine
    from mu.machine import MachineState
    from mu.report.failure import Failure
    from mu.report.reporter import Counts
    from mu.report.telling import Telling
    from mu.server.loop import Loop
    from mu.server.settings import Setup


class Ended(Protocol):
    """The attributes of a finished run (`mu.server.run.Run`) that this module uses."""

    setup: "Setup"
    profile: cProfile.Profile | None
    states: "list[MachineState] | None"
    lookup: cost.Lookup | None
    engines: "list[Engine]"
    estimate: dict[str, Any] | None
    recorded: str
    error: BaseException | None
    recorder: Recorder | None

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
    def part_numbers(self) -> list[int] | None:
        """The numbers of all parts, if they are known."""


def conclude(run: Ended, telling: "Telling") -> list[str]:
    """Writes the files that the run's flags name, and reports how it has ended; returns the paths that failed.

    A first signal while files are written stops the run once they are complete; a second one stops it at once.
    """
    setup, loop, profile, states = run.setup, run.loop, run.profile, run.states
    recorder = run.recorder
    estimate = _estimate(run, patience=0)
    made: schema.Record | None = None
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

    signal = loop.signal
    with caught_signals(loop.on_signal):
        leave(setup.out_file, lambda path: times_file.write(path, states or [], loop.start))
        if profile is not None:
            leave(setup.profiling, profile.dump_stats)
        recorded = False
        if recorder is not None:
            made = _record(run, recorder, estimate)
            recorded = leave(str(recorder.path), lambda _: recorder.finish(made, run.part_numbers or []))

    outputs = telling.outputs
    if outputs is not None and outputs.error:
        unwritten.append((str(outputs.directory), outputs.error))
    counts = run.counts
    telling.summary(_failures(run), counts.parts - counts.begun, loop.ended)
    if run.lookup is not None and run.attempts_made and (estimate is not None or loop.signal == signal):
        if estimate is None:
            estimate = _estimate(run, patience=cost.PATIENCE)
            if estimate is not None and recorder is not None and made is not None and recorded:
                made.cost = record.as_form(schema.Cost, estimate, recorder.blank)
                recorded = leave(str(recorder.path), lambda _: recorder.finish(made, run.part_numbers or []))
        telling.note(cost.describe(estimate))
    run.estimate = estimate
    for path, why in unwritten:
        telling.line(f"cannot write {path}: {why}")
    if recorder is not None:
        if recorded:
            recorder.remove()
            run.recorded = str(recorder.path)
            telling.note(f"record: {run.recorded}")
        recorder.close()
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
    requests = sum(engine.requests for engine in run.engines)
    return cost.estimate(function, run.loop.billed_seconds, requests, lookup.regions, starts=requests)


def _status(run: Ended) -> int:
    """Returns the exit status of the run, before the files are written that could still change it."""
    counts = run.counts
    if run.loop.signal:
        return 128 + run.loop.signal
    return int(run.error is not None or counts.done < counts.parts or not counts.parts_known)


def recorder(run: Ended) -> Recorder | None:
    """Returns the recorder of a run that begins; None if no record is wanted."""
    directory = run.setup.record_dir
    if not directory:
        return None

    def secrets() -> list[str]:
        credentials = [text for engine in run.engines for text in engine.secrets]
        return [*run.setup.secrets, *worth_hiding(credentials)]

    path = record.path_in(directory, record.next_number(directory))
    start = run.loop.start
    about = record.so_far(record.script_name(), start, run.setup.shown, run.part_numbers, blanker(secrets()))
    return Recorder(path, about, start, secrets)


def _record(run: Ended, recorder: Recorder, estimate: dict[str, Any] | None) -> schema.Record:
    loop, engine = run.loop, run.engines[0] if run.engines else None
    launch = None
    if engine is not None:
        launch = record.launch_outcomes(
            engine.progress,
            *engine.launches,
            loop.start,
            engine.failure(),
        )
    return record.build(
        recorder.about,
        seconds=clock.now() - loop.start,
        ended=loop.ended,
        status=_status(run),
        strangers=run.counts.dropped,
        launch=launch,
        cost=estimate,
        blank=recorder.blank,
    )
