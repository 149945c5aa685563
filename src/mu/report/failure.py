"""Error texts of workers in a form for messages, and groups of failures of the same kind.

A worker's text may have any size and content, so everything here takes time in proportion to its length: no regular
expression with more than one unbounded repetition is applied to it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mu.console.arguments import closest
from mu.console.terminal import visible
from mu.errors import one_line
from mu.machine import ErrorState, MachineState, described, listed, state_name
from mu.wire.protocol import EXPECTED, HELLO, OK, OUT_OF_TIME, failure_text, run_result

IDLE = f"{OUT_OF_TIME} in STATE idle"
NOTHING_TO_DO = "the worker had nothing to do until its time was over"
RAISE_TIMEOUT = (
    "raise it (Lambda: mu lambdaize --update NAME --timeout SECONDS, at most 900; Slurm: --engine-args --time=...; "
    "mu worker: --walltime)"
)
# Beginning and middle of a worker's text about a failed transfer, and the beginning of our text for it.
TRANSFERS = (("retrieving ", " from s3: ", ""), ("uploading ", " to s3: ", "uploading to "))
OBJECTS = ("s3://", "uploading to s3://", "file:///", "uploading to file:///")
STORES = ("file:///", "s3+http")  # stores other than S3
NUMBER = re.compile(r"\d+")
QUOTES = ("'", '"', "`")
MAX_SUBJECT = 80  # characters of an input
MAX_CAUSE = 200  # characters of a program's last line in front of its command
MAX_COMMAND = 400  # characters of a command that are examined
MAX_APART = 3  # most failures of one kind that are listed one by one
MAX_NAMES = 5  # most names of other failed parts of a kind
UNKNOWN_COMMAND = "no such command '"
COMMAND_NAMES = {*EXPECTED, "quit"}
MAX_COMMAND_NAME = 40  # characters of a worker's text that are compared with command names
MAX_OUTPUT_LINES = 20  # most lines of a program's output


class Failure(NamedTuple):
    """A part that failed: the state it was in and the worker's reason, in a form for messages; `subject` is the
    part's input, empty if it is not known."""

    part: int
    state: str
    why: str
    subject: str = ""

    @property
    def first(self) -> str:
        """The first line of `why`."""
        return self.why.partition("\n")[0]

    @property
    def name(self) -> str:
        """The part's number, and its input unless the reason names it."""
        return _numbered(self.part, "" if _named(self.subject).search(self.first) else self.subject)


def failure_of(machine: MachineState, name: str = "") -> Failure:
    """Returns the failure of a machine that failed; `name` is the name of its part's input."""
    error = described(machine)
    state, why = state_name(machine), explain(error)
    if isinstance(machine, ErrorState):
        state = machine.failed_in
        first, newline, more = why.partition("\n")
        why = _in_state(machine, error, first.removeprefix(f"{state}: ")) + newline + more
    return Failure(listed(machine.actorNum), state, why, shown_name(name))


def _in_state(machine: ErrorState, error: str, why: str) -> str:
    """Returns the first line of a reason with what the state waited for, where that helps, and with the exception of
    its own that has kept it waiting."""
    expected = machine.expected
    if failure_text(error) == IDLE:
        why = f"{NOTHING_TO_DO}; {machine.failed_in} waits for {_awaited(expected)}"
    elif expected and not error.startswith("FAIL"):
        run = run_result(error)
        # The exit status of a program that has failed says enough.
        if run is None or run.status == 0 or not str(expected).startswith("OK:R"):
            why += f"; it expected {_awaited(expected)}"
    if machine.refusal:
        why += f"; its transition refused a message: {visible(machine.refusal)}"
    return why


def _awaited(expected: str | Sequence[str] | None) -> str:
    """Returns in words what a state waits for."""
    if not expected:
        return "any message" if expected == "" else "an INFO message"
    several = [expected] if isinstance(expected, str) else [*map(str, expected)][:MAX_NAMES]
    return " or ".join(f"'{one_line(visible(text), MAX_SUBJECT)}'" for text in several)


def shown_name(name: str) -> str:
    """Returns an input's name made safe for a line, and shortened."""
    return one_line(visible(name[: 2 * MAX_SUBJECT]), MAX_SUBJECT)


def explain(error: str) -> str:
    """Returns a worker's error in a form for messages: what failed, then the end of a program's output, indented."""
    run = run_result(error)
    if run is not None:
        status, output, command = run
        fate = f"signal {-status}" if status < 0 else f"exit status {status}"
        error = program_failure(fate, command, output)
    else:
        reason = failure_text(error)
        error = error if reason is None else reason
        if error.startswith(f"{HELLO}:"):  # the facts in it explain nothing
            error = HELLO
    first, *more = error.strip().splitlines() or ["no reason given"]
    return visible(readable(first)) + _meant(first) + _indented("\n".join(more))


def program_failure(fate: str, command: str, output: str) -> str:
    """Returns how a program has failed: its end, the last line of its output, and the command; further lines have the
    rest of its output."""
    output = output.rstrip()
    last = output[-MAX_CAUSE - 1 :].rpartition("\n")[2].strip()
    command = visible(command[:MAX_COMMAND])
    if not last:
        return f"{fate} from: {command}"
    more = "\n" in output or len(output) > MAX_CAUSE
    return f"{fate}: {one_line(last, MAX_CAUSE)} (from: {command})" + (f"\n{output}" if more else "")


def readable(text: str) -> str:
    """Returns a worker's text with an object as `s3://BUCKET/KEY`, and with advice about a time limit."""
    if text.startswith(OUT_OF_TIME):
        return f"{text}: {RAISE_TIMEOUT}"
    for begin, middle, end in TRANSFERS:
        if text.startswith(begin) and middle in text:
            names, _, why = text[len(begin) :].rpartition(middle)
            source, _, target = names.rpartition("->") if end == "" else names.partition("->")
            bucket, key = _bucket_and_key(source if end == "" else target)
            if bucket and key:
                return f"{end}{bucket if bucket.startswith(STORES) else f's3://{bucket}'}/{key}: {why}"
    return text


def _bucket_and_key(text: str) -> tuple[str, str]:
    """Returns the two parts of `BUCKET:KEY`, where the bucket may be a URL; empty texts if it is not that."""
    begin = text.find("/", text.find("://") + 3) if text.startswith(STORES) else 0
    colon = text.find(":", max(begin, 0))
    return (text[:colon], text[colon + 1 :]) if colon > 0 else ("", "")


def kind_of(text: str, subject: str = "") -> str:
    """Returns what a reason has in common with others of its kind: without keys, paths, quoted words and numbers, but
    with a program's exit status, and places in the user's own code."""
    text = text.partition("\n")[0].partition(" (from: ")[0]
    if text.startswith(("exit status ", "signal ")):
        text = text.partition(" from: ")[0]
    for begin in OBJECTS:
        if text.startswith(begin) and ": " in text:
            return f"{begin}…: {text.rpartition(': ')[2]}"
    text = _named(subject).sub("…", text)
    hint = f": {RAISE_TIMEOUT}"
    text, what_to_do = (text.removesuffix(hint), hint) if text.endswith(hint) else (text, "")
    found: list[str] = []
    before = ""
    for word in text.split(" "):
        if before in ("status", "signal") or (word.startswith("(") and ".py:" in word):
            found.append(word)
        elif "/" in word or word[:1] in QUOTES or word[-1:] in QUOTES:
            found.append("…")
        else:
            found.append(NUMBER.sub("N", word))
        before = word
    return " ".join(found) + what_to_do


def _named(subject: str) -> re.Pattern[str]:
    """Returns a pattern that finds an input in a text, where it is not within a word. A number is not looked for: it
    would rather be a line or an exit status."""
    return re.compile(rf"(?<!\w){re.escape(subject)}(?!\w)" if subject.strip("0123456789") else r"(?!)")


def grouped(failures: Iterable[Failure]) -> list[list[Failure]]:
    """Returns the failures in groups of one kind, in the order in which the kinds first came."""
    kinds: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        kinds.setdefault((failure.state, kind_of(failure.why, failure.subject)), []).append(failure)
    return [sorted(group, key=lambda failure: failure.part) for group in kinds.values()]


def told(group: Sequence[Failure], apart: int = MAX_APART) -> list[str]:
    """Returns the lines about a group: up to `apart` failures one by one; otherwise their number, the first failure,
    and the names of some others."""
    if len(group) <= apart:
        return [f"part {failure.name} failed in {failure.state}: {failure.why}" for failure in group]
    first, *others = group
    names = ", ".join(map(_with_object, others[:MAX_NAMES]))
    more = f", and {len(others) - MAX_NAMES:,} more" if len(others) > MAX_NAMES else ""
    return [
        f"{len(group):,} parts failed in {first.state}, part {first.name} of them: {first.why}",
        f"    the same in parts {names}{more}",
    ]


def _with_object(failure: Failure) -> str:
    """Returns the number of a part, and its input, or else the object that its failure names."""
    text, what = failure.first, failure.subject
    if not what and text.startswith(OBJECTS) and ": " in text:
        what = text.rpartition(": ")[0]
    return _numbered(failure.part, what)


def _numbered(part: int, name: str) -> str:
    """Returns a part's number, and in brackets its name, if that differs."""
    return f"{part} ({name})" if name not in ("", str(part)) else f"{part}"


def _meant(text: str) -> str:
    """Returns a hint, after an unknown command, which command was probably meant."""
    if not text.startswith(UNKNOWN_COMMAND):
        return ""
    name, colon, _ = text[len(UNKNOWN_COMMAND) :].partition(":")
    if not colon and name.rstrip("'") in COMMAND_NAMES:
        return ": a command ends with a colon"
    if colon and name == OK:
        return ": what is expected stands in a pair, (expected, command)"
    guess = closest(name[:MAX_COMMAND_NAME], COMMAND_NAMES)
    return f": did you mean {guess}:?" if guess else ""


def _indented(output: str) -> str:
    lines = output.rstrip().splitlines()
    shown = lines[-MAX_OUTPUT_LINES:]
    if len(lines) > len(shown):
        shown.insert(0, f"... ({len(lines) - len(shown)} lines before)")
    return "".join(f"\n    | {visible(line)}" for line in shown)
