"""The settings of a map, from the command line or from the arguments of `mu.map`, as data."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from mu.console.terminal import say

HERE, LAMBDA = "here", "lambda"  # names of engines


@dataclass(frozen=True)
class Given:
    """The settings of one map, without its inputs; times are in seconds, see docs/map.md.

    `command` holds the words, or `shell` the text of `--sh`; `out` the templates; `engine` names of engines with
    arguments; `beside` the files of `--with`. `retries` is how often an input that failed is tried again. `memory`
    (MB) is that of a function that is made; `regions` are those of engine lambda.
    """

    command: tuple[str, ...] = ()
    shell: str | None = None
    out: tuple[str, ...] = ()
    engine: tuple[str, ...] = (HERE,)
    workers: int | None = None
    function: str | None = None
    regions: tuple[str, ...] = ()
    bucket: str | None = None
    beside: tuple[str, ...] = ()
    memory: int | None = None
    allow_ld: bool = False
    ok: str = "0"
    no_retry: str | None = None
    retries: int = 2
    timeout: float | None = None
    max_fails: str | None = None
    max_cost: float | None = None
    keep_order: bool = False
    tag: bool = False
    results: str | None = None
    resume: bool = False
    direct: bool = False
    allow_empty: bool = False
    engine_args: str | None = None
    tunnel: bool = False
    address: str | None = None
    port: int = 0
    record: str | None = None
    quiet: bool = False
    verbose: bool = False

    def note(self, text: str) -> None:
        """Prints a line, unless quiet."""
        if not self.quiet:
            say(text)

    def as_data(self) -> dict[str, Any]:
        """Returns the settings that differ from their defaults, for run.json."""
        made = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value != each.default:
                made[each.name] = list(value) if isinstance(value, tuple) else value
        return made
