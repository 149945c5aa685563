"""Runs a map with --direct: counts, signals and the end, around `mu.mapping.direct`."""

import signal
import time

from mu.console.system import caught_signals
from mu.engines.protocol import Engine
from mu.mapping.attempt import Ended
from mu.mapping.book import close
from mu.mapping.direct import Direct, workers_of
from mu.mapping.invoker import Invoker
from mu.mapping.job import Map, Summary
from mu.mapping.plan import Work
from mu.mapping.target import Target
from mu.report import cost, outputs
from mu.report.failure import readable
from mu.report.reporter import Counts, Reporter


def by_invocations(made: Map, target: Target, engine: Engine, reporter: Reporter) -> Summary:
    """Run a map by synchronous invocations of the function; `engine` says how many there may be."""
    given, book = made.given, made.book
    workers = workers_of(given.workers, engine.limit().number, made.total)
    invoker = Invoker(target.name, target.regions[0], made.maker.event)
    reporter.note(f"{workers} invocation{'s'[: workers > 1]} at a time, no port is opened (--direct)")

    def tell() -> None:
        book.tick()
        watch = book.watch
        reporter.counts = Counts(
            parts=made.total if made.total is not None else made.feed.counts.seen,
            parts_known=made.total is not None,
            begun=direct.begun - invoker.waiting,
            done=watch.done,
            failed=watch.failed,
            workers=max(0, direct.running - invoker.waiting),
            limit=workers,
            launch_note=invoker.note(),
        )
        reporter.tick(now=time.monotonic())

    def show(work: Work, number: int, ended: Ended | None, seconds: float) -> None:
        if not given.verbose:
            return
        what = f"part {work.item.number}" + (f", attempt {number}" if number > 1 else "")
        if ended is None:
            reporter.line(f"{what}: invoked")
            return
        data = ended.stderr if made.maker.running.wants_stdout else ended.stdout + ended.stderr
        for line in outputs.lines(work.item.number, work.name, data):
            reporter.line(line)
        how = "done" if ended.verdict is None else f"failed ({readable(ended.verdict.text)})"
        reporter.line(f"{what}: {how} after {seconds:.1f} s")

    direct = Direct(made, invoker, workers, tell, target.price.memory << 20, show)
    code = 0
    caught: list[int] = []

    def on_signal(number: int) -> None:
        if caught:  # at the second signal the process ends at once
            raise SystemExit(128 + number)
        caught.append(number)

    with caught_signals(on_signal):
        direct.run(lambda: bool(caught))
        if caught:
            code, book.stop = 128 + caught[0], book.stop or f"stopped by {signal.Signals(caught[0]).name}"
    invoker.stop()
    left = invoker.going_on()
    code = close(book) or code
    tell()
    reporter.close()
    reporter.summary((), 0, book.stop)
    if invoker.busy:
        reporter.note(f"Lambda asked {invoker.busy:,} times to wait")
    if left:
        what = "1 invocation goes on" if len(left) == 1 else f"{len(left):,} invocations go on"
        reporter.line(f"{what} to the end, for at most {target.timeout:,.0f} s, which Lambda bills")
    seconds, requests = direct.seconds + sum(left), direct.requests + len(left)
    spent = cost.estimate(target.price, seconds, requests, target.regions[:1])
    reporter.note(cost.describe(spent))
    return made.finish(made.summary(code, "", spent))
