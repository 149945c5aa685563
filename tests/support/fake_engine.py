"""An engine that starts nothing; a test sets its state."""

from collections.abc import Mapping
from typing import Any

from mu.engines.protocol import NOTHING, BaseEngine, Limit, Progress


class FakeEngine(BaseEngine):
    """`limited` workers at a time; `failed` is the reason of its failure."""

    requests = 0  # type: ignore[assignment]
    pending = 0  # type: ignore[assignment]

    def __init__(self, name: str, limited: int | None = None) -> None:
        self.name = name
        self.limited = limited
        self.asked = 0
        self.event = ""
        self.failed: str | None = None
        self.gone = 0
        self.hellos: list[Mapping[str, Any]] = []
        self.ends = 0
        self.calls: list[str] = []

    @property
    def progress(self) -> Progress | None:
        return NOTHING._replace(total=self.asked, accepted=self.asked) if self.asked else None

    def start(self, event: str, number: int) -> None:
        self.event = event
        self.asked += number

    def more(self, number: int) -> None:
        self.asked += number

    def shown(self, facts: Mapping[str, Any]) -> None:
        self.hellos.append(facts)

    def left(self, facts: Mapping[str, Any]) -> None:
        self.ends += 1

    def lost(self, now: float) -> int:
        return self.gone

    def failure(self) -> str | None:
        return self.failed

    def note(self) -> str:
        return f"; {self.asked} asked" if self.asked else ""

    def limit(self) -> Limit:
        return Limit(self.limited, "says the test")

    def own_address(self) -> str:
        return {"here": "127.0.0.1"}.get(self.name, "10.0.0.1")

    def give_up(self) -> None:
        self.calls.append("give_up")

    def cancel(self) -> None:
        self.calls.append("cancel")

    def wait(self) -> None:
        self.calls.append("wait")
