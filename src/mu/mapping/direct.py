"""`--direct`: each attempt is one synchronous invocation of the function, and no port is opened on this machine.

It is for machines that workers cannot reach, such as a laptop behind a router. The event has the commands (`mode` 2),
and the response their answers. Threads wait for the invocations; all else happens in the calling thread.
"""

import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from mu.mapping import carry
from mu.mapping import plan as planning
from mu.mapping.attempt import Ended, refusal
from mu.mapping.failures import CANARIES, Verdict
from mu.mapping.invoker import MOST_WORKERS, Answer, Invoker
from mu.mapping.job import Map
from mu.mapping.part import CANARY_PATIENCE
from mu.mapping.plan import Plan, Refused, Work


class Attempt(NamedTuple):
    """One invocation that is running."""

    work: Work
    number: int
    made: Plan
    commands: list[str]
    carried: list[Any]
    before: Any  # a future that must be over first, or None
    began: float


class Direct:
    """Runs a map by invocations, `workers` at a time. `tell` is called at short intervals, `show` at the beginning of
    each attempt, and at its end with how it went and its seconds."""

    def __init__(
        self,
        made: Map,
        invoker: Invoker,
        workers: int,
        tell: Callable[[], None],
        memory: int,
        show: Callable[[Work, int, Ended | None, float], None],
    ) -> None:
        self._show = show
        self._map = made
        self._invoker = invoker
        self._workers = workers
        self._tell = tell
        self._memory = memory
        self._to_do: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        # What the calling thread is to do next for an attempt, whose invocation or transfer is over.
        self._over: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._again: deque[tuple[Work, int]] = deque()
        self._threads = 0
        self.begun = 0
        self._first = 0.0
        self.running = 0
        self.seconds = 0.0
        self.requests = 0

    def run(self, stopped: Callable[[], bool]) -> None:
        """Runs until all inputs are over, or the job must end; then it waits for running invocations unless
        `stopped`."""
        parts = self._map.parts()
        more = True
        try:
            while (more or self._again or self.running) and not stopped():
                ending = bool(self._map.book.stop)
                if ending:
                    self._invoker.stop()
                if ending and not self.running:
                    return
                while not ending and self.running < self._workers and self._may_begin():
                    if self._again:
                        self._begin(*self._again.popleft())
                        continue
                    work = next(parts, self) if more else self
                    if work is self:
                        more = False
                        break
                    if work is None:
                        break
                    assert isinstance(work, Work)
                    self.begun += 1
                    self._first = self._first or time.monotonic()
                    self._begin(work, 1)
                    ending = bool(self._map.book.stop)
                self._take()
                self._tell()
        finally:
            for _ in range(self._threads):
                self._to_do.put(None)

    def _may_begin(self) -> bool:
        """Returns whether the first ten inputs have shown that the program works, or have had enough time for that."""
        proven = self._map.book.watch.proven or self.begun < CANARIES
        return proven or time.monotonic() >= self._first + CANARY_PATIENCE

    def _begin(self, work: Work, number: int) -> None:
        began = time.monotonic()
        maker, carrier = self._map.maker, self._map.carrier
        assert carrier is not None
        made = None
        try:
            if work.refused:
                raise Refused(work.refused)
            made = maker.layout.plan(work, number)
            planning.begin(made)
            mine = f"{work.item.number}.{number}"
            before = carrier.send(made, mine)
            carried = carrier.bring_by_bucket(made, mine)
            made.store += [move for move, _ in carried]
            attempt = Attempt(work, number, made, maker.commands(made), carried, before, began)
        except Refused as error:
            if made is not None:
                planning.tidy(made)
            self._end(work, number, refusal(str(error), work), began)
            return
        if self._threads < min(self._workers, self.running + 1):
            self._threads += 1
            threading.Thread(target=self._serve, name=f"invoke-{self._threads}", daemon=True).start()
        self.running += 1
        self._show(work, number, None, 0.0)
        self._to_do.put(attempt)

    def _serve(self) -> None:
        """Does one invocation after the other; each thread runs this."""
        ok = sorted(self._map.checked.rules.ok)
        while (attempt := self._to_do.get()) is not None:
            answer = Answer([])
            try:
                if attempt.before is not None:
                    attempt.before.result()
                answer = self._invoker.invoke(attempt.commands, ok)
            except Refused as error:
                answer = answer._replace(error=str(error), final=True)
            except Exception as error:
                answer = answer._replace(error=carry.failure_of(error))
            self._over.put(partial(self._judge, attempt, answer))

    def _take(self) -> None:
        """Waits a moment for invocations and transfers that are over, and handles them."""
        try:
            found = self._over.get(timeout=0.05)
        except queue.Empty:
            return
        while True:
            found()
            try:
                found = self._over.get_nowait()
            except queue.Empty:
                return

    def _judge(self, attempt: Attempt, answer: Answer) -> None:
        """Finishes an attempt whose invocation is over, or first brings its outputs here. None gets its final name if
        the attempt has failed."""
        self.seconds += answer.seconds
        self.requests += answer.requests
        self._map.budget.spend(answer.seconds, answer.requests)
        if answer.error:
            ended = Ended(Verdict(answer.error, answer.final), answer.error)
        else:
            ended = self._map.maker.end(
                attempt.made, attempt.work, attempt.commands, answer.answers, self._memory
            )
        if ended.verdict is not None or not attempt.carried:
            self._finish(attempt, answer, ended)
            return
        carrier = self._map.carrier
        assert carrier is not None
        bringing = carrier.fetch(attempt.carried)
        bringing.add_done_callback(
            lambda over: self._over.put(partial(self._brought, attempt, answer, ended, over))
        )

    def _brought(self, attempt: Attempt, answer: Answer, ended: Ended, bringing: "Future[int]") -> None:
        error = bringing.exception()
        if isinstance(error, Refused):
            ended = refusal(str(error), attempt.work)
        elif error is not None:
            text = carry.failure_of(error)
            ended = Ended(Verdict(text), text)
        self._finish(attempt, answer, ended)

    def _finish(self, attempt: Attempt, answer: Answer, ended: Ended) -> None:
        work, made = attempt.work, attempt.made
        self.running -= 1
        carrier = self._map.carrier
        assert carrier is not None
        seconds = time.monotonic() - attempt.began
        self._show(work, attempt.number, ended, seconds)
        carrier.forget(made, attempt.carried)
        planning.tidy(made)
        if answer.ends:
            self._map.book.stop = self._map.book.stop or answer.error
            self._map.budget.over()
            return
        verdict = ended.verdict
        again = attempt.number <= self._map.given.retries and self._map.budget.allows_again()
        if verdict is not None and not verdict.final and again and not self._map.book.stop:
            self._again.append((work, attempt.number + 1))
            return
        self._end(work, attempt.number, ended, attempt.began)

    def _end(self, work: Work, number: int, ended: Ended, began: float) -> None:
        self._map.budget.over()
        self._map.book.over(work, ended, number, time.monotonic() - began, {})


def workers_of(given: int | None, allowed: int | None, inputs: int | None = None) -> int:
    """Returns how many invocations run at a time; not more than there are inputs, if their number is known."""
    return min(given or min(MOST_WORKERS, allowed or MOST_WORKERS), inputs or sys.maxsize)
