"""Finds this machine's address as workers elsewhere can reach it."""

import socket
from urllib.parse import urlsplit

from mu.errors import UsageError


def towards(host: str, port: int) -> str:
    """Returns the address of the interface that routes to `host`; nothing is sent. Raises UsageError if there is no
    route."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UsageError(
            f"no route to {host} ({error.strerror}): give this server's address with -a, or check the network"
        ) from None


def towards_endpoint(endpoint: str) -> str:
    """Returns the address of the interface that routes to a URL's host. Raises UsageError if there is none, or no
    URL."""
    host, port = _place(endpoint)
    try:
        return towards(host, port)
    except UnicodeError:
        raise UsageError(
            f"the Lambda endpoint's host {host} cannot be resolved: check AWS_ENDPOINT_URL"
        ) from None


def _place(endpoint: str) -> tuple[str, int]:
    """Returns host and port of a URL. Raises UsageError if it is invalid, without the URL, which may hold a
    password."""
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname, url.port
    except ValueError:
        host = None
    if not host or url.scheme not in ("http", "https"):
        raise UsageError("the Lambda endpoint is not an http:// or https:// URL: check AWS_ENDPOINT_URL")
    return host, port or (443 if url.scheme == "https" else 80)
