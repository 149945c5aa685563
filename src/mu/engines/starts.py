"""What has become of the workers that an engine was to start, where it learns of each that ends."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mu.engines.protocol import NOTHING, Progress

GIVE_UP = 3  # workers that ended without having connected, while none has: the next ones would, too


class Starts:
    """Counts, from several threads. A worker goes by a name that its hello tells as `request_id`."""

    def __init__(self, prefix: str) -> None:
        self.asked = 0
        self._prefix = prefix
        self._lock = threading.Lock()
        self._named = 0
        self._early: set[str] = set()  # said hello before they were known to have begun
        self._running: set[str] = set()
        self._shown: set[str] = set()  # of those that are running
        self._unseen: set[str] = set()  # ended, and has not said hello
        self._anonymous = 0  # said hello without a name
        self._hellos = 0
        self._said: Counter[str] = Counter()  # last words of those that ended unseen
        self._began = False

    def ask(self, number: int) -> None:
        """So many more are wanted."""
        with self._lock:
            self._began = True
            self.asked += number

    @property
    def waiting(self) -> int:
        """How many were asked for and not started yet."""
        with self._lock:
            return self.asked - self._named

    def take(self, number: int) -> list[str]:
        """The names of up to so many that are started now."""
        with self._lock:
            fresh = min(number, self.asked - self._named)
            names = [f"{self._prefix}-{self._named + place}" for place in range(fresh)]
            self._named += fresh
            self._running.update(names)
            return names

    def begun(self, name: str) -> None:
        """One that its system has given a name was started."""
        with self._lock:
            self._named += 1
            self._running.add(name)
            if name in self._early:
                self._early.remove(name)
                self._shown.add(name)

    def ended(self, name: str, said: str = "") -> bool:
        """A worker has ended; `said` are its last words. Returns whether it has said hello."""
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
        """A worker has said hello."""
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
        """Whether a worker is one of these."""
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
        """As of a launch: a start that was begun is accepted."""
        with self._lock:
            if not self._began:
                return None
            waiting = self.asked - self._named
            return NOTHING._replace(total=self.asked, queued=waiting, accepted=self.asked - waiting)

    def last_words(self) -> str:
        """What most of those that ended unseen have said last; empty if nothing."""
        with self._lock:
            return self._said.most_common(1)[0][0] if self._said else ""

    @property
    def hopeless(self) -> bool:
        """Whether those that were started all ended without having connected, again and again."""
        with self._lock:
            return not self._hellos and len(self._unseen) >= GIVE_UP and not self._running


class CountedEngine:
    """The part of an engine (`mu.engines.protocol.Engine`) that only counts, for engines that learn of each worker that
    ends. A sub-class sets `starts`, starts workers, and tells `starts` what becomes of them."""

    outcomes_known = True
    starts: Starts

    @property
    def asked(self) -> int:
        """How many workers it was to start in all."""
        return self.starts.asked

    @property
    def progress(self) -> Progress | None:
        """How far starting is; None before the first start."""
        return self.starts.progress

    def shown(self, facts: Mapping[str, Any]) -> None:
        """A worker has said hello."""
        self.starts.shown(facts)

    def lost(self, now: float) -> int:
        """How many have ended without a hello."""
        return self.starts.lost

    def failure(self) -> str | None:
        """That all workers end before they connect, with what most of them have said last."""
        if not self.starts.hopeless:
            return None
        return f"workers end before they connect: {self.explained(self.starts.last_words()) or 'they say nothing'}"

    def explained(self, said: str) -> str:
        """What a worker's last words mean; here, the words themselves."""
        return said
