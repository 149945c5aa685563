"""The record of a run that keeps one. A run that keeps none does not import this module, and not msgspec with it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mu.history import record, schema
from mu.history.blank import blanker, worth_hiding
from mu.history.recorder import Recorder
from mu.wire import clock

if TYPE_CHECKING:
    from mu.engines.protocol import Engine
    from mu.report.reporter import Counts
    from mu.server.loop import Loop
    from mu.server.settings import Setup


class Recording:
    """The record, in `directory`, of a run that begins at `start`, in seconds since the epoch.

    `parts` has the numbers of all parts, None if they are not known. `recorder` gets the attempts that are over.
    """

    def __init__(
        self,
        directory: str,
        start: float,
        setup: "Setup",
        parts: Sequence[int] | None,
        engine: "Engine | None",
    ) -> None:
        def secrets() -> list[str]:
            credentials = [] if engine is None else engine.secrets
            return [*setup.secrets, *worth_hiding(credentials)]

        path = record.path_in(directory, record.next_number(directory))
        about = record.so_far(record.script_name(), start, setup.shown, parts, blanker(secrets()))
        self.path = str(path)
        self.recorder = Recorder(path, about, start, secrets)
        self._engine = engine
        self._made: schema.Record | None = None

    def write(
        self,
        loop: "Loop",
        parts: Sequence[int] | None,
        counts: "Counts",
        status: int,
        estimate: dict[str, Any] | None,
    ) -> None:
        """Writes the record of the run, which has ended with these counts and this exit status. Raises OSError."""
        launch = None
        if self._engine is not None:
            launch = record.launch_outcomes(
                self._engine.progress, *self._engine.launches, loop.start, self._engine.failure()
            )
        self._made = record.build(
            self.recorder.about,
            seconds=clock.now() - loop.start,
            ended=loop.ended,
            status=status,
            strangers=counts.dropped,
            launch=launch,
            cost=estimate,
            blank=self.recorder.blank,
            more_parts=parts is None and (not counts.parts_known or counts.begun < counts.parts),
        )
        self.recorder.finish(self._made, parts or [])

    def write_cost(self, parts: Sequence[int] | None, estimate: dict[str, Any]) -> None:
        """Writes the record again, with the estimate of its cost. Raises OSError."""
        assert self._made is not None
        self._made.cost = record.as_form(schema.Cost, estimate, self.recorder.blank)
        self.recorder.finish(self._made, parts or [])
