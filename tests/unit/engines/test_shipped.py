"""A file that cannot be a package is refused before it is read."""

from pathlib import Path

import pytest

from mu.engines import shipped
from mu.errors import UsageError


def test_a_file_that_is_too_big_for_a_package(tmp_path: Path) -> None:
    path = tmp_path / "big.zip"
    with path.open("wb") as file:
        file.truncate(shipped.MAX_PACKAGE + 1)  # a sparse file, which takes no disk space
    with pytest.raises(UsageError, match=r"big\.zip is too big"):
        shipped.package(path)
