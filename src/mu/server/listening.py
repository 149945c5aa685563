"""Opens a coordinator's port under the original's name, for scripts that have a main loop of their own."""

import socket
from typing import Any

from mu import util
from mu.tls.connection import TLSConnection


def setup_server_listen(ServerInfo: Any) -> "socket.socket | TLSConnection":
    """Returns a socket that listens at `port_number`, for `util.accept_socket`.

    It uses TLS if `cacert` holds a certificate; without one it listens on the loopback address only.
    `server_main_loop` does not need it. Raises UsageError if the port cannot be opened.
    """
    cacert, srvcrt, srvkey = (getattr(ServerInfo, name, None) for name in ("cacert", "srvcrt", "srvkey"))
    address = "" if cacert else "127.0.0.1"
    return util.listen_socket(address, getattr(ServerInfo, "port_number", 0) or 0, cacert, srvcrt, srvkey)
