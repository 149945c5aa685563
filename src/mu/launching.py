"""Launching beside the main loop: a thread in which liblaunch works, and what the loop asks it."""

import socket
import threading
from urllib.parse import urlsplit

from mu.errors import MuError, UsageError
from mu.launch import Progress, launch_shares, resolve
from mu.report import debug


def shares(count: int, regions: list[str]) -> list[tuple[str, int]]:
    """`count` workers spread evenly, the remainder to the first regions; a region with none is left out."""
    each, more = divmod(count, len(regions))
    spread = [(region, each + (place < more)) for place, region in enumerate(regions)]
    return [(region, number) for region, number in spread if number]


class BackgroundLaunch:
    """One launch: `parts` + `overprovision` workers. UsageError at once if there are no credentials, or a
    region that does not exist."""

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
        self._overprovision = overprovision
        self._service = resolve(regions, access_key_id, secret_access_key)
        self._cancel = threading.Event()
        self._failure: str | None = None
        self._progress: Progress | None = None

    def own_address(self) -> str:
        """The address of the interface that routes to the Lambda endpoint."""
        url = urlsplit(self._service.endpoints[self._shares[0][0]])
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
        threading.Thread(target=self._run, args=(payload,), name="launch", daemon=True).start()

    def failure(self) -> str | None:
        """Why there will not be enough workers; None while there may be."""
        return self._failure

    def note(self) -> str:
        """How far launching is, as an addition to a line of progress; empty once all is well."""
        progress = self._progress
        if progress is None:
            return ""
        throttled = f", throttled {progress.throttled} times" if progress.throttled else ""
        if progress.accepted < progress.total:
            return f"; {progress.accepted} of {progress.total} launched{throttled}"
        return f"; launching was{throttled[1:]}" if throttled else ""

    def cancel(self) -> None:
        """Launch no more."""
        self._cancel.set()

    def _run(self, payload: str) -> None:
        service = self._service
        try:
            result = launch_shares(
                self._shares,
                self._function,
                service.access_key,
                service.secret_key,
                payload,
                session_token=service.session_token,
                ca_bundle=service.ca_bundle,
                on_progress=self._on_progress,
                cancel=self._cancel,
            )
        except MuError as error:
            self._failure = str(error)
            return
        debug(repr(result))
        if result.failed > self._overprovision:
            self._failure = result.describe_failures()

    def _on_progress(self, progress: Progress) -> None:
        self._progress = progress
        if progress.failed > self._overprovision:
            self._cancel.set()  # the job cannot be done any more: do not start workers for nothing
