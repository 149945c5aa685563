"""A run as it goes on, on a terminal: a block of lines at the bottom that is painted again and again.

It fits the window, whatever its size and however many workers there are (`mu.report.display`). What it shows is kept up
to date by the events themselves, in constant time for each: how many workers are in each state, and the workers in
the order of their last change of state, so that those which stand still longest are the first. A painting
looks at no more than it shows. It is made at most `RATE` times a second, less often if it takes long, so that
the main loop, in whose thread this runs, loses at most `SHARE` of its time, and not before the terminal has
taken the last one.

The cursor is never hidden and the screen never switched, so that a run that is killed leaves the terminal as
it was.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TextIO

from rich.console import Console

from mu.console.terminal import fit
from mu.machine import ErrorState, MachineState, state_name
from mu.report.display import Display
from mu.report.failure import failure_of
from mu.report.plain import PlainReporter
from mu.report.snapshot import Errors, Snapshot, Standing, Took
from mu.report.worker_log import Track
from mu.wire import clock

RATE = 5.0
SHARE = 0.02
SLOWEST = 45  # parts that are shown at most


class LiveReporter(PlainReporter):
    """A painting at the bottom of a terminal, and lines that stay above it."""

    wants_sizes = True

    def __init__(self, parts: int, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__(parts, stream, verbose=verbose)
        self._console = Console(file=stream, force_terminal=True, highlight=False, soft_wrap=True)
        self._terminal = stream
        self._display = Display(getattr(stream, "encoding", None) or "ascii")
        self._states: Counter[str] = Counter()
        self._moved: dict[Track, float] = {}  # since when in its state, oldest first
        self._names: dict[Track, str] = {}  # the state that each is counted in
        self._took = Took()
        self._errors = Errors()
        self._above: list[str] = []
        self._painted: list[int] = []  # the widths of the lines that are there
        self._open = True

    # What happens

    def worker_connected(self, track: Track) -> None:
        """One more in its first state."""
        super().worker_connected(track)
        self._count(track)
        self._moved[track] = track.connected

    def worker_moved(self, track: Track, before: MachineState) -> None:
        """Now the one that moved last."""
        self._count(track)
        del self._moved[track]
        self._moved[track] = clock.now()

    def worker_finished(self, track: Track) -> None:
        """One less."""
        super().worker_finished(track)
        self._states[self._names.pop(track)] -= 1
        self._moved.pop(track, None)
        if isinstance(track.machine, ErrorState):
            self._errors.add(failure_of(track.machine), track.name)
        elif track.machine.terminal:
            self._took.add((track.finished or clock.now()) - track.connected)

    def _count(self, track: Track) -> None:
        """Count a worker in the state that it is in now, and no longer in the one before."""
        before, now = self._names.get(track), state_name(track.machine)
        if before is not None:
            self._states[before] -= 1
        self._names[track] = now
        self._states[now] += 1

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """Counted; it is among the last errors already."""
        if self.verbose:
            super().attempt_failed(track, other_running=other_running)

    # What is shown

    def tick(self, *, now: float | None = None) -> None:
        """Paints, if it is time to."""
        now = time.monotonic() if now is None else now
        if now >= self._next and self._open and self._out.flush():
            # Of this thread: that others had the processor, or all stood still, is no cost.
            begin = time.thread_time()
            self._paint(now)
            self._next = now + max(1 / RATE, (time.thread_time() - begin) / SHARE)

    def line(self, text: str) -> None:
        """A line that stays, above the painting, which comes with the next one."""
        self._above.append(fit(text))
        if not self._open:
            self._write("")

    def close(self) -> None:
        """The painting goes; what comes now are lines."""
        if self._open:
            self._open = False
            self._write("")
        super().close()

    def _paint(self, now: float) -> None:
        width, height = self._size()
        self._display.add(self.snapshot(now, height))
        lines = self._display.lines(width, height - 1)
        with self._console.capture() as captured:
            for text in lines:
                self._console.print(text, end="\x1b[K\n")
        self._write(captured.get(), [text.cell_len for text in lines])

    def _write(self, painting: str, widths: Sequence[int] = ()) -> None:
        """Put lines that stay, and a painting, in the place of the painting that is there."""
        # Lines of a window that has become narrower have been broken in several.
        columns = self._size()[0]
        rows = sum(max(1, -(-width // columns)) for width in self._painted)
        up = f"\x1b[{rows}F" if rows else ""
        above = "".join(f"{text}\n".replace("\n", "\x1b[K\n") for text in self._above)
        self._out.put(f"{up}{above}{painting}\x1b[J" if up or painting else above, wait=self._closed)
        self._above.clear()
        self._painted = list(widths)

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._terminal.fileno())
        except (OSError, ValueError):
            return 80, 24
        return size.columns or 80, size.lines or 24

    def snapshot(self, now: float, height: int) -> Snapshot:
        """The run at `now`, of the monotonic clock, as far as a window of this `height` shows it."""
        moment = clock.now()
        slowest = [
            Standing(
                track.part,
                track.name,
                track.number,
                self._names[track],
                moment - since,
                moment - track.connected,
            )
            for track, since in islice(self._moved.items(), min(height, SLOWEST))
        ]
        return Snapshot(
            at=now - self.started,
            counts=self.counts,
            running=len(self._moved),
            states=self._states,
            slowest=slowest,
            took=self._took.figures(),
            errors=self._errors.kinds(),
        )
