"""Yields the inputs of a run one after the other to the coordinator's loop, without ever blocking it.

Each input becomes a `Work`: its outputs are expanded and claimed, and inputs that were done before are skipped. If
these are many, the loop gets its turn in between, since a million of them take about half a minute.
Sources that may block, such as standard input or the listing of a bucket, are read ahead (`mu.jobs.reading`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from time import monotonic

from mu.errors import MuError, UsageError, reason
from mu.mapping import words
from mu.mapping.inputs import Input, is_s3
from mu.mapping.journal import identity
from mu.mapping.outputs import CollisionError, Outputs, RefusedError
from mu.mapping.past import Past
from mu.mapping.plan import Work
from mu.mapping.sources import of_file
from mu.mapping.words import IN, OUT, TMP, Words

SLICE = 0.02  # seconds for which inputs are skipped before the loop gets its turn
READ_ON = 3.0  # seconds for which inputs are read after an early end


class Counts:
    """Counts inputs that no worker got. `redone` counts, by reason, inputs that are done again."""

    def __init__(self) -> None:
        self.seen = 0
        self.skipped = 0
        self.redone: dict[str, int] = {}

    def redo(self, why: str) -> None:
        """Counts an input that was done and is done again."""
        self.redone[why] = self.redone.get(why, 0) + 1


class Feed:
    """Iterable of `Work`, or None while no input is ready.

    `past` holds what earlier runs have done (None: no input is skipped). `complete` tells whether all inputs have been
    read; if they could not be, `broken` is the reason. `failed_before` has the numbers of inputs that have failed in an
    earlier run; who records that one is over removes it.
    """

    def __init__(
        self,
        source: Iterable[Input | None],
        command: Words,
        outputs: Outputs,
        program: str,
        *,
        past: Past | None = None,
    ) -> None:
        self._source = iter(source)
        self._command = command
        self._outputs = outputs
        self._program = program
        self._past = past
        self.counts = Counts()
        self._files = words.files_in(command.names)
        self.broken = ""
        self.complete = False
        self.skip: Callable[[int], object] = lambda _: None
        self.failed_before: set[int] = set()
        self._unseen = set(past.failed if past is not None else ())  # those of them that are still to come

    def __iter__(self) -> Iterator[Work | None]:
        try:
            began = monotonic()
            for item in self._source:
                work = None if item is None else self._work(item)
                if item is None or work is not None or monotonic() >= began + SLICE:
                    yield work
                    began = monotonic()
            self.complete = True
        except (MuError, OSError) as error:
            self.broken = reason(error)

    def _work(self, item: Input) -> Work | None:
        counts = self.counts
        counts.seen += 1
        item = self.known(item)
        refused, places = item.refused, {}
        try:
            if self._outputs and not refused:
                places = dict(self._outputs.of(item))
                self._outputs.claim(item, places)
        except RefusedError as error:
            refused, places = str(error), {}
        same = identity_of(item, self._command, places, self._program)
        if not refused and self.is_done(item, same, places):
            counts.skipped += 1
            self.skip(counts.seen)
            return None
        return Work(item, places, same, refused, counts.seen)

    def known(self, item: Input) -> Input:
        """Returns an input with what is known of it: the number that it has in the results, and its files' versions."""
        item = self._numbered(item)
        if not self._files or item.version:
            return item
        if item.fields is not None:
            return self._row(item)
        if not is_s3(item.text):
            found = of_file(item.text)
            item = item._replace(size=found.size, version=found.version, refused=found.refused)
        return item

    def _row(self, item: Input) -> Input:
        """Returns a row with the versions of the files that its columns name."""
        versions: dict[str, str] = {}
        refused = item.refused
        for name in self._files:
            path = words.file_of(item, name)
            if path and not is_s3(path):
                found = of_file(path)
                versions[name] = found.version
                if found.refused:
                    refused = refused or f"{path} {found.refused}"
        return item._replace(versions=versions, version=" ".join(versions.values()), refused=refused)

    def _numbered(self, item: Input) -> Input:
        if self._past is None:
            return item
        item = self._past.numbered(item)
        if item.number in self._unseen:
            self._unseen.remove(item.number)
            self.failed_before.add(item.number)
        return item

    def complete_failed_before(self) -> bool:
        """Completes `failed_before` after an early end, and returns whether that was possible: inputs are neither
        waited for, nor read for long."""
        if not self._unseen:
            return True
        until = monotonic() + READ_ON
        with suppress(MuError, OSError):
            for item in self._source:
                if item is None or monotonic() > until:
                    return False
                self._numbered(item)
                if not self._unseen:
                    return True
            return True
        return False

    def is_done(self, item: Input, same: str, places: Mapping[str, str]) -> bool:
        """Returns whether an input of this identity was done before; counts why it is done again."""
        if self._past is None:
            return False
        why = self._past.redone(item, same, places)
        if why:
            self.counts.redo(why)
        return why is None


def identity_of(item: Input, command: Words, places: Mapping[str, str], program: str) -> str:
    """Returns an input's identity for the journal; its command has fixed names instead of the worker's file names."""

    def value(name: str) -> str:
        if name.partition(":")[0] in (IN, OUT, TMP) and (item.fields is None or name not in item.fields):
            return f"\0{name}"
        return words.value_of(item, name)

    return identity(item.text, command.fill(value), places, program, item.version)


def first_refusal(source: Iterable[Input], outputs: Outputs) -> int:
    """Expands the outputs of all inputs that are known before the start; returns how many inputs there are.

    Raises UsageError at the first output that collides with another one, or is itself an input.
    """
    count = 0
    for item in source:
        count += 1
        if not item.refused:
            try:
                outputs.claim(item, outputs.of(item))
            except CollisionError as error:
                raise UsageError(f"input {item.number}, {item.text!r}: {error}") from None
            except RefusedError:
                continue  # concerns this input only; it is reported when its turn comes
    outputs.forget()
    return count
