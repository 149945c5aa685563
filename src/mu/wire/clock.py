"""One clock for a run: it tells the time of day, but never goes back when the system's clock is set."""

import time

# Read once: a record contains differences of times, which would be wrong if the clock were set meanwhile.
_EPOCH = time.time() - time.monotonic()


def now() -> float:
    """Returns the seconds since the epoch, by the system's clock when this process began; always ascending."""
    return _EPOCH + time.monotonic()
