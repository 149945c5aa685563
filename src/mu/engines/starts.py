"""Counts the workers that an engine was asked to start, for engines that learn of each worker that ends."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mu.engines.protocol import NOTHING, BaseEngine, Progress

GIVE_UP = 3  # if this many workers end before any has connected, the engine gives up


class Starts:
    """Counts starts; its methods may be called from several threads. A worker's hello has its name as `request_id`."""

    def __init__(self, prefix: str) -> None:
        self.asked = 0
        self._prefix = prefix
        self._lock = threading.Lock()
        self._named = 0
        self._early: set[str] = set()  # names that said hello before they were known to be started
        self._running: set[str] = set()
        self._shown: set[str] = set()  # names that are running and have said hello
        self._unseen: set[str] = set()  # names that ended without a hello
        self._anonymous = 0  # number of hellos without a name
        self._hellos = 0
        self._said: Counter[str] = Counter()  # last lines of workers that ended without a hello
        self._began = False

    def ask(self, number: int) -> None:
        """Adds this many to the workers that are wanted."""
        with self._lock:
            self._began = True
            self.asked += number

    @property
    def waiting(self) -> int:
        """How many were asked for and not started yet."""
        with self._lock:
            return self.asked - self._named

    def take(self, number: int) -> list[str]:
        """Returns the names of at most `number` workers to start now."""
        with self._lock:
            fresh = min(number, self.asked - self._named)
            names = [f"{self._prefix}-{self._named + place}" for place in range(fresh)]
            self._named += fresh
            self._running.update(names)
            return names

    def begun(self, name: str) -> None:
        """Records that a worker was started, which its system has named."""
        with self._lock:
            self._named += 1
            self._running.add(name)
            if name in self._early:
                self._early.remove(name)
                self._shown.add(name)

    def ended(self, name: str, said: str = "") -> bool:
        """Records that a worker has ended, with its last line; returns whether it had said hello."""
        with self._lock:
            if name not in self._running:
                return True
            self._running.remove(name)
            if name in self._shown:
                self._shown.remove(name)
                return True
            self._unseen.add(name)
            if said:
                self._said[said] += 1
            return False

    def shown(self, facts: Mapping[str, Any]) -> None:
        """Records that a worker has said hello."""
        name = facts.get("request_id")
        with self._lock:
            self._hellos += 1
            if isinstance(name, str) and name in self._running:
                self._shown.add(name)
            elif isinstance(name, str) and name in self._unseen:
                self._unseen.remove(name)
            elif isinstance(name, str) and name.startswith(f"{self._prefix}-"):
                self._early.add(name)
            else:
                self._anonymous += 1

    def owns(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether a worker is one of these."""
        return str(facts.get("request_id")).startswith(f"{self._prefix}-")

    @property
    def lost(self) -> int:
        """How many have ended without a hello."""
        with self._lock:
            return max(0, len(self._unseen) - self._anonymous)

    @property
    def anonymous(self) -> int:
        """How many have said hello without a name."""
        with self._lock:
            return self._anonymous

    @property
    def running(self) -> int:
        """How many were started and have not ended."""
        with self._lock:
            return len(self._running)

    @property
    def progress(self) -> Progress | None:
        """The progress of starting; a start that was begun counts as accepted."""
        with self._lock:
            if not self._began:
                return None
            waiting = self.asked - self._named
            return NOTHING._replace(total=self.asked, queued=waiting, accepted=self.asked - waiting)

    def last_words(self) -> str:
        """The most frequent last line of workers that ended without a hello; empty if there is none."""
        with self._lock:
            return self._said.most_common(1)[0][0] if self._said else ""

    @property
    def hopeless(self) -> bool:
        """Whether starting has failed: at least GIVE_UP workers ended without a hello, none has connected, and none
        is running."""
        with self._lock:
            return not self._hellos and len(self._unseen) >= GIVE_UP and not self._running


class CountedEngine(BaseEngine):
    """Implements the counting methods of `mu.engines.protocol.Engine`, for engines that learn of each worker that
    ends.

    A subclass sets `starts`, starts workers, and tells `starts` what happens to them.
    """

    starts: Starts

    @property
    def asked(self) -> int:
        """How many workers were asked for in all."""
        return self.starts.asked

    @property
    def progress(self) -> Progress | None:
        """The progress of starting; None before the first start."""
        return self.starts.progress

    def shown(self, facts: Mapping[str, Any]) -> None:
        """Records that a worker has said hello."""
        self.starts.shown(facts)

    def owns(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether the worker has a name of this engine's."""
        return self.starts.owns(facts)

    def lost(self, now: float) -> int:
        """Returns how many workers have ended without a hello."""
        return self.starts.lost

    def failure(self) -> str | None:
        """Returns that all workers end before they connect, with their most frequent last line; None while that is
        not so."""
        if not self.starts.hopeless:
            return None
        return f"workers end before they connect: {self.explained(self.starts.last_words()) or 'they say nothing'}"

    def explained(self, said: str) -> str:
        """Returns what a worker's last line means; here, the line itself."""
        return said
