"""Source without comments and docstrings is the same program, line by line."""

import ast
from pathlib import Path

import pytest

from mu.lambdaize import archive
from mu.lambdaize.slim import slim

SOURCE = Path(__file__).parents[3] / "src" / "mu"


def code(source: str) -> list[str]:
    """Every statement with its line, strings by themselves and `...` left out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            header = [ast.dump(part) for part in ast.iter_child_nodes(node) if not isinstance(part, ast.stmt)]
            found.append(f"{node.lineno} {type(node).__name__} {header}")
    return found


@pytest.mark.parametrize("name", archive.worker_files())
def test_it_is_the_same_program(name: str) -> None:
    source = (SOURCE / name).read_text()
    assert code(slim(source)) == code(source)


def test_what_is_left_out() -> None:
    source = (
        '"""Module."""\n'
        "# comment\n"
        "class A:  # of A\n"
        '    """Only\n'
        '    this."""\n'
        "def f():\n"
        '    """Doc."""\n'
        '    x = "# no comment"  # comment\n'
        "    return x\n"
    )
    assert slim(source) == (
        "\n\nclass A:\n    ...\n\ndef f():\n\n" + '    x = "# no comment"\n' + "    return x\n"
    )


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        slim("def (:\n")
