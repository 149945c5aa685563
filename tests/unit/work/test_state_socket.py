"""State files, and the socket over which they are sent."""

import os
import select
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mu.tls import keys
from mu.wire.connect import dial, tls_context
from mu.work import state_socket
from mu.work.state_socket import StateSocket
from tests.support.worker_rig import Listener, Peer

LIMIT = 3 << 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[StateSocket, Peer]]:
    """A connected state socket, and its peer."""
    mine, others = socket.socketpair()
    state = StateSocket(str(tmp_path), LIMIT)
    state.adopt(mine, "HELLO_STATE:job:1:2")
    peer = Peer(others)
    others.settimeout(300)
    yield state, peer
    peer.close()
    for link in state.links:
        link.close()


def serve(state: StateSocket) -> list[str]:
    return [failure for link in state.links for failure in state.serve(link)]


def poll(state: StateSocket) -> None:
    """Serves the connections that are ready, as the worker's loop does."""
    ready = select.poll()
    links = {link.fileno(): link for link in state.links}
    for descriptor, link in links.items():
        ready.register(descriptor, select.POLLIN | (select.POLLOUT if link.want_write else 0))
    for descriptor, _ in ready.poll(10):
        assert state.serve(links[descriptor]) == []


def message(number: int, state: bytes) -> bytes:
    return b"STATE(%d):%b" % (number, zlib.compress(state))


def test_first_message(pair: tuple[StateSocket, Peer]) -> None:
    state, peer = pair
    assert state.connected
    assert serve(state) == []
    assert peer.receive() == "HELLO_STATE:job:1:2"


@pytest.mark.parametrize("size", [0, 1, 100, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, LIMIT])
def test_states_are_stored(size: int, pair: tuple[StateSocket, Peer], tmp_path: Path) -> None:
    state, peer = pair
    data = os.urandom(100)[:size].ljust(size, b"x")
    peer.send(message(7, data))
    assert serve(state) == []
    assert os.listdir(tmp_path) == ["7.state"]
    assert (tmp_path / "7.state").read_bytes() == data


def test_a_state_is_seen_whole_or_not_at_all(
    pair: tuple[StateSocket, Peer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, peer = pair
    seen = []

    def replace(source: str, target: str) -> None:
        seen.append((os.path.dirname(source), os.path.exists(target), Path(source).read_bytes()))
        original(source, target)

    original = os.replace
    monkeypatch.setattr(os, "replace", replace)
    peer.send(message(1, b"state"))
    serve(state)
    assert seen == [(str(tmp_path), False, b"state")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"STATE(1):", "it is cut short"),
        (b"STATE(1):garbage", "it does not decompress"),
        (message(1, b"state")[:-1], "it is cut short"),
        (message(1, os.urandom(1000))[:-500], "it is cut short"),
        (message(1, b"state") + b"x", "something follows it"),
        (message(1, b"x" * (LIMIT + 1)), f"it is over the limit of {LIMIT} bytes"),
    ],
)
def test_bad_states_are_failures(
    data: bytes, why: str, pair: tuple[StateSocket, Peer], tmp_path: Path
) -> None:
    state, peer = pair
    peer.send(data)
    assert serve(state) == [f"FAIL(receiving 1.state: {why})"]
    assert os.listdir(tmp_path) == []
    assert state.connected


def test_no_room_for_a_state(pair: tuple[StateSocket, Peer], tmp_path: Path) -> None:
    state, peer = pair
    tmp_path.rmdir()
    peer.send(message(1, b"state"))
    assert serve(state) == ["FAIL(receiving 1.state: no such file or directory)"]


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"STATE(x):", b"STATE(-1):", b"STATE(1)", b"STATE(../../x):", b"\xff" * 100]
)
def test_anything_else_is_logged_and_dropped(
    data: bytes, pair: tuple[StateSocket, Peer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, peer = pair
    peer.send(data, message(2, b"state"))
    assert serve(state) == []
    assert os.listdir(tmp_path) == ["2.state"]
    assert capsys.readouterr().err.count("\n") == 1


def test_what_came_before_the_peers_close_is_stored(pair: tuple[StateSocket, Peer], tmp_path: Path) -> None:
    state, peer = pair
    assert serve(state) == []  # sends the hello
    peer.send(message(2, b"state"))
    peer.close()
    while state.connected:
        assert serve(state) == []
    assert os.listdir(tmp_path) == ["2.state"]
    assert state.links == []


def test_a_bad_frame_ends_the_connection(
    pair: tuple[StateSocket, Peer], capsys: pytest.CaptureFixture[str]
) -> None:
    state, peer = pair
    assert serve(state) == []  # sends the hello
    peer.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert serve(state) == []
    assert not state.connected
    assert "bad message header" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "the peer has closed it"),
        (
            [b"REFUSED:job_1 is\nconnected already"],
            "the peer has closed it, after it said REFUSED:job_1 is connected already",
        ),
    ],
)
def test_what_the_loss_of_a_connection_means(
    words: list[bytes], why: str, pair: tuple[StateSocket, Peer], tmp_path: Path
) -> None:
    state, peer = pair
    path = str(tmp_path / "1.state")
    assert serve(state) == []  # sends the hello
    peer.receive()
    assert not state.lacks(path)
    peer.send(*words)
    peer.close()
    while state.connected:
        assert serve(state) == []
    assert state.failure() == f"FAIL(lost the state socket: {why})"
    assert state.lacks(path)
    assert not state.lacks("")
    Path(path).touch()
    assert not state.lacks(path)
    mine, _ = socket.socketpair()
    state.adopt(mine, "")
    assert state.lost == ""


def test_a_loss_with_something_unsent_is_a_failure(pair: tuple[StateSocket, Peer]) -> None:
    state, peer = pair
    state.send(os.urandom(4 << 20))
    serve(state)
    peer.close()
    failures: list[str] = []
    while state.connected:
        failures += serve(state)
    assert len(failures) == 1
    assert failures[0].startswith("FAIL(lost the state socket: ")


@pytest.fixture(params=["plain", "TLS"])
def tcp_pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[StateSocket, Peer]]:
    """A connected state socket and its peer over TCP, where closing with unread data resets the connection."""
    job = keys.make_job_keys() if request.param == "TLS" else None
    directory = tmp_path / "worker"
    directory.mkdir()
    context = None
    if job is not None:
        context = tls_context(job.ca, job.worker.cert, job.worker.key, str(tmp_path))
    with Listener(job) as listener, ThreadPoolExecutor(1) as other:
        accepted = other.submit(listener.accept)
        state = StateSocket(str(directory), LIMIT)
        state.adopt(dial("127.0.0.1", listener.port, context, 30), "HELLO_STATE:job:1:2")
        with accepted.result() as peer:
            yield state, peer
        for link in state.links:
            link.close()


def test_close_sends_what_waits_first(tcp_pair: tuple[StateSocket, Peer], tmp_path: Path) -> None:
    """Unsent data is sent even if the peer sends something meanwhile, and while a new connection is already in use."""
    state, peer = tcp_pair
    data = os.urandom(4 << 20)  # more than the socket buffers hold
    with ThreadPoolExecutor(1) as other:
        state.send(data)
        state.close()
        assert not state.connected
        mine, _ = socket.socketpair()
        state.adopt(mine, "")
        assert len(state.links) == 2
        peer.send(message(1, b"too late"))
        got = other.submit(lambda: [peer.receive_bytes(), peer.receive_bytes(), peer.receive_bytes()])
        while not got.done():
            poll(state)
        assert got.result() == [b"HELLO_STATE:job:1:2", data, None]
        peer.send(message(2, b"even later"))
        peer.close()
        while len(state.links) == 2:
            poll(state)
    assert state.connected
    assert os.listdir(tmp_path / "worker") == []


def test_closed_connections_do_not_pile_up(tmp_path: Path) -> None:
    state = StateSocket(str(tmp_path))
    peers = []
    for _ in range(20):
        mine, others = socket.socketpair()
        peers.append(others)
        state.adopt(mine, "")
        state.close()
    assert len(state.links) == state_socket.MOST_CLOSING
    for peer in peers:
        peer.close()
    while state.links:
        serve(state)


def test_nothing_to_close_or_to_send_on(tmp_path: Path) -> None:
    state = StateSocket(str(tmp_path))
    state.close()
    state.send(b"x")
    assert not state.connected
    assert state.links == []


@pytest.mark.parametrize(
    ("run_iter", "gone"), [(0, set()), (1, set()), (2, {"0.state"}), (3, {"1.state"}), (9, set())]
)
def test_keep(run_iter: int, gone: set[str], tmp_path: Path) -> None:
    for name in ("0.state", "1.state", "2.state"):
        (tmp_path / name).touch()
    (tmp_path / "output.ivf").write_bytes(b"new")
    (tmp_path / "prev.ivf").write_bytes(b"old")
    state_socket.keep(str(tmp_path), run_iter)
    left = {"0.state", "1.state", "2.state", "output.ivf", "prev.ivf"} - gone
    assert set(os.listdir(tmp_path)) == left
    assert (tmp_path / "prev.ivf").read_bytes() == b"new"


def test_keep_without_an_output(tmp_path: Path) -> None:
    state_socket.keep(str(tmp_path), 2)
    assert os.listdir(tmp_path) == []


def test_message_is_what_the_neighbour_stores(pair: tuple[StateSocket, Peer], tmp_path: Path) -> None:
    state, peer = pair
    (tmp_path / "final.state").write_bytes(b"\xffstate" * 1000)
    data = state_socket.message(str(tmp_path), 4)
    assert data.startswith(b"STATE(4):\x78")
    assert len(data) < 1000
    peer.send(data)
    serve(state)
    assert (tmp_path / "4.state").read_bytes() == b"\xffstate" * 1000


@pytest.mark.parametrize(
    ("command", "makes"),
    [("./xc-enc -w", True), ("a; xc-dump b", True), ("xc-terminate-chunk", True), ("./vpxenc", False)],
)
def test_makes_state(command: str, makes: bool) -> None:
    assert state_socket.makes_state(command) is makes
