"""A worker's variables: their defaults, and those that an event gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: dict[str, Any] = {
    "mode": 0,
    "addr": "127.0.0.1",
    "port": 13579,
    "bucket": "",
    "region": "us-east-1",
    "nonblock": 0,
    "bg_silent": 0,
    "rm_tmpdir": 1,
    "expect_statefile": 0,
    "send_statefile": 0,
    "minimal_recode": 0,
    "hash_s3keys": 0,
    "run_iter": 0,
    "tell_sizes": 0,
    "tell_bytes": 0,
    "tell_facts": 0,
}
SECRETS = frozenset(("cacert", "srvcrt", "srvkey"))


def given(event: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of an event that are variables: all with a value, except for the keys."""
    return {name: value for name, value in event.items() if value is not None and name not in SECRETS}


def initial(event: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the variables that a worker begins with: the defaults, and those of its event."""
    return {**DEFAULTS, **given(event)}


def integer(vals: Mapping[str, Any], name: str, default: int = 0) -> int:
    """Returns an integer variable; `default` if it is missing or is no number."""
    try:
        return int(vals.get(name, default))
    except (TypeError, ValueError, OverflowError):
        return default
