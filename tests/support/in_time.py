"""Time limits that work on a machine of any speed."""

from collections.abc import Callable

FACTOR, ROUNDS = 6.0, 4


def in_time(check: Callable[[float], None], first: float) -> None:
    """Calls `check(seconds)` with `first`; while it fails, again with limits that are each six times as long.

    It is for tests that give the tested code a time limit within which one thing must happen and another must not: no
    single limit is both short enough for the suite and long enough for a very slow machine. Raises the exception of
    the last call if all calls fail.
    """
    for number in range(ROUNDS):
        try:
            check(first * FACTOR**number)
            return
        except Exception:
            if number == ROUNDS - 1:
                raise
