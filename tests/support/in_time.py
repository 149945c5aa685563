"""Time limits that work on a machine of any speed."""

from collections.abc import Callable

FACTOR, ROUNDS = 6.0, 4


def in_time(check: Callable[[float], None], first: float) -> None:
    """Calls `check(seconds)` with `first`; while it fails, again with limits that are each six times as long.

    For what must happen within a time limit that the tested code is given, while something else must not happen: no
    single limit is both short enough for the suite and long enough for a very slow machine. Raises the last
    exception.
    """
    for number in range(ROUNDS):
        try:
            check(first * FACTOR**number)
            return
        except Exception:
            if number == ROUNDS - 1:
                raise
