"""Counts an engine's workers from their start to their end."""

from collections.abc import Mapping
from typing import Any

from mu.engines.protocol import Engine


class Headcount:
    """The workers of one engine: `hellos` is how many have connected so far, `connected` how many of these have not
    ended.

    `lost` is how many starts the engine says will never connect; `given_up` is how many had not connected when all of
    these were given up. Those given up are the oldest, so the first that are lost are taken to be among them, and no
    start is subtracted twice.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.hellos = 0
        self.connected = 0
        self.lost = 0
        self.given_up = 0

    @property
    def missing(self) -> int:
        """The number of workers that were asked for and have not connected, whether they may still come or not."""
        return max(0, self.engine.asked - self.hellos)

    @property
    def expected(self) -> int:
        """The number of workers that were asked for and may still connect."""
        return max(0, self.missing - max(self.lost, self.given_up))

    def shown(self, facts: Mapping[str, Any]) -> None:
        """Counts a worker that has said hello, and tells the engine."""
        self.hellos += 1
        self.connected += 1
        self.engine.shown(facts)

    def left(self, facts: Mapping[str, Any]) -> None:
        """Counts the end of a worker that had said hello, and tells the engine."""
        self.connected = max(0, self.connected - 1)
        self.engine.left(facts)

    def give_up(self) -> None:
        """Expects none of the workers any longer that have not connected, and tells the engine."""
        self.given_up = self.missing
        self.engine.give_up()
