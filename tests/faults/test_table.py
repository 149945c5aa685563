"""The table in docs/reliability.md names every test here, and no other."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text()


def named() -> set[str]:
    """The tests in the table; `[a, b]` stands for two, or, if a name has a comma in it, `[a; b, c]`."""
    found = set()
    for name, cases in re.findall(r"`(test_\w+\.py::\w+)(?:\[([^\]`]+)\])?` \|$", TABLE, re.MULTILINE):
        each = cases.split("; ") if "; " in cases else cases.split(", ")
        found |= {f"{name}[{case}]" for case in each} if cases else {name}
    return found


def test_the_table_of_threads_names_every_module_that_starts_one_and_only_tests_that_are_there() -> None:
    source = ROOT / "src" / "mu"
    table = TABLE.partition("## Threads")[2]
    for path in source.rglob("*.py"):
        if re.search(r"Thread\(|ThreadPoolExecutor\(", path.read_text()):
            assert f"`{path.relative_to(source)}`" in table
    assert "not tested" not in table
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", table):
        assert not name or f"def {name}(" in (ROOT / file).read_text()


def test_rows_and_tests_agree() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", "tests/faults"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    there = set(re.findall(r"^tests/faults/(test_\w+\.py::.*)$", listed, re.MULTILINE))
    assert named() == {name for name in there if not name.startswith("test_table.py")}
    rows = [line for line in TABLE.splitlines() if line.startswith("| ")]
    assert all(line.count(" | ") == 2 for line in rows)
