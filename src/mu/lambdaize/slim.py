"""Python source without what only its readers need, so that packages are small: comments and docstrings.

Every line keeps its number, so that a traceback from a worker still names the right one.
"""

import ast
import io
import tokenize


def slim(source: str) -> str:
    """The same program without comments and docstrings. Raises SyntaxError if it is none."""
    tree = ast.parse(source)
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _blank_docstring(node, lines)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _blank_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]
) -> None:
    # Strings by themselves are docstrings, of attributes, too.
    for place, statement in enumerate(node.body):
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        ):
            continue
        assert statement.end_lineno is not None
        for row in range(statement.lineno - 1, statement.end_lineno):
            lines[row] = ""
        if place == 0 and len(node.body) == 1 and not isinstance(node, ast.Module):
            lines[statement.lineno - 1] = " " * statement.col_offset + "..."
