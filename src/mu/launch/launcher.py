"""The Python side of liblaunch: checks arguments, lets the C library do the work, and collects outcomes.

The library is polled in slices of SLICE_MS, during which the GIL is released. Between two slices Python can run
signal handlers (a Ctrl-C also ends the slice itself, because it interrupts poll(2)), progress is reported, and
`cancel` is checked. So `launchpar` can run in any thread; outside the main thread, use `cancel` to end it.
"""

import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

from mu.errors import LaunchError, UsageError
from mu.launch._liblaunch import ffi, lib
from mu.launch.credentials import Credentials, Keys
from mu.launch.options import Cancel, LaunchOptions, checked_payload
from mu.launch.result import Invocation, LaunchResult, Outcome, Progress
from mu.launch.service import Service, resolve

SLICE_MS = 50
BATCH = 256
NO_MEMORY = "not enough memory for so many invocations"
FILES_EACH = 4  # most files of one connection while it is being made
OTHER_FILES = 128  # files that the program has open for other purposes
KEYS_LOOKED_AT = 5.0  # seconds between two checks whether the keys have changed

if lib.mu_launch_setup() != 0:
    raise ImportError("libcurl cannot be initialised")


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
    credentials: Callable[[], Any] | None = None,
) -> LaunchResult:
    """Invokes a Lambda function `num_to_launch` times in each of `regions`, and returns the outcome of each
    invocation.

    `lambda_function_name` is a name, name:alias, or ARN. Keys that are None come from the AWS chain (environment,
    profile, SSO, role). The first ##ID## in `json_payload` becomes the invocation's number: region index *
    num_to_launch + i. `endpoint_url` is for all regions; if None, AWS_ENDPOINT_URL_LAMBDA, AWS_ENDPOINT_URL, or AWS's
    own.

    `credentials`, instead of keys, is a function that returns the present keys, with the attributes access_key,
    secret_key and token, as `get_frozen_credentials` of botocore's credentials does. It is called again every few
    seconds, and when the keys have expired; so is the chain.

    `max_connections` is per region, `max_attempts` per invocation, `timeout` (seconds) per attempt: 30 if None (900
    for RequestResponse, whose answer comes when the function has ended). `on_progress` is called in this thread,
    about every 50 ms. Setting `cancel` ends the remaining invocations within the same time.

    Raises UsageError if an argument is wrong; nothing has been sent then. Failed invocations raise nothing: see the
    result, or call its `raise_for_failures()`. Raises LaunchError only if the library itself fails.
    """
    if isinstance(regions, str) or not regions:
        raise UsageError("regions must be a list of at least one region, like ['us-east-1']")
    options = LaunchOptions(max_connections, max_attempts, timeout, on_progress, invocation_type, cancel)
    shares = [(region, num_to_launch) for region in regions]
    payload = checked_payload(shares, lambda_function_name, json_payload, options, 0)
    service = resolve(
        regions,
        access_key_id,
        secret_access_key,
        session_token=session_token,
        endpoint_url=endpoint_url,
        ca_bundle=ca_bundle,
        credentials=credentials,
    )
    return _launch(shares, lambda_function_name, payload, service, options, 0)


def launch_shares(
    shares: Sequence[tuple[str, int]],
    function: str,
    payload: str | bytes,
    service: Service,
    options: LaunchOptions | None = None,
    *,
    first: int = 0,
) -> LaunchResult:
    """Does `launchpar` with a count for each region: `shares` are (region, count), numbered in this order from
    `first`. `service` is the result of `resolve` for these regions."""
    options = options or LaunchOptions()
    data = checked_payload(shares, function, payload, options, first)
    return _launch(shares, function, data, service, options, first)


def _launch(
    shares: Sequence[tuple[str, int]],
    function: str,
    payload: bytes,
    service: Service,
    options: LaunchOptions,
    first: int,
) -> LaunchResult:
    keys = service.credentials.keys()
    began = time.monotonic()
    connections = options.max_connections or lib.MU_LAUNCH_MAX_CONNECTIONS
    _want_files(len(shares) * FILES_EACH * connections + OTHER_FILES)
    handle = _new_handle()
    try:
        _configure(handle, service, keys, payload, options)
        number = first
        for region, count in shares:
            endpoint = service.endpoints[region].encode()
            target = _checked(
                handle, lib.mu_launch_add_target(handle, region.encode(), endpoint, function.encode())
            )
            _checked(handle, lib.mu_launch_add(handle, target, number, count))
            number += count
        renewal = _Renewal(handle, service.credentials, keys)
        return _drive(handle, [region for region, _ in shares], began, options, renewal)
    finally:
        lib.mu_launch_free(handle)


def _want_files(count: int) -> None:
    """Raises this process's limit of open files to `count` if it is lower, as far as possible."""
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
    """Returns the return value of a function of the library. Raises LaunchError, MemoryError or UsageError for an
    error."""
    if returned >= 0:
        return returned
    text = ffi.string(lib.mu_launch_error_text(handle)).decode()
    if returned == lib.MU_LAUNCH_ENOMEM:
        raise LaunchError(NO_MEMORY)
    raise UsageError(text) if returned == lib.MU_LAUNCH_EINVAL else LaunchError(f"liblaunch: {text}")


def _configure(handle: Any, service: Service, keys: Keys, payload: bytes, options: LaunchOptions) -> None:
    texts = {
        "access_key": keys.access_key,
        "secret_key": keys.secret_key,
        "session_token": keys.token,
        "ca_bundle": service.ca_bundle,
        "invocation_type": options.invocation_type,
    }
    # These must live until the call returns; the library copies them.
    fields = {name: ffi.new("char[]", text.encode()) for name, text in texts.items() if text is not None}
    fields["payload"] = ffi.from_buffer("char[]", payload)
    numbers = options.numbers() | {
        "payload_size": len(payload),
        "refreshable": service.credentials.renewable,
    }
    _checked(handle, lib.mu_launch_configure(handle, ffi.new("mu_launch_options *", fields | numbers)))


class _Renewal:
    """Passes new keys to the library: at intervals if they have changed, and when it needs some."""

    def __init__(self, handle: Any, credentials: Credentials, keys: Keys) -> None:
        self._handle = handle
        self._credentials = credentials
        self._keys = keys
        self._looked = time.monotonic()

    def look(self) -> None:
        """Checks for new keys; called between two polls."""
        if not self._credentials.renewable:
            return
        if lib.mu_launch_wants_credentials(self._handle):
            self._renew()
        elif time.monotonic() - self._looked >= KEYS_LOOKED_AT:
            try:
                self._set(self._credentials.keys())
            except UsageError:
                self._looked = time.monotonic()  # the present keys may still be valid

    def _renew(self) -> None:
        try:
            self._set(self._credentials.renewed(self._keys))
        except UsageError as error:
            lib.mu_launch_refuse_credentials(self._handle, str(error).encode())

    def _set(self, keys: Keys) -> None:
        texts = [ffi.NULL if text is None else ffi.new("char[]", text.encode()) for text in keys]
        _checked(self._handle, lib.mu_launch_set_credentials(self._handle, *texts))
        self._keys = keys
        self._looked = time.monotonic()


def _drive(
    handle: Any, regions: list[str], began: float, options: LaunchOptions, renewal: _Renewal
) -> LaunchResult:
    invocations: list[Invocation] = []
    batch = ffi.new("mu_launch_outcome[]", BATCH)
    told: Progress | None = None
    while True:
        if options.cancel is not None and options.cancel.is_set():
            lib.mu_launch_cancel(handle)
        renewal.look()
        left = _checked(handle, lib.mu_launch_poll(handle, SLICE_MS))
        _take(handle, batch, regions, invocations)
        progress = _progress(handle, began)
        if options.on_progress is not None and (told is None or progress[:-1] != told[:-1]):
            options.on_progress(progress)
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
