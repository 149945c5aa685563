"""The result of a job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[I, R]):
    """How the part `number` (from 0, in the order of the inputs) has ended.

    `status` is `done`, `skipped` (`mu.Skip`; `error` is its text), `failed`, or `stopped` (the job ended while the
    part was running or waited for another attempt). `result` is the part's return value, None unless it is done;
    `error` is one text, `where` the file and line that it came from. `attempt` counts from 1, `seconds` is the
    duration of that attempt, and `worker` has the facts that its worker told about itself.
    """

    number: int
    input: I
    status: str
    result: R | None = None
    error: str = ""
    where: str = ""
    attempt: int = 0
    seconds: float = 0.0
    worker: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Job(Generic[I, R]):
    """A job that is over. `outcomes` has one outcome for each part that has begun, in the order of the inputs; it is
    empty if they were not kept.

    `parts`, `done` (including skipped parts) and `failed` count parts. `ended` is the reason why the job stopped
    early, if it did. `seconds` is wall time; `worker_seconds` is how long workers were connected in total. `cost` is
    the estimate in US dollars, None if there is none; `record` the path of the record, empty if none was kept.
    """

    outcomes: list[Outcome[I, R]] = field(default_factory=list)
    parts: int = 0
    done: int = 0
    failed: int = 0
    ended: str = ""
    seconds: float = 0.0
    worker_seconds: float = 0.0
    cost: float | None = None
    record: str = ""

    @property
    def ok(self) -> bool:
        """Whether all parts are done."""
        return not self.ended and self.done == self.parts

    @property
    def results(self) -> list[R | None]:
        """The return values of the parts: `results[n]` belongs to the input with the number n, and is None if its
        part has none. After a job that has ended early it may be shorter than the inputs: it reaches to the last part
        that has begun."""
        made: list[R | None] = [None] * (1 + max((outcome.number for outcome in self.outcomes), default=-1))
        for outcome in self.outcomes:
            made[outcome.number] = outcome.result
        return made

    @property
    def failures(self) -> list[Outcome[I, R]]:
        """The parts that are not done."""
        return [outcome for outcome in self.outcomes if outcome.status not in ("done", "skipped")]

    def __iter__(self) -> Iterator[Outcome[I, R]]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)
