"""The live display of a run on a terminal: a block of lines at the bottom that is redrawn.

It fits the window, whatever its size and however many workers there are (`mu.report.display`). Its data are updated
by events, each in constant time: how many workers are in each state, and the workers in the order of their last
change of state, so that those that have not changed for longest come first. Drawing examines only what it shows. It
happens at most `RATE` times a second, less often if it takes long, so that the main loop, in whose thread it runs,
loses at most `SHARE` of its time, and not before the terminal has taken the previous output.

The cursor is never hidden and the screen never switched, so that a killed run leaves the terminal in a usable state.
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
MOST_ABOVE = 10_000  # lines that wait for a terminal that takes nothing
SLOWEST = 45  # most parts that are shown


class LiveReporter(PlainReporter):
    """A display at the bottom of a terminal, and lines that remain above it."""

    wants_sizes = True

    def __init__(self, parts: int, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__(parts, stream, verbose=verbose)
        self._console = Console(file=stream, force_terminal=True, highlight=False, soft_wrap=True)
        self._terminal = stream
        self._display = Display(getattr(stream, "encoding", None) or "ascii")
        self._states: Counter[str] = Counter()
        self._moved: dict[Track, float] = {}  # since when each is in its state, oldest first
        self._names: dict[Track, str] = {}  # the state in which each is counted
        self._took = Took()
        self._errors = Errors()
        self._above: list[str] = []
        self._painted: list[int] = []  # widths of the lines that are drawn now
        self._open = True

    # Events

    def worker_connected(self, track: Track) -> None:
        """Counts a worker in its first state."""
        super().worker_connected(track)
        self._count(track)
        self._moved[track] = track.since  # `mu watch` may come when the part has been in its state for long

    def worker_moved(self, track: Track, before: MachineState) -> None:
        """Counts a worker in its new state, as the last one that moved."""
        self._count(track)
        del self._moved[track]
        self._moved[track] = clock.now()

    def worker_finished(self, track: Track) -> None:
        """Stops counting a worker."""
        super().worker_finished(track)
        self._states[self._names.pop(track)] -= 1
        self._moved.pop(track, None)
        if isinstance(track.machine, ErrorState):
            self._errors.add(failure_of(track.machine), track.name)
        elif track.machine.terminal:
            self._took.add((track.finished or clock.now()) - track.connected)

    def _count(self, track: Track) -> None:
        """Counts a worker in its present state, and no longer in the previous one."""
        before, now = self._names.get(track), state_name(track.machine)
        if before is not None:
            self._states[before] -= 1
        self._names[track] = now
        self._states[now] += 1

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """Counts the failure; the display shows it among the last errors."""
        if self.verbose:
            super().attempt_failed(track, other_running=other_running)

    # Display

    def tick(self, *, now: float | None = None) -> None:
        """Draws, if it is time to."""
        now = time.monotonic() if now is None else now
        if now >= self._next and self._open and self._out.flush():
            # CPU time of this thread, which does not include time in which other threads or processes ran.
            begin = time.thread_time()
            self._paint(now)
            self._next = now + max(1 / RATE, (time.thread_time() - begin) / SHARE)

    def line(self, text: str) -> None:
        """Prints a line that remains above the display, which is redrawn by the next `tick`."""
        if len(self._above) < MOST_ABOVE:
            self._above.append(fit(text))
        else:  # the terminal takes nothing; `-v` may bring any number of lines
            self._above[-1] = "... (more lines are left out)"
        if not self._open:
            self._write("")

    def close(self) -> None:
        """Removes the display; from now on lines are printed."""
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
        """Replaces the display by lines that remain and a new display."""
        # If the window has become narrower, the terminal has broken lines into several.
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
        """Returns the run at `now` (monotonic clock), as far as a window of this `height` shows it."""
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
