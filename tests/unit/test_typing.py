"""tests/typing/uses_the_api.py, which uses the public API as a user does, and the files that mypy checks."""

import importlib.util
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "typing" / "uses_the_api.py"


def test_what_a_user_uses_is_there() -> None:
    """The file can be imported, and the machine of its classes can be drawn; mypy checks the types."""
    spec = importlib.util.spec_from_file_location("uses_the_api", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from mu.cli.diagram import mermaid

    drawn = mermaid(module.FirstState)
    for state in ("LoopState", "RoundState", "TogetherState", "UploadState", "FinalState"):
        assert state in drawn


def test_mypy_looks_at_examples_and_at_what_a_user_uses() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"]
    assert {"src", "examples", "tests/typing"} <= set(settings["files"])
