"""The coroutine of one input: `mu map` is a job of coroutines (`mu.jobs`)."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol

from mu.jobs.errors import CommandFailed, Final
from mu.jobs.requests import sleep
from mu.mapping import carry
from mu.mapping import plan as planning
from mu.mapping.attempt import Ended, Maker, refusal, too_large
from mu.mapping.budget import Budget
from mu.mapping.carry import Carrier
from mu.mapping.failures import CANARIES, Watch
from mu.mapping.plan import Plan, Refused, Work
from mu.wire import protocol

# Seconds that later inputs wait for one of the first ten to succeed, so that a program that cannot work fails early.
CANARY_PATIENCE = 2.0
LOOK_EVERY = 0.02  # seconds between checks whether a transfer is done


class Worker(Protocol):
    """The methods of `mu.jobs.worker.Worker` that are used here."""

    attempt: int

    @property
    def facts(self) -> Mapping[str, Any]: ...

    @property
    def memory(self) -> int: ...

    def command(self, text: str) -> Any: ...

    def stage(self, name: str) -> Any: ...


class Parts:
    """The function of the job. `ended` has the end of each input's last attempt, by number, until it is taken;
    `under_way` the numbers of inputs that have begun and whose end has not been taken."""

    def __init__(self, maker: Maker, carrier: Carrier | None, watch: Watch, budget: Budget) -> None:
        self.maker = maker
        self.ended: dict[int, Ended] = {}
        self.under_way: set[int] = set()
        self._carrier = carrier
        self._watch = watch
        self._budget = budget
        self._begun = 0
        self._first = 0.0

    def over(self, number: int) -> Ended | None:
        """Returns and removes the end of an input's last attempt."""
        self.under_way.discard(number)
        return self.ended.pop(number, None)

    async def map(self, worker: Worker, work: Work) -> None:
        """Does one attempt at one input."""
        if work.refused:
            self._fail(work, refusal(work.refused, work))
        if worker.attempt == 1:
            self._begun += 1
            self._first = self._first or monotonic()
            if self._begun > CANARIES:
                while not self._watch.proven and monotonic() < self._first + CANARY_PATIENCE:
                    await sleep(LOOK_EVERY)
        elif not self._budget.allows_again():
            raise Final("another attempt could exceed --max-cost")
        self.under_way.add(work.item.number)
        self.ended.pop(work.item.number, None)  # of the attempt before, which has nothing to do with this one
        began = monotonic()
        try:
            ended = await self._attempt(worker, work)
        finally:
            self._budget.spend(monotonic() - began)
        if ended.verdict is not None:
            self._fail(work, ended)
        self.ended[work.item.number] = ended

    async def _attempt(self, worker: Worker, work: Work) -> Ended:
        """Sends the commands of one attempt; returns its end. Raises as `_planned` does."""
        carried: list[Any] = []
        with self._planned(work, worker.attempt) as made:
            mine = f"{work.item.number}.{worker.attempt}"
            if too_much := too_large(work, made, worker.facts.get("disk")):
                raise Refused(too_much)
            if self._carrier is not None and (sending := self._carrier.send(made, mine)) is not None:
                await worker.stage("send")
                while not sending.done():
                    await sleep(LOOK_EVERY)
                _result(sending)
            commands, answers = self.maker.commands(made), []
            try:
                for command in commands:
                    if made.bring and self._carrier is not None and command.startswith("fetch:"):
                        break
                    word = command.partition(":")[0]
                    if word != "set":
                        await worker.stage("run" if word == "exec" else word)
                    answer = await _answer(worker, command)
                    answers.append(answer)
                    if not self.maker.goes_on(answer):
                        break
                else:
                    commands = commands[: len(answers)]
                if made.bring and self._carrier is not None and answers and self.maker.goes_on(answers[-1]):
                    commands, carried = await self._bring(worker, made, mine, commands, answers)
                ended = self.maker.end(made, work, commands, answers, worker.memory)
                if carried and ended.verdict is None:
                    bringing = self._carrier.fetch(carried) if self._carrier else None
                    while bringing is not None and not bringing.done():
                        await sleep(LOOK_EVERY)
                    _result(bringing)
            finally:
                if self._carrier is not None:
                    self._carrier.forget(made, carried)
        return ended

    async def _bring(
        self, worker: Worker, made: Plan, mine: str, commands: list[str], answers: list[str]
    ) -> tuple[list[str], list[Any]]:
        """Fetches small outputs over the channel, has large ones uploaded; returns all commands that were sent."""
        assert self._carrier is not None
        carried: list[Any] = []
        sent = commands[: len(answers)]
        if self._carrier.bucket is not None:
            sizes = []
            for file, _ in made.bring:
                answer = await _answer(worker, protocol.list_command(file))
                found = [] if answer.startswith(protocol.FAIL) else protocol.list_result(answer)
                sizes.append(found[0][1] if found else 0)
            carried = self._carrier.bring_by_bucket(made, mine, sizes)
        maker = self.maker
        more = list(planning.transfers([move for move, _ in carried], "upload", maker.region_of, maker.event))
        more += [protocol.fetch_command(file) for file, _ in made.bring]
        for command in more:
            await worker.stage(command.partition(":")[0])
            answer = await _answer(worker, command)
            sent.append(command)
            answers.append(answer)
            if not maker.goes_on(answer):
                break
        return sent, carried

    @contextmanager
    def _planned(self, work: Work, attempt: int) -> Iterator[Plan]:
        """Yields an attempt's plan, after it was begun; removes its files afterwards. Raises Final if it cannot be
        done."""
        made = None
        try:
            made = self.maker.layout.plan(work, attempt)
            planning.begin(made)
            yield made
        except Refused as error:
            self._fail(work, refusal(str(error), work))
        finally:
            if made is not None:
                planning.tidy(made)

    def _fail(self, work: Work, ended: Ended) -> None:
        """Raises the exception that ends this attempt: Final if a retry would be useless."""
        verdict = ended.verdict
        assert verdict is not None
        self.ended[work.item.number] = ended
        raise (Final if verdict.final else CommandFailed)(verdict.text)


async def _answer(worker: Worker, command: str) -> str:
    """Returns a command's answer, even if it is a failure."""
    try:
        answer: str = await worker.command(command)
    except CommandFailed as error:
        return protocol.fail(str(error))
    return answer


def _result(moving: "Future[Any] | None") -> Any:
    """Returns a transfer's result. Raises Refused, or CommandFailed if a retry may succeed."""
    if moving is None:
        return 0
    error = moving.exception()
    if error is None:
        return moving.result()
    if isinstance(error, Refused):
        raise error
    raise CommandFailed(carry.failure_of(error))
