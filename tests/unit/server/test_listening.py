"""The original's function that opens a coordinator's port."""

import pytest
from OpenSSL import SSL

from mu import server, util
from mu.tls import keys


@pytest.mark.parametrize("tls", [False, True])
def test_setup_server_listen(tls: bool) -> None:
    job = keys.make_job_keys()
    own = {"cacert": job.ca, "srvcrt": job.server.cert, "srvkey": job.server.key} if tls else {}
    info = type("ServerInfo", (), {"port_number": 0, **own})
    listener = server.setup_server_listen(info)
    assert isinstance(listener, SSL.Connection) == tls
    assert listener.getsockname()[0] == ("::" if tls else "127.0.0.1")
    assert util.accept_socket(listener) is None
    listener.close()
