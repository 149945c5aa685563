"""A run as it goes on, on a terminal: a block of lines at the bottom that is painted again and again.

It fits the window, whatever its size and however many workers there are. What it shows is kept up to date
by the events themselves, in constant time for each: how many workers are in each state, and the workers in
the order of their last change of state, so that those which stand still longest are the first. A painting
looks at no more than it shows. It is made at most `RATE` times a second, less often if it takes long, so that
the main loop, in whose thread this runs, loses at most `SHARE` of its time, and not before the terminal has
taken the last one.

The cursor is never hidden and the screen never switched, so that a run that is killed leaves the terminal as
it was.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice
from typing import TextIO

from rich.console import Console
from rich.text import Text

from mu.console.terminal import fit
from mu.machine import ErrorState, MachineState, state_name
from mu.report.failure import Failure, failure_of
from mu.report.plain import PlainReporter
from mu.report.worker_log import Track
from mu.wire import clock

RATE = 5.0
SHARE = 0.02
WINDOW = 10.0  # seconds whose rate tells how long the rest will take
TWO_COLUMNS = 118  # characters, from which states and slow parts stand side by side
ERRORS_KEPT = 8


class LiveReporter(PlainReporter):
    """A painting at the bottom of a terminal, and lines that stay above it."""

    def __init__(self, parts: int, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__(parts, stream, verbose=verbose)
        self._console = Console(file=stream, force_terminal=True, highlight=False, soft_wrap=True)
        self._terminal = stream
        self._coding = getattr(stream, "encoding", None) or "ascii"
        self._full, self._empty = "━━" if self._sayable("━") == "━" else "=-"
        self._cut = "…" if self._sayable("…") == "…" else "~"
        self._states: Counter[str] = Counter()
        self._moved: dict[Track, float] = {}  # since when in its state, oldest first
        self._names: dict[Track, str] = {}  # the state that each is counted in
        self._errors: deque[tuple[Track, Failure]] = deque(maxlen=ERRORS_KEPT)
        self._finished: deque[tuple[float, int]] = deque()
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
            self._errors.append((track, failure_of(track.machine)))

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
            begin = (
                time.thread_time()
            )  # of this thread: that others had the processor, or all stood still, is no cost
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
        lines = self.lines(now, width, height - 1)
        for text in lines:
            self._fit(text, max(1, width - 1))
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

    def lines(self, now: float, width: int, height: int) -> list[Text]:
        """The painting: at most `height` lines, made for `width` characters."""
        found = [self._phases(now, width), self._bar(now, width)]
        if self.counts.launch_note:
            found.append(Text(self._sayable(self.counts.launch_note.lstrip("; ")), "dim"))
        rest = height - len(found)
        if rest >= 3:
            errors = self._error_lines(max(3, rest // 3), rest - 1)
            rest -= len(errors)
            if width >= TWO_COLUMNS:
                half = width // 2 - 2
                left, right = self._state_lines(half, rest), self._slow_lines(half, rest)
                found += self._side_by_side(left, right, half + 3)
            else:
                states = self._state_lines(width, rest if rest < 8 else max(4, rest - 7))
                found += states + self._slow_lines(width, rest - len(states))
            found += errors
        return found[: max(1, height)]

    def _phases(self, now: float, width: int) -> Text:
        run = self.counts
        counts: list[tuple[str, str, str]] = [
            ("failed", f"{run.failed:,}", "bold red" if run.failed else "dim"),
            ("done", f"{run.done:,} of {run.parts:,}", "green"),
            ("running", f"{len(self._moved):,}", "cyan"),
            ("workers", f"{run.workers:,}", "") if run.shared else ("connected", f"{run.begun:,}", ""),
        ]
        if run.launch is not None:
            counts.append(("launched", f"{run.launch.accepted:,}", ""))
        if run.repeated:
            counts.insert(2, ("tried again", f"{run.repeated:,}", "yellow"))
        clock = f"{now - self.started:.1f} s"
        while len(counts) > 1 and len(clock) + sum(len(name) + len(n) + 4 for name, n, _ in counts) > width:
            counts.pop()
        text = Text().append(clock, "bold")
        for name, number, style in reversed(counts):
            text.append(f"   {name} ", "dim").append(number, style)
        return text

    def _bar(self, now: float, width: int) -> Text:
        run = self.counts
        ended, parts = run.done + run.failed, max(1, run.parts)
        self._finished.append((now, run.done))
        while len(self._finished) > 2 and self._finished[1][0] <= now - WINDOW:
            self._finished.popleft()
        since, before = self._finished[0]
        rate = (run.done - before) / (now - since) if now > since else 0.0
        told = f" {100 * ended / parts:3.0f} %"
        if rate and ended < parts:
            told += f"  {rate:.1f}/s  {_duration((parts - ended) / rate)} left"
        size = max(0, width - 1 - len(told))
        text = Text()
        if size >= 8:
            failed = -(-run.failed * size // parts)
            done = min(run.done * size // parts, size - failed)
            running = min(len(self._moved) * size // parts, size - done - failed)
            text.append(self._full * done, "green").append(self._full * failed, "red")
            text.append(self._full * running, "cyan").append(
                self._empty * (size - done - failed - running), "bright_black"
            )
        return text.append(told)

    def _state_lines(self, width: int, height: int) -> list[Text]:
        """How many workers are in each state, in the order in which states were first seen."""
        shown = [(name, number) for name, number in self._states.items() if number > 0]
        room = height - 2
        if room < 1 or not shown:
            return []
        lines = [Text(), Text("workers in each state", "bold")]
        left = 0
        if len(shown) > room:
            most = set(sorted(self._states, key=lambda name: -self._states[name])[: room - 1])
            left = sum(number for name, number in shown if name not in most)
            shown = [(name, number) for name, number in shown if name in most]
        names = min(max((len(name) for name, _ in shown), default=0), max(10, width // 2))
        digits = len(f"{max((number for _, number in shown), default=0):,}")
        size = max(0, width - names - digits - 6)
        scale = max(1, len(self._moved))
        for name, number in shown:
            text = Text(f"  {self._name(name, names):<{names}} ").append(f"{number:>{digits},} ", "cyan")
            lines.append(text.append(self._full * (-(-number * size // scale)), "blue"))
        if left:
            lines.append(Text(f"  and {left:,} in other states", "dim"))
        return lines

    def _slow_lines(self, width: int, height: int) -> list[Text]:
        """The workers that have not changed their state for longest."""
        if height < 3 or not self._moved:
            return []
        now = clock.now()
        lines = [Text(), Text("longest in one state", "bold")]
        for track, since in islice(self._moved.items(), min(height - 2, 15)):
            again = f" ({track.number})" if track.number > 1 else ""
            begin = f"  part {track.part}{again}"
            end = f"  {now - since:7.1f} s of {now - track.connected:.1f} s"
            room = width - len(begin.ljust(14)) - len(end) - 3
            name = self._name(self._names[track], max(8, room))
            lines.append(Text(f"{begin:<14} {name:<{min(34, max(8, room))}}").append(end, "dim"))
        return lines

    def _error_lines(self, share: int, most: int) -> list[Text]:
        """The last errors, newest first, in `share` lines, or up to `most` if there is one only."""
        if not self._errors:
            return []
        lines = [Text(), Text("last errors", "bold")]
        room = min(most, share if len(self._errors) > 1 else share + 4)
        for track, failure in reversed(self._errors):
            first, *output = self._sayable(failure.why).splitlines()
            again = f", attempt {track.number}" if track.number > 1 else ""
            lines.append(
                Text(f"  part {track.part}{again}: {first}", "red").append(
                    f"  in {self._sayable(failure.state)}", "dim"
                )
            )
            # The end of what a program printed says most.
            lines += [Text(f"  {text.strip()}", "dim") for text in output[-3:]]
            if len(lines) >= room:
                break
        return lines[:room]

    def _side_by_side(self, left: list[Text], right: list[Text], column: int) -> list[Text]:
        lines = []
        for place in range(max(len(left), len(right))):
            text = left[place].copy() if place < len(left) else Text()
            if place < len(right) and right[place].plain:
                self._fit(text, column - 2)
                text.append(" " * (column - text.cell_len)).append_text(right[place])
            lines.append(text)
        return lines

    def _fit(self, text: Text, width: int) -> None:
        """Cut a line to what there is room for."""
        if text.cell_len > width:
            text.truncate(width - 1)
            text.append(self._cut)

    def _name(self, name: str, width: int) -> str:
        name = self._sayable(name)
        return name if len(name) <= width else name[: max(1, width - 1)] + self._cut

    def _sayable(self, text: str) -> str:
        """`text` as far as the terminal's encoding has it, in its place what will be there: its width is counted on."""
        return text.encode(self._coding, "replace").decode(self._coding)


def _duration(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
