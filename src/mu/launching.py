"""Launching beside the main loop: a thread in which liblaunch works, and what the loop asks it."""

import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from mu.errors import MuError, UsageError
from mu.launch import LaunchResult, Progress, launch_shares, resolve
from mu.report import debug


def shares(count: int, regions: list[str]) -> list[tuple[str, int]]:
    """`count` workers spread evenly, the remainder to the first regions; a region with none is left out."""
    each, more = divmod(count, len(regions))
    spread = [(region, each + (place < more)) for place, region in enumerate(regions)]
    return [(region, number) for region, number in spread if number]


class BackgroundLaunch:
    """One launch: `parts` + `overprovision` workers. UsageError at once if there are no credentials, or a
    region that does not exist.

    `regions`: those in which it starts workers. `asked`: how many those are, with those added by `more`. `curve`:
    how many of the first were accepted by when (epoch); `result`, None until they all are.
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
        self._shares = shares(parts + overprovision, regions)
        self.regions = [region for region, _ in self._shares] or regions[:1]
        self._overprovision = overprovision
        self._payload = ""
        self.asked = parts + overprovision
        self._service = resolve(regions, access_key_id, secret_access_key)
        self._cancel = threading.Event()
        self._failure: str | None = None
        self.progress: Progress | None = None
        self.curve: list[tuple[float, int]] = []
        self.result: LaunchResult | None = None

    @property
    def credentials(self) -> tuple[str, str, str | None]:
        """What the invocations are signed with: the access key's id, the secret and the session's token."""
        return self._service.access_key, self._service.secret_key, self._service.session_token

    def own_address(self) -> str:
        """The address of the interface that routes to the Lambda endpoint."""
        url = urlsplit(self._service.endpoints[self.regions[0]])
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            family, kind, _, _, address = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(address)  # sends nothing
                return str(probe.getsockname()[0])
        except OSError as error:
            raise UsageError(
                f"cannot find the way to {url.hostname} ({error.strerror}): "
                "give this server's address with -a, and look at the network"
            ) from None

    def start(self, payload: str) -> None:
        """Begin, in a thread; every worker gets `payload`."""
        self._payload = payload
        if self._shares:
            threading.Thread(target=self._first, name="launch", daemon=True).start()

    def more(self, number: int) -> None:
        """Launch so many workers more, in another thread; if one cannot be, the launch has failed."""
        self.asked += number
        extra = shares(number, self.regions)
        threading.Thread(target=self._launch, args=(extra, 0), name="launch more", daemon=True).start()

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
            return f"; {progress.accepted} of {progress.total} launched{throttled}"
        return f"; launching was{throttled[1:]}" if throttled else ""

    def cancel(self) -> None:
        """Launch no more."""
        self._cancel.set()

    def _first(self) -> None:
        self.result = self._launch(self._shares, self._overprovision, self._on_progress)

    def _launch(
        self,
        shares: list[tuple[str, int]],
        dispensable: int,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> LaunchResult | None:
        service = self._service
        try:
            result = launch_shares(
                shares,
                self._function,
                service.access_key,
                service.secret_key,
                self._payload,
                session_token=service.session_token,
                ca_bundle=service.ca_bundle,
                on_progress=on_progress,
                cancel=self._cancel,
            )
        except MuError as error:
            self._failure = str(error)
            return None
        debug(repr(result))
        if result.failed > dispensable:
            self._failure = result.describe_failures()
        return result

    def _on_progress(self, progress: Progress) -> None:
        if self.progress is None or progress.accepted > self.progress.accepted:
            self.curve.append((time.time(), progress.accepted))
        self.progress = progress
        if progress.failed > self._overprovision:
            self._cancel.set()  # the job cannot be done any more: do not start workers for nothing
