"""An engine whose workers are threads that do part after part, for tests of a whole run."""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mu.engines.protocol import NOTHING, BaseEngine, Limit, Progress
from mu.wire import protocol
from tests.support.fake_workers import FakeWorker, obey

Answer = Callable[[str], str | Sequence[str | None] | None]


class PartWorkers(BaseEngine):
    """Starts a thread for each worker. `answers[n]` makes the answers of the n-th worker, the last one those of all
    further workers; if an answer, or the last one of several, is None, the worker closes its connection. `facts` are
    sent in its hellos; with None the worker is an old one that does not know `reset:`.

    `threads` are the workers' threads; `most` is the greatest number of workers connected at the same time.
    """

    name = "fake"

    def __init__(
        self, *answers: Answer, facts: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> None:
        self.answers = answers or (obey,)
        self.facts = facts
        self.limited = limit
        self.asked = 0
        self.accepted = 0
        self.event: dict[str, Any] = {}
        self.gone = 0  # number of workers that were lost
        self.never = 0  # so many of the first workers never connect
        self.cancelled = False
        self.waits = 0  # number of calls of `wait`
        self.threads: list[threading.Thread] = []
        self.resets = 0
        self.most = 0
        self._open = 0

    @property
    def progress(self) -> Progress | None:
        return NOTHING._replace(total=self.asked, accepted=self.asked)

    def start(self, event: str, number: int) -> None:
        self.event = json.loads(event)
        self.more(number)

    def more(self, number: int) -> None:
        for _ in range(number):
            place = self.asked
            self.asked += 1
            if place < self.never:
                self.gone += 1
                continue
            answer = self.answers[min(place, len(self.answers) - 1)]
            thread = threading.Thread(target=self._work, args=(answer,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _work(self, answer: Answer) -> None:
        with contextlib.suppress(
            ConnectionError
        ):  # the run ended before this worker connected, or during a message
            self._serve(answer)

    def _serve(self, answer: Answer) -> None:
        worker = FakeWorker(self.event["port"])
        hello = protocol.hello("", self.facts)
        worker.say(hello)
        while (command := worker.hear()) not in (None, "quit:"):
            assert command is not None
            reply = answer(command)
            if command == "reset:" and reply in (obey(command), None):
                self.resets += 1
                reply = hello if self.facts is not None else f"FAIL(no such command '{command}')"
            if reply is None:
                break
            replies = [reply] if isinstance(reply, str) else reply
            worker.say(*(said for said in replies if said is not None))
            if None in replies:
                break
        worker.sock.close()

    def shown(self, facts: Mapping[str, Any]) -> None:
        self._open += 1
        self.most = max(self.most, self._open)

    def left(self, facts: Mapping[str, Any]) -> None:
        self._open -= 1

    def lost(self, now: float) -> int:
        return self.gone

    def failure(self) -> str | None:
        return None

    def note(self) -> str:
        return ""

    def limit(self) -> Limit:
        return Limit(self.limited, "says the test")

    def own_address(self) -> str:
        return "127.0.0.1"

    def cancel(self) -> None:
        self.cancelled = True

    def wait(self) -> None:
        self.waits += 1
