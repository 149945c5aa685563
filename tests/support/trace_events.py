"""The form of Chrome trace events, written from the documentation of the Trace Event Format (Google, 2016), as far as
mu uses it: the JSON object format, and complete, metadata, counter and instant events. What the documentation calls
required is required, and other fields are refused.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

# "The timestamps are provided at microsecond granularity." Viewers take no negative ones, and count to 2^53.
Microseconds = Annotated[int, Meta(ge=0, le=2**53)]
Identifier = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Text = Annotated[str, Meta(min_length=1)]
Number = Annotated[int, Meta(ge=0)]


class Complete(Struct, tag_field="ph", tag="X", forbid_unknown_fields=True):
    """A slice: a duration on a thread. They may be in any order."""

    name: Text
    cat: Text
    pid: Identifier
    tid: Identifier
    ts: Microseconds
    dur: Microseconds
    args: dict[str, Any]


class Names(Struct, forbid_unknown_fields=True):
    """What a metadata event says: one of these, by its name."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    sort_index: int | msgspec.UnsetType = msgspec.UNSET


class Metadata(Struct, tag_field="ph", tag="M", forbid_unknown_fields=True):
    """What a process or a thread is called, and where it stands."""

    name: Literal["process_name", "thread_name", "thread_sort_index"]
    pid: Identifier
    tid: Identifier
    ts: Microseconds
    args: Names

    def __post_init__(self) -> None:
        wanted = "sort_index" if self.name.endswith("sort_index") else "name"
        if msgspec.to_builtins(self.args).keys() != {wanted}:
            raise ValueError(f"{self.name} needs {wanted} and nothing else")


class Counter(Struct, tag_field="ph", tag="C", forbid_unknown_fields=True):
    """The value of each series of a counter; counters belong to a process."""

    name: Text
    pid: Identifier
    tid: Identifier
    ts: Microseconds
    args: Annotated[dict[Text, Number], Meta(min_length=1)]


class Instant(Struct, tag_field="ph", tag="i", forbid_unknown_fields=True):
    """A moment; `s` is its scope: global, process or thread."""

    name: Text
    cat: Text
    pid: Identifier
    tid: Identifier
    ts: Microseconds
    s: Literal["g", "p", "t"]
    args: dict[str, Any]


class Trace(Struct, forbid_unknown_fields=True):
    """The JSON object format. "Any other properties seen in the object, in this case otherData, are assumed to be
    metadata for the trace."
    """

    traceEvents: list[Complete | Metadata | Counter | Instant]
    displayTimeUnit: Literal["ms", "ns"]
    otherData: dict[str, str]


def read(text: str) -> Trace:
    """A trace. msgspec.ValidationError, with the path inside, if it is of another form."""
    return msgspec.json.decode(text, type=Trace)
