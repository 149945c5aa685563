"""What earlier runs have done, by the rows of their journals: `--resume` leaves those inputs out.

The last row about an output decides, and it counts only if it still describes what is there. So neither another
command that has written the same outputs, nor a run that was killed between writing an output and its row, is taken
for this one:

- a file of this machine must have the size and the modification time that its row tells;
- an object must not have been written after its row.

In a directory of `--results` the last row about a number decides, too, since the files there have the numbers as
names.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mu.mapping.fingerprints import Fingerprints, Values, fingerprint
from mu.mapping.inputs import Input, is_s3
from mu.mapping.journal import DONE, Row
from mu.mapping.sources import version_of

CHANGED = "the input, the command or the program has changed"
MISSING = "an output is missing"
REPLACED = "an output has changed since it was made"
# The clocks of this machine and of S3 may differ by so many seconds.
CLOCKS = 60.0
SPREAD = 0x9E3779B97F4A7C15  # an odd number, whose multiples are spread over 64 bits
LARGEST_NUMBER = (1 << 63) - 1


class Before(NamedTuple):
    """A map whose failed inputs are done again: the number of its known inputs, how many of them are left without an
    end (None: not known), and the commands, by their journal's name, that have done an input."""

    inputs: int
    left: int | None
    commands: frozenset[str]


class Numbers:
    """The numbers of inputs in a directory of results: an input that earlier runs knew keeps its number, and another
    one gets its position, or a number after the largest if that is taken."""

    def __init__(self) -> None:
        self._given = Values()  # numbers, by text and how many inputs before it have the same text
        self._known = Fingerprints()  # how many numbers there are, by text
        self._seen = Fingerprints()  # how many inputs of this run had a text
        self._taken = Fingerprints()
        self._largest = 0

    def know(self, text: str, number: int) -> None:
        """Tells that an earlier run had an input of this number."""
        if not self._taken.count(number):
            one = fingerprint(text)
            self._given.put(_nth(one, self._known.add(one)), number)
            self._take(number)

    def of(self, item: Input) -> int:
        """Returns the number of the next input, which has its position as number so far."""
        one = fingerprint(item.text)
        number = self._given.count(_nth(one, self._seen.add(one)))
        if not number:
            number = self._largest + 1 if self._taken.count(item.number) else item.number
            self._take(number)
        return number

    def _take(self, number: int) -> None:
        self._taken.add(number)
        self._largest = max(self._largest, number)


class Past:
    """What earlier runs have done. `rows` are the lines of their journals, the oldest first.

    With `numbered` they are those of a directory of results; with `positions` the number of an input is its position
    there, too, since its command or its output has the number. `written(place)` tells when an object was written, in
    seconds since the epoch, or 0 if there is none; an object counts as that of a row if it is at most `tolerance`
    seconds younger. `commands` are those, by their journal's name, that have done an input, and `failed` the numbers of
    the inputs whose last row is a failure.
    """

    def __init__(
        self,
        rows: Iterable[Row] = (),
        *,
        numbered: bool = False,
        positions: bool = False,
        written: Callable[[str], float] = lambda _: 0,
        tolerance: float = CLOCKS,
    ) -> None:
        self.commands: set[str] = set()
        self.failed: set[int] = set()
        self._numbered = numbered
        self._written = written
        self._tolerance = tolerance
        self._last = Values()  # identity of the last row about an output or a number, 0 if that is not done
        self._made = Values()  # fingerprint of an output's version
        self._known = Fingerprints()
        self._numbers = Numbers() if numbered and not positions else None
        for row in rows:
            self._read(row)

    def _read(self, row: Row) -> None:
        text, number = row.get("input"), row.get("number")
        if not isinstance(text, str):
            return
        identity = _identity(row.get("identity")) if row.get("status") == DONE else 0
        if identity:
            self._known.add(self._name(text, number))
            self.commands.add(str(row.get("command")))
        places, versions = _by_name(row.get("output")), _by_name(row.get("output_version"))
        for name, place in places.items():
            one = fingerprint(place)
            self._last.put(one, identity)
            version = versions.get(name)
            if is_s3(place):
                version = None if self._is_younger(place, row.get("time")) else ""
            self._made.put(one, 0 if version is None else fingerprint(version))
        if self._numbered and isinstance(number, int) and 0 < number <= LARGEST_NUMBER:
            self._last.put(_of_number(number), identity)
            (self.failed.discard if identity else self.failed.add)(number)
            if self._numbers is not None:
                self._numbers.know(text, number)

    def _name(self, text: str, number: object) -> int:
        """Returns the fingerprint by which an input that was done is known: that of its text, or of its number in
        results, where several may have the same text."""
        return fingerprint(str(number) if self._numbered else text)

    def _is_younger(self, place: str, made: Any) -> bool:
        return isinstance(made, int | float) and self._written(place) > made + self._tolerance

    def numbered(self, item: Input) -> Input:
        """Returns the next input with its number, which is that of an earlier run if results are kept by it."""
        return item if self._numbers is None else item._replace(number=self._numbers.of(item))

    def redone(self, item: Input, same: str, places: Mapping[str, str]) -> str | None:
        """Returns None if an input of this identity is done, with its outputs in these places; otherwise why it is
        done again, or an empty text if it was not done before."""
        ones = [fingerprint(place) for place in places.values()]
        if self._numbered:
            ones.append(_of_number(item.number))
        identity = _identity(same)
        if not ones or any(self._last.count(one) != identity for one in ones):
            return CHANGED if self._known.count(self._name(item.text, item.number)) else ""
        versions = [self._version(place) for place in places.values()]
        if None in versions:
            return MISSING
        if any(
            self._made.count(one) != fingerprint(version or "")
            for one, version in zip(ones, versions, strict=False)
        ):
            return REPLACED
        return None

    def _version(self, place: str) -> str | None:
        if is_s3(place):
            return "" if self._written(place) else None
        return version(place)


def version(place: str) -> str | None:
    """Returns the version of an output on this machine: its modification time and size. None if there is no such
    file."""
    try:
        return version_of(os.stat(place))  # noqa: PTH116
    except (OSError, ValueError):
        return None


def _nth(one: int, before: int) -> int:
    """Returns a fingerprint for a text after `before` others of the same fingerprint."""
    return (one + before * SPREAD) % (1 << 64) or 1


def _of_number(number: int) -> int:
    return _nth(0, number)


def _identity(text: object) -> int:
    """Returns an identity as a number that is not 0; 0 if it is none."""
    try:
        found = int(text, 16) if isinstance(text, str) else -1
    except ValueError:
        return 0
    return (found or 1) if 0 <= found < 1 << 64 else 0


def _by_name(found: object) -> dict[str, str]:
    """Returns the outputs, or their versions, of a row by name: one without a name stands there alone."""
    if isinstance(found, str):
        return {"": found}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}
