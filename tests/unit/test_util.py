"""The helpers that scripts use."""

import base64
import contextlib
import os
import re
import select
import socket
import ssl
import threading
from pathlib import Path

import pytest
from OpenSSL import SSL

from mu import UsageError, util
from mu.tls import keys
from mu.wire.socket_nb import SocketNB


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
    made = []
    thread = threading.Thread(target=lambda: made.append(util.connect_socket("127.0.0.1", port, *theirs)))
    thread.start()
    select.select([listener], [], [], 30)
    accepted = util.accept_socket(listener)
    while accepted.handshaking:
        select.select([accepted], [], [], 30)
        accepted.do_handshake()
    thread.join(300)
    made[0].enqueue("OK:HELLO")
    made[0].do_write()
    while not accepted.want_handle:
        select.select([accepted], [], [], 30)
        accepted.do_read()
    assert accepted.dequeue() == "OK:HELLO"
    for end in (accepted, made[0], listener):
        end.close()


def test_a_connection_in_a_process_with_more_open_files_than_select_can_hold() -> None:
    job = keys.make_job_keys()
    listener = util.listen_socket("127.0.0.1", 0, job.ca, job.server.cert, job.server.key)
    with contextlib.ExitStack() as held:
        for _ in range(1100):
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        made = []
        address = listener.getsockname()[:2]
        pair = job.worker.cert, job.worker.key
        thread = threading.Thread(target=lambda: made.append(util.connect_socket(*address, job.ca, *pair)))
        thread.start()
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.poll(30_000)
        accepted = util.accept_socket(listener)
        assert accepted is not None
        poll.register(accepted, select.POLLIN)
        while accepted.handshaking:
            poll.poll(30_000)
            accepted.do_handshake()
        thread.join(300)
    for end in (accepted, made[0], listener):
        end.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_what_it_gives_for_sockets_passes_for_what_the_original_gave(tls: bool) -> None:
    job = keys.make_job_keys()
    own = (job.ca, job.server.cert, job.server.key) if tls else ()
    theirs = (job.ca, job.worker.cert, job.worker.key) if tls else ()
    lsock = util.listen_socket("127.0.0.1", 0, *own)
    made: list[SocketNB] = []
    thread = threading.Thread(
        target=lambda: made.append(util.connect_socket("127.0.0.1", lsock.getsockname()[1], *theirs))
    )
    thread.start()
    select.select([lsock], [], [], 30)
    accepted = util.accept_socket(lsock)
    assert accepted is not None
    while accepted.handshaking:
        select.select([accepted], [], [], 30)
        accepted.do_handshake()
    thread.join(300)
    for end in (lsock, accepted, made[0]):
        assert isinstance(end, SSL.Connection) == tls
    again = SocketNB(accepted)  # scripts make a channel from an accepted socket
    again.enqueue("hello")
    again.do_write()
    while not made[0].want_handle:
        select.select([made[0]], [], [], 30)
        made[0].do_read()
    assert made[0].recv_queue.popleft() == "hello"
    if tls:
        assert isinstance(accepted, SSL.Connection)
        certificate = accepted.get_peer_certificate()
        assert certificate is not None
        assert "CN=mu worker" in certificate.to_cryptography().subject.rfc4514_string()
    for each in (accepted, made[0], lsock):
        each.close()


@pytest.mark.parametrize("by_context", [False, True])
def test_sslize(by_context: bool) -> None:
    job = keys.make_job_keys()
    left, right = socket.socketpair()
    own = (job.ca, job.server.cert, job.server.key)
    server = util.sslize(left, util.ssl_context(*own), server=True) if by_context else util.sslize(left, *own)
    client = util.sslize(right, job.ca, job.worker.cert, job.worker.key)
    server.set_accept_state()
    assert isinstance(server, SSL.Connection)
    ends = SocketNB(server), SocketNB(client)
    for _ in range(10):
        for end in ends:
            end.do_handshake()
    ends[0].enqueue("x")
    ends[0].do_write()
    ends[1].do_read()
    assert ends[1].dequeue() == "x"
    for end in ends:
        end.close()


def test_pem_text_from_what_travels() -> None:
    job = keys.make_job_keys("rsa")
    certificate = util.format_ssl_cert(job.ca)
    assert certificate == util.format_pem(job.ca)
    assert ssl.PEM_cert_to_DER_cert(certificate) == base64.b64decode(job.ca)
    assert util.format_ssl_key(job.server.key).startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert util.format_pem("QUJD", "THING") == "-----BEGIN THING-----\nQUJD\n-----END THING-----\n"
    with pytest.raises(UsageError, match="not base64"):
        util.format_ssl_cert("?")


def test_text_in_a_green() -> None:
    text = util.rand_green("well done")
    assert re.fullmatch(r"\x1b\[38;5;\d+mwell done\x1b\[0m", text)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = util.nothing
