"""This machine's address, as what is started elsewhere can reach it."""

import socket
from urllib.parse import urlsplit

from mu.errors import UsageError


def towards(host: str, port: int) -> str:
    """The address of the interface that routes to `host`; nothing is sent. UsageError if there is no way there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UsageError(
            f"cannot find the way to {host} ({error.strerror}): "
            "give this server's address with -a, and look at the network"
        ) from None


def towards_endpoint(endpoint: str) -> str:
    """The address of the interface that routes to a URL's host. UsageError as for `towards`, or if it is no URL."""
    host, port = _place(endpoint)
    try:
        return towards(host, port)
    except UnicodeError:
        raise UsageError(f"the Lambda endpoint's host {host} is no name: look at AWS_ENDPOINT_URL") from None


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
