"""`--dry-run`: prints what a map would do on which inputs, and estimates its time and cost."""

import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from mu.console.files import scratch_directory
from mu.console.terminal import say, visible
from mu.engines.ramp import LAMBDA as RAMP
from mu.errors import UsageError
from mu.mapping import job, journals, program
from mu.mapping import run as running
from mu.mapping.feed import Feed, identity_of
from mu.mapping.inputs import Input
from mu.mapping.job import Checked
from mu.mapping.objects import Objects
from mu.mapping.outputs import CollisionError, RefusedError
from mu.mapping.past import Past
from mu.mapping.plan import Layout, Refused, Work
from mu.mapping.settings import LAMBDA, Given
from mu.mapping.sources import Source, counted, no_input
from mu.mapping.target import regions_of, target_of
from mu.report import cost, figures

SHOWN = 3  # number of commands, and of mistakes of each kind, that are printed
START = 1.0  # assumed seconds of a worker's start, if no sample measures it


class Found:
    """The totals of a source. `unsized` counts inputs whose size is not known, `done` those that `--resume` leaves
    out; `redone` counts, by reason, those that were done and are done again. `head` has the first inputs to do."""

    def __init__(self) -> None:
        self.inputs = self.bytes = self.unsized = self.collisions = self.refused = self.done = 0
        self.first: list[Work] = []
        self.head: list[Input] = []
        self.redone: dict[str, int] = {}
        self.mistakes: list[str] = []


def run(given: Given, source: Source, sample: int) -> int:
    """Prints the dry run; returns the exit status: 0 if the map could be started."""
    checked = job.check(given, source)
    past = None
    if given.resume:
        past = journals.past(given, checked.outputs.templates, checked.command.names, Objects())
    found = look(source, checked, past, sample)
    if not found.inputs and not given.allow_empty:
        raise no_input(source.description, source.skipped)
    out = sys.stdout.write
    for line in described(found, checked):
        out(f"{line}\n")
    to_do = found.inputs - found.done
    if found.done and not to_do:
        out("nothing to do\n")
        return 0
    on_lambda = LAMBDA in given.engine
    limit = None
    if on_lambda:
        from mu.engines.aws_lambda import AwsLambda

        # The function need not exist, and a dry run does not make it: then the account's limit applies.
        limit = AwsLambda(given.function or name_of(checked), regions_of(given)).limit()
    elif checked.here:
        from mu.engines.here import here

        limit = here(given.workers).limit()
    most = min(to_do, given.workers or (limit.number if limit and limit.number else to_do))
    why = f": {limit.reason}" if limit and most == limit.number else ""
    out(f"workers: {most:,} at a time{why}\n")
    if on_lambda:
        ramp = 0.0 if most <= RAMP.burst else (most - RAMP.burst) / RAMP.per_second
        out(f"ramp: all of them after about {ramp:.0f} s\n")
    if not sample:
        out("time and cost: not known without a sample (--sample 3 does three inputs for real)\n")
        return 1 if found.mistakes and found.collisions else 0
    each, start = sampled(given, _Some(source, found.head, to_do - len(found.head)))
    seconds = each * to_do
    out(f"sample: {each:.2f} s for each input\n")
    out(f"time: about {seconds / most + start:,.0f} s\n")
    if (target := target_of(checked)) is not None:
        price = cost.estimate(target.price, seconds + start * most, most, target.regions, starts=most)
        dollars = price["dollars"]
        out(f"cost: about {'unknown' if dollars is None else cost.money(dollars)} (estimate, Lambda only)\n")
    else:
        out("cost: none that is known\n")
    return 0


def look(items: Iterable[Input], checked: Checked, past: Past | None = None, sample: int = 0) -> Found:
    """Counts all inputs, and collects the first commands, mistakes, and `sample` inputs. `past` is what earlier runs
    have done, if that is left out."""
    found = Found()
    feed = Feed((), checked.command, checked.outputs, checked.program.digest, past=past)
    found.redone = feed.counts.redone
    for given in items:
        item = given if past is None else feed.known(given)
        found.inputs += 1
        if item.size is None:
            found.unsized += 1
        else:
            found.bytes += item.size
        places: dict[str, str] = {}
        try:
            if item.refused:
                raise RefusedError(item.refused)
            places = dict(checked.outputs.of(item))
            checked.outputs.claim(item, places)
        except RefusedError as error:
            if isinstance(error, CollisionError):
                found.collisions += 1
            else:
                found.refused += 1
            if len(found.mistakes) < SHOWN:
                found.mistakes.append(f"input {item.number}, {item.text}: {error}")
        else:
            if past is not None and feed.is_done(
                item, identity_of(item, checked.command, places, checked.program.digest), places
            ):
                found.done += 1
                continue
        if len(found.head) < sample:
            found.head.append(given)
        if len(found.first) < SHOWN:
            found.first.append(Work(item, places, ""))
    return found


def described(found: Found, checked: Checked) -> Iterator[str]:
    """Yields the counts, the first commands in full, and the mistakes."""
    size = f", {found.bytes:,} bytes" if found.inputs > found.unsized else ""
    yield f"inputs: {found.inputs:,}{size} ({checked.source.description})"
    for what, count in checked.source.skipped.items():
        yield f"skipped: {counted(what, count)}"
    if found.done:
        yield f"done before: {found.done:,}"
    for what, count in found.redone.items():
        yield f"done again: {count:,}: {what}"
    layout = Layout(checked.command)
    for work in found.first:
        try:
            plan = layout.plan(work, 1)
        except (Refused, KeyError):
            continue
        words = plan.argv if not checked.command.shell else ["sh", "-c", plan.argv[0]]
        yield f"command {work.item.number}: {visible(' '.join(map(shlex.quote, words)))}"
        for move in plan.fetch:
            yield f"    {move.file} is s3://{move.bucket}/{visible(move.key)}"
        for source, file in plan.send:
            yield f"    {file} is {visible(source)}"
        for move in plan.store:
            yield f"    {move.file} goes to s3://{move.bucket}/{visible(move.key)}"
        for file, place in plan.bring:
            yield f"    {file} goes to {visible(place)}"
    if found.collisions:
        yield f"outputs that collide: {found.collisions:,}"
    if found.refused:
        yield f"inputs that cannot be done: {found.refused:,}"
    for mistake in found.mistakes:
        yield f"    {visible(mistake)}"


def sampled(given: Given, some: "_Some") -> tuple[float, float]:
    """Does the first inputs for real; returns the seconds of each input, and of a worker's start."""
    seconds: list[float] = []
    say(f"running {figures.counted(len(some.items), 'input')} as a sample")
    began = time.monotonic()
    summary = running.run(given, some, attempts=seconds)
    whole = time.monotonic() - began
    if not summary.done:
        raise UsageError("no input of the sample could be done: see above")
    each = sum(seconds) / len(seconds)
    price: Any = summary.cost
    if price and summary.cost:
        return each, max(0.0, (price["worker_seconds"] - sum(seconds)) / max(1, price["requests"]))
    return each, min(START, whole)


def name_of(checked: Checked) -> str:
    """Returns the name of the function that the run would make. Raises UsageError if the program cannot be packaged."""
    given = checked.given
    with scratch_directory(program.PREFIX) as directory:
        made = program.package(checked.program, given.beside, directory, allow_ld=given.allow_ld)
        return program.function_name(made, given.memory)


class _Some(Source):
    """The first inputs to do of another source, which has `rest` more of them."""

    def __init__(self, source: Source, items: list[Input], rest: int) -> None:
        super().__init__(
            source.description,
            lambda _: iter(()),
            again=True,
            columns=source.columns,
            holds=source.holds,
            files=source.files,
        )
        self.items = items
        self.rest = rest

    def __iter__(self) -> Iterator[Input]:
        return iter(self.items)
