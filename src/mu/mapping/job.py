"""A whole map: checks the settings, prepares the run, and sums it up at the end; an engine does the work."""

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mu import aws
from mu.console.files import scratch_directory
from mu.console.terminal import say
from mu.errors import MuError, UsageError, reason
from mu.jobs.reading import ReadAhead
from mu.mapping import carry, failures, feed, journals, program, words
from mu.mapping import outputs as templates_of
from mu.mapping.attempt import Maker
from mu.mapping.beside import Beside
from mu.mapping.book import Book, Journal, Printed
from mu.mapping.budget import Budget, dollars
from mu.mapping.carry import Carrier
from mu.mapping.failures import Rules, Watch
from mu.mapping.feed import Feed
from mu.mapping.fingerprints import fingerprint
from mu.mapping.inputs import Input, bucket_and_key, is_nearly_s3, is_s3
from mu.mapping.objects import Objects
from mu.mapping.outputs import Outputs
from mu.mapping.part import Parts
from mu.mapping.past import Before, Past
from mu.mapping.plan import Layout, Running
from mu.mapping.program import Program
from mu.mapping.results import Results
from mu.mapping.settings import HERE, LAMBDA, Given
from mu.mapping.sources import Source, bucket_region, counted, no_input
from mu.mapping.words import IN, OUT, Words
from mu.preflight import check_names

PAUSE = 0.01  # seconds between looks at inputs that come slowly, before anything is started


@dataclass
class Summary:
    """How a map went. `code` is the exit status, `stopped` the reason why it ended early; `failures` are grouped.

    `interrupted` inputs were under way at an early end, `not_begun` are those that no worker had; with `unread` there
    may be more of them, which were not read. `unrecorded` inputs are over, but the journal does not have them.
    """

    inputs: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    interrupted: int = 0
    not_begun: int = 0
    unrecorded: int = 0
    unread: bool = False
    seconds: float = 0.0
    bytes: int = 0
    stopped: str = ""
    code: int = 0
    redone: dict[str, int] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, object]] = field(default_factory=list)
    cost: Mapping[str, Any] | None = None
    results: str | None = None


@dataclass
class Checked:
    """The settings, checked before anything has been started or written."""

    given: Given
    source: Source
    command: Words
    outputs: Outputs
    rules: Rules
    max_fails: failures.MaxFails | None
    program: Program
    here: bool


def check(given: Given, source: Source) -> Checked:
    """Returns the checked settings. Raises UsageError if anything is wrong with the command line."""
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError(f"the current directory: {reason(error)}") from None
    if (given.shell is None) == (not given.command):
        raise UsageError("give a command after --, or --sh TEXT" + (", not both" if given.command else ""))
    command = words.shell(given.shell) if given.shell is not None else words.command(given.command)
    templates = templates_of.parse(given.out, source.columns)
    words.check(command.names, source.columns, [each.name for each in templates], where="the command")
    for each in templates:
        name = f"{OUT}:{each.name}" if each.name else OUT
        if name not in command.names:
            raise UsageError(
                f"--out {each.text}: the command has no {{{name}}}, so no file would be written there"
            )
    for each in templates:
        if is_s3(each.base):  # the region is needed later: this is no further request
            bucket_region(bucket_and_key(each.base)[0])
    for flag, directory in (("--results", given.results), ("--record", given.record)):
        if directory and (is_s3(directory) or is_nearly_s3(directory)):
            raise UsageError(f"{flag} {directory}: it is a directory of this machine, not a bucket")
    carry.check(given.bucket)
    check_names(bucket=given.bucket, host=given.address, regions=given.regions)
    here = all(engine.partition(":")[0] == HERE for engine in given.engine)
    if given.resume and not (templates or given.results):
        raise UsageError("--resume needs the journal of --results DIR or of --out: give one of them")
    if given.direct and given.engine != (LAMBDA,):
        raise UsageError("--direct is for -e lambda: other engines have no synchronous invocations")
    if given.direct and given.record:
        raise UsageError("--direct keeps no record: --results DIR keeps what became of each input")
    if given.tag and templates:
        raise UsageError("--tag marks what programs print, but with --out that is not shown")
    checked = Checked(
        given,
        source,
        command,
        Outputs(templates, source, command.names),
        Rules(
            failures.statuses(given.ok, "--ok"),
            failures.statuses(given.no_retry, "--no-retry") if given.no_retry else frozenset(),
        ),
        failures.max_fails(given.max_fails) if given.max_fails else None,
        program.find(command, given.beside, here=here),
        here,
    )
    if not given.allow_empty:
        source.check()
    return checked


def command_id(checked: Checked) -> str:
    """Returns what identifies a command and where it runs: an input that it has done shows that it works."""
    given = checked.given
    words = [given.shell] if given.shell is not None else given.command
    places = [*given.engine, "", given.function or "", "", *given.out]
    return f"{fingerprint(checked.program.digest, *words, '', *places):016x}"


class Map:
    """One run. The constructor reads the inputs as far as needed, `open` prepares all that is written, `close` frees
    it.

    Between `open` and `close`, `parts()` yields the inputs, `parts_of` has the job's function, and `book` records the
    end of each input. `open` raises UsageError or MuError; nothing has been started then.
    """

    def __init__(self, checked: Checked) -> None:
        self.checked, self.given = checked, checked.given
        self.started = time.monotonic()
        self.began = time.time()
        # Journals in a bucket are sorted by it if they were written in the same second.
        micro = int(self.began % 1 * 1e6)
        self.run_id = f"{time.strftime('%Y%m%dT%H%M%S')}.{micro:06}-{os.urandom(3).hex()}"
        self.ended = ""  # reason why no more inputs are begun
        self.total: int | None = None
        self.direct = False  # whether inputs are done by invocations
        self._again: Before | None = None
        self._journal: Journal | None = None
        # What a source skips that was read before the start: the run reads it again only up to the last input.
        self._passed_over: dict[str, int] | None = None
        self.results: Results | None = None
        self.carrier: Carrier | None = None
        self.budget = Budget(self.given.max_cost)
        self._book: Book | None = None
        self._scratch: str | None = None
        self._closing = ExitStack()  # removes that directory
        self._objects = Objects()
        self._ahead: ReadAhead[Input] | None = None  # of inputs that cannot be read again
        self._beside = Beside(self.run_id)
        self._items = self._begin(checked.source)

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of all inputs, if their total is known."""
        if self._again:
            return [item.number for item in self.checked.source]
        return range(1, (self.total or 0) + 1)

    def past(self) -> Past:
        """Reads what earlier runs have done. Raises UsageError or MuError."""
        checked = self.checked
        return journals.past(self.given, checked.outputs.templates, checked.command.names, self._objects)

    def open(
        self, collector: Printed | None, event: Mapping[str, Any], *, again: Before | None = None
    ) -> None:
        """Opens the journal and all other files that are written. `event` has the workers' defaults; with `again` the
        inputs are those of that map's results that failed."""
        checked, self._again = self.checked, again
        layout = self._layout(checked)
        templates = checked.outputs.templates
        self._journal, self.results = journals.opened(
            self.given, templates, self._objects, self.run_id, again=again is not None
        )
        # It is read after the journal was opened, which locks it.
        past = self.past() if self.given.resume else None
        wants_stdout = not checked.outputs or self.results is not None
        command = command_id(checked)
        before = again or past
        watch = Watch(
            checked.max_fails,
            again.inputs if again else self.total,
            works=before is not None and command in before.commands,
        )
        self._book = Book(
            watch, journal=self._journal, results=self.results, collector=collector, command=command
        )
        digest = checked.program.digest
        self.feed = Feed(self._items, checked.command, checked.outputs, digest, past=past)
        self.feed.skip = self.book.skip
        self.book.failed_before = self.feed.failed_before
        self.carrier = None if checked.here else Carrier(self.given.bucket, self.region, self.run_id)
        self.maker = Maker(layout, self._running(checked, wants_stdout), checked.rules, bucket_region, event)
        self.parts_of = Parts(self.maker, self.carrier, watch, self.budget)
        self._works = iter(self.feed)

    @property
    def book(self) -> Book:
        """The records of the inputs, once the run is open."""
        assert self._book is not None
        return self._book

    @property
    def region(self) -> str:
        """The region of the job's bucket, or the job's first region."""
        if self.given.bucket:
            return bucket_region(self.given.bucket)
        return aws.regions(self.given.regions)[0]

    def _begin(self, source: Source) -> Iterable[Input | None]:
        """Reads the inputs as far as possible before the start. Raises UsageError."""
        checked = self.checked
        if source.again:
            outputs = checked.outputs
            self.total = feed.first_refusal(source, outputs) if outputs else sum(1 for _ in source)
            self._passed_over = dict(source.skipped)
            self._nothing(self.total == 0)
            return source
        items = iter(source)
        first = next(items, None)
        self._nothing(first is None)
        if first is None:
            return ()
        if checked.outputs:
            feed.first_refusal([first], checked.outputs)
        self._ahead = ReadAhead(itertools.chain([first], items), lambda item: len(item.text))
        return (item if there else None for there, item in self._ahead)

    def _nothing(self, none: bool) -> None:
        if none and not self.given.allow_empty:
            raise no_input(self.checked.source.description, self.checked.source.skipped)

    def _layout(self, checked: Checked) -> Layout:
        if not checked.here:
            return Layout(checked.command, checked.program.word)
        bases = {each.name: each.base for each in checked.outputs.templates}
        try:
            for each in checked.outputs.templates:
                if not is_s3(each.base):
                    self._beside(each.base)
        except OSError as error:
            raise UsageError(f"--out: cannot write in {each.base or '.'}: {reason(error)}") from None
        if any(name.partition(":")[0] in (IN, OUT, words.TMP) for name in checked.command.names):
            self._scratch = str(self._closing.enter_context(scratch_directory("mu-map-")))
        return Layout(checked.command, checked.program.word, self._scratch or "", self._beside, bases)

    def _running(self, checked: Checked, wants_stdout: bool) -> Running:
        given = checked.given
        return Running(
            checked.command.shell,
            checked.rules.ok,
            given.timeout,
            str(Path.cwd()) if checked.here else None,
            wants_stdout,
            () if checked.here else [Path(name).name for name in given.beside],
        )

    def nothing_to_do(self) -> bool:
        """Whether all inputs were done before. Waits for the first that was not, so that no worker is started and no
        record is begun if there is none."""
        if not self.given.resume:
            return False
        seen = 0
        for work in self._works:
            if work is not None:
                self._works = itertools.chain([work], self._works)
                return False
            if seen == self.feed.counts.seen:  # otherwise inputs are being skipped, which needs no pause
                time.sleep(PAUSE)
            seen = self.feed.counts.seen
        return not self.feed.broken

    def parts(self) -> Iterator[Any]:
        """Yields the `Work` of each input, as far as the budget allows; None while no input is ready."""
        for work in self._works:
            if work is None:
                yield None
                continue
            while self.book.full:
                yield None
            if self.book.stop:  # standard output or the journal could not be written
                return
            while not self.budget.allows():
                if not self.budget.running:
                    self.ended = f"another input could exceed --max-cost {dollars(self.budget.limit or 0.0)}"
                    return
                yield None
            self.budget.begin()
            yield work

    def summary(self, code: int, stopped: str, cost: Mapping[str, Any] | None) -> Summary:
        """Returns how the run went."""
        book, counts = self.book, self.feed.counts
        done, failed = book.watch.done, book.watch.failed
        inputs = self.total if self.total is not None else counts.seen
        stopped = stopped or book.stop or self.ended or self.feed.broken
        left = max(0, inputs - done - failed - counts.skipped)
        interrupted = min(left, self.budget.running if self.direct else len(self.parts_of.under_way))
        return Summary(
            inputs=inputs,
            done=done,
            failed=failed,
            skipped=counts.skipped,
            interrupted=interrupted,
            not_begun=left - interrupted,
            unrecorded=book.unrecorded,
            unread=self.total is None and not self.feed.complete,
            seconds=time.monotonic() - self.started,
            bytes=book.bytes,
            stopped=stopped,
            code=code or (1 if failed or stopped else 0),
            redone=dict(counts.redone),
            passed_over=dict(self.checked.source.skipped if self._passed_over is None else self._passed_over),
            failures=book.groups.as_data(),
            cost=cost,
            results=self.given.results,
        )

    def go_on(self) -> str:
        """Returns how the user does what is left after an early end; empty if the run has no journal."""
        if self._again:
            return f"mu retry {self.given.results}"
        return "the same command with --resume" if self._journal is not None else ""

    def begin(self) -> None:
        """Writes a first run.json, if results are kept, so that `mu retry` knows the settings even if this process is
        killed. Raises MuError."""
        if self.results is not None:
            self.results.finish({**self._about(), "left": self._again.left if self._again else None})

    def finish(self, made: Summary) -> Summary:
        """Writes run.json, if results are kept. Returns the summary, with another exit status if it could not be
        written."""
        if self.results is None:
            return made
        counts = {name: value for name, value in vars(made).items() if name != "results"}
        try:
            self.results.finish({**self._about(), "left": self._left(made), **counts})
        except MuError as error:
            say(str(error))
            return replace(made, code=made.code or 1, stopped=made.stopped or str(error))
        return made

    def _left(self, made: Summary) -> int | None:
        """Returns how many inputs no run has brought to an end; None if that is not known. Those that have failed are
        not among them, even if this run has not come to them: `mu retry` does them."""
        if self._again:
            return self._again.left
        if made.unread:
            return None
        left = made.interrupted + made.not_begun + made.unrecorded
        if left:
            if not self.feed.complete_failed_before():
                return None
            left -= len(self.feed.failed_before)
        return left + self.checked.source.rest

    def left_alone(self, made: Summary) -> Summary:
        """Writes run.json, if an earlier run that has left nothing to do has not come to its end."""
        if self.results is None:
            return made
        from mu.mapping import earlier

        return made if earlier.is_complete(self.results.directory) else self.finish(made)

    def _about(self) -> dict[str, Any]:
        source = self.checked.source
        return {
            "settings": self.given.as_data(),
            "directory": str(Path.cwd()),
            "inputs_from": source.description,
            "columns": list(source.columns) if source.columns else None,
            "program": self.checked.program.digest,
            "started": self.began,
        }

    def close(self) -> None:
        """Frees the threads, files and objects of the run. A step that fails, or that Ctrl-C ends, skips no other."""
        with ExitStack() as steps:  # the last one is the first to be done
            steps.callback(self._closing.close)
            steps.callback(self._beside.close)
            if self.carrier is not None:
                steps.callback(_close, self.carrier)
            if self._book is not None:
                steps.callback(self._book.close)
            elif self._journal is not None:
                steps.callback(self._journal.close)
            if self._ahead is not None:
                steps.callback(self._ahead.stop)


def _close(carrier: Carrier) -> None:
    try:
        carrier.close()
    except Exception as error:
        say(reason(error))


def done_before(count: int) -> str:
    """How many inputs are left out."""
    return f"{count:,} {'was' if count == 1 else 'were'} done before"


def lines_of(made: Summary, groups: list[str], repeated: int = 0, go_on: str = "") -> list[str]:
    """Returns the lines to print at the end of a run. `repeated` is the number of failed attempts that were
    retried, `go_on` how the user does what is left."""
    more = " or more" if made.unread else ""
    told = [f"{made.done:,} of {made.inputs:,}{more} inputs done in {made.seconds:.1f} s"]
    if made.failed:
        told.append(f"{made.failed:,} failed")
    if made.skipped:
        told.append(done_before(made.skipped))
    left = made.interrupted + made.not_begun if made.code else 0
    if left and made.interrupted:
        told.append(f"{made.interrupted:,} interrupted")
    if left and made.not_begun:
        told.append(f"{made.not_begun:,} not begun")
    if made.unrecorded:
        told.append(f"{made.unrecorded:,} not recorded")
    lines = list(groups)
    if repeated:
        lines.append(f"{repeated:,} failed attempt{'s were' if repeated > 1 else ' was'} retried")
    lines += [f"{count:,} done again: {why}" for why, count in made.redone.items()]
    lines += [f"{counted(what, count)} skipped" for what, count in made.passed_over.items()]
    if (left or made.unrecorded) and go_on and (made.done or made.skipped):
        lines.append(f"to go on: {go_on}")
    elif made.failed and made.results:
        lines.append(f"to try the failed ones again: mu retry {made.results}")
    if made.stopped:
        lines.append(f"ended early: {made.stopped}")
    return [*lines, ", ".join(told)]
