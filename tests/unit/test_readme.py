"""What the README says of flags and commands is what there is."""

from pathlib import Path

import pytest

from mu.cli.main import COMMANDS
from mu.server.flags import EVERY_SCRIPT, FLAGS, WORKER_FLAGS

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_table_of_flags() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `-") and "--debug" not in line]
    expected = [
        f"| {' '.join(f'`{name}`' for name in (flag.short, flag.long) if name)} | `{flag.attribute}` | {flag.text} |"
        for flag in (*FLAGS, *WORKER_FLAGS, *EVERY_SCRIPT)
    ]
    assert rows == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_named(command: str) -> None:
    assert f"`{command}`" in README
