"""Text from other programs and peers reaches a terminal only through `mu.console.terminal`, which cleans it."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from mu.console import terminal

SOURCE = Path(__file__).parents[3] / "src" / "mu"
# These write to standard error themselves, and only text of their own: a progress line that overwrites itself, and
# modules that run without `mu.console`: a worker's and a function's log, and a package's message that it cannot start.
WRITERS = {"cli/launch.py", "work/log.py", "console/terminal.py", "local/invocation.py"}
WRITERS |= {"pilot.py", "standalone.py", "lambdaize/package_main.py"}


def writes_to_stderr(tree: ast.AST) -> bool:
    """Returns whether a module calls `sys.stderr.write` or `print(file=sys.stderr)`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(
        ast.unparse(call.func) == "sys.stderr.write"
        or any(word.arg == "file" and ast.unparse(word.value) == "sys.stderr" for word in call.keywords)
        for call in calls
    )


def test_nobody_else_writes_to_standard_error() -> None:
    assert modules_where(writes_to_stderr) - WRITERS == set()


def modules_where(writes: Callable[[ast.AST], bool]) -> set[str]:
    """Returns the paths of the modules for which the predicate holds."""
    return {
        str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if writes(ast.parse(path.read_bytes()))
    }


# These write to standard output text of their own, text that has been cleaned, or a file for programs; `mu map` also
# writes the output of the user's programs, unchanged.
RESULTS = {
    f"cli/{name}.py"
    for name in ("completion", "demo", "diagram", "genkeys", "ivf_join", "lambdaize", "local")
}
RESULTS |= {f"cli/{name}.py" for name in ("main", "plan", "quality", "reference", "timeline", "y4m_chop")}
RESULTS |= {"console/terminal.py", "history/reference.py", "history/schema.py", "mapping/dry_run.py"}
RESULTS |= {"mapping/run.py", "standalone.py", "local/invocation.py"}


def test_nobody_else_writes_to_standard_output() -> None:
    assert modules_where(writes_to_stdout) - RESULTS == set()


def writes_to_stdout(tree: ast.AST) -> bool:
    """Returns whether a module uses `sys.stdout` or calls `print` without a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout.write", "sys.stdout.buffer"):
            return True
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "print"):
            continue
        if all(word.arg != "file" for word in node.keywords):
            return True
    return False


def test_a_result_is_fit_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.tell("a\x1b[2J\u202eb\nc\n")
    assert capsys.readouterr().out == "a\\x1b[2J\\u202eb\nc\n"


def test_a_writer_is_found() -> None:
    assert writes_to_stderr(ast.parse("import sys\nprint('x', file=sys.stderr)"))
    assert writes_to_stderr(ast.parse("import sys\ndef f():\n    sys.stderr.write('x')"))
    assert not writes_to_stderr(ast.parse("import sys\nsys.stdout.write('x')"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb\nc\r", r"a\x1b[2Jb" "\n" r"c\r"),
        ("key \u202egpj.exe", r"key \u202egpj.exe"),
        ("\u2066x\u2069 \u200fy", r"\u2066x\u2069 \u200fy"),
        ("a\tb", "a       b"),
        ("日本 é", "日本 é"),
    ],
)
def test_what_is_said_is_fit_for_a_terminal(
    text: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.say(text)
    assert capsys.readouterr().err == f"{shown}\n"
