"""Small graphs made of characters, and the history that they show: the whole run so far, in bounded memory."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

MAX_SAMPLES = 512  # when there are more, every other one goes and the time between two doubles
STEP = 0.5  # seconds between two samples at first
EIGHTHS = " ▁▂▃▄▅▆▇█"
PLAIN = "  ..::=##"  # the same for a terminal that has no block elements


class History:
    """Figures over time: samples at equal distances, from the beginning of a run to now."""

    def __init__(self) -> None:
        self._step = STEP
        self._times: list[float] = []
        self._samples: list[tuple[float, ...]] = []

    def add(self, at: float, figures: tuple[float, ...]) -> None:
        """The figures at `at`, in seconds since the beginning. The last sample moves on until it is a step away."""
        times, samples = self._times, self._samples
        if len(times) >= 2 and times[-1] - times[-2] < self._step:
            times.pop()
            samples.pop()
        if times and at <= times[-1]:
            return
        times.append(at)
        samples.append(figures)
        if len(times) > MAX_SAMPLES:
            self._step *= 2
            del times[1:-1:2], samples[1:-1:2]

    @property
    def end(self) -> float:
        """The time of the last sample; 0 without any."""
        return self._times[-1] if self._times else 0.0

    def rates(self, figure: int, columns: int) -> list[float]:
        """How much a figure has grown per second, in each of as many stretches of time of equal length."""
        if not self._times or self.end <= 0:
            return []
        width = self.end / columns
        marks = [self._value(figure, width * place) for place in range(columns + 1)]
        return [max(0.0, after - before) / width for before, after in pairwise(marks)]

    def levels(self, figure: int, columns: int) -> list[float]:
        """The highest that a figure was in each of as many stretches of time."""
        if not self._times or self.end <= 0:
            return []
        width = self.end / columns
        found = []
        for place in range(columns):
            first = bisect_right(self._times, width * place)
            last = bisect_right(self._times, width * (place + 1))
            inside = [self._samples[each][figure] for each in range(first, last)]
            found.append(max([*inside, self._value(figure, width * (place + 1))]))
        return found

    def recent(self, figure: int, seconds: float) -> float:
        """How much a figure has grown per second in the last `seconds`, or since the first sample."""
        if not self._times:
            return 0.0
        since = max(self.end - seconds, self._times[0])
        if self.end <= since:
            return 0.0
        return max(0.0, self._samples[-1][figure] - self._value(figure, since)) / (self.end - since)

    def _value(self, figure: int, at: float) -> float:
        """A figure at any time, between two samples in proportion; all begin at 0."""
        times, samples = self._times, self._samples
        after = bisect_right(times, at)
        if after == len(times):
            return samples[-1][figure]
        end, to = times[after], samples[after][figure]
        begin, from_ = (times[after - 1], samples[after - 1][figure]) if after else (0.0, 0.0)
        return from_ + (to - from_) * (at - begin) / (end - begin) if end > begin else to


def drawn(values: Sequence[float], height: int, top: float, *, blocks: bool = True) -> list[str]:
    """The values as columns in `height` lines, of which `top` fills all; whatever is above 0 can be seen."""
    marks = EIGHTHS if blocks else PLAIN
    filled = []
    for value in values:
        eighths = round(min(value / top, 1.0) * height * 8) if top > 0 else 0
        filled.append(max(eighths, 1) if value > 0 else 0)
    return [
        "".join(marks[min(8, max(0, eighths - 8 * row))] for eighths in filled)
        for row in reversed(range(height))
    ]
