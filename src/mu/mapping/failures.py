"""Groups failures of the same kind, and decides when there are so many that the job should end."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from mu.console.terminal import visible
from mu.errors import UsageError, one_line
from mu.report.failure import shown_name
from mu.report.figures import counted

CANARIES = 10  # number of first inputs; if all fail in the same way, the command is wrong
PERCENT_FROM = 100  # inputs that must be over before a percentage is used, if the total is not known
GROUPS_SHOWN = 10
NUMBERS_SHOWN = 5
KINDS_KEPT = 1000  # kinds of failure in memory; a program may print a new text each time
CANNOT_EXECUTE = {126: "cannot be executed", 127: "was not found"}
KILLED = (-9, 137)
TOO_LONG = "argument list too long"  # the system's text if a command is longer than it allows, as one input can make it


class Verdict(NamedTuple):
    """Why an attempt failed: `text` is one line; `final` means that a retry would fail, too; `program` that the
    program itself cannot be run, whatever the input."""

    text: str
    final: bool = False
    program: bool = False


class Rules(NamedTuple):
    """Which exit statuses are success, and which failures are final."""

    ok: frozenset[int] = frozenset((0,))
    no_retry: frozenset[int] = frozenset()

    def judge(
        self, status: int, stderr: str, *, timed_out: float | None = None, memory: int = 0
    ) -> Verdict | None:
        """Returns the failure that an exit status means; None for success.

        A negative status is a signal. `timed_out` is the time limit (seconds) that was exceeded, `memory` the
        worker's bytes.
        """
        if timed_out is not None:
            return Verdict(f"took longer than {timed_out:g} s", status in self.no_retry)
        if status in self.ok:
            return None
        last = last_line(stderr)
        said = f": {last}" if last else ""
        if status in CANNOT_EXECUTE:
            whole = f"the program {CANNOT_EXECUTE[status]} (exit status {status}){said}"
            return Verdict(whole, True, program=not too_long(last))
        if status in KILLED:
            room = f" ({memory >> 20:,} MB)" if memory else ""
            return Verdict(f"killed, probably out of memory{room}{said}", status in self.no_retry)
        fate = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        return Verdict(f"{fate}{said}", status in self.no_retry)


def too_long(text: str) -> bool:
    """Returns whether a program could not be started because its command is too long, which another input's may not
    be."""
    return text.lower().endswith(TOO_LONG)


def statuses(text: str, flag: str) -> frozenset[int]:
    """Returns the numbers of a list such as `0,2` or `64-78,1`, the value of `flag`. Raises UsageError."""
    found: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})(?:-(\d{1,3}))?\s*", piece, re.ASCII)
        if not match or not int(match[1]) <= int(match[2] or match[1]) <= 255:
            raise UsageError(
                f"{flag}: '{text}' is not a list of exit statuses from 0 to 255, such as 0,2 or 64-78"
            )
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)


def last_line(text: str) -> str:
    """Returns the last line that is not empty, made safe for terminals."""
    lines = text.rstrip().rsplit("\n", 1)
    return one_line(visible(lines[-1].rstrip("\r").rpartition("\r")[2])) if lines[-1] else ""


def generic(text: str, names: Mapping[str, str]) -> str:
    """Returns a failure's text without the input's own names; `names` maps these to the fields that they came from."""
    known = {visible(name): field for name, field in names.items() if len(name) > 1}
    if not known:
        return text
    longest_first = sorted(map(re.escape, known), key=len, reverse=True)
    # A name inside a word, or inside braces, is not the input's.
    pattern = rf"(?<![\w{{])(?:{'|'.join(longest_first)})(?![\w}}])"
    return re.sub(pattern, lambda found: known[found[0]], text)


class Groups:
    """Groups failures by kind. Texts of one kind differ only in numbers, and in what is the inputs' own."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, _First] = {}
        self.count = 0

    def add(self, number: int, text: str, name: str = "", shown: str = "") -> None:
        """Counts the failure of input `number`, called `name`, with this (generic) text. `shown` is the text for
        people, with the input's own names; by default the same."""
        self.count += 1
        kind = kind_of(text)
        if kind not in self._counts and len(self._counts) >= KINDS_KEPT:
            kind = text = shown = "other reasons"
        self._counts[kind] = self._counts.get(kind, 0) + 1
        first = self._first.setdefault(kind, _First(shown or text, shown not in ("", text), name))
        if len(first.numbers) < NUMBERS_SHOWN:
            first.numbers.append(number)
            first.names.append(shown_name(name) or str(number))

    def lines(self) -> list[str]:
        """Returns one line for each kind, the most frequent first."""
        made = []
        for kind, count in sorted(self._counts.items(), key=lambda each: -each[1])[:GROUPS_SHOWN]:
            first = self._first[kind]
            # If the text of a single failure has the input's name, that need not follow.
            named = count == 1 and first.own and len(first.name) > 1 and visible(first.name) in first.text
            shown = [
                str(n) if named or name == str(n) else f"{n}: {name}"
                for n, name in sorted(zip(first.numbers, first.names, strict=True))
            ]
            which = ", ".join(shown) + (", ..." if count > len(shown) else "")
            such = ", for example" if count > 1 and first.own else ""
            made.append(f"{count:,} failed{such}: {first.text} (input{'s' * (count > 1)} {which})")
        left = len(self._counts) - GROUPS_SHOWN
        if left > 0:
            made.append(f"and {left:,} other kinds of failure")
        return made

    def as_data(self) -> list[dict[str, object]]:
        """Returns the groups for `run.json`."""
        return [
            {"failure": self._first[kind].text, "count": count, "first": sorted(self._first[kind].numbers)}
            for kind, count in sorted(self._counts.items(), key=lambda each: -each[1])
        ]


class _First:
    """The first failures of a kind: the text of the first one, whether it has names of the input's own, the input's
    name, and some numbers and shown names."""

    def __init__(self, text: str, own: bool, name: str) -> None:
        self.text, self.own, self.name = text, own, name
        self.numbers: list[int] = []
        self.names: list[str] = []


def kind_of(text: str) -> str:
    """Returns what the failures of one kind have in common: the text without numbers, except for exit statuses and
    signals, which tell a crash from a refusal."""
    return re.sub(r"((?:exit status|signal) \d{1,3}\b)|\d+", lambda found: found[1] or "0", text)


class MaxFails(NamedTuple):
    """The limit of failures: more than `number`, or more than `percent` of the inputs, end the job."""

    number: int | None = None
    percent: float | None = None


def max_fails(text: str) -> MaxFails:
    """Parses `N` or `N%`. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9})|(\d{1,3}(?:\.\d{1,6})?)%", text, re.ASCII)
    if not found or float(found[2] or 0) > 100:
        raise UsageError(f"--max-fails: '{text}' is neither a number nor a percentage, such as 20 or 1%")
    return MaxFails(int(found[1])) if found[1] else MaxFails(percent=float(found[2]))


class Watch:
    """Watches the ends of inputs, and decides when the job should end. `total` is the number of inputs, once it is
    known; with `works` an earlier run of the same command has done an input. With a limit of 100 % the job never ends
    because of failures."""

    def __init__(self, limit: MaxFails | None, total: int | None = None, *, works: bool = False) -> None:
        self._limit = limit
        self._works = works or (limit is not None and limit.percent == 100)
        self.total = total
        self.done = self.failed = 0
        self._first: str | None = None
        self._alike = 0
        self._over = 0
        self._skipped = 0

    @property
    def proven(self) -> bool:
        """Returns whether the command is known to work for some inputs."""
        return self._works or self.done > 0 or self._alike < self._over

    def success(self) -> None:
        """Counts an input that is done."""
        self.done += 1
        self._over += 1

    def skip(self) -> None:
        """Counts an input that was done before."""
        self._skipped += 1

    def failure(self, text: str, *, program: bool = False, shown: str = "") -> str:
        """Counts an input that has failed with this (generic) text, for people `shown`; returns why the job should
        end, or an empty text."""
        self.failed += 1
        kind = kind_of(text)
        if self._over == 0:
            self._first = kind
        self._over += 1
        self._alike += kind == self._first
        if program and not self.done and not self._works:
            return shown or text
        if self._over == self._alike == CANARIES and not self._works:
            return f"the first {CANARIES} inputs have all failed with: {shown or text}"
        return self._too_many()

    def _too_many(self) -> str:
        if self._limit is None:
            return ""
        number, percent = self._limit
        if number is not None and self.failed > number:
            return f"{counted(self.failed, 'input')} failed, more than --max-fails {number}"
        if percent is not None:
            known = self._over + self._skipped
            of = self.total if self.total is not None else known if known >= PERCENT_FROM else 0
            if of and self.failed > of * percent / 100:
                return f"{self.failed:,} of {of:,} inputs failed, more than --max-fails {percent:g}%"
        return ""
