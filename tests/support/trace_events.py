"""A strict schema of Chrome trace events, from the documentation of the Trace Event Format (Google, 2016), as far as
mu uses it: the JSON object format, and complete, metadata, counter and instant events. Fields that the documentation
calls required are required, and unknown fields are refused.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

# "The timestamps are provided at microsecond granularity." Viewers accept no negative timestamps, and none above 2^53.
Microseconds = Annotated[int, Meta(ge=0, le=2**53)]
Identifier = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Text = Annotated[str, Meta(min_length=1)]
Number = Annotated[int, Meta(ge=0)]


class Complete(Struct, tag_field="ph", tag="X", forbid_unknown_fields=True):
    """A slice: a duration on a thread. Slices may be in any order."""

    name: Text
    cat: Text
    pid: Identifier
    tid: Identifier
    ts: Microseconds
    dur: Microseconds
    args: dict[str, Any]


class Names(Struct, forbid_unknown_fields=True):
    """The arguments of a metadata event; its name says which one is set."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    sort_index: int | msgspec.UnsetType = msgspec.UNSET


class Metadata(Struct, tag_field="ph", tag="M", forbid_unknown_fields=True):
    """The name of a process or thread, or its position in the viewer."""

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
    """The values of a counter's series at a moment; counters belong to a process."""

    name: Text
    pid: Identifier
    tid: Identifier
    ts: Microseconds
    args: Annotated[dict[Text, Number], Meta(min_length=1)]


class Instant(Struct, tag_field="ph", tag="i", forbid_unknown_fields=True):
    """An event without duration; `s` is its scope: global, process or thread."""

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
    """Returns a trace. Raises msgspec.ValidationError, which has the path inside, if it does not match the schema."""
    return msgspec.json.decode(text, type=Trace)
