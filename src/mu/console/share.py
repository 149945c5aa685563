"""What comes with mu beside its modules: its version, and the folders of examples, scripts and png2y4m's sources."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

from mu.errors import UsageError

DISTRIBUTION = "mu-workers"  # the name to install; the module and the command are `mu`
PACKAGE = Path(__file__).resolve().parents[1]


def shared(name: str) -> Path:
    """Where `examples`, `bin` or `tools/png2y4m` is: in `mu/_share` of an install, which may not be writable, or in the
    source tree. UsageError if it is not there."""
    for root in (PACKAGE / "_share", PACKAGE.parents[1]):
        if (root / name).is_dir():
            return root / name
    raise UsageError(f"this install of mu came without its folder {name}: install it anew, with pip")


def version() -> str:
    """The version of mu that is installed, such as 0.1.0; "unknown" in a source tree that is not."""
    try:
        return version_of(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
