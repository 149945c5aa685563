"""`mu.map`: the Python interface to what `mu map` does."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mu.console.arguments import no_setting
from mu.errors import JobError, UsageError, stopped
from mu.mapping import rows, sources
from mu.mapping import run as running
from mu.mapping.job import Summary
from mu.mapping.settings import Given


@dataclass
class MapResult(Summary):
    """How a map went: see `Summary`. `stdout` has what each input's program printed, in the order of inputs; None for
    inputs that failed or were done before. It is empty if there are outputs."""

    stdout: Sequence[bytes | None] = ()


def map(
    command: Sequence[str | os.PathLike[str]] | str,
    inputs: str | os.PathLike[str] | Iterable[Any],
    *,
    out: str | Sequence[str] = (),
    engine: str | Sequence[str] = "here",
    check: bool = True,
    **settings: Any,
) -> MapResult:
    """Runs a program once for each input: `mu.map(["convert", "{in}", "{out}"], "photos/*.jpg", out="png/{/.}.png")`.

    `command` is a list of words, or one text as for `--sh`. `inputs` is a glob or prefix, on this machine or in S3,
    or an iterable of texts, numbers, paths, or dictionaries, whose keys become fields. `out` is a template, or
    several. The other settings are those of `mu map --help` by their long names (`workers=8`, `results="dir"`,
    `timeout=60`), with times in seconds; `beside` holds the files of `--with`.

    Raises JobError if inputs failed, unless `check` is false; Stopped after a signal such as Ctrl-C; UsageError or
    MuError if nothing was started.
    """
    shell = command if isinstance(command, str) else None
    words = () if isinstance(command, str) else tuple(os.fspath(word) for word in command)
    known = set(Given.__dataclass_fields__) - {"command", "shell", "out", "engine", "keep_order", "tag"}
    for name in settings:
        if name not in known:
            raise UsageError(no_setting("mu.map", name, known))
    settings |= {name: _listed(settings[name]) for name in ("regions", "beside") if name in settings}
    given = Given(command=words, shell=shell, out=_listed(out), engine=_listed(engine), **settings)
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
            raise error
    return result


def _listed(given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> tuple[str, ...]:
    if isinstance(given, str | os.PathLike):
        return (os.fspath(given),)
    return tuple(os.fspath(each) for each in given)


class Gathered:
    """Keeps what programs print, by number of the input."""

    def __init__(self) -> None:
        self._found: dict[int, bytes | None] = {}

    def add(self, number: int, text: str, data: bytes) -> None:
        """Adds an input's output."""
        self._found[number] = data

    def skip(self, number: int) -> None:
        """Does nothing: the input has no output."""
        self._found[number] = None

    def close(self) -> None:
        """Does nothing: the output stays in memory."""

    def ordered(self) -> list[bytes | None]:
        """Returns all output, in the order of the inputs; None for an input without output."""
        return [self._found.get(number) for number in range(1, max(self._found, default=0) + 1)]
