"""Time limits that a test can keep on any machine."""

from collections.abc import Callable

FACTOR, ROUNDS = 6.0, 4


def in_time(check: Callable[[float], None], first: float) -> None:
    """Do `check(seconds)` with `first`; while it fails, with limits that are each six times as long.

    For what must happen within a time limit that the tested code is given, beside something that must not: no limit is
    both short enough for the suite and long enough for a machine that stands still. Raises what the last one raised.
    """
    for number in range(ROUNDS):
        try:
            check(first * FACTOR**number)
            return
        except Exception:
            if number == ROUNDS - 1:
                raise
