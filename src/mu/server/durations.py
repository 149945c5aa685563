"""The median and the 95th percentile of the durations of the parts that were done last."""

from collections import deque

WINDOW = 500  # parts that are considered; sorting them takes about 30 microseconds
SHARE = 16  # sort again when the number of parts has grown by 1/SHARE


class Durations:
    """Durations (seconds) of finished parts. Only the last `WINDOW` count, so memory and time stay constant."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._added = 0
        self._sorted_at = 0
        self._sorted: list[float] = []

    def __bool__(self) -> bool:
        return self._added > 0

    def add(self, seconds: float) -> None:
        """Adds the duration of one part."""
        self._last.append(seconds)
        self._added += 1

    def median(self) -> float:
        """Returns the median in seconds; 0 if no part is done yet."""
        return self._at(0.5)

    def slow(self) -> float:
        """Returns the 95th percentile in seconds; 0 if no part is done yet."""
        return self._at(0.95)

    def _at(self, share: float) -> float:
        # Sorting after each of the first SHARE parts, later at least once every WINDOW parts, is exact enough
        # and cheap.
        if self._added - self._sorted_at > min(self._sorted_at, WINDOW) // SHARE:
            self._sorted = sorted(self._last)
            self._sorted_at = self._added
        found = self._sorted
        if not found:
            return 0.0
        # Interpolates between the two nearest values, as statistics.median does.
        place = share * (len(found) - 1)
        below = int(place)
        above = min(below + 1, len(found) - 1)
        return found[below] + (found[above] - found[below]) * (place - below)
