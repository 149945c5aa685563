"""`mu.map`: the Python interface to what `mu map` does."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mu.console.arguments import PORT, SECONDS, above, as_texts, at_least, in_python, no_setting, word
from mu.errors import JobError, UsageError, stopped
from mu.mapping import rows, sources
from mu.mapping import run as running
from mu.mapping.job import Summary
from mu.mapping.settings import HERE, Given

NUMBERS: dict[str, Callable[[str], float]] = {
    "workers": at_least(1),
    "memory": at_least(128, 10240),
    "retries": at_least(0),
    "port": PORT,
    "timeout": SECONDS,
    "max_cost": above(0, "a positive amount"),
}
SWITCHES = {name for name, each in Given.__dataclass_fields__.items() if isinstance(each.default, bool)}
LISTS = ("regions", "beside")
STATUSES = ("ok", "no_retry")
# Settings of the command line alone, and what `mu.map` calls by another name.
ELSEWHERE = {"command", "shell", "out", "engine", "keep_order", "tag", "address"}
ADDRESS = "host_addr"


@dataclass
class MapResult(Summary):
    """How a map went: see `Summary`. `stdout` has what each input's program printed, in the order of inputs; None for
    inputs that failed or were done before. It is empty if there are outputs."""

    stdout: Sequence[bytes | None] = ()


def map(
    command: Sequence[str | os.PathLike[str]] | str,
    inputs: str | os.PathLike[str] | Iterable[Any],
    *,
    out: str | Sequence[str] | None = None,
    engine: str | Sequence[str] | None = None,
    check: bool = True,
    **settings: Any,
) -> MapResult:
    """Runs a program once for each input: `mu.map(["convert", "{in}", "{out}"], "photos/*.jpg", out="png/{/.}.png")`.

    `command` is a list of words, or one text as for `--sh`. `inputs` is a glob or prefix, on this machine or in S3,
    or an iterable of texts, numbers, paths, or dictionaries, whose keys become fields. `out` is a template, or a list
    of several (`["NAME=TEMPLATE", ...]`). The other settings are those of `mu map --help` by their long names
    (`workers=8`, `results="dir"`, `timeout=60`, `ok=[0, 2]`, `max_fails="1%"`), with times in seconds; `beside` holds
    the files of `--with`. None is the default.

    Raises JobError if inputs failed, unless `check` is false; its `job` is the MapResult. Raises Stopped, which has it,
    too, after a signal such as Ctrl-C; UsageError or MuError if nothing was started.
    """
    shell = command if isinstance(command, str) else None
    given = Given(
        command=() if isinstance(command, str) else _listed("command", command),
        shell=shell,
        out=_listed("out", () if out is None else out),
        engine=_listed("engine", HERE if engine is None else engine),
        **_checked(settings),
    )
    source = (
        sources.patterns([os.fspath(inputs)])
        if isinstance(inputs, str | os.PathLike)
        else rows.listed(inputs)
    )
    printed = Gathered()
    summary = running.run(given, source, collector=None if given.out else printed)
    result = MapResult(**vars(summary), stdout=[] if given.out else printed.ordered())
    if result.code:
        first = f": {result.failures[0]['failure']}" if result.failures else ""
        error = JobError(
            result.stopped or f"{result.failed} of {result.inputs} inputs failed{first}", result.code
        )
        signalled = stopped(error, result)
        if signalled is not None:
            raise signalled
        if check:
            error.job = result
            raise error
    return result


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings as those of `Given`. Raises UsageError if one is unknown, or has a value that it cannot have."""
    known = set(Given.__dataclass_fields__) - ELSEWHERE | {ADDRESS}
    made = {}
    for name, value in settings.items():
        if name not in known:
            raise UsageError(no_setting("mu.map", name, known))
        if value is not None:
            made["address" if name == ADDRESS else name] = _value(name, value)
    return made


def _value(name: str, value: Any) -> Any:
    if name in LISTS:
        return _listed(name, value)
    if name in STATUSES:
        several = isinstance(value, Iterable) and not isinstance(value, str)
        return ",".join(str(each) for each in value) if several else str(value)
    if name == "max_fails":
        return str(value)
    return in_python(f"mu.map: {name}", None if name in SWITCHES else NUMBERS.get(name, word), value)


def _listed(name: str, value: Any) -> tuple[str, ...]:
    return as_texts(f"mu.map: {name}", value)


class Gathered:
    """Keeps what programs print, by number of the input."""

    full = False

    def __init__(self) -> None:
        self._found: dict[int, bytes | None] = {}

    def add(self, number: int, text: str, data: bytes) -> None:
        """Adds an input's output."""
        self._found[number] = data

    def skip(self, number: int) -> None:
        """Does nothing: the input has no output."""
        self._found[number] = None

    def check(self) -> None:
        """Does nothing: there is always room."""

    def close(self) -> None:
        """Does nothing: the output stays in memory."""

    def ordered(self) -> list[bytes | None]:
        """Returns all output, in the order of the inputs; None for an input without output."""
        return [self._found.get(number) for number in range(1, max(self._found, default=0) + 1)]
