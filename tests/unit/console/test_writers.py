"""What others say reaches a terminal by `mu.console.terminal` only, which makes it fit for one."""

import ast
from pathlib import Path

import pytest

from mu.console import terminal

SOURCE = Path(__file__).parents[3] / "src" / "mu"
# These write to standard error themselves, and nothing that is not theirs: a progress line that is painted over; and
# what runs without the console's modules: a worker's and a function's own log, and how a package says it cannot start.
WRITERS = {"cli/launch.py", "work/log.py", "console/terminal.py", "local/invocation.py"}
WRITERS |= {"pilot.py", "standalone.py", "lambdaize/package_main.py"}


def writes_to_stderr(tree: ast.AST) -> bool:
    """Whether a module calls `sys.stderr.write` or `print(file=sys.stderr)`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(
        ast.unparse(call.func) == "sys.stderr.write"
        or any(word.arg == "file" and ast.unparse(word.value) == "sys.stderr" for word in call.keywords)
        for call in calls
    )


def test_nobody_else_writes_to_standard_error() -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if writes_to_stderr(ast.parse(path.read_bytes()))
    }
    assert found - WRITERS == set()


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
