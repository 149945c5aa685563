"""Small helpers that scripts use."""

import importlib
import secrets
import string
from pathlib import Path
from typing import Any

from mu.errors import UsageError

SOCKETS = ("accept_socket", "connect_socket", "listen_socket")
ALPHABET = string.ascii_letters + string.digits


def rand_str(length: int) -> str:
    """`length` random letters and digits, from the system's secure source."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def read_pem(path: str | Path) -> str:
    """The base64 body of a PEM file on one line; a chain's blocks are separated by one space.

    UsageError if the file cannot be read or holds no PEM block.
    """
    try:
        lines = Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    blocks: list[list[str]] = []
    inside = False
    for line in map(str.strip, lines):
        if line.startswith("-----BEGIN "):
            blocks.append([])
            inside = True
        elif line.startswith("-----END "):
            inside = False
        elif inside and line:
            blocks[-1].append(line)
    if not blocks or not all(blocks):
        raise UsageError(f"{path} holds no PEM block")
    return " ".join("".join(block) for block in blocks)


def __getattr__(name: str) -> Any:
    """`listen_socket`, `accept_socket`, `connect_socket`: from a module that a worker's package does not hold."""
    if name not in SOCKETS:
        raise AttributeError(f"module 'mu.util' has no attribute '{name}'")
    return getattr(importlib.import_module("mu.sockets"), name)
