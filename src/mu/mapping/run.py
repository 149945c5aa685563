# mypy: ignore-errors
"""Runs a map: engines start workers, and `mu.server.run` drives them; or, with --direct, invocations do the work."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from mu import aws
from mu.console.terminal import say
from mu.engines.protocol import Engine
from mu.errors import JobError, UsageError
from mu.jobs.context import Context
from mu.jobs.coroutine_state import CoroutineState
from mu.mapping import job, program
from mu.mapping.attempt import Ended
from mu.mapping.book import Printed
from mu.mapping.collect import Collector
from mu.mapping.failures import Verdict
from mu.mapping.inputs import bucket_and_key, is_s3
from mu.mapping.job import LAMBDA, Checked, Map, Summary
from mu.mapping.settings import Given
from mu.mapping.sources import Source, bucket_region
from mu.report import choose, cost
from mu.report.cost import Function
from mu.report.reporter import Counts, Reporter
from mu.server.ledger import Part
from mu.server.run import Run
from mu.server.settings import Outcome, Settings, Setup
from mu.tls import keys

DEFAULT_REGION = "us-east-1"


class Target(NamedTuple):
    """The function that workers are invocations of; `timeout` in seconds."""

    name: str
    regions: list[str]
    price: Function
    timeout: float


def run(
    given: Given,
    source: Source,
    *,
    again: bool = False,
    collector: Printed | None = None,
    attempts: list[float] | None = None,
) -> Summary:
    """Do a whole map. What programs print goes to `collector`, or else to standard output.

    `again`: the inputs are those of earlier results that failed; the new results go beside them. `attempts` gets the
    seconds of each attempt that counted. Raises UsageError or MuError if nothing was started. Failed inputs raise
    nothing: see the summary's `code`.
    """
    checked = job.check(given, source)
    target = target_of(checked)
    stream = getattr(sys.stdout, "buffer", None)
    if collector is None and not checked.outputs and stream is not None:
        collector = Collector(stream, ordered=given.keep_order, tag=given.tag)
    made = Map(checked, collector=collector, event=event_of(checked), again=again)
    made.book.attempts = attempts
    try:
        if target is not None:
            made.budget.set_price(target.price, given.timeout or target.timeout, target.regions)
        if made.total == 0:
            return _tell(made, made.summary(0, "", None))
        if given.direct:
            assert target is not None
            return _direct(made, target)
        return _drive(made, target)
    finally:
        made.close()


def regions_of(given: Given) -> list[str]:
    """Where functions are."""
    own = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
    return list(given.regions) or [own]


def target_of(checked: Checked) -> Target | None:
    """The function of engine lambda, made now if it is not there; None for other engines. MuError."""
    given = checked.given
    if LAMBDA not in given.engine:
        return None
    regions = regions_of(given)
    name = given.function
    if name is None:
        for region in regions:
            name = program.as_function(
                checked.program,
                given.beside,
                region,
                memory=given.memory,
                allow_ld=given.allow_ld,
                say=_note(given),
            )
    elif given.beside:
        raise UsageError("--with goes into the package of a function: -l names one that exists")
    client = aws.client("lambda", regions[0])
    with aws.explained(f"cannot look at function {name}"):
        found = client.get_function_configuration(FunctionName=name)
    price = Function(found["MemorySize"], (found.get("Architectures") or ["x86_64"])[0])
    return Target(str(name), regions, price, float(found["Timeout"]))


def _note(given: Given) -> Callable[[str], None]:
    def note(text: str) -> None:
        if not given.quiet:
            say(text)

    return note


def event_of(checked: Checked) -> dict[str, Any]:
    """What workers have by themselves: the bucket that most of what they move is in, and its region."""
    given = checked.given
    event: dict[str, Any] = {"tell_facts": 1}
    places = [
        checked.source.description.partition(" ")[0],
        *(each.text for each in checked.outputs.templates),
    ]
    bucket = next((bucket_and_key(place)[0] for place in places if is_s3(place)), given.bucket or "")
    if bucket:
        event |= {"bucket": bucket, "region": bucket_region(bucket)}
    return event


def engines_of(made: Map, target: Target | None) -> list[Engine]:
    """What starts workers. UsageError."""
    from mu import engines

    given = made.given
    function = target.name if target else given.function
    wanted = engines.Wanted(function=function, regions=regions_of(given), workers=given.workers)
    return [engines.by_name(list(given.engine), wanted)]


def _drive(made: Map, target: Target | None) -> Summary:
    given, book, parts_of = made.given, made.book, made.parts_of
    context = Context(parts_of.map, keep_results=False)
    context.name = "map"

    def constructor(channel: Any, attempt: Any, facts: Any) -> CoroutineState:
        part = attempt.part
        return CoroutineState(channel, part.number, part.input, context, attempt.number, facts)

    constructor.takes_attempt = True  # type: ignore[attr-defined]

    def on_outcome(outcome: Outcome) -> None:
        work = outcome.part.input
        made.budget.over()
        if outcome.status == "stopped":
            return
        ended = parts_of.over(work.item.number)
        if ended is None or (ended.verdict is None) != (outcome.status == "done"):
            text = (outcome.error.strip() or "the worker was lost").splitlines()[0]
            ended = Ended(Verdict(text), text)
        book.over(work, ended, outcome.attempt, outcome.seconds, outcome.worker)
        if book.stop:
            running.stop(book.stop)

    engines = engines_of(made, target)
    counted = made.total is not None and not given.resume and given.max_cost is None
    parts: Any = _Counted(made) if counted else _Parts(made)
    made_keys = keys.make_job_keys()
    setup = Setup(
        port=given.port,
        address=given.address,
        cacert=made_keys.ca,
        srvcrt=made_keys.server.cert,
        srvkey=made_keys.server.key,
        worker_cert=made_keys.worker.cert,
        worker_key=made_keys.worker.key,
        event=dict(made.maker.event),
        record_dir=given.record,
        quiet=given.quiet,
        verbose=given.verbose,
        function=target.name if target else None,
    )
    settings = Settings(parts=parts, workers=given.workers, retries=given.retries)
    reporter = reporter_of(made)
    running = Run(
        settings, constructor, setup=setup, engines=engines, reporter=reporter, on_outcome=on_outcome
    )
    context.wake = running.wake
    context.note = reporter.note
    code: Any = 0
    stopped = ""
    try:
        running.prepare()
        running.launch()
        running.drive()
    finally:
        running.close()
    made.book.close()
    try:
        running.conclude()
    except JobError as error:
        code = error.code
        if code != 1 or not book.watch.failed:
            stopped = str(error)
    price = running.lookup.result() if running.lookup else None
    spent = None
    if price is not None and target is not None:
        spent = cost.estimate(price, running.worker_seconds, running.counts.hellos, target.regions)
    return _tell(made, made.summary(int(code), stopped, spent), told=True)


class _Parts:
    """The parts of a run, for its ledger."""

    def __init__(self, made: Map) -> None:
        self._map = made

    def __iter__(self) -> Iterator[Part | None]:
        for work in self._map.parts():
            yield None if work is None else Part(work.item.number, 0, work)


class _Counted(_Parts):
    """The same where all inputs are known, and all of them are to be done."""

    def __len__(self) -> int:
        return self._map.total or 0


def reporter_of(made: Map) -> Reporter:
    """The ordinary display, whose summary tells failures in groups."""
    given = made.given
    reporter = choose.for_run(made.total or 0, quiet=given.quiet, verbose=given.verbose)
    tell = reporter.summary

    def summary(_failures: Sequence[Any], _missing: int, ended: str) -> None:
        for line in made.book.groups.lines():
            reporter.line(line)
        tell((), 0, ended)

    reporter.summary = summary  # type: ignore[method-assign, assignment]
    return reporter


def _tell(made: Map, summary: Summary, *, told: bool = False) -> Summary:
    groups = [] if told else made.book.groups.lines()
    for line in job.lines_of(summary, groups):
        if summary.code or not made.given.quiet:
            say(line)
    return summary


def _direct(made: Map, target: Target) -> Summary:
    from mu.engines.aws_lambda import AwsLambda
    from mu.mapping.direct import Direct, Invoker, workers_of

    given, book = made.given, made.book
    engine = AwsLambda(target.name, target.regions)
    workers = workers_of(given.workers, engine.limit().number)
    stopping = threading.Event()
    invoker = Invoker(target.name, target.regions[0], made.maker.event, stopping)
    reporter = reporter_of(made)
    reporter.note(f"{workers} invocations at a time, no port is opened (--direct)")

    def tell() -> None:
        watch = book.watch
        reporter.counts = Counts(
            parts=made.total if made.total is not None else made.feed.counts.seen,
            parts_known=made.total is not None,
            begun=direct.begun,
            done=watch.done,
            failed=watch.failed,
            workers=direct.running,
            limit=workers,
        )
        reporter.tick(now=time.monotonic())

    direct = Direct(made, invoker, workers, tell, target.price.memory << 20)
    code = 0
    with _signals() as caught:
        direct.run(lambda: bool(caught))
        if caught:
            code, book.stop = 128 + caught[0], book.stop or f"ended by signal {caught[0]}"
    stopping.set()
    book.close()
    tell()
    reporter.close()
    reporter.summary((), 0, book.stop)
    if invoker.busy:
        reporter.note(f"Lambda asked {invoker.busy:,} times to wait")
    spent = cost.estimate(target.price, direct.seconds, direct.requests, target.regions[:1])
    reporter.note(cost.describe(spent))
    return _tell(made, made.summary(code, "", spent), told=True)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that gets the signals that ask us to end; a second one ends at once."""
    caught: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        if caught:
            raise SystemExit(128 + number)
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
