"""Finds the parts of mu beside its modules: version, examples, scripts and the sources of png2y4m."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from mu.errors import UsageError

DISTRIBUTION = "mu-workers"  # the name to install; the module and the command are `mu`
PACKAGE = Path(__file__).resolve().parents[1]


def shared(name: str) -> Path:
    """Returns the path of `examples`, `bin` or `tools/png2y4m`: in `mu/_share` of an installation, which may be
    read-only, or in the source tree. Raises UsageError if it does not exist."""
    for root in (PACKAGE / "_share", PACKAGE.parents[1]):
        if (root / name).is_dir():
            return root / name
    raise UsageError(f"this installation of mu has no folder {name}: install it again with pip")


def version() -> str:
    """Returns the installed version of mu, such as 0.1.0; "unknown" in a source tree that is not installed."""
    try:
        return version_of(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
