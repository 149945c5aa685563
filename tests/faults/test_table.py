"""The table in docs/reliability.md names every test here, and no other."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text()


def named() -> set[str]:
    """Returns the tests in the table; `[a, b]` means two cases; names that have a comma are separated by `;`."""
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


def rows_of(heading: str) -> list[list[str]]:
    """Returns the cells of the table below a heading of SECURITY.md."""
    text = (ROOT / "SECURITY.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def shown(value: Any) -> set[str]:
    """Returns the ways in which a bound may be written."""
    if isinstance(value, float):
        return {f"{value:g} s"}
    return {f"{value:,}", f"{value >> 20:,} MiB" if value >> 20 else f"{value >> 10:,} KiB"}


@pytest.mark.parametrize(("heading", "columns"), [("Who can reach what", 4), ("Bounds", 4)])
def test_each_row_of_the_tables_in_security_names_tests_that_are_there(heading: str, columns: int) -> None:
    rows = rows_of(heading)
    assert rows
    for row in rows:
        assert len(row) == columns, row
        tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row[-1])
        assert tests, row
        for file, name in tests:
            assert not name or f"def {name}(" in (ROOT / file).read_text(), name


def test_each_bound_is_what_the_code_has() -> None:
    for row in rows_of("Bounds"):
        for name in re.findall(r"`(mu(?:\.\w+)+)`", row[1]):
            module, _, attribute = name.rpartition(".")
            owner = None
            # The last name is a class, whose attribute is the default.
            if module.rpartition(".")[2][:1].isupper():
                module, _, owner = module.rpartition(".")
            found: Any = importlib.import_module(module)
            value = getattr(getattr(found, owner) if owner else found, attribute)
            if isinstance(value, int | float):
                assert any(text in row[1] for text in shown(value)), name


# Constants that look like bounds, but that no peer can affect, with the reason.
OTHER_LIMITS = {
    "what the services themselves allow": {
        "mu.engines.microvm.LONGEST",
        "mu.engines.microvm.PAYLOAD_MAX",
        "mu.lambdaize.deploy.DIRECT_LIMIT",
        "mu.launch.options.TIMEOUT_MAX",
        "mu.mapping.outputs.LONGEST_KEY",
        "mu.mapping.outputs.LONGEST_NAME",
        "mu.mapping.paths.LONGEST_PATH",
    },
    "numbers of formats and arguments": {
        "mu.cli.ivf_join.MOST_FRAMES",
        "mu.cli.ivf_join.MOST_TIME",
        "mu.cli.y4m_chop.MOST_LINE",
        "mu.console.arguments.MAX_PORT",
        "mu.engines.prediction.MOST_PARTS",
        "mu.engines.ssh.MAX_HOSTS",
        "mu.history.schema.LARGEST",
        "mu.mapping.past.LARGEST_NUMBER",
        "mu.server.staffing.NO_LIMIT",
        "mu.wire.checks.LARGEST",
    },
    "how much is drawn or printed of what other bounds let in": {
        "mu.cli.diagram.MOST_ROWS",
        "mu.errors.LONGEST",
        "mu.handler.LONGEST_LABEL",
        "mu.report.failure.MAX_CAUSE",
        "mu.report.failure.MAX_COMMAND",
        "mu.report.failure.MAX_COMMAND_NAME",
        "mu.report.failure.MAX_NAMES",
        "mu.report.failure.MAX_SUBJECT",
        "mu.report.failure.MAX_OUTPUT_LINES",
        "mu.report.display.MAX_GRAPH",
        "mu.report.snapshot.LONGEST",
        "mu.report.snapshot.MAX_LINES",
        "mu.report.plain.MAX_REASONS_SHOWN",
        "mu.wire.reasons.LONGEST",
    },
    "how much of the user's own files is looked at": {
        "mu.lambdaize.runtime_image.MOST_OF_A_SCRIPT",
        "mu.launch.environment.MAX_FILE",
        "mu.work.executable.MAX_INTERPRETER",
    },
}
BOUND = re.compile(
    r"^((?:MAX|MOST|LONGEST|LARGEST)(?:_[A-Z_]+)?|[A-Z_]+_(?:KEPT|MAX|LIMIT)) *(?::.*)?= *[\d(]", re.M
)


def bounds() -> set[str]:
    """Returns each module's numeric constants whose names are those of bounds."""
    source = ROOT / "src"
    found = set()
    for path in source.rglob("*.py"):
        module = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        found |= {f"{module}.{name}" for name in BOUND.findall(path.read_text())}
    return found


def test_each_bound_of_the_code_is_in_the_table() -> None:
    told = set(re.findall(r"`(mu(?:\.\w+)+)`", " ".join(row[1] for row in rows_of("Bounds"))))
    other = set().union(*OTHER_LIMITS.values())
    assert bounds() - told == other
    assert not told & other
