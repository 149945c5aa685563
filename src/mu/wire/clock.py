"""One clock for a run: it tells the time of day, and never goes back when the system's clock is set."""

import time

# Read once. What is recorded are differences, which a clock that is set meanwhile would spoil.
_EPOCH = time.time() - time.monotonic()


def now() -> float:
    """Seconds since the epoch, as the system's clock had them when this process began; always ascending."""
    return _EPOCH + time.monotonic()
