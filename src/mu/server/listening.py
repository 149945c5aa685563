"""The original's name for opening a coordinator's port, for scripts with a main loop of their own."""

import socket
from typing import Any

from mu import util
from mu.tls.connection import TLSConnection


def setup_server_listen(ServerInfo: Any) -> "socket.socket | TLSConnection":
    """A socket that listens at `port_number`, with TLS if `cacert` holds a key; without, for this machine only.

    For `util.accept_socket`. `server_main_loop` opens its own. UsageError if the port cannot be opened.
    """
    cacert, srvcrt, srvkey = (getattr(ServerInfo, name, None) for name in ("cacert", "srvcrt", "srvkey"))
    address = "" if cacert else "127.0.0.1"
    return util.listen_socket(address, getattr(ServerInfo, "port_number", 0) or 0, cacert, srvcrt, srvkey)
