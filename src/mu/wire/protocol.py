"""Every word of the message grammar, once."""

from typing import Any, NamedTuple

# How messages begin that are for the coordinator's books and for no state; sent if the event has `tell_sizes`.
ACCOUNT = "INFO:mu."


# What a state waits for after a command, unless it says otherwise: a prefix that the answers in
# background mode share. Commands that are not here: `OK`.
EXPECTED = {
    "set": "OK:SET",
    "seti": "OK:SETI",
    "get": "OK:GET",
    "geti": "OK:GETI",
    "dump_vals": "OK:DUMP_VALS",
    "retrieve": "OK:RETRIEV",
    "upload": "OK:UPLOAD",
    "echo": "OK:ECHO",
    "run": "OK:R",
    "connect": "OK:CONNECT",
    "close_connect": "OK:CLOSE_CONNECT",
}


class Hello(NamedTuple):
    """A worker's hello: the run that it names (empty: none), and what it tells of itself."""

    run_id: str
    facts: dict[str, Any]


def parse_hello(text: str) -> Hello | None:
    """What `OK:HELLO`, `OK:HELLO:<run id>` or `OK:HELLO:<run id>:<JSON>` says; None if it is none of these."""
    import json

    word, _, rest = text.partition("OK:HELLO")
    if word or (rest and not rest.startswith(":")):
        return None
    run_id, _, told = rest[1:].partition(":")
    if not told:
        return Hello(run_id, {})
    try:
        facts = json.loads(told)
    except ValueError:
        return None
    return Hello(run_id, facts) if isinstance(facts, dict) else None


def expected_response(command: str | None) -> str:
    """How the answer to a command begins, if it succeeds."""
    return EXPECTED.get((command or "").partition(":")[0], "OK")


def spread(key: str) -> str:
    """`HHHH-KEY`: keys that begin alike go to different partitions of S3."""
    import hashlib

    name = key.rpartition("/")[2].encode("utf-8", "surrogateescape")
    return f"{hashlib.md5(name, usedforsecurity=False).hexdigest()[:4]}-{key}"
