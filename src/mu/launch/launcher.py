"""The Python face of liblaunch: arguments are checked, the C library does the work, outcomes are gathered.

The library is polled in slices of SLICE_MS, during which the GIL is released. Between two slices Python gets to
run signal handlers (a Ctrl-C also ends the slice itself, because it interrupts poll(2)), progress is told, and
`cancel` is looked at. So `launchpar` can run in any thread; in one other than the main thread, end it with
`cancel`.
"""

import json
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mu.errors import LaunchError, UsageError
from mu.launch._liblaunch import ffi, lib
from mu.launch.resolve import Service, resolve
from mu.launch.result import Invocation, LaunchResult, Outcome, Progress

SLICE_MS = 50
BATCH = 256
TIMEOUT_MAX = 86400
MARK = b"##ID##"
NO_MEMORY = "not enough memory for so many invocations"
FILES_EACH = 4  # of a connection that is being made, at most
OTHER_FILES = 128  # that a program has open besides
PAYLOAD_MAX = {"Event": 1 << 20, "RequestResponse": 6 << 20, "DryRun": 6 << 20}

if lib.mu_launch_setup() != 0:
    raise ImportError("libcurl cannot be initialised")


class Cancel(Protocol):
    """What says that a launch is to end: `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to end now."""


def launchpar(
    num_to_launch: int,
    lambda_function_name: str,
    access_key_id: str | None,
    secret_access_key: str | None,
    json_payload: str | bytes,
    regions: Sequence[str],
    *,
    session_token: str | None = None,
    endpoint_url: str | None = None,
    ca_bundle: str | None = None,
    max_connections: int | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    invocation_type: str = "Event",
    cancel: Cancel | None = None,
) -> LaunchResult:
    """Invoke a Lambda function `num_to_launch` times in each of `regions`, and say what became of each.

    `lambda_function_name` is a name, name:alias, or ARN. Keys that are None come from the AWS chain
    (environment, profile, SSO, role). The first ##ID## in `json_payload` becomes the invocation's number:
    region index * num_to_launch + i. `endpoint_url` is for all regions; if None, AWS_ENDPOINT_URL_LAMBDA,
    AWS_ENDPOINT_URL, or AWS's own.

    `max_connections` is per region, `max_attempts` per invocation, `timeout` (seconds) per attempt, 30 if
    None (900 for RequestResponse, whose answer comes when the function has run). `on_progress` is called
    in this thread, about every 50 ms. Setting `cancel` ends what has not ended, within as long.

    UsageError if an argument is wrong; nothing has been sent then. Invocations that fail raise nothing: ask
    the result, or call its `raise_for_failures()`. LaunchError only if the library itself fails.
    """
    if isinstance(regions, str) or not regions:
        raise UsageError("regions must be a list of at least one region, like ['us-east-1']")
    return launch_shares(
        [(region, num_to_launch) for region in regions],
        lambda_function_name,
        access_key_id,
        secret_access_key,
        json_payload,
        session_token=session_token,
        endpoint_url=endpoint_url,
        ca_bundle=ca_bundle,
        max_connections=max_connections,
        max_attempts=max_attempts,
        timeout=timeout,
        on_progress=on_progress,
        invocation_type=invocation_type,
        cancel=cancel,
    )


def launch_shares(
    shares: Sequence[tuple[str, int]],
    lambda_function_name: str,
    access_key_id: str | None,
    secret_access_key: str | None,
    json_payload: str | bytes,
    *,
    session_token: str | None = None,
    endpoint_url: str | None = None,
    ca_bundle: str | None = None,
    max_connections: int | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    invocation_type: str = "Event",
    cancel: Cancel | None = None,
    first: int = 0,
    service: Service | None = None,
    wait_while_throttled: bool = False,
) -> LaunchResult:
    """`launchpar` with a count for each region: `shares` are (region, how many), numbered through in order, from
    `first`.

    `service`: what `resolve` has found for these regions, so that it is not looked for again. With
    `wait_while_throttled`, being throttled does not count against `max_attempts`: only `cancel` ends it.
    """
    for _, count in shares:
        _check_count("the number to launch", count)
    if max_connections is not None:
        _check_count("max_connections", max_connections, lib.MU_LAUNCH_CONNECTIONS_MAX)
    if max_attempts is not None:
        _check_count("max_attempts", max_attempts)
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout <= TIMEOUT_MAX):
        raise UsageError(f"timeout must be more than 0 and up to {TIMEOUT_MAX} seconds, not {timeout!r}")
    if invocation_type not in PAYLOAD_MAX:
        raise UsageError(f"invocation_type must be one of {', '.join(PAYLOAD_MAX)}, not {invocation_type!r}")
    _check_name(lambda_function_name)
    last = first + sum(count for _, count in shares) - 1
    payload = _check_payload(json_payload, first, last, PAYLOAD_MAX[invocation_type])
    if service is None:
        service = resolve(
            [region for region, _ in shares],
            access_key_id,
            secret_access_key,
            session_token=session_token,
            endpoint_url=endpoint_url,
            ca_bundle=ca_bundle,
        )
    began = time.monotonic()
    _want_files(len(shares) * FILES_EACH * (max_connections or lib.MU_LAUNCH_MAX_CONNECTIONS) + OTHER_FILES)
    if timeout is None and invocation_type == "RequestResponse":
        timeout = 900
    handle = _new_handle()
    try:
        options = {
            "max_connections": max_connections or 0,
            "max_attempts": max_attempts or 0,
            "wait_while_throttled": wait_while_throttled,
            "timeout_ms": 0 if timeout is None else max(1, round(timeout * 1000)),
        }
        _configure(handle, service, payload, invocation_type, options)
        number = first
        for region, count in shares:
            target = _checked(
                handle,
                lib.mu_launch_add_target(
                    handle,
                    region.encode(),
                    service.endpoints[region].encode(),
                    lambda_function_name.encode(),
                ),
            )
            _checked(handle, lib.mu_launch_add(handle, target, number, count))
            number += count
        return _drive(handle, [region for region, _ in shares], began, on_progress, cancel)
    finally:
        lib.mu_launch_free(handle)


def _check_count(what: str, value: object, most: int = 2**31 - 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise UsageError(f"{what} must be a whole number from 1 to {most}, not {value!r}")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise UsageError(f"the function must be a name, name:alias, or ARN, not {name!r}")


def _check_payload(payload: str | bytes, first: int, last: int, most: int) -> bytes:
    """The payload's bytes. It must be JSON with the numbers `first` and `last` in it, which are the shortest and the
    longest."""
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


def _want_files(count: int) -> None:
    """Raise this process's limit of open files to `count` if it is lower, as far as it can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _new_handle() -> Any:
    handle = lib.mu_launch_new()
    if handle == ffi.NULL:
        raise LaunchError(NO_MEMORY)
    return handle


def _checked(handle: Any, returned: int) -> int:
    """What a function of the library returned, unless it is an error."""
    if returned >= 0:
        return returned
    text = ffi.string(lib.mu_launch_error_text(handle)).decode()
    if returned == lib.MU_LAUNCH_ENOMEM:
        raise LaunchError(NO_MEMORY)
    raise UsageError(text) if returned == lib.MU_LAUNCH_EINVAL else LaunchError(f"liblaunch: {text}")


def _configure(handle: Any, service: Service, payload: bytes, kind: str, options: dict[str, int]) -> None:
    texts = {
        "access_key": service.access_key,
        "secret_key": service.secret_key,
        "session_token": service.session_token,
        "ca_bundle": service.ca_bundle,
        "invocation_type": kind,
    }
    # These must live as long as the call; the library copies them.
    fields = {name: ffi.new("char[]", text.encode()) for name, text in texts.items() if text is not None}
    fields["payload"] = ffi.from_buffer("char[]", payload)
    _checked(
        handle,
        lib.mu_launch_configure(
            handle, ffi.new("mu_launch_options *", {**fields, **options, "payload_size": len(payload)})
        ),
    )


def _drive(
    handle: Any,
    regions: list[str],
    began: float,
    on_progress: Callable[[Progress], object] | None,
    cancel: Cancel | None,
) -> LaunchResult:
    invocations: list[Invocation] = []
    batch = ffi.new("mu_launch_outcome[]", BATCH)
    told: Progress | None = None
    while True:
        if cancel is not None and cancel.is_set():
            lib.mu_launch_cancel(handle)
        left = _checked(handle, lib.mu_launch_poll(handle, SLICE_MS))
        _take(handle, batch, regions, invocations)
        progress = _progress(handle, began)
        if on_progress is not None and (told is None or progress[:-1] != told[:-1]):
            on_progress(progress)
            told = progress
        if not left:
            invocations.sort()
            return LaunchResult(invocations, progress)


def _take(handle: Any, batch: Any, regions: list[str], invocations: list[Invocation]) -> None:
    outcomes: dict[int, Outcome] = {
        lib.MU_LAUNCH_ACCEPTED: "accepted",
        lib.MU_LAUNCH_FAILED: "failed",
        lib.MU_LAUNCH_CANCELLED: "cancelled",
    }
    while count := lib.mu_launch_take(handle, batch, BATCH):
        for i in range(count):
            o = batch[i]
            invocations.append(
                Invocation(
                    o.number,
                    regions[o.target],
                    outcomes[o.state],
                    o.status or None,
                    ffi.string(o.request_id).decode(),
                    o.attempts,
                    o.seconds,
                    None if o.error == ffi.NULL else ffi.string(o.error).decode(errors="replace"),
                )
            )


def _progress(handle: Any, began: float) -> Progress:
    counts = ffi.new("mu_launch_progress *")
    lib.mu_launch_get_progress(handle, counts)
    values = [getattr(counts, name) for name in Progress._fields if name != "seconds"]
    return Progress._make([*values, time.monotonic() - began])
