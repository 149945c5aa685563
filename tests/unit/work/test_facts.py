"""The facts that a worker sends about itself."""

from collections.abc import Iterator
from math import inf
from pathlib import Path
from time import monotonic

import pytest

from mu.wire import protocol
from mu.work import facts


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Clears the cache of facts that are looked up once per process."""
    facts.memory.cache_clear()
    yield
    facts.memory.cache_clear()


def test_facts_are_those_of_the_hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1536")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    made = facts.facts(str(tmp_path), monotonic() + 100, "id", True)
    assert protocol.parse_hello(protocol.hello("r", made)) == ("r", made)
    assert set(made) == set(protocol.FACTS)
    assert 0 < made["seconds_left"] <= 100
    assert (made["memory"], made["region"], made["request_id"], made["fresh"]) == (
        1536 << 20,
        "eu-west-1",
        "id",
        True,
    )
    assert made["cpus"] >= 1
    assert made["disk"] > 0


def test_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"):
        monkeypatch.delenv(name, raising=False)
    made = facts.facts("/no/such/directory", inf, "", False)
    assert (made["seconds_left"], made["region"], made["disk"]) == (None, "", 0)
    assert made["memory"] > 1 << 20


@pytest.mark.parametrize(("text", "limited"), [("1048576\n", True), ("max\n", False), ("9" * 30, False)])
def test_a_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, limited: bool
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)
    (tmp_path / "limit").write_text(text)
    monkeypatch.setattr(facts, "LIMITS", (f"{tmp_path}/none", f"{tmp_path}/limit"))
    assert (facts.memory() == 1 << 20) is limited
