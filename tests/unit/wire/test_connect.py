"""Connections to the coordinator and the relay."""

import os
import socket
import ssl
import threading
from itertools import pairwise
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import NoReturn

import pytest

from mu.errors import UsageError
from mu.tls import keys
from mu.wire import connect as dial
from tests.support.ports import ipv6
from tests.support.worker_rig import Listener

JOB = keys.make_job_keys()
OTHER = keys.make_job_keys()
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
PATIENCE = 300.0


def context(directory: Path, job: keys.JobKeys = JOB) -> ssl.SSLContext:
    return dial.tls_context(job.ca, job.worker.cert, job.worker.key, str(directory))


@pytest.mark.parametrize("version", VERSIONS)
def test_mutual_tls(version: ssl.TLSVersion, tmp_path: Path) -> None:
    with Listener(JOB, version) as listener:
        peers = []
        thread = threading.Thread(target=lambda: peers.append(listener.accept()))
        thread.start()
        sock = dial.dial("127.0.0.1", listener.port, context(tmp_path), PATIENCE)
        thread.join()
        assert isinstance(sock, ssl.SSLSocket)
        assert sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        assert sock.compression() is None
        peer = peers[0].sock
        assert peer.getpeercert(binary_form=True)
        peer.sendall(b"x")
        assert sock.recv(1) == b"x"
        sock.close()
        peer.close()


def test_a_context_made_beforehand_is_used_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "_spare", None)
    dial.prepare()
    beforehand = dial._spare
    first, second = context(tmp_path), context(tmp_path, OTHER)
    assert first is beforehand
    assert second is not beforehand
    with Listener(JOB) as listener:
        thread = threading.Thread(target=lambda: listener.accept().sock.close())
        thread.start()
        dial.dial("127.0.0.1", listener.port, first, PATIENCE).close()
        thread.join()


def test_another_ca_is_refused_at_once(tmp_path: Path) -> None:
    with Listener(OTHER) as listener:

        def accept() -> None:
            with pytest.raises(ssl.SSLError):
                listener.accept()

        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(ssl.SSLCertVerificationError):
            dial.dial_patiently(
                lambda: dial.dial("127.0.0.1", listener.port, context(tmp_path), PATIENCE), monotonic() + 60
            )
        thread.join()


def test_a_workers_certificate_cannot_pose_as_the_coordinator(tmp_path: Path) -> None:
    imposter = keys.JobKeys(JOB.ca, JOB.worker, JOB.worker)
    with Listener(imposter) as listener:

        def accept() -> None:
            with pytest.raises(ssl.SSLError):
                listener.accept()

        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
            dial.dial("127.0.0.1", listener.port, context(tmp_path), PATIENCE)
        thread.join()


def test_the_key_is_in_a_file_for_its_owner_and_then_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = ssl.SSLContext.load_cert_chain

    def load(self: ssl.SSLContext, path: str) -> None:
        seen.append(os.stat(path).st_mode & 0o777)
        original(self, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    context(tmp_path)
    assert seen == [0o600]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "job",
    [
        keys.JobKeys(JOB.ca, JOB.server, keys.Pair(JOB.worker.cert, OTHER.worker.key)),
        keys.JobKeys(JOB.worker.key, JOB.server, JOB.worker),
        keys.JobKeys(JOB.ca, JOB.server, keys.Pair("AAAA", JOB.worker.key)),
        keys.JobKeys("", JOB.server, JOB.worker),
        keys.JobKeys(JOB.ca, JOB.server, keys.Pair(JOB.worker.cert, "AAAA")),
    ],
)
def test_keys_that_do_not_fit_are_refused_without_being_shown(job: keys.JobKeys, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        context(tmp_path, job)
    assert "\n" not in str(caught.value)
    assert job.worker.key[:20] not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", pytest.param("::1", marks=ipv6)])
def test_hosts(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        sock = dial.dial(host, listening.getsockname()[1], None, PATIENCE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.close()


@pytest.mark.parametrize("port", [0, -1, 65536 + 80])
def test_no_such_port(port: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 65535"):
        dial.dial("127.0.0.1", port, None, PATIENCE)


def test_one_who_accepts_and_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(TimeoutError):
        dial.dial("127.0.0.1", listening.getsockname()[1], context(tmp_path), 0.05)


def test_it_is_tried_again_with_growing_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(dial, "monotonic", lambda: clock[0])
    monkeypatch.setattr(dial, "sleep", lambda seconds: clock.append(clock.pop() + seconds))
    times = []

    def connect() -> socket.socket:
        times.append(clock[0])
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        dial.dial_patiently(connect, 105.0)
    delays = [after - before for before, after in pairwise(times)]
    assert 5 <= len(delays) <= 12
    rounding = 1e-9
    assert all(
        low - rounding <= delay <= 3 * low + rounding
        for delay, low in zip(delays, (0.05, 0.1, 0.2, 0.4), strict=False)
    )
    assert max(delays) <= 1.5 * dial.LONGEST_DELAY + rounding
    assert 102.0 < clock[0] < 107.0


def test_delays_grow_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, delays = [0.0], []

    def sleep(seconds: float) -> None:
        delays.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(dial, "monotonic", lambda: clock[0])
    monkeypatch.setattr(dial, "sleep", sleep)
    monkeypatch.setattr(
        dial, "os", SimpleNamespace(urandom=lambda _: b"\xff")
    )  # the longest of the random delays

    def connect() -> socket.socket:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        dial.dial_patiently(connect, 60.0)
    assert delays[:3] == pytest.approx([1.5 * dial.FIRST_DELAY * 2**number for number in range(3)])
    assert max(delays) == 1.5 * dial.LONGEST_DELAY


@pytest.mark.parametrize(("patience", "timeout"), [(5.0, 5.0), (100.0, dial.ANSWER_TIMEOUT)])
def test_a_try_takes_no_longer_than_is_left_and_than_an_answer_may_take(
    patience: float, timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []

    def connect(address: object, timeout: float) -> NoReturn:
        timeouts.append(timeout)
        raise ConnectionRefusedError

    monkeypatch.setattr(dial, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ConnectionRefusedError):
        dial.dial("127.0.0.1", 1, None, patience)
    assert timeouts == [timeout]


def test_a_server_that_comes_late_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        answers = [ConnectionRefusedError(), ssl.SSLEOFError(), TimeoutError(), sock]

        def connect() -> socket.socket:
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

        monkeypatch.setattr(dial, "sleep", lambda _: None)
        assert dial.dial_patiently(connect, monotonic() + 60) is sock
