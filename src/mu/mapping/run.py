"""Runs a map: engines start workers and `mu.server.run` drives them, or with --direct invocations do the work."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mu.console.files import replacing, scratch_directory
from mu.console.system import LOOP, need_linux
from mu.console.terminal import say
from mu.engines import by_name
from mu.engines.protocol import Engine
from mu.errors import JobError, MuError, UsageError, reason
from mu.history.blank import known_secrets
from mu.jobs.context import Context
from mu.jobs.coroutine_state import CoroutineState
from mu.mapping import job, program, reach
from mu.mapping.attempt import Ended
from mu.mapping.book import Printed, close
from mu.mapping.collect import Collector
from mu.mapping.failures import Verdict
from mu.mapping.inputs import bucket_and_key, is_s3
from mu.mapping.job import Checked, Map, Summary
from mu.mapping.past import Before
from mu.mapping.settings import LAMBDA, Given
from mu.mapping.sources import Source, bucket_region
from mu.mapping.target import Target, set_price, target_of, warn_of_limit
from mu.report import choose
from mu.report.failure import readable
from mu.report.plain import PlainReporter
from mu.report.reporter import Reporter
from mu.report.worker_log import messages_each
from mu.server.ledger import Part
from mu.server.run import Run
from mu.server.settings import Outcome, Settings, Setup
from mu.tls import keys

logger = logging.getLogger(__name__)

RECORDED = 10_000  # the most inputs for which --results includes a record and a timeline


def run(
    given: Given,
    source: Source,
    *,
    again: Before | None = None,
    collector: Printed | None = None,
    attempts: list[float] | None = None,
) -> Summary:
    """Does a whole map. Programs' output goes to `collector`, by default to standard output.

    With `again` the inputs are those of that map's results that failed; the new results are added to them. `attempts`
    gets the seconds of each attempt that decided its input. Raises UsageError or MuError if nothing was started.
    Failed inputs raise nothing: see the summary's `code`.
    """
    checked = job.check(given, source)
    if given.max_cost is not None and LAMBDA not in given.engine:
        raise UsageError("--max-cost is for -e lambda: what other engines cost is not known")
    # `mu` puts /dev/null in the place of a standard output that is closed.
    if sys.__stdout__ is None and collector is None and not (checked.outputs or given.results):
        raise UsageError(
            "there is no standard output for what programs print: open it, or give --results DIR"
        )
    if given.engine != (LAMBDA,):
        need_linux("mu map without -e lambda", LOOP)
    if checked.here and (elsewhere := program.not_found(checked.program, given.beside)):
        given.note(
            f"--with {elsewhere[0]}: with -e here it stays there, and the program runs in this directory"
        )
    made = Map(checked)
    with _record_directory(given):
        if made.total == 0:
            say("nothing to do: there is no input")
            return Summary()
        return _run(made, again=again, collector=collector, attempts=attempts)


def _run(
    made: Map, *, again: Before | None, collector: Printed | None, attempts: list[float] | None
) -> Summary:
    checked, given = made.checked, made.given
    try:
        target = target_of(checked)
        if target is not None:
            set_price(made, target)
            warn_of_limit(given, target)
        if collector is None and not checked.outputs and hasattr(sys.stdout, "buffer"):
            # A daemon thread that is writing to `sys.stdout.buffer` itself would hold its lock at the process's end.
            stream = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
            collector = Collector(stream, ordered=given.keep_order, tag=given.tag)
        with scratch_directory(program.PREFIX) as directory:
            engine = engine_of(checked, target, directory)
            if target is not None:
                engine.limit()  # before anything is written, since it may be 0
            why = "" if given.direct else reach.why_direct(engine, given)
            if why:
                say(f"{why}. Continuing with --direct{', which keeps no record' if given.record else ''}")
            made.open(collector, event_of(checked), again=again)
            made.book.attempts = attempts
            if made.nothing_to_do():
                return _left_alone(made)
            made.budget.check()
            made.begin()
            if target is not None and (given.direct or why):
                from mu.mapping.direct_run import by_invocations

                made.direct = True
                return by_invocations(made, target, engine, reporter_of(made))
            return _drive(made, target, engine)
    finally:
        made.close()


@contextmanager
def _record_directory(given: Given) -> Iterator[None]:
    """Makes the directory of --record, and removes it at the end if nothing has been written into it, as after a
    continuation with --direct. Raises UsageError if no record could be written there."""
    if not given.record:
        yield
        return
    from mu.history import record

    if given.results is not None and Path(given.record).absolute() == Path(given.results).absolute():
        raise UsageError(
            "--record and --results need two directories: each of the two has a run.json of its own"
        )
    path = Path(given.record)
    absent = [each for each in (path, *path.parents) if not os.path.exists(each)]  # noqa: PTH110 - raises nothing
    record.prepare(given.record)
    try:
        yield
    finally:
        for directory in absent:
            with suppress(OSError):  # it is not empty
                directory.rmdir()


def _left_alone(made: Map) -> Summary:
    """The end of a run whose inputs were all done before: what an earlier run has left stays as it is."""
    made.book.close()
    summary = made.summary(0, "", None)
    made.given.note(f"nothing to do: {job.done_before(summary.skipped)}")
    return made.left_alone(summary)


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


def engine_of(checked: Checked, target: Target | None, directory: Path) -> Engine:
    """Returns the engine; packages for engines other than lambda are made in `directory`. Raises UsageError."""
    given = checked.given
    specs = list(given.engine)
    arguments = by_name.words(given.engine_args)
    by_name.check_together(specs, arguments, given.tunnel)
    engines = []
    for spec in specs:
        function = given.function or ""
        if spec == LAMBDA and target is not None:
            function = target.name
        elif not checked.here and not function and (checked.program.path or given.beside):
            zipped = program.package(checked.program, given.beside, directory, allow_ld=given.allow_ld)
            function = str(zipped.file)
        wanted = by_name.Wanted(
            function=function,
            named_regions=given.regions,
            workers=given.workers,
            arguments=arguments,
            tunnel=given.tunnel,
        )
        engines.append(by_name.by_name(spec, wanted))
    return by_name.joined(engines)


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

    def on_tick() -> None:
        book.tick()
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
    setup = replace(setup, secrets=tuple(known_secrets(setup)))
    settings = Settings(
        parts=parts,
        workers=given.workers,
        retries=given.retries,
        part_timeout=given.timeout,
        journal=messages_each(made.total or RECORDED) if setup.record_dir else 0,
    )
    reporter = reporter_of(made)
    running = Run(
        settings,
        constructor,
        setup=setup,
        engine=engine,
        reporter=reporter,
        on_outcome=on_outcome,
        on_tick=on_tick,
    )
    context.wake = running.wake
    context.note = logger.debug
    stopped = ""
    try:
        running.prepare()
        running.launch()
        running.drive()
    finally:
        running.close()
    code = close(book)
    try:
        running.conclude()
    except JobError as error:
        code = code or error.code
        if code != 1 or not book.watch.failed:
            stopped = str(error)
    _timeline(made, setup.record_dir)
    return made.finish(made.summary(code, stopped, running.estimate))


def record_of(made: Map) -> str | None:
    """Returns the directory of the run's record: that of --record, or one in the results of a run that is not too
    long."""
    given = made.given
    if given.record or given.results is None or (made.total or RECORDED + 1) > RECORDED:
        return given.record
    from mu.history import record

    directory = str(Path(given.results) / "record")
    record.prepare(directory)
    return directory


def _timeline(made: Map, directory: str | None) -> None:
    """Writes a timeline into the directory of --results."""
    if directory is None or made.given.results is None:
        return
    from mu.history import timeline_html
    from mu.history.runs import load

    path = Path(made.given.results) / "timeline.html"
    try:
        page = timeline_html.page(load(directory)).encode()
        with replacing(path) as file:
            file.write(page)
    except (OSError, MuError) as error:
        say(f"no timeline: {reason(error)}")
    else:
        made.given.note(f"results: {made.given.results}, with a timeline: {path}")


class _Parts:
    """The parts of a run, for its ledger, without a length."""

    def __init__(self, made: Map) -> None:
        self._map = made

    def __iter__(self) -> Iterator[Part | None]:
        for work in self._map.parts():
            yield None if work is None else Part(work.item.number, 0, work)


class _Counted(_Parts):
    """The parts of a run whose inputs are all known and all to be done, with a length. `numbers` are those of all."""

    def __init__(self, made: Map) -> None:
        super().__init__(made)
        self.numbers = made.numbers

    def __len__(self) -> int:
        return len(self.numbers)


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
        groups = made.book.groups.lines()
        *lines, last = job.lines_of(found, groups, reporter.counts.repeated, made.go_on())
        for line in lines:
            reporter.line(line)
        (reporter.line if found.code else reporter.note)(last)

    reporter.summary = summary  # type: ignore[method-assign, assignment]
    return reporter
