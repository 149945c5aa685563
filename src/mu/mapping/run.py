"""Runs a map: engines start workers and `mu.server.run` drives them, or with --direct invocations do the work."""

import ipaddress
import logging
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mu import aws
from mu.console.terminal import say
from mu.engines import by_name
from mu.engines.protocol import Engine
from mu.errors import JobError, MuError, UsageError, reason
from mu.history import record, timeline_html
from mu.history.runs import load
from mu.jobs.context import Context
from mu.jobs.coroutine_state import CoroutineState
from mu.mapping import job, program
from mu.mapping.attempt import Ended
from mu.mapping.book import Printed
from mu.mapping.collect import Collector
from mu.mapping.failures import Verdict
from mu.mapping.inputs import bucket_and_key, is_s3
from mu.mapping.job import LAMBDA, Checked, Map, Summary
from mu.mapping.plan import Work
from mu.mapping.settings import Given
from mu.mapping.sources import Source, bucket_region
from mu.preflight import has_own_endpoint
from mu.report import choose, cost, outputs
from mu.report.cost import Function
from mu.report.failure import readable
from mu.report.plain import PlainReporter
from mu.report.reporter import Counts, Reporter
from mu.server.ledger import Part
from mu.server.run import Run
from mu.server.settings import Outcome, Settings, Setup
from mu.tls import keys

logger = logging.getLogger(__name__)

RECORDED = 10_000  # the most inputs for which --results includes a record and a timeline


class Target(NamedTuple):
    """The Lambda function that does the work; `timeout` is in seconds."""

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
    """Does a whole map. Programs' output goes to `collector`, by default to standard output.

    With `again` the inputs are those of earlier results that failed; the new results are added to them. `attempts`
    gets the seconds of each attempt that decided its input. Raises UsageError or MuError if nothing was started.
    Failed inputs raise nothing: see the summary's `code`.
    """
    checked = job.check(given, source)
    if given.max_cost is not None and LAMBDA not in given.engine:
        raise UsageError("--max-cost is for -e lambda: what other engines cost is not known")
    made = Map(checked)
    if made.total == 0:
        say("nothing to do: there is no input")
        return Summary()
    try:
        target = target_of(checked)
        if target is not None:
            _set_price(made, target)
        if collector is None and not checked.outputs and hasattr(sys.stdout, "buffer"):
            collector = Collector(sys.stdout.buffer, ordered=given.keep_order, tag=given.tag)
        with tempfile.TemporaryDirectory(prefix="mu-package-") as directory:
            engine = engine_of(checked, target, directory)
            why = unreachable(engine, given) if given.engine == (LAMBDA,) and not given.direct else ""
            if why:
                say(f"workers cannot connect to this machine: {why}. Continuing with --direct")
            made.open(collector, event_of(checked), again=again)
            made.book.attempts = attempts
            if target is not None and (given.direct or why):
                return _direct(made, target, engine)
            return _drive(made, target, engine)
    finally:
        made.close()


def _set_price(made: Map, target: Target) -> None:
    """Sets the price of time. Raises UsageError if it is not known and there is a limit."""
    given = made.given
    made.budget.set_price(target.price, given.timeout or target.timeout, target.regions)
    if given.max_cost is not None and not made.budget.worst:
        where = ", ".join(target.regions)
        raise UsageError(f"--max-cost: no price is known for {target.price.architecture} in {where}")


def regions_of(given: Given) -> list[str]:
    """Returns the functions' regions. Raises UsageError if AWS has no such region."""
    return aws.regions(given.regions)


def target_of(checked: Checked) -> Target | None:
    """Returns the function of engine lambda, made now if it does not exist; None for other engines. Raises MuError."""
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
        raise UsageError("--with is packaged with a new function, but -l names an existing one")
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
    """Returns the workers' defaults: the bucket that most files are moved to or from, and its region."""
    given = checked.given
    event: dict[str, Any] = {"mode": 1, "tell_facts": 1, "tell_bytes": 1}
    places = [
        checked.source.description.partition(" ")[0],
        *(each.text for each in checked.outputs.templates),
    ]
    bucket = next((bucket_and_key(place)[0] for place in places if is_s3(place)), given.bucket or "")
    if bucket:
        event |= {"bucket": bucket, "region": bucket_region(bucket)}
    return event


def engine_of(checked: Checked, target: Target | None, directory: str) -> Engine:
    """Returns the engine; packages for engines other than lambda are made in `directory`. Raises UsageError."""
    given = checked.given
    specs = list(given.engine)
    if len(set(specs)) < len(specs):
        raise UsageError(f"-e names an engine twice: {', '.join(specs)}")
    engines = []
    for spec in specs:
        function = given.function or ""
        if spec == LAMBDA and target is not None:
            function = target.name
        elif not checked.here and not function and (checked.program.path or given.beside):
            zipped = program.package(checked.program, given.beside, Path(directory), allow_ld=given.allow_ld)
            function = str(zipped.file)
        wanted = by_name.Wanted(
            function=function,
            named_regions=given.regions,
            workers=given.workers,
            arguments=by_name.words(given.engine_args),
            tunnel=given.tunnel,
        )
        engines.append(by_name.by_name(spec, wanted))
    if len(engines) == 1:
        return engines[0]
    from mu.engines.several import Several

    return Several(engines)


def unreachable(engine: Engine, given: Given) -> str:
    """Returns why workers on AWS cannot connect to this machine; an empty text if they may be able to."""
    if given.address or has_own_endpoint():
        return ""
    try:
        address = engine.own_address()
    except UsageError as error:
        return str(error)
    if ipaddress.ip_address(address).is_global:
        return ""
    return f"this machine's address, {address}, is not a public one (-a gives another)"


def _drive(made: Map, target: Target | None, engine: Engine) -> Summary:
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
            text = readable((outcome.error.strip() or "the worker was lost").splitlines()[0])
            ended = Ended(Verdict(text), text)
        book.over(work, ended, outcome.attempt, outcome.seconds, outcome.worker)
        if book.stop:
            running.stop(book.stop)

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
        record_dir=record_of(made),
        quiet=given.quiet,
        verbose=given.verbose,
        stdout_shown=made.maker.running.wants_stdout,
        function=target.name if target else None,
    )
    settings = Settings(
        parts=parts,
        workers=given.workers,
        retries=given.retries,
        part_timeout=given.timeout,
        journal=record.messages_each(made.total or RECORDED) if setup.record_dir else 0,
    )
    reporter = reporter_of(made)
    running = Run(
        settings, constructor, setup=setup, engines=[engine], reporter=reporter, on_outcome=on_outcome
    )
    context.wake = running.wake
    context.note = logger.debug
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
        hellos = running.counts.hellos
        spent = cost.estimate(price, running.loop.worker_seconds, hellos, target.regions, starts=hellos)
    _timeline(made, setup.record_dir)
    return made.finish(made.summary(int(code), stopped, spent))


def record_of(made: Map) -> str | None:
    """Returns the directory of the run's record: that of --record, or one in the results of a run that is not too
    long."""
    given = made.given
    if given.record or given.results is None or (made.total or RECORDED + 1) > RECORDED:
        return given.record
    directory = str(Path(given.results) / "record")
    record.prepare(directory)
    return directory


def _timeline(made: Map, directory: str | None) -> None:
    """Writes a timeline into the directory of --results."""
    if directory is None or made.given.results is None:
        return
    path = Path(made.given.results) / "timeline.html"
    try:
        path.write_text(timeline_html.page(load(directory)), encoding="utf-8")
    except (OSError, MuError) as error:
        say(f"no timeline: {reason(error)}")
    else:
        _note(made.given)(f"results: {made.given.results}, with a timeline: {path}")


class _Parts:
    """The parts of a run, for its ledger, without a length."""

    def __init__(self, made: Map) -> None:
        self._map = made

    def __iter__(self) -> Iterator[Part | None]:
        for work in self._map.parts():
            yield None if work is None else Part(work.item.number, 0, work)


class _Counted(_Parts):
    """The parts of a run whose inputs are all known and all to be done, with a length."""

    def __len__(self) -> int:
        return self._map.total or 0


def reporter_of(made: Map) -> Reporter:
    """Returns the usual display, with a summary of inputs and with grouped failures."""
    given = made.given
    parts = made.total or 0
    if not made.checked.outputs and sys.stdout is not None and sys.stdout.isatty():
        # Programs' output appears on this terminal, too: a live display would overwrite it.
        reporter: Reporter = PlainReporter(parts, quiet=given.quiet, verbose=given.verbose)
    else:
        reporter = choose.for_run(parts, quiet=given.quiet, verbose=given.verbose)

    def summary(_failures: Sequence[Any], _missing: int, ended: str) -> None:
        found = made.summary(0, ended, None)
        *lines, last = job.lines_of(found, made.book.groups.lines(), reporter.counts.repeated)
        for line in lines:
            reporter.line(line)
        (reporter.line if found.code else reporter.note)(last)

    reporter.summary = summary  # type: ignore[method-assign, assignment]
    return reporter


def _direct(made: Map, target: Target, engine: Engine) -> Summary:
    from mu.mapping.direct import Direct, Invoker, workers_of

    given, book = made.given, made.book
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

    def show(work: Work, ended: Ended) -> None:
        if given.verbose:
            data = ended.stderr if made.maker.running.wants_stdout else ended.stdout + ended.stderr
            for line in outputs.lines(work.item.number, work.name, data):
                reporter.line(line)

    direct = Direct(made, invoker, workers, tell, target.price.memory << 20, show)
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
    return made.finish(made.summary(code, "", spent))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Yields a list that receives the signals that ask us to end; a second signal ends the process at once."""
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
