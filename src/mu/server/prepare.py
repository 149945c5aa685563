"""Reads a script's `ServerInfo` once, into settings that are passed to the rest of the coordinator."""

import dataclasses
import ipaddress
from collections.abc import Iterable
from typing import Any

from mu.errors import UsageError
from mu.history.blank import known_secrets, shown_settings
from mu.preflight import listed_regions
from mu.report.worker_log import messages_each
from mu.server.flags import EVERY_SCRIPT, FLAGS
from mu.server.ledger import Part, PartOrder, connection_order
from mu.server.settings import Settings, Setup

# Attributes of ServerInfo that a run sets so that the script and its states can read them; restored when it is over.
READ_BACK = ("port_number", "state_srv_addr", "state_srv_port", "state_srv_threads")
# Settings that are computed here instead of being read under their own names.
MADE = ("parts", "grouped", "room", "journal", "overprovision")


def settings_of(info: Any) -> Settings:
    """Returns the settings about parts and workers of `info`, a class or an object with the attributes of the flags.

    Raises UsageError if they are impossible.
    """
    given = {
        field.name: getattr(info, field.name)
        for field in dataclasses.fields(Settings)
        if field.name not in MADE and getattr(info, field.name, None) is not None
    }
    parts = parts_of(info)
    if getattr(info, "record_dir", None):
        given["journal"] = messages_each(len(parts))
    relays = getattr(info, "state_srv_threads", None) or _own_relay(info)
    return Settings(
        parts=parts,
        grouped=bool(relays and getattr(info, "keyframe_distance", None)),
        overprovision=getattr(info, "overprovision", None) or 0,
        **given,
    )


def setup_of(info: Any) -> Setup:
    """Returns the other settings of `info`: addresses, keys, files and messages."""

    def text(name: str) -> Any:
        return getattr(info, name, None) or None

    pair = (text("worker_cert"), text("worker_key"))
    if not all(pair):  # a script that does not call `options` may set one pair only
        pair = (getattr(info, "srvcrt", None), getattr(info, "srvkey", None))
    event: dict[str, Any] = {}
    if getattr(info, "hashed_names", False):
        event["hash_s3keys"] = 1
    if text("run_id"):
        event["run_id"] = info.run_id
    if text("record_dir"):
        event["tell_sizes"] = 1
    relay = (info.state_srv_addr, info.state_srv_port) if _own_relay(info) else None
    resume = None
    if getattr(info, "resume", False):
        resume = _Resume(info)
    return Setup(
        port=getattr(info, "port_number", 0) or 0,
        address=text("host_addr"),
        cacert=text("cacert"),
        srvcrt=getattr(info, "srvcrt", None) or "",
        srvkey=getattr(info, "srvkey", None) or "",
        worker_cert=pair[0] or "",
        worker_key=pair[1] or "",
        event=event,
        relay=relay,
        out_file=text("out_file"),
        profiling=text("profiling"),
        record_dir=text("record_dir"),
        output_dir=text("output_dir"),
        quiet=bool(getattr(info, "quiet", False)),
        verbose=bool(getattr(info, "verbose", False)),
        function=None if getattr(info, "no_cost", False) else text("lambda_function"),
        regions=listed_regions(getattr(info, "regions", None)),
        shown=shown_settings(info, [flag.attribute for flag in (*FLAGS, *EVERY_SCRIPT)]),
        secrets=tuple(known_secrets(info)),
        resume_from=resume,
    )


def _own_relay(info: Any) -> bool:
    """Returns whether the run starts a relay; no other relay could have the keys that were made for this run."""
    return bool(getattr(info, "state_srv_addr", None) and getattr(info, "keys_of_run", False))


class _Resume:
    """Finds the parts of a script that are still to be done, for `Setup.resume_from`."""

    def __init__(self, info: Any) -> None:
        self._info = info

    def __call__(self, parts: Iterable[Part | None], region: str) -> list[Part]:
        from mu.server import resume

        return resume.unfinished(self._info, [part for part in parts if part is not None], region)


def parts_of(info: Any) -> PartOrder:
    """Returns the parts of `info` in the order in which workers get them. Raises UsageError if one is named twice."""
    chosen = getattr(info, "num_list", None)
    if chosen and len(set(chosen)) < len(chosen):
        raise UsageError("num_list names a part twice")
    number = getattr(info, "num_parts", None)
    number = len(chosen) if chosen else 1 if number is None else number
    return connection_order(number, getattr(info, "keyframe_distance", None), chosen)


def is_loopback(host: str) -> bool:
    """Returns whether a host is a loopback address, which only this machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
