"""A worker's log: lines on standard error, which Lambda keeps."""

import sys

from mu.errors import one_line


def log(text: str) -> None:
    """Writes one line to standard error, which Lambda stores."""
    sys.stderr.write(f"mu worker: {one_line(text)}\n")
    sys.stderr.flush()
