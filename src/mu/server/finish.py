"""The end of a run: its files first, then words, which may have to wait for a terminal, or for Lambda."""

import cProfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from mu.console.system import caught_signals
from mu.history import record, times_file
from mu.machine import ErrorState, MachineState, listed
from mu.report import cost
from mu.report.failure import failure_of
from mu.report.reporter import Reporter
from mu.server.flags import EVERY_SCRIPT, FLAGS
from mu.server.loop import Loop
from mu.server.settings import Settings


def conclude(
    info: Any,
    loop: Loop,
    states: Sequence[MachineState],
    reporter: Reporter,
    settings: Settings,
    launch: Any,
    lookup: cost.Lookup | None,
    profile: cProfile.Profile | None,
) -> list[str]:
    """Leave the files that the run's flags name, and tell how it has ended; the paths that could not be written.

    A signal while files are written stops the run as one before would have, once they are there; a second one at once.
    """
    parts = [listed(part.number) for part in settings.parts]
    directory = getattr(info, "record_dir", None) or ""
    estimate = _estimate(loop, reporter, lookup, patience=0)
    made: dict[str, Any] = {}
    secrets = record.known_secrets(info, getattr(launch, "secrets", ()))
    unwritten: list[tuple[str, str]] = []

    def leave(attribute: str, write: Callable[[str], object]) -> bool:
        path = getattr(info, attribute, None)
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
        leave("out_file", lambda path: times_file.write(path, states, loop.start))
        if profile is not None:
            leave("profiling", profile.dump_stats)
        if directory:
            made = _record(info, loop, reporter, parts, launch, estimate)
        recorded = leave("record_dir", lambda path: record.write(path, made, secrets))

    failures = [failure_of(state) for state in states if isinstance(state, ErrorState)]
    reporter.summary(failures, len(parts) - len(states), loop.ended)
    if lookup is not None and loop.tracks and (estimate is not None or loop.signal == signal):
        if estimate is None:
            estimate = _estimate(loop, reporter, lookup, patience=cost.PATIENCE)
            if estimate is not None and recorded:
                made["cost"] = estimate
                recorded = leave("record_dir", lambda path: record.write(path, made, secrets))
        reporter.note(cost.describe(estimate))
    for path, why in unwritten:
        reporter.line(f"cannot write {path}: {why}")
    if recorded:
        reporter.note(f"record: {record.path_in(directory)}")
    return [path for path, _ in unwritten]


def _estimate(
    loop: Loop, reporter: Reporter, lookup: cost.Lookup | None, patience: float
) -> dict[str, Any] | None:
    """None if nothing ran, or what the function is cannot be known in so many seconds."""
    function = lookup.result(patience) if lookup is not None and loop.tracks else None
    if lookup is None or function is None:
        return None
    accepted = reporter.launch.accepted if reporter.launch is not None else 0
    return cost.estimate(function, loop.worker_seconds, max(accepted, len(loop.tracks)), lookup.regions)


def _record(
    info: Any,
    loop: Loop,
    reporter: Reporter,
    parts: Sequence[int],
    launch: Any,
    estimate: dict[str, Any] | None,
) -> dict[str, Any]:
    return record.build(
        script=record.script_name(),
        start=loop.start,
        end=time.time(),
        ended=loop.ended,
        parts=parts,
        tracks=loop.tracks,
        strangers=reporter.dropped,
        settings=record.settings_of(info, [flag.attribute for flag in (*FLAGS, *EVERY_SCRIPT)]),
        launch=None
        if launch is None
        else record.launch_outcomes(
            launch.progress, launch.invocations, launch.curve, loop.start, launch.failure()
        ),
        cost=estimate,
    )
