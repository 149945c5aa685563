"""The form of `run.json`, in one place: the writer, the readers, and the published JSON schema use it.

`python -m mu.history.schema > docs/run.schema.json` publishes it, and `python -m mu.history.reference >
docs/record.md` makes a page from it. New fields may be added without a new `SCHEMA`, so readers must ignore unknown
ones; a field whose meaning changes, or that is removed, needs a new number.
"""

import json
import re
import sys
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mu.errors import UsageError
from mu.history.blank import whole_characters

SCHEMA: Final[Literal[1]] = 1
LATEST = 1e12  # seconds; beyond it, sums and pictures would be meaningless
LARGEST = 2**53  # the largest integer that JavaScript represents exactly

Seconds = Annotated[float, Meta(ge=-LATEST, le=LATEST, description="Seconds since run.started.")]
Duration = Annotated[float, Meta(ge=-LATEST, le=LATEST, description="Seconds.")]
Whole = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Amount = Annotated[float, Meta(ge=0, le=LARGEST)]
Fate = Literal["done", "failed", "unfinished"]
T = TypeVar("T")


class Error(Struct):
    """Why an attempt failed."""

    state: Annotated[str, Meta(description="The state, or the command of a job, that it was in.")]
    why: Annotated[
        str, Meta(description="The reason, and the end of what the program printed; several lines.")
    ]
    where: Annotated[str | UnsetType, Meta(description="File and line, if a job's coroutine raised.")] = UNSET


class Attempt(Struct, kw_only=True):
    """One worker's time with one part. The fields from `runs` on are there if the worker has answered anything."""

    attempt: Annotated[Whole, Meta(description="The number of the attempt at this part, from 1.")]
    worker: Annotated[
        Whole, Meta(description="The worker's number, by the order of first hellos, from 1; 0: not known.")
    ] = 0
    address: Annotated[str, Meta(description="Where the worker connected from.")]
    connected: Annotated[Seconds, Meta(description="When the worker began this part.")]
    finished: Annotated[Seconds | None, Meta(description="When it ended; null if that was not seen.")]
    outcome: Annotated[
        Fate,
        Meta(description="What became of it. unfinished: it was stopped, or another attempt was quicker."),
    ]
    states: Annotated[
        list[tuple[Seconds, str]],
        Meta(
            description="When each state was entered, and its name; of a job, its stages, or its commands and their "
            "lines, such as run:7."
        ),
    ]
    name: Annotated[str | UnsetType, Meta(description="What people call its input, if it has a name.")] = (
        UNSET
    )
    error: Annotated[Error | UnsetType, Meta(description="There if it failed.")] = UNSET
    runs: Annotated[
        list[tuple[Seconds, Whole]] | UnsetType,
        Meta(description="When each program ended, and its exit status; negative: a signal."),
    ] = UNSET
    moved: Annotated[
        dict[str, Whole] | UnsetType,
        Meta(description="Bytes retrieved from and uploaded to S3, as far as the worker told."),
    ] = UNSET
    spent: Annotated[
        dict[str, Duration] | UnsetType,
        Meta(description="Seconds by what the answer that ended them was to: retrieve, upload, run, other."),
    ] = UNSET
    messages: Annotated[
        list[tuple[Seconds, str]] | UnsetType,
        Meta(
            description="When each of its last answers came, and its text: at most 200 characters each, 200 for each "
            "attempt, 100,000 in all (but 8 for each). A program's output is replaced by its size."
        ),
    ] = UNSET
    messages_left_out: Annotated[
        Whole | UnsetType, Meta(description="How many answers came before those.")
    ] = UNSET


class Part(Struct):
    """One part, and every attempt at it."""

    part: Annotated[Whole, Meta(description="Its number.")]
    outcome: Annotated[
        Literal["done", "failed", "unfinished", "no worker"],
        Meta(description="What became of it: done if any attempt is, else the outcome of the last one."),
    ]
    attempts: Annotated[list[Attempt], Meta(description="In the order in which they ended.")]


class About(Struct):
    """The run as a whole."""

    script: Annotated[str, Meta(description="The name of the script.")]
    started: Annotated[str, Meta(description="When its loop began: ISO 8601, UTC.")]
    seconds: Annotated[Duration, Meta(description="How long it took, in seconds.")]
    ended: Annotated[str, Meta(description="Why it stopped early; empty if it did not.")]
    status: Annotated[
        Whole | UnsetType,
        Meta(description="The exit status: 0 all parts done, 1 not, 128 + a signal's number."),
    ] = UNSET


class Versions(Struct):
    """What the run was made with."""

    mu: Annotated[str, Meta(description="The version of mu.")] = ""
    python: Annotated[str, Meta(description="The version of Python.")] = ""
    system: Annotated[str, Meta(description="Operating system and architecture.")] = ""


class Launch(Struct):
    """How launching went; the counts, in invocations, are of all launches together."""

    ended: Annotated[str, Meta(description="Why launching failed; empty if it did not.")] = ""
    asked_by: Annotated[
        list[tuple[Seconds, Whole]],
        Meta(
            description="By when how many invocations had been asked for: cumulative. Times may be negative."
        ),
    ] = []
    accepted_by: Annotated[
        list[tuple[Seconds, Whole]],
        Meta(
            description="By when how many invocations had been accepted: cumulative. Times may be negative."
        ),
    ] = []
    total: Annotated[Whole | UnsetType, Meta(description="Invocations asked for.")] = UNSET
    queued: Annotated[Whole | UnsetType, Meta(description="Not sent yet.")] = UNSET
    sent: Annotated[Whole | UnsetType, Meta(description="Under way.")] = UNSET
    waiting: Annotated[Whole | UnsetType, Meta(description="Between two attempts.")] = UNSET
    accepted: Annotated[Whole | UnsetType, Meta(description="Taken by the service.")] = UNSET
    failed: Annotated[Whole | UnsetType, Meta(description="Given up.")] = UNSET
    cancelled: Annotated[Whole | UnsetType, Meta(description="Not needed any more.")] = UNSET
    attempts: Annotated[Whole | UnsetType, Meta(description="Requests sent.")] = UNSET
    retries: Annotated[Whole | UnsetType, Meta(description="Requests beyond each invocation's first.")] = (
        UNSET
    )
    throttled: Annotated[Whole | UnsetType, Meta(description="Answers 429.")] = UNSET
    seconds: (
        Annotated[float, Meta(ge=-LATEST, le=LATEST, description="How long launching took, in seconds.")]
        | UnsetType
    ) = UNSET
    fields: Annotated[list[str] | UnsetType, Meta(description="The columns of `invocations`.")] = UNSET
    invocations: Annotated[
        list[list[str | float | None]] | UnsetType,
        Meta(
            description="One row for each invocation of the launches that have come to their end. The request id is "
            "that of its log in CloudWatch."
        ),
    ] = UNSET


class Cost(Struct):
    """The estimate of what Lambda bills."""

    dollars: Annotated[Amount | None, Meta(description="US dollars; null without a price.")] = None
    memory_mb: Annotated[Whole | UnsetType, Meta(description="The function's memory, MB.")] = UNSET
    architecture: Annotated[str | UnsetType, Meta(description="As Lambda calls it.")] = UNSET
    worker_seconds: Annotated[Amount | UnsetType, Meta(description="Sum of all workers' lives, seconds.")] = (
        UNSET
    )
    gb_seconds: Annotated[Amount | UnsetType, Meta(description="Memory times time, GB-seconds.")] = UNSET
    requests: Annotated[Whole | UnsetType, Meta(description="Invocations billed.")] = UNSET
    starts: Annotated[Whole | UnsetType, Meta(description="Starts of workers billed, 0.2 s each.")] = UNSET
    regions: Annotated[list[str] | UnsetType, Meta(description="Regions that share the time evenly.")] = UNSET
    prices_of: Annotated[str | UnsetType, Meta(description="The date of the prices.")] = UNSET
    prices_from: Annotated[str | UnsetType, Meta(description="Where the prices come from.")] = UNSET


class Record(Struct, kw_only=True):
    """A run of mu: what was asked for, and what became of each part."""

    schema: Annotated[Literal[1], Meta(description="The version of this form: 1.")]
    run: About
    versions: Versions = msgspec.field(default_factory=Versions)
    settings: Annotated[
        dict[str, Any], Meta(description="What flags can set, by attribute; keys are left out.")
    ] = {}
    launch: Annotated[Launch | None, Meta(description="null if the run launched nothing.")] = None
    strangers: Annotated[Whole, Meta(description="Unverified connections that were dropped.")] = 0
    cost: Annotated[Cost | None, Meta(description="null if it was not asked for, or is not known.")] = None
    more_parts: Annotated[
        bool | UnsetType,
        Meta(
            description="true: it was stopped before each part had a worker, and `parts` lacks those without one."
        ),
    ] = UNSET
    parts: Annotated[list[Part], Meta(description="One for each part wanted, unless `more_parts` is true.")]


class SoFar(Struct, kw_only=True):
    """The first line of `run.jsonl`, which is there while a run goes on; after it there is a line `[part, Attempt]` for
    each attempt that is over. `parts` are ranges, first and last; None if parts are read as they are needed."""

    so_far: Literal[1] = 1
    run: About
    versions: Versions
    settings: dict[str, Any]
    parts: list[tuple[Whole, Whole]] | None


class Now(Struct, kw_only=True):
    """The present state of a run: `run.live.json`. It changes with mu's version, and is only for `mu watch`.

    `started` is that of the run. `at`, and the times in `running`, are seconds since then. `counts` are those of
    `mu.report.reporter.Counts`. `running` has for each worker with a part: the part, the attempt, the worker, the
    place of its state in `states`, since when it is in that state, since when it has the part, and the name of its
    input.
    """

    started: str
    at: Seconds
    counts: dict[str, Any]
    states: list[str]
    running: list[tuple[Whole, Whole, Whole, Whole, Seconds, Seconds, str]]


class Version(Struct):
    """The field of a file that tells which form it has."""

    schema: Whole


def read(data: bytes, name: str) -> Record:
    """Returns the record in a file called `name`. Raises UsageError, one line with the path inside the file, if
    invalid."""
    version = decode(data, Version, name)
    if version.schema != SCHEMA:
        raise UsageError(f"{name}: a record of schema {version.schema}; this version of mu reads {SCHEMA}")
    return decode(data, Record, name)


def decode(data: bytes, form: type[T], name: str, *, line: int | None = None) -> T:
    """Decodes JSON of this form: a file called `name`, or its line of this number. Raises UsageError, one line with the
    path inside, if it is no JSON or has another form."""
    whole = name if line is None else f"{name}, line {line}"
    try:
        return msgspec.json.decode(data, type=form)
    except msgspec.ValidationError as error:
        raise UsageError(f"{whole}: {explained(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    # Older versions wrote values that Python's own reader accepts but JSON does not have: infinity and lone
    # surrogates.
    try:
        loose = json.loads(data)
        return msgspec.convert(_whole_characters(loose), form)
    except msgspec.ValidationError as error:
        raise UsageError(f"{whole}: {explained(error)}") from None
    except UnicodeDecodeError as error:
        line = line or error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}, line {line}: this is not text") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}, line {line or error.lineno}: this is no JSON: {error.msg}") from None
    except (ValueError, RecursionError):  # only files that were made to harm have these
        raise UsageError(f"{whole}: numbers too long, or lists too deep, for any record") from None


PLACE = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)


def explained(error: msgspec.ValidationError) -> str:
    """Returns `$.parts[3].attempts[0].finished: expected float, got str`."""
    found = PLACE.fullmatch(str(error))
    assert found is not None
    what = found["what"].replace("`", "")
    return f"{found['path'] or '$'}: {what[:1].lower()}{what[1:]}"


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_whole_characters(each) for each in value]
    if isinstance(value, dict):
        return {whole_characters(name): _whole_characters(each) for name, each in value.items()}
    return value


def json_schema() -> str:
    """Returns the JSON schema of a record, for docs/run.schema.json."""
    made = msgspec.json.schema(Record)
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "run.json of mu", **made}
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
