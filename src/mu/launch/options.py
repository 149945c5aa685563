"""The options of a launch: limits, timeouts and callbacks; and checks of its arguments."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mu.errors import UsageError
from mu.launch._liblaunch import lib
from mu.launch.result import Progress

TIMEOUT_MAX = 86400
FUNCTION_TIMEOUT = 900  # seconds; the answer to a RequestResponse comes when the function has ended
PAYLOAD_MAX = {"Event": 1 << 20, "RequestResponse": 6 << 20, "DryRun": 6 << 20}
MARK = b"##ID##"


class Cancel(Protocol):
    """An object that tells whether a launch must end, such as `threading.Event`."""

    def is_set(self) -> bool:
        """Returns whether to end now."""


@dataclass(frozen=True)
class LaunchOptions:
    """The options of a launch.

    `max_connections` is per region, `max_attempts` per invocation, `timeout` (seconds) per attempt; None is the
    library's default. `on_progress` is called in the launching thread, about every 50 ms. Setting `cancel` ends the
    remaining invocations within the same time. With `wait_while_throttled`, throttled attempts do not count against
    `max_attempts`: only `cancel` ends them. `invocation_type` is Event, RequestResponse or DryRun.
    """

    max_connections: int | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    on_progress: Callable[[Progress], object] | None = None
    invocation_type: str = "Event"
    cancel: Cancel | None = None
    wait_while_throttled: bool = False

    def check(self) -> None:
        """Raises UsageError, with one line, if a value is not allowed."""
        if self.max_connections is not None:
            _check_count("max_connections", self.max_connections, lib.MU_LAUNCH_CONNECTIONS_MAX)
        if self.max_attempts is not None:
            _check_count("max_attempts", self.max_attempts)
        timeout = self.timeout
        if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout <= TIMEOUT_MAX):
            raise UsageError(f"timeout must be more than 0 and up to {TIMEOUT_MAX} seconds, not {timeout!r}")
        if self.invocation_type not in PAYLOAD_MAX:
            kinds = ", ".join(PAYLOAD_MAX)
            raise UsageError(f"invocation_type must be one of {kinds}, not {self.invocation_type!r}")

    def numbers(self) -> dict[str, int]:
        """Returns the numeric fields of liblaunch's options; 0 is its default."""
        timeout = self.timeout
        if timeout is None and self.invocation_type == "RequestResponse":
            timeout = FUNCTION_TIMEOUT
        return {
            "max_connections": self.max_connections or 0,
            "max_attempts": self.max_attempts or 0,
            "wait_while_throttled": self.wait_while_throttled,
            "timeout_ms": 0 if timeout is None else max(1, round(timeout * 1000)),
        }


def checked_payload(
    shares: Sequence[tuple[str, int]],
    function: str,
    payload: str | bytes,
    options: LaunchOptions,
    first: int,
) -> bytes:
    """Returns the payload's bytes. Raises UsageError, with one line, if any argument of a launch is wrong."""
    for _, count in shares:
        _check_count("the number to launch", count)
    options.check()
    if not isinstance(function, str) or not function.isprintable() or not function.strip():
        raise UsageError(f"the function must be a name, name:alias, or ARN, not {function!r}")
    last = first + sum(count for _, count in shares) - 1
    return _check_payload(payload, first, last, PAYLOAD_MAX[options.invocation_type])


def _check_count(what: str, value: object, most: int = 2**31 - 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UsageError(f"{what} must be a whole number from 1 to {most}, not {value!r}")


def _check_payload(payload: str | bytes, first: int, last: int, most: int) -> bytes:
    """Returns the payload's bytes. It must be JSON with the numbers `first` and `last` inserted, which are the
    shortest and the longest."""
    if not isinstance(payload, str | bytes):
        raise UsageError(f"the payload must be JSON text, not {type(payload).__name__}")
    try:
        data = payload.encode() if isinstance(payload, str) else payload
    except UnicodeEncodeError:
        raise UsageError("the payload has characters that cannot be sent (lone surrogates)") from None
    filled = {data.replace(MARK, str(number).encode(), 1) for number in (first, last)}
    longest = max(map(len, filled))
    if longest > most:
        raise UsageError(f"the payload has {longest} bytes; Lambda takes up to {most}")
    try:
        for text in filled:
            json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise UsageError("the payload is not JSON, or nested too deeply") from None
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is Python's, not JSON's")
