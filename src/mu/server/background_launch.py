"""Launching beside the main loop: a thread in which liblaunch works, and what the loop asks it."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mu.console.terminal import debug
from mu.engines.protocol import Limit
from mu.errors import UsageError, reason
from mu.launch import Invocation, Progress, launch_shares, resolve

WAITED = "cancelled; the last attempt: "  # liblaunch's words about an invocation that was to be tried again
PATIENCE = 1.0  # seconds; a cancelled launch ends within a tenth of that, unless a name is being looked up


def shares(count: int, regions: list[str]) -> list[tuple[str, int]]:
    """`count` workers spread evenly, the remainder to the first regions; a region with none is left out."""
    each, more = divmod(count, len(regions))
    spread = [(region, each + (place < more)) for place, region in enumerate(regions)]
    return [(region, number) for region, number in spread if number]


def _place(endpoint: str) -> tuple[str, int]:
    """Host and port of a URL. UsageError if it is none; the URL is not in the message, it may hold a password."""
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname, url.port
    except ValueError:
        host = None
    if not host or url.scheme not in ("http", "https"):
        raise UsageError("the Lambda endpoint is no http:// or https:// URL: look at AWS_ENDPOINT_URL")
    return host, port or (443 if url.scheme == "https" else 80)


class BackgroundLaunch:
    """One launch: `parts` + `overprovision` workers. UsageError at once if there are no credentials, or a
    region that does not exist.

    `regions`: those in which it starts workers. `asked`: how many those are, with those added by `more`. `curve`:
    how many were accepted by when (epoch).
    """

    def __init__(
        self,
        function: str,
        regions: list[str],
        parts: int,
        overprovision: int = 0,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
    ) -> None:
        self._function = function
        self._number = parts + overprovision
        self.regions = [region for region, _ in shares(self._number, regions)] or regions[:1]
        self._overprovision = overprovision
        self._payload = ""
        self.asked = 0
        self._service = resolve(regions, access_key_id, secret_access_key)
        self._cancel = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failure: str | None = None
        self._told: list[Progress] = []  # of the first launch, and of each that was added
        self._invocations: list[Invocation] = []
        self._lock = threading.Lock()
        self.curve: list[tuple[float, int]] = []

    @property
    def credentials(self) -> tuple[str, str, str | None]:
        """What the invocations are signed with: the access key's id, the secret and the session's token."""
        return self._service.access_key, self._service.secret_key, self._service.session_token

    def own_address(self) -> str:
        """The address of the interface that routes to the Lambda endpoint."""
        host, port = _place(self._service.endpoints[self.regions[0]])
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(address)  # sends nothing
                return str(probe.getsockname()[0])
        except OSError as error:
            raise UsageError(
                f"cannot find the way to {host} ({error.strerror}): "
                "give this server's address with -a, and look at the network"
            ) from None
        except UnicodeError:
            raise UsageError(
                f"the Lambda endpoint's host {host} is no name: look at AWS_ENDPOINT_URL"
            ) from None

    name = "lambda"
    outcomes_known = False

    def start(self, payload: str, number: int) -> None:
        """Begin, in a thread; every worker gets `payload`."""
        self._payload = payload
        if number:
            self._begin(number, self._overprovision)

    def limit(self) -> Limit:
        """Not known."""
        return Limit(None, "")

    def lost(self, now: float) -> int:
        """Not known."""
        return 0

    def shown(self, facts: Mapping[str, Any]) -> None:
        """Nothing follows."""

    def left(self, facts: Mapping[str, Any]) -> None:
        """Nothing follows."""

    def more(self, number: int) -> None:
        """Launch so many workers more, in another thread; if one cannot be, the launch has failed."""
        self._begin(number, 0)

    @property
    def progress(self) -> Progress | None:
        """How far launching is, all launches together; None before the first has begun."""
        with self._lock:
            if not self._told:
                return None
            return Progress._make(map(sum, zip(*self._told, strict=True)))

    @property
    def invocations(self) -> list[Invocation]:
        """What became of those invocations whose launch has come to its end, by number."""
        with self._lock:
            return sorted(self._invocations)

    def failure(self) -> str | None:
        """Why there will not be enough workers; None while there may be."""
        return self._failure

    def note(self) -> str:
        """How far launching is, as an addition to a line of progress; empty once all is well."""
        progress = self.progress
        if progress is None:
            return ""
        throttled = f", throttled {progress.throttled} times" if progress.throttled else ""
        if progress.accepted < progress.total:
            return f"; {progress.accepted} of {progress.total} launched{throttled}{self._last_reason()}"
        return f"; launching was{throttled[1:]}" if throttled else ""

    def _last_reason(self) -> str:
        """Why most of those that `cancel` ended were to be tried again, in parentheses; empty if not known."""
        reasons = Counter(
            f" ({invocation.region}: {invocation.error.removeprefix(WAITED)})"
            for invocation in self.invocations
            if invocation.error is not None and invocation.error.startswith(WAITED)
        )
        return reasons.most_common(1)[0][0] if reasons else ""

    def cancel(self) -> None:
        """Launch no more."""
        self._cancel.set()

    def wait(self) -> None:
        """After `cancel`: wait until `progress` and `invocations` are final, though not longer than `PATIENCE`."""
        until = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _begin(self, number: int, dispensable: int) -> None:
        arguments = (shares(number, self.regions), self.asked, dispensable)
        self.asked += number
        thread = threading.Thread(target=self._launch, args=arguments, name="launch", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _launch(self, shares: list[tuple[str, int]], first: int, dispensable: int) -> None:
        """One launch, of which so many invocations may fail; its invocations are numbered from `first`."""
        place: int | None = None

        def on_progress(progress: Progress) -> None:
            nonlocal place
            with self._lock:
                if place is None:
                    place = len(self._told)
                    self._told.append(progress)
                self._told[place] = progress
                accepted = sum(told.accepted for told in self._told)
                if not self.curve or accepted > self.curve[-1][1]:
                    self.curve.append((time.time(), accepted))
            if progress.failed > dispensable:
                self._cancel.set()  # the job cannot be done any more: do not start workers for nothing

        try:
            result = launch_shares(
                shares,
                self._function,
                None,
                None,
                self._payload,
                service=self._service,
                on_progress=on_progress,
                cancel=self._cancel,
                wait_while_throttled=True,  # the main loop says when to give up
                first=first,
            )
        except Exception as error:  # whatever it is, no more workers will come
            self._failure = reason(error)
            return
        debug(repr(result))
        with self._lock:
            self._invocations += result.invocations
        if result.failed > dispensable:
            self._failure = result.describe_failures()
