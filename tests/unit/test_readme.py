"""The commands and flags in the README exist."""

from pathlib import Path

import pytest

from mu.cli.main import COMMANDS

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_named(command: str) -> None:
    assert f"`{command}`" in README
