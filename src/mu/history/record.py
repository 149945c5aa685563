"""The record of a run, `run.json`: what was asked for, and what became of each part. docs/seeing.md describes it.

Nothing secret is in it. Settings are taken by name, and keys are not among those names; of what programs
print, only the ends of failed ones' output are kept, as people see them; and what is known to be secret
here, the keys and credentials that this process has, is blanked wherever it occurs.
"""

import json
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from mu.console.files import replacing
from mu.errors import UsageError
from mu.launch.result import Invocation, Progress
from mu.machine import ErrorState
from mu.report.failure import failure_of
from mu.report.worker_log import Track

SCHEMA = 1
FILE = "run.json"
MESSAGES = 100_000  # kept in all, shared out among the workers
SECRET_SETTINGS = frozenset(("cacert", "srvcrt", "srvkey", "worker_cert", "worker_key"))
SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
BLANK = "***"
# Access keys; PEM, of which the beginning or the end may have been cut off; the signature of an address that is
# good for whoever has it; and credentials where a program prints its environment, or a file of them.
LOOKS_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]+-----(?:[^-]|-(?!----END))*(?:-----END [A-Z ]+-----)?"
    r"|(?<![^\s|])(?:[A-Za-z0-9+/=]+[ \r]*\n[\s|]*)+-----END [A-Z ]+-----"
    r"|(?<=X-Amz-Signature=)[0-9a-f]+"
    r"|(?P<name>(?i:secret_?access_?key|(?:session|security)[_-]?token)[\"'=:\s]+)[^\s\"',;&]+"
)
CUT = 8  # characters of a secret that give it away: the rest may be beyond the end of a line that was cut


def messages_each(parts: int) -> int:
    """How many of each worker's messages a record keeps."""
    return max(8, min(200, MESSAGES // max(1, parts)))


def prepare(directory: str) -> None:
    """Make the directory that a record goes to. UsageError if that cannot be, or no file in it."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {directory} for the record: {error.strerror}") from None
    path = path_in(directory)
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a directory")
    try:  # permissions do not tell all, as in /proc
        with suppress(_NotWantedError), replacing(path):
            raise _NotWantedError
    except OSError as error:
        raise UsageError(f"cannot write into {directory} for the record: {error.strerror}") from None


def path_in(directory: str | Path, number: int = 1) -> Path:
    """Where the record of a script's first run is in its directory, or its second, ...: `run-2.json`, ..."""
    return Path(directory) / (FILE if number == 1 else f"run-{number}.json")


_written: Counter[Path] = Counter()  # runs of this process, by the directory of their records


def next_number(directory: str | Path) -> int:
    """Which of this process's runs in `directory` another one is: 1 for the first."""
    path = Path(directory).absolute()
    _written[path] += 1
    return _written[path]


class _NotWantedError(Exception):
    """Ends the writing of a file that was only to be tried."""


def settings_of(info: Any, names: Iterable[str]) -> dict[str, Any]:
    """Those settings of a `ServerInfo` that are in `names` and may be shown: keys are left out."""
    found = {
        name: getattr(info, name) for name in names if hasattr(info, name) and name not in SECRET_SETTINGS
    }
    return {name: value for name, value in found.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def build(
    *,
    script: str,
    start: float,
    end: float,
    ended: str,
    parts: Sequence[int],
    tracks: Iterable[Track],
    strangers: int,
    settings: Mapping[str, Any],
    launch: Mapping[str, Any] | None,
    cost: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A record: `start` and `end` are seconds since the epoch, `parts` the numbers of all parts wanted."""
    from mu.console.share import version

    attempts: dict[int, list[dict[str, Any]]] = {part: [] for part in parts}
    for track in tracks:
        attempts.setdefault(track.part, []).append(_attempt(track, start))
    return {
        "schema": SCHEMA,
        "run": {
            "script": script,
            "started": datetime.fromtimestamp(start, UTC).isoformat(timespec="milliseconds"),
            "seconds": round(end - start, 6),
            "ended": ended,
        },
        "versions": {
            "mu": version(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "settings": dict(settings),
        "launch": None if launch is None else dict(launch),
        "strangers": strangers,
        "parts": [
            {"part": part, "outcome": _outcome(of_part), "attempts": of_part}
            for part, of_part in attempts.items()
        ],
        "cost": None if cost is None else dict(cost),
    }


def _outcome(attempts: Sequence[Mapping[str, Any]]) -> str:
    """A part is done if any attempt is; else what became of the last."""
    outcomes = [attempt["outcome"] for attempt in attempts]
    return "done" if "done" in outcomes else outcomes[-1] if outcomes else "no worker"


def _attempt(track: Track, start: float) -> dict[str, Any]:
    machine = track.machine
    states = zip(machine.timestamps, machine.stateinfo, strict=True)
    made: dict[str, Any] = {
        "attempt": track.number,
        "worker": track.worker,
        "address": track.address,
        "connected": round(track.connected - start, 6),
        "finished": None if track.finished is None else round(track.finished - start, 6),
        "outcome": "done" if machine.terminal else "unfinished",
        "states": [(round(moment - start, 6), name) for moment, name in states],
    }
    if isinstance(machine, ErrorState):
        failure = failure_of(machine)
        made |= {"outcome": "failed", "error": {"state": failure.state, "why": failure.why}}
        where = getattr(machine, "where", "")
        if where:
            made["error"]["where"] = where
    if track.heard:
        made |= {
            "runs": [(round(moment - start, 6), status) for moment, status in track.runs],
            "moved": dict(track.moved),
            "spent": {activity: round(seconds, 6) for activity, seconds in track.spent.items()},
            "messages": [(round(moment - start, 6), text) for moment, text in track.messages],
            "messages_left_out": track.heard - len(track.messages),
        }
    return made


def launch_outcomes(
    progress: Progress | None,
    invocations: Sequence[Invocation],
    curve: Sequence[tuple[float, int]],
    start: float,
    failure: str | None,
) -> dict[str, Any]:
    """What a record says of launching. `invocations`: those of the launches that have come to their end."""
    found: dict[str, Any] = {
        "ended": failure or "",
        "accepted_by": [(round(m - start, 6), n) for m, n in curve],
    }
    if progress is not None:
        found |= {name: value for name, value in progress._asdict().items() if name != "connections"}
    if invocations:
        found["fields"] = Invocation._fields
        found["invocations"] = [list(invocation) for invocation in invocations]
    return found


def write(directory: str | Path, record: Mapping[str, Any], secrets: Iterable[str], number: int = 1) -> Path:
    """Write the `record` of a process's run of this `number` (`run.json`, `run-2.json`, ...) in `directory`, without
    the texts `secrets`; OSError if that fails."""
    text = json.dumps(_blanked(record, secrets), separators=(",", ":"))
    path = path_in(directory, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write((text.replace('{"part":', '\n{"part":') + "\n").encode())
    return path


def _blanked(record: Any, secrets: Iterable[str]) -> Any:
    """`record` without what is or looks secret in its texts."""
    known = [f"{re.escape(secret)}|{re.escape(secret[:CUT])}\\S*" for secret in secrets]
    search = re.compile("|".join([*known, LOOKS_SECRET.pattern]))

    @cache  # most texts are there many times
    def without(text: str) -> str:
        return search.sub(lambda found: (found["name"] or "") + BLANK, text)

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return without(value)
        if isinstance(value, list | tuple):
            return [walk(each) for each in value]
        return {name: walk(each) for name, each in value.items()} if isinstance(value, dict) else value

    return walk(record)


def known_secrets(info: Any) -> list[str]:
    """The secrets that this process has: the job's keys, and the credentials in its environment."""
    found = [getattr(info, name, None) for name in SECRET_SETTINGS]
    found += [os.environ.get(name) for name in SECRET_VARIABLES]
    return worth_hiding(found)


def worth_hiding(texts: Iterable[str | None]) -> list[str]:
    """Those that are secrets: a short one, such as the local engine's, is none, and blanking it would garble the
    rest."""
    return [text for text in texts if isinstance(text, str) and len(text) >= 16]


def script_name() -> str:
    """The name that the running script goes by."""
    return Path(sys.argv[0]).name or "python"
