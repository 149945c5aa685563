"""Small graphs made of characters, and the history that they show: the whole run so far, in bounded memory."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

MAX_SAMPLES = 512  # when exceeded, every second sample is dropped and the step doubles
STEP = 0.5  # initial seconds between two samples
EIGHTHS = " ▁▂▃▄▅▆▇█"
PLAIN = "  ..::=##"  # the characters for a terminal without block elements


class History:
    """Figures over time: samples at equal distances, from the beginning of a run to the present."""

    def __init__(self) -> None:
        self._step = STEP
        self._times: list[float] = []
        self._samples: list[tuple[float, ...]] = []

    def add(self, at: float, figures: tuple[float, ...]) -> None:
        """Adds the figures at `at` (seconds since the beginning). They replace the last sample while it is less than
        a step old."""
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
        """The time of the last sample; 0 if there is none."""
        return self._times[-1] if self._times else 0.0

    def rates(self, figure: int, columns: int) -> list[float]:
        """Returns the growth per second of a figure in each of `columns` equal intervals of time."""
        if not self._times or self.end <= 0:
            return []
        width = self.end / columns
        marks = [self._value(figure, width * place) for place in range(columns + 1)]
        return [max(0.0, after - before) / width for before, after in pairwise(marks)]

    def levels(self, figure: int, columns: int) -> list[float]:
        """Returns the highest value of a figure in each of `columns` equal intervals of time."""
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
        """Returns the growth per second of a figure in the last `seconds`, or since the first sample."""
        if not self._times:
            return 0.0
        since = max(self.end - seconds, self._times[0])
        if self.end <= since:
            return 0.0
        return max(0.0, self._samples[-1][figure] - self._value(figure, since)) / (self.end - since)

    def _value(self, figure: int, at: float) -> float:
        """Returns a figure at any time, interpolated between two samples; all figures begin at 0."""
        times, samples = self._times, self._samples
        after = bisect_right(times, at)
        if after == len(times):
            return samples[-1][figure]
        end, to = times[after], samples[after][figure]
        begin, from_ = (times[after - 1], samples[after - 1][figure]) if after else (0.0, 0.0)
        return from_ + (to - from_) * (at - begin) / (end - begin) if end > begin else to


def drawn(values: Sequence[float], height: int, top: float, *, blocks: bool = True) -> list[str]:
    """Returns the values as columns in `height` lines, where `top` fills all lines; every value above 0 is visible."""
    marks = EIGHTHS if blocks else PLAIN
    filled = []
    for value in values:
        eighths = round(min(value / top, 1.0) * height * 8) if top > 0 else 0
        filled.append(max(eighths, 1) if value > 0 else 0)
    return [
        "".join(marks[min(8, max(0, eighths - 8 * row))] for eighths in filled)
        for row in reversed(range(height))
    ]
