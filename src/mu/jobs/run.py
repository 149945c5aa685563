"""Runs a job of coroutines: `mu.run` for programs and notebooks, `mu.main` for scripts."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, Unpack

from mu.console.system import LOOP, need_linux
from mu.errors import SIGINT, SIGNALLED, JobError, MuError, UsageError, describe, stopped
from mu.jobs.context import Context
from mu.jobs.coroutine_state import CoroutineState
from mu.jobs.ends import DoneState, FailedState
from mu.jobs.job import Job, Outcome
from mu.jobs.reading import ReadAhead, explained, is_at_hand
from mu.jobs.settings import Info, Settings
from mu.jobs.unawaited import watched
from mu.jobs.worker import Part as PartFunction
from mu.preflight import listed_regions, region_of_environment
from mu.report.reporter import Reporter
from mu.server import command_line, prepare
from mu.server import run as server_run
from mu.server.attempts import name_of
from mu.server.engine_choice import engine_of
from mu.server.job_keys import take_keys
from mu.server.ledger import Attempt, Part
from mu.server.settings import Outcome as ServerOutcome
from mu.wire.socket_nb import SocketNB

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


def run(
    part: PartFunction[I, R],
    inputs: Iterable[I],
    *,
    check: bool = True,
    on_outcome: Callable[[Outcome[I, R]], object] | None = None,
    keep: bool = True,
    reporter: Reporter | None = None,
    **settings: Unpack[Settings],
) -> Job[I, R]:
    """Does a job: `part(worker, input)` for each of `inputs`, on as many workers as the engine and the settings
    allow. The settings are those of `mu.Settings`.

    `inputs` are read when they are needed; parts are numbered in their order, from 0. `on_outcome` is called for each
    part when it is over. With `keep` False no outcome is kept, so that memory does not grow with the job (and
    `mu.done` has no results to return). Raises JobError if not all parts are done, unless `check` is False; its `job`
    is the Job that would have been returned. Raises Stopped after a signal such as Ctrl-C, whatever `check` says.
    Raises UsageError or MuError if nothing could be started.
    """
    info = Info(settings)
    take_keys(info)
    return checked(do(info, part, inputs, on_outcome=on_outcome, keep=keep, reporter=reporter), check)


def main(
    part: PartFunction[I, R],
    inputs: Iterable[I],
    argv: Sequence[str] | None = None,
    **settings: Unpack[Settings],
) -> Job[I, R]:
    """Does a job from a script: each setting of `mu.Settings` is a flag, too (`--help`), read from `argv` or the
    command line.

    Exits with status 0 if all parts are done, 1 if not, 2 if nothing was started, 130 or 143 after a signal.
    """
    from mu.console.terminal import say

    command_line.end_quietly_on_interrupt()
    try:
        info = Info(settings)
        command_line.parse(info, argv)
        done = do(info, part, inputs)
    except MuError as error:
        say(f"{Path(sys.argv[0]).name}: {error}")
        raise SystemExit(2) from None
    return checked(done)


class Ended(NamedTuple):
    """A job that is over, the exception that ended it, and the exceptions of its parts, if they were to be kept."""

    job: Job[Any, Any]
    error: JobError | None
    errors: dict[int, BaseException]


def checked(ended: Ended, check: bool = True) -> Job[Any, Any]:
    """Returns the job. Raises JobError if it has not ended well and `check` is true, and Stopped after a signal."""
    job, error, _ = ended
    if error is None:
        return job
    signalled = stopped(error, job)
    if signalled is not None:
        raise signalled
    if check:
        error.job = job
        raise error
    return job


def do(
    info: Info,
    part: PartFunction[I, R],
    inputs: Iterable[I],
    *,
    on_outcome: Callable[[Outcome[I, R]], object] | None = None,
    keep: bool = True,
    keep_errors: bool = False,
    reporter: Reporter | None = None,
) -> Ended:
    """Does a job with the settings `info`, keys included. Raises UsageError or MuError if nothing could be started."""
    need_linux("a coordinator", LOOP)
    if not callable(part):
        raise UsageError(
            f"the first argument is the function of a part, `async def part(worker, input)`, not {type(part).__name__}"
        )
    context = Context(
        part,
        bucket=info.bucket or "",
        hashed_names=bool(info.hashed_names),
        keep_results=keep,
        keep_errors=keep_errors,
    )
    source = Source(inputs, context)
    try:
        try:
            if not source.wait():
                raise UsageError("there is nothing to do: the inputs are empty")
        except KeyboardInterrupt:
            return Ended(Job(), JobError("stopped by SIGINT before the first input", SIGNALLED + SIGINT), {})
        books: Books[I, R] = Books(context, on_outcome, keep)
        settings = dataclasses.replace(prepare.settings_of(info), parts=source.parts())
        setup = prepare.setup_of(info)
        if getattr(info, "resume", False):
            setup = dataclasses.replace(setup, resume_from=_Unfinished(info, source))
        server = server_run.Run(
            settings,
            Start(context),
            setup=setup,
            engine=engine_of(info, settings, default="lambda" if info.lambda_function else "here"),
            reporter=reporter,
            on_outcome=books.take,
            states=[] if setup.out_file else None,
        )
        began = time.monotonic()
        error: JobError | None = None
        try:
            context.wake = server.wake
            context.note = server.say
            server.prepare()
            server.launch(_event(info))
            with watched():
                server.drive()
        finally:
            server.close()
    finally:
        source.stop()
    try:
        server.conclude()
    except JobError as problem:
        error = problem
    job = books.job(server, time.monotonic() - began)
    if error is not None and job.done == job.parts:  # such as a file that could not be written
        job.ended = job.ended or str(error)
    return Ended(job, error, books.errors)


class Start:
    """Makes the first state of an attempt."""

    takes_attempt = True
    __name__ = "CoroutineState"

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, channel: SocketNB, attempt: Attempt, facts: Any = None) -> CoroutineState:
        part = attempt.part
        return CoroutineState(channel, part.number, part.input, self._context, attempt.number, facts)


class Source:
    """Reads the inputs as parts, when they are needed."""

    def __init__(self, inputs: Iterable[Any], context: Context) -> None:
        self.context = context
        self._ahead = None if is_at_hand(inputs) else ReadAhead(inputs)
        self._inputs: Any = inputs

    def wait(self) -> bool:
        """Waits for the first input; returns whether there is one. Raises UsageError if it cannot be read."""
        with explained():
            return len(self._inputs) > 0 if self._ahead is None else self._ahead.wait()

    def parts(self) -> Iterable[Part]:
        """Returns the parts, with a length if it is known."""
        if self._ahead is None:
            return _AtHand(self._inputs, self.context)
        return self._read(self._ahead)

    def _read(self, ahead: ReadAhead[Any]) -> Iterator[Any]:
        number = 0
        for there, given in ahead:
            if there:
                yield Part(number, number, given)
                number += 1
            else:
                yield None  # the ledger will ask again
        self.context.all_parts_known(number)

    def all(self) -> list[Part]:
        """Returns all parts, however long reading the inputs takes. Raises UsageError if they cannot be read."""
        inputs = self._inputs if self._ahead is None else self._ahead.all()
        with explained():
            found = [Part(number, number, given) for number, given in enumerate(inputs)]
        self.context.all_parts_known(len(found))
        return found

    def stop(self) -> None:
        """Stops reading."""
        if self._ahead is not None:
            self._ahead.stop()


class _AtHand:
    """The parts of inputs that can be read without waiting: a list, a range. `numbers` are those of all parts."""

    def __init__(self, inputs: Any, context: Context) -> None:
        self._inputs = inputs
        self.numbers = range(len(inputs))
        context.all_parts_known(len(inputs))

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Part]:
        for number, given in enumerate(self._inputs):
            yield Part(number, number, given)


class Books(Generic[I, R]):
    """Records the outcome of each part."""

    def __init__(
        self,
        context: Context,
        on_outcome: Callable[[Outcome[I, R]], object] | None,
        keep: bool,
    ) -> None:
        self._context = context
        self._on_outcome = on_outcome
        self._kept: dict[int, Outcome[I, R]] | None = {} if keep else None
        self.errors: dict[int, BaseException] = {}

    def take(self, told: ServerOutcome) -> None:
        """Records that a part is over, and resumes the parts that wait for it."""
        outcome: Outcome[I, R] = outcome_of(told)
        if self._kept is not None:
            self._kept[outcome.number] = outcome
        if outcome.status != "stopped":
            self._context.over(
                outcome.number, outcome.result, outcome.error if outcome.status == "failed" else None
            )
        if isinstance(told.machine, FailedState) and told.machine.error is not None:
            self.errors[outcome.number] = told.machine.error
        if self._on_outcome is not None:
            self._on_outcome(outcome)

    def job(self, server: server_run.Run, seconds: float) -> Job[I, R]:
        """Returns the result of the whole job."""
        counts = server.counts
        kept = self._kept or {}
        return Job(
            outcomes=[kept[number] for number in sorted(kept)],
            parts=counts.parts,
            done=counts.done,
            failed=counts.failed,
            ended=server.ended,
            seconds=seconds,
            worker_seconds=server.worker_seconds,
            cost=(server.estimate or {}).get("dollars"),
            record=server.recorded,
        )


def outcome_of(told: ServerOutcome) -> Outcome[Any, Any]:
    """Returns a part's outcome as a job's user sees it, from the coordinator's."""
    machine, status, error = told.machine, told.status, told.error
    if isinstance(machine, DoneState) and machine.skipped:
        status, error = "skipped", machine.skipped
    return Outcome(
        number=told.part.number,
        input=told.part.input,
        status=status,
        result=told.result,
        error=error,
        where=machine.where if isinstance(machine, FailedState) else "",
        attempt=told.attempt,
        seconds=told.seconds,
        worker=told.worker,
    )


def _event(info: Info) -> dict[str, Any]:
    """Returns the fields for the workers' event."""
    made: dict[str, Any] = {"mode": 1, "tell_facts": 1, "tell_bytes": 1}
    named = listed_regions(info.regions)[:1] or [region_of_environment()]
    if named[0]:  # otherwise the run finds it if the job has a bucket in S3
        made["region"] = named[0]
    if info.bucket:
        made["bucket"] = info.bucket
    return {**made, **getattr(info, "event", {})}


class _Unfinished:
    """Finds the parts whose outputs do not exist yet."""

    def __init__(self, info: Info, source: Source) -> None:
        self._info = info
        self._source = source

    def __call__(self, _: object, region: str) -> list[Part]:
        from mu.server import resume

        info = self._info
        if getattr(info, "outputs", None) is None:
            raise UsageError(
                "resume needs to know which objects each part makes: give outputs= to mu.run or mu.main"
            )
        known = {part.number: part for part in self._source.all()}

        class Outputs:
            bucket = info.bucket
            hashed_names = info.hashed_names

            @staticmethod
            def outputs(number: int) -> list[str]:
                given = known[number].input
                try:
                    keys = info.outputs(given)
                    return [keys] if isinstance(keys, str) else list(keys)
                except Exception as error:
                    raise UsageError(
                        f"outputs({name_of(given) or f'input {number}'}): {describe(error)}; it must return the key "
                        "of the object that the part of an input makes, or a list of keys"
                    ) from None

        left = resume.unfinished(Outputs, list(known.values()), region)
        self._source.context.left_out = known.keys() - {part.number for part in left}
        return left
