"""Removes comments and docstrings from the worker's modules that are shipped; each line keeps its number.

A function is unpacked and compiled again in each new sandbox, and users look at its package, so it is small. The line
numbers in a traceback are still those of the source.
"""

import ast
import io
import tokenize


def slim(source: bytes) -> bytes:
    """Returns `source`, a module in UTF-8, without comments and docstrings. Line numbers do not change.

    Raises SyntaxError if it is not a module.
    """
    lines = source.decode().splitlines(keepends=True)
    spans = [_docstring(node) for node in ast.walk(ast.parse(source)) if _docstring(node)]
    for span in sorted((span for span in spans if span), reverse=True):
        (first, start), (last, end) = span
        before, after = lines[first - 1].encode()[:start].decode(), lines[last - 1].encode()[end:].decode()
        lines[first - 1 : last] = [f'{before}""{after}', *["\n"] * (last - first)]
    for token in reversed(list(tokenize.generate_tokens(io.StringIO("".join(lines)).readline))):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    return "".join(lines).encode()


def _docstring(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Returns begin and end of the docstring of a module, class or function, as (line, byte) pairs; None without
    one."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    if not node.body or ast.get_docstring(node, clean=False) is None:
        return None
    text = node.body[0]
    return (text.lineno, text.col_offset), (text.end_lineno or text.lineno, text.end_col_offset or 0)
