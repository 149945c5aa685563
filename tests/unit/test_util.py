"""The helpers that scripts use."""

import select
from pathlib import Path

import pytest

from mu import UsageError, util
from mu.tls import keys


def test_random_strings() -> None:
    one, other = util.rand_str(16), util.rand_str(16)
    assert one != other
    assert len(one) == len(other) == 16
    assert (one + other).isalnum()


def test_a_pem_file_becomes_one_line(tmp_path: Path) -> None:
    keys.write_job_key_files(tmp_path)
    body = util.read_pem(tmp_path / "ca_cert.pem")
    text = (tmp_path / "ca_cert.pem").read_text()
    assert body == "".join(text.splitlines()[1:-1])
    (tmp_path / "chain.pem").write_text(text + "words between\n" + text)
    assert util.read_pem(str(tmp_path / "chain.pem")) == f"{body} {body}"


@pytest.mark.parametrize("text", [None, "", "nothing here", "-----BEGIN X-----\n-----END X-----\n"])
def test_what_is_no_pem_file(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "file.pem").write_text(text)
    with pytest.raises(UsageError, match=r"file\.pem"):
        util.read_pem(tmp_path / "file.pem")


def test_a_ca_needs_a_pair() -> None:
    ca = keys.make_job_keys().ca
    with pytest.raises(UsageError, match="srvcrt and srvkey"):
        util.listen_socket("127.0.0.1", 0, ca, None, None, 5)
    with pytest.raises(UsageError, match="srvcrt and srvkey"):
        util.connect_socket("127.0.0.1", 1, ca, None, None)


@pytest.mark.parametrize("address", ["x" * 300, "192.0.2.1"])
def test_an_address_that_is_not_this_machines(address: str) -> None:
    with pytest.raises(UsageError, match=f"cannot listen on {address}: "):
        util.listen_socket(address, 0, None, None, None, 5)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_sockets(tls: bool) -> None:
    job = keys.make_job_keys()
    own = (job.ca, job.server.cert, job.server.key) if tls else (None, None, None)
    theirs = (job.ca, job.worker.cert, job.worker.key) if tls else (None, None, None)
    listener = util.listen_socket("127.0.0.1", 0, *own, 5)
    assert util.accept_socket(listener) is None
    port = listener.getsockname()[1]
    import threading

    made = []
    thread = threading.Thread(target=lambda: made.append(util.connect_socket("127.0.0.1", port, *theirs)))
    thread.start()
    select.select([listener], [], [], 30)
    accepted = util.accept_socket(listener)
    while accepted.handshaking:
        select.select([accepted], [], [], 30)
        accepted.do_handshake()
    thread.join(30)
    made[0].enqueue("OK:HELLO")
    made[0].do_write()
    while not accepted.want_handle:
        select.select([accepted], [], [], 30)
        accepted.do_read()
    assert accepted.dequeue() == "OK:HELLO"
    for end in (accepted, made[0], listener):
        end.close()


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = util.nothing
