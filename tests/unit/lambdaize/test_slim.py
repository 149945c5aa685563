"""The worker's modules as shipped, without docstrings and comments, have the same code at the same line numbers."""

import ast
from pathlib import Path

import pytest

import mu
from mu.lambdaize.archive import worker_files
from mu.lambdaize.slim import slim

SOURCE = Path(mu.__file__).parent


def code(source: bytes) -> str:
    """Returns the syntax tree of a module with its line numbers, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)
            and isinstance(node.body[0].value.value, str)
        ):
            node.body[0] = ast.Pass()
    for node in ast.walk(tree):
        # A body that ends in a docstring gets another last line.
        for name in ("end_lineno", "col_offset", "end_col_offset"):
            if hasattr(node, name):
                setattr(node, name, 0)
    return ast.dump(tree, include_attributes=True)


@pytest.mark.parametrize("name", worker_files())
def test_a_workers_module_is_the_same_program(name: str) -> None:
    source = (SOURCE / name).read_bytes()
    assert code(slim(source)) == code(source)
    assert len(slim(source).splitlines()) == len(source.splitlines())


def test_what_goes_and_what_stays() -> None:
    source = '''"""Of the module,
in two lines."""
x = "# no comment"  # a comment
def f():
    """Only this."""
def g(a):  # é
    """é"""; return a
class C:
    "one"
    y = """kept
    # as it is
    """
'''.encode()
    assert (
        slim(source).decode()
        == '''""

x = "# no comment"
def f():
    ""
def g(a):
    ""; return a
class C:
    ""
    y = """kept
    # as it is
    """
'''
    )
