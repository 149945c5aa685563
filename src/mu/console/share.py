"""Finds the parts of mu beside its modules: examples, scripts and the sources of png2y4m."""

from pathlib import Path

from mu.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]


def shared(name: str) -> Path:
    """Returns the path of `examples`, `bin` or `tools/png2y4m`: in `mu/_share` of an installation, which may be
    read-only, or in the source tree. Raises UsageError if it does not exist."""
    for root in (PACKAGE / "_share", PACKAGE.parents[1]):
        if (root / name).is_dir():
            return root / name
    raise UsageError(f"this installation of mu has no folder {name}: install it again with pip")
