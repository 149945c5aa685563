"""State files, and the socket that they travel on."""

import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mu import statefile
from mu.statefile import StateSocket
from tests.worker_rig import Peer

LIMIT = 3 << 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[StateSocket, Peer]]:
    """A state socket that has been connected, and its peer."""
    mine, others = socket.socketpair()
    state = StateSocket(str(tmp_path), LIMIT)
    state.adopt(mine, "HELLO_STATE:job:1:2")
    peer = Peer(others)
    others.settimeout(10)
    yield state, peer
    peer.close()
    for link in state.links:
        link.close()


def serve(state: StateSocket) -> list[str]:
    return [failure for link in state.links for failure in state.serve(link)]


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
def test_the_loss_of_a_connection_that_is_needed_is_a_failure(
    words: list[bytes], why: str, pair: tuple[StateSocket, Peer]
) -> None:
    state, peer = pair
    assert serve(state) == []  # sends the hello
    peer.receive()
    peer.send(*words)
    peer.close()
    failures: list[str] = []
    while state.connected:
        for link in state.links:
            failures += state.serve(link, needed=True)
    assert failures == [f"FAIL(lost the state socket: {why})"]


def test_close_sends_what_waits_first(pair: tuple[StateSocket, Peer], tmp_path: Path) -> None:
    state, peer = pair
    data = os.urandom(4 << 20)  # more than a socket takes at once
    state.send(data)
    state.close()
    assert not state.connected
    peer.send(message(1, b"too late"))
    mine, _ = socket.socketpair()
    state.adopt(mine, "")  # a new connection beside the one that is being closed
    assert len(state.links) == 2
    got = b""
    peer.sock.settimeout(0)
    while len(state.links) == 2:
        serve(state)
        try:
            got += peer.sock.recv(1 << 20)
        except BlockingIOError:
            continue
    peer.sock.settimeout(10)
    while piece := peer.sock.recv(1 << 20):
        got += piece
    assert got.endswith(data)
    assert state.connected
    assert os.listdir(tmp_path) == []


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
    statefile.keep(str(tmp_path), run_iter)
    left = {"0.state", "1.state", "2.state", "output.ivf", "prev.ivf"} - gone
    assert set(os.listdir(tmp_path)) == left
    assert (tmp_path / "prev.ivf").read_bytes() == b"new"


def test_keep_without_an_output(tmp_path: Path) -> None:
    statefile.keep(str(tmp_path), 2)
    assert os.listdir(tmp_path) == []


def test_message_is_what_the_neighbour_stores(pair: tuple[StateSocket, Peer], tmp_path: Path) -> None:
    state, peer = pair
    (tmp_path / "final.state").write_bytes(b"\xffstate" * 1000)
    data = statefile.message(str(tmp_path), 4)
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
    assert statefile.makes_state(command) is makes
