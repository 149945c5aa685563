"""What a run leaves behind: the line about its cost, and its record."""

import time
from typing import Any

from mu import cost, record
from mu.loop import Loop
from mu.report import Reporter


def tell_cost(loop: Loop, reporter: Reporter, lookup: cost.Lookup | None) -> dict[str, Any] | None:
    """The estimate, after telling it; None if nothing ran, or what the function is cannot be known."""
    if lookup is None or not loop.tracks:
        return None
    function = lookup.result()
    if function is None:
        reporter.note("cost: no estimate; Lambda did not say how much memory the function has")
        return None
    now = time.time()
    seconds = sum((track.finished or now) - track.connected for track in loop.tracks)
    accepted = reporter.launch.accepted if reporter.launch is not None else 0
    found = cost.estimate(function, seconds, max(accepted, len(loop.tracks)), lookup.regions)
    reporter.note(cost.describe(found))
    return found


def leave_record(
    info: Any, loop: Loop, reporter: Reporter, parts: list[int], launch: Any, cost_: dict[str, Any] | None
) -> None:
    """Write the record of a run that has ended. OSError if that fails."""
    directory = info.record_dir
    made = record.build(
        script=record.script_name(),
        start=loop.start,
        end=time.time(),
        ended=loop.ended,
        parts=parts,
        tracks=loop.tracks,
        strangers=reporter.dropped,
        settings=record.settings_of(info),
        launch=None
        if launch is None
        else record.launch_outcomes(
            launch.progress, launch.invocations, launch.curve, loop.start, launch.failure()
        ),
        cost=cost_,
    )
    path = record.write(directory, made, record.known_secrets(info))
    reporter.note(f"record: {path}")
