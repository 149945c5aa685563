"""The coordinator's event loop: one epoll, one machine for each worker, timers in a heap.

A connection is a stranger until it has finished its TLS handshake and said `OK:HELLO`; only then does it
get a part. Each wake-up costs work for the connections that are ready and the timers that are due,
however many others there are.
"""

import heapq
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from OpenSSL import SSL

from mu import tls
from mu.errors import MuError, ProtocolError
from mu.machine import ErrorState, MachineState, checked, describe, enter
from mu.parts import Part
from mu.report import Reporter, debug
from mu.socket_nb import SocketNB

HELLO = b"OK:HELLO"
MAX_HELLO = 1024  # bytes; nobody may send more before saying hello
FLUSH_TIMEOUT = 10.0
TICK = 0.5
ACCEPTS_AT_ONCE = 256


@dataclass(frozen=True)
class Settings:
    """What a run is told; times are in seconds.

    `parts` in the order in which workers get them; `grouped`: the first state takes the group's number
    too. `kill_time` runs from a worker's hello. `connect_timeout`: how long to wait for missing workers
    while none is at work.
    """

    parts: Sequence[Part]
    grouped: bool = False
    kill_time: float | None = None
    kill_state: Callable[[MachineState], MachineState] | None = None
    hello_timeout: float = 10.0
    connect_timeout: float = 120.0


class Launch(Protocol):
    """The launching that goes on beside the loop."""

    def failure(self) -> str | None:
        """Why it has failed for good; None while it has not."""

    def note(self) -> str:
        """What people should know of it now."""

    def cancel(self) -> None:
        """Launch no more."""


class _Peer:
    """One connection; `machine` is None while it is a stranger's."""

    __slots__ = ("address", "channel", "fd", "machine", "mask", "place", "ready")

    def __init__(self, channel: SocketNB, address: str) -> None:
        self.channel = channel
        self.address = address
        self.fd = channel.fileno()
        self.ready = False  # the handshake is done
        self.machine: MachineState | None = None
        self.place = -1
        self.mask = 0


class Loop:
    """One run. `states` receives the machines in the order in which workers connected, and has their
    last states at the end. After `run`, `ended` says why it stopped early, if it did, and `signal` is the
    signal that stopped it, if one did."""

    def __init__(
        self,
        settings: Settings,
        constructor: Callable[..., MachineState],
        states: list[MachineState],
        listener: socket.socket,
        context: SSL.Context | None,
        launch: Launch | None,
        reporter: Reporter,
    ) -> None:
        self.ended = ""
        self.signal = 0
        self.start = time.time()
        self._settings = settings
        self._constructor = constructor
        self._states = states
        self._listener: socket.socket | None = listener
        self._context = context
        self._launch = launch
        self._reporter = reporter
        self._epoll = select.epoll()
        self._peers: dict[int, _Peer] = {}
        self._timers: list[tuple[float, int, Callable[[_Peer], None], _Peer]] = []
        self._sequence = count()
        self._given = 0
        self._unfinished = 0
        self._quiet_since = time.monotonic()

    def run(self) -> None:
        """Drive all machines until each is terminal, launching fails, or a signal comes."""
        assert self._listener is not None
        try:
            with _signals(self._on_signal) as wake:
                self._epoll.register(self._listener, select.EPOLLIN)
                self._epoll.register(wake, select.EPOLLIN)
                while not self.ended and (self._given < len(self._settings.parts) or self._unfinished):
                    self._turn(wake)
                if self._launch is not None:
                    self._launch.cancel()
                self._stop_listening()
                for peer in list(self._peers.values()):
                    self._dismiss(peer)
        finally:
            self._epoll.close()

    def _turn(self, wake: int) -> None:
        """Wait, then serve what is ready."""
        timeout = TICK
        if self._timers:
            timeout = max(0.0, min(timeout, self._timers[0][0] - time.monotonic()))
        for fd, events in self._epoll.poll(timeout):
            peer = self._peers.get(fd)
            if peer is not None:
                self._serve(peer, events)
            elif self._listener is not None and fd == self._listener.fileno():
                self._accept()
            elif fd == wake:
                os.read(wake, 4096)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, action, peer = heapq.heappop(self._timers)
            if self._peers.get(peer.fd) is peer:
                action(peer)
        self._watch(now)
        self._reporter.tick(now=now)

    def _watch(self, now: float) -> None:
        """End a run that cannot come to its end."""
        missing = len(self._settings.parts) - self._given
        if self._launch is not None:
            self._reporter.launch_note = self._launch.note()
            failure = self._launch.failure()
            if failure is not None and missing:
                self.ended = f"launching failed: {failure}"
        if self._unfinished or not missing:
            self._quiet_since = now
        elif now - self._quiet_since > self._settings.connect_timeout:
            self.ended = f"no worker has connected for {self._settings.connect_timeout:g} s"

    def _on_signal(self, number: int) -> None:
        if self.signal:
            os._exit(128 + number)  # the second one: at once
        self.signal = number
        self.ended = f"stopped by {signal.Signals(number).name}"

    # Strangers

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if self._listener is None:
                return
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                debug(f"accept: {error}")
                return
            try:
                peer = _Peer(SocketNB(tls.wrap(sock, self._context)), str(address[0]))
            except OSError:
                sock.close()  # it was gone before it came
                continue
            peer.channel.limit_message(MAX_HELLO)
            self._peers[peer.fd] = peer
            self._after(self._settings.hello_timeout, self._hello_is_late, peer)
            self._epoll.register(peer.fd, 0)
            self._greet(peer)

    def _greet(self, peer: _Peer) -> None:
        """Go on with a stranger until it has said hello."""
        channel = peer.channel
        try:
            if not peer.ready:
                channel.do_handshake()
                peer.ready = not channel.handshaking
            if peer.ready:
                channel.do_read()
        except ProtocolError as error:
            self._drop(peer, str(error))
            return
        except OSError as error:
            self._drop(peer, f"TLS handshake failed: {error}" if not peer.ready else describe(error))
            return
        if channel.want_handle:
            hello = channel.peek_bytes()
            if hello.startswith(HELLO):
                self._give_part(peer)
            else:
                self._drop(peer, f"it said {hello[:40]!r} instead of OK:HELLO")
        elif channel.sock is None:
            self._drop(peer, "it closed before it said OK:HELLO")
        else:
            self._set_mask(peer)

    def _hello_is_late(self, peer: _Peer) -> None:
        if peer.machine is None:
            self._drop(peer, f"no OK:HELLO within {self._settings.hello_timeout:g} s")

    def _drop(self, peer: _Peer, why: str) -> None:
        self._reporter.dropped_stranger(peer.address, why)
        self._forget(peer)

    def _give_part(self, peer: _Peer) -> None:
        settings = self._settings
        if self._given >= len(settings.parts):
            self._forget(peer)
            return
        part = settings.parts[self._given]
        self._given += 1
        self._unfinished += 1
        self._reporter.connected += 1
        peer.channel.limit_message()
        arguments = (part.number, part.group) if settings.grouped else (part.number,)
        try:
            machine = enter(peer.channel, self._constructor, *arguments)
        except MuError as error:
            machine = ErrorState(MachineState(peer.channel, part.number), str(error))
        peer.machine, peer.place = machine, len(self._states)
        self._states.append(machine)
        debug(f"part {part.number}: worker at {peer.address}")
        if settings.kill_time is not None:
            self._after(settings.kill_time, self._kill, peer)
        if self._given == len(settings.parts):
            self._stop_listening()
        self._step(peer, machine)

    def _stop_listening(self) -> None:
        """Every part has its worker: whoever else is here, or comes, is not needed."""
        if self._listener is not None:
            self._epoll.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for peer in list(self._peers.values()):
            if peer.machine is None:
                self._forget(peer)

    # Workers

    def _serve(self, peer: _Peer, events: int) -> None:
        machine = peer.machine
        if machine is None:
            self._greet(peer)
            return
        if events & select.EPOLLOUT and machine.want_write:
            machine = machine.do_write()
        if not machine.terminal or machine.want_write:
            machine = machine.do_read()
        self._step(peer, machine)

    def _step(self, peer: _Peer, machine: MachineState) -> None:
        """Move a machine on, send what it has to say, and see to its end."""
        if not machine.terminal and (machine.want_handle or machine.sock is None):
            machine = machine.do_handle()
        if machine.want_write:
            machine = machine.do_write()
        if machine is not peer.machine:
            debug(f"{type(machine).__name__} {machine}")
            peer.machine = machine
            self._states[peer.place] = machine
        if not machine.terminal:
            self._set_mask(peer)
        elif machine.want_write and machine.sock is not None:
            self._set_mask(peer)
            self._after(FLUSH_TIMEOUT, self._finish, peer)
        else:
            self._finish(peer)

    def _finish(self, peer: _Peer) -> None:
        self._unfinished -= 1
        if isinstance(peer.machine, ErrorState):
            self._reporter.failed += 1
        else:
            self._reporter.done += 1
        self._forget(peer)

    def _kill(self, peer: _Peer) -> None:
        machine = peer.machine
        if machine is None or machine.terminal:
            return
        machine.enqueue("quit:")
        machine = machine.do_write()
        if self._settings.kill_state is None:
            following: MachineState = ErrorState(
                machine, f"not finished after {self._settings.kill_time:g} s"
            )
        else:
            following = checked(machine, "kill_state", enter, machine, self._settings.kill_state)
        self._step(peer, following)

    def _dismiss(self, peer: _Peer) -> None:
        """Tell a worker that is not finished to end."""
        if peer.machine is not None and not peer.machine.terminal:
            peer.channel.enqueue("quit:")
            try:
                peer.channel.do_write()
            except OSError as error:
                debug(f"part {peer.machine.actorNum}: {describe(error)}")
        self._forget(peer)

    # Connections

    def _after(self, delay: float, action: Callable[[_Peer], None], peer: _Peer) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._sequence), action, peer))

    def _set_mask(self, peer: _Peer) -> None:
        channel = peer.channel
        wanted = select.EPOLLIN
        if channel.want_write or channel.ssl_write:
            wanted |= select.EPOLLOUT
        if wanted != peer.mask:
            self._epoll.modify(peer.fd, wanted)
            peer.mask = wanted

    def _forget(self, peer: _Peer) -> None:
        """Close a connection; a closed descriptor leaves the epoll by itself."""
        del self._peers[peer.fd]
        peer.channel.close()


@contextmanager
def _signals(handle: Callable[[int], None]) -> Iterator[int]:
    """SIGINT and SIGTERM go to `handle` and make the yielded descriptor readable; only in the main thread,
    where Python lets us."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before: dict[signal.Signals, Any] = {}
    previous = -1

    def caught(number: int, _frame: object) -> None:
        handle(number)

    try:
        try:
            previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, caught)
        except ValueError:
            debug("not in the main thread: signals are left alone")
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            signal.set_wakeup_fd(previous)
        os.close(reader)
        os.close(writer)
