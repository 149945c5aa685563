"""The coordinator's event loop: one epoll, one machine for each worker, timers in a heap.

A connection is a stranger until it has finished its TLS handshake and said `OK:HELLO`; only then does it
get a part, or wait as a spare if parts may be tried again (`mu.parts.Ledger` decides). Each wake-up costs
work for the connections that are ready and the timers that are due, however many others there are.
"""

import errno
import heapq
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Protocol

from OpenSSL import SSL

from mu import tls
from mu.errors import MuError, ProtocolError
from mu.machine import ErrorState, MachineState, checked, describe, enter
from mu.parts import Attempt, Ledger, Part
from mu.report import Reporter, debug
from mu.socket_nb import SocketNB
from mu.strangers import Strangers
from mu.system import caught_signals
from mu.track import Track

if TYPE_CHECKING:
    from mu.launch.result import Progress

HELLO = b"OK:HELLO"
MAX_HELLO = 1024  # bytes; nobody may send more before saying hello
MAX_STRANGERS = 1024
FLUSH_TIMEOUT = 10.0
TICK = 0.5
ACCEPTS_AT_ONCE = 256


@dataclass(frozen=True)
class Settings:
    """What a run is told; times are in seconds.

    `parts` in the order in which workers get them; `grouped`: the first state takes the group's number
    too. `retries` and `backup` as for `Ledger`. `kill_time` runs from a worker's hello. `connect_timeout`: how
    long to wait for missing workers before others are launched (as often as `retries`), or the run ends if
    none is at work. `run_id`: a worker that names another in its hello is left over from another run.
    `room`: how many connections there may be. `journal`: how many of each worker's answers to keep; 0 also
    keeps no account of what the answers were to. `dependants`: given the last state of a part that has failed,
    the numbers of the parts that cannot be done without it, and end with it.
    """

    parts: Sequence[Part]
    grouped: bool = False
    retries: int = 0
    backup: float | None = None
    kill_time: float | None = None
    kill_state: Callable[[MachineState], MachineState] | None = None
    hello_timeout: float = 10.0
    connect_timeout: float = 120.0
    run_id: str | None = None
    room: int = 16384
    journal: int = 0
    dependants: Callable[[MachineState], Iterable[int]] | None = None


class Launch(Protocol):
    """The launching that goes on beside the loop. `progress`: how far it is, None before it begins; `asked`: how
    many workers it is to launch in all."""

    progress: "Progress | None"
    asked: int

    def failure(self) -> str | None:
        """Why it has failed for good; None while it has not."""

    def note(self) -> str:
        """What people should know of it now."""

    def more(self, number: int) -> None:
        """Launch so many workers more."""

    def cancel(self) -> None:
        """Launch no more."""


class _Peer:
    """One connection. A stranger's `channel` is None until it sends something; only a worker that has a part
    has an `attempt`, a `machine` and a `track`."""

    __slots__ = (
        "address",
        "attempt",
        "channel",
        "deadline",
        "fd",
        "machine",
        "mask",
        "ready",
        "sock",
        "track",
    )

    def __init__(self, sock: socket.socket, address: str, deadline: float) -> None:
        self.sock = sock
        self.address = address
        self.deadline = deadline
        self.fd = sock.fileno()
        self.channel: SocketNB | None = None
        self.ready = False  # the handshake is done
        self.attempt: Attempt | None = None
        self.machine: MachineState | None = None
        self.track: Track | None = None
        self.mask = select.EPOLLIN


class Loop:
    """One run. `states` receives a machine for each part in the order in which parts got their first worker, and
    has their last states at the end, each of the attempt that counted; `tracks` has all attempts, as they
    began. After `run`, `ended` says why it stopped early, if it did, and `signal` is the signal that
    stopped it, if one did."""

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
        self.tracks: list[Track] = []
        self.ledger = Ledger(settings.parts, settings.retries, settings.backup)
        self._settings = settings
        self._constructor = constructor
        self._states = states
        self._places: dict[int, int] = {}  # part number → place in states
        self._doomed: dict[int, int] = {}  # part number → the failed part that it depends on
        self._listener: socket.socket | None = listener
        self._context = context
        self._launch = launch
        self._reporter = reporter
        self._epoll = select.epoll()
        self._peers: dict[int, _Peer] = {}
        most = max(MAX_STRANGERS, 2 * len(settings.parts))
        self._strangers = Strangers[_Peer](min(most, max(2, settings.room - len(settings.parts))))
        self._spares: dict[int, _Peer] = {}
        self._workers: dict[Attempt, _Peer] = {}
        self._timers: list[tuple[float, int, Callable[[_Peer], None], _Peer]] = []
        self._sequence = count()
        self._hellos = 0
        self._given_up = 0  # workers that were launched and are not expected any more
        self._relaunches = 0
        self._quiet_since = time.monotonic()
        self._next_watch = 0.0

    def run(self) -> None:
        """Drive all machines until each is terminal, launching fails, or a signal comes."""
        assert self._listener is not None
        try:
            with caught_signals(self._on_signal) as wake:
                self._epoll.register(self._listener, select.EPOLLIN)
                self._epoll.register(wake, select.EPOLLIN)
                while not self.ended and not self.ledger.finished:
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
        if now >= self._next_watch:
            self._next_watch = now + TICK / 2
            self._watch(now)
        self._reporter.tick(now=now)

    def _watch(self, now: float) -> None:
        """See to what no connection tells: launching, silence, strangers, stragglers."""
        while (stranger := self._strangers.oldest()) is not None and stranger.deadline <= now:
            self._drop(stranger, f"no OK:HELLO within {self._settings.hello_timeout:g} s")
        ledger = self.ledger
        if self._launch is not None:
            self._reporter.launch = self._launch.progress
            self._reporter.launch_note = self._launch.note()
            failure = self._launch.failure()
            if failure is not None and ledger.wanted:
                self.ended = f"launching failed: {failure}"
                return
        slow = ledger.want_backups(now)
        if slow:
            self._reporter.note(f"{slow} part{'s take' if slow > 1 else ' takes'} long: backing up")
            self._find_workers()
        if not ledger.wanted:
            self._quiet_since = now
        elif now - self._quiet_since > self._settings.connect_timeout:
            self._miss_workers(now)

    def _miss_workers(self, now: float) -> None:
        """Parts have waited for workers for as long as they may."""
        waited = f"no worker has connected for {self._settings.connect_timeout:g} s"
        if self._launch is not None and self._relaunches < self._settings.retries:
            self._relaunches += 1
            self._quiet_since = now
            self._given_up = self._launch.asked - self._hellos
            self._reporter.note(f"{waited}: launching {self.ledger.wanted} more")
            self._find_workers()
        elif not self.ledger.running:
            self.ended = waited

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
                oldest = self._strangers.oldest()
                if error.errno in (errno.EMFILE, errno.ENFILE) and oldest is not None:
                    self._drop(oldest, "there is no room for more connections")
                else:
                    debug(f"accept: {error}")
                    return
                continue
            sock.setblocking(False)
            peer = _Peer(sock, str(address[0]), time.monotonic() + self._settings.hello_timeout)
            self._peers[peer.fd] = peer
            self._epoll.register(peer.fd, peer.mask)
            crowded_out = self._strangers.add(peer)
            if crowded_out is not None:
                self._drop(crowded_out, "too many connections that have not said OK:HELLO")

    def _greet(self, peer: _Peer) -> None:
        """Go on with a stranger until it has said hello."""
        try:
            channel = peer.channel
            if channel is None:
                channel = peer.channel = SocketNB(tls.wrap(peer.sock, self._context))
                channel.limit_message(MAX_HELLO)
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
            self._take_hello(peer, channel)
        elif channel.sock is None:
            self._drop(peer, "it closed before it said OK:HELLO")
        else:
            self._set_mask(peer, channel)

    def _take_hello(self, peer: _Peer, channel: SocketNB) -> None:
        hello = channel.peek_bytes()
        run_id = self._settings.run_id
        if not hello.startswith(HELLO):
            self._drop(peer, f"it said {hello[:40]!r} instead of OK:HELLO")
        elif run_id is not None and hello not in (HELLO, HELLO + b":" + run_id.encode()):
            self._drop(peer, "it is a worker of another run")
        else:
            channel.limit_message()
            self._strangers.remove(peer)
            self._hellos += 1
            self._quiet_since = time.monotonic()
            self._give_part(peer, channel)

    def _drop(self, peer: _Peer, why: str) -> None:
        self._reporter.dropped_stranger(peer.address, why)
        self._forget(peer)

    def _stop_listening(self) -> None:
        """Every part has its worker for good: whoever else is here, or comes, is not needed."""
        if self._listener is not None:
            self._epoll.unregister(self._listener)
            self._listener.close()
            self._listener = None
        for peer in self._strangers:
            self._forget(peer)

    # Parts

    def _give_part(self, peer: _Peer, channel: SocketNB) -> None:
        """Let a worker that has said hello begin, or wait until it is needed."""
        attempt = self.ledger.begin(time.monotonic())
        if attempt is None:
            if self.ledger.may_want_more:
                self._spares[peer.fd] = peer
                self._set_mask(peer, channel)
            else:
                self._forget(peer)
            return
        settings, part = self._settings, attempt.part
        arguments = (part.number, part.group) if settings.grouped else (part.number,)
        try:
            if part.number in self._doomed:
                raise MuError(waits_in_vain(self._doomed[part.number]))
            machine = enter(channel, self._constructor, *arguments)
        except MuError as error:
            machine = ErrorState(MachineState(channel, part.number), str(error))
        track = Track(machine, peer.address, number=attempt.number, keep=settings.journal)
        peer.attempt, peer.machine, peer.track = attempt, machine, track
        self._workers[attempt] = peer
        self.tracks.append(track)
        if part.number not in self._places:
            self._places[part.number] = len(self._states)
            self._states.append(machine)
            self._reporter.connected += 1
        self._reporter.worker_connected(track)
        debug(f"part {part.number}: worker at {peer.address}")
        if settings.kill_time is not None:
            self._after(settings.kill_time, self._kill, peer)
        if not self.ledger.wanted and not self.ledger.may_want_more:
            self._stop_listening()
        self._step(peer, machine)

    def _find_workers(self) -> None:
        """Get parts that wait to spare workers, and have as many launched as there are too few."""
        while self.ledger.wanted and self._spares:
            peer = self._spares.pop(next(iter(self._spares)))
            assert peer.channel is not None
            self._give_part(peer, peer.channel)
        if self._launch is not None:
            coming = self._launch.asked - self._hellos - self._given_up
            if self.ledger.wanted > coming:
                self._launch.more(self.ledger.wanted - max(coming, 0))

    def _finish(self, peer: _Peer) -> None:
        """A machine has come to its end."""
        machine, attempt, track = peer.machine, peer.attempt, peer.track
        assert machine is not None
        assert attempt is not None
        assert track is not None
        del self._workers[attempt]
        track.finished = time.time()
        self._reporter.worker_finished(track)
        place = self._places[attempt.part.number]
        if not isinstance(machine, ErrorState):
            self._states[place] = machine
            self._reporter.done += 1
            for loser in self.ledger.succeeded(attempt, time.monotonic()):
                self._dismiss(self._workers.pop(loser))
        elif self.ledger.failure(attempt, machine.err):
            self._reporter.failed += 1
            self._end_dependants(machine)
        else:
            leader = self.ledger.leader(attempt)
            other = None if leader is None else self._workers[leader].machine
            if other is not None:
                self._states[place] = other
            self._reporter.attempt_failed(track, other_running=other is not None)
        self._forget(peer)
        if self.ledger.wanted:
            self._find_workers()

    def _end_dependants(self, machine: MachineState) -> None:
        """End the parts that cannot be done without one that has failed, now or when they get their worker."""
        dependants, failed = self._settings.dependants, machine.actorNum
        if dependants is None or failed in self._doomed:
            return
        for number in dependants(machine):
            self._doomed.setdefault(number, failed)
        for attempt, peer in list(self._workers.items()):
            if self._doomed.get(attempt.part.number) == failed:
                self._end(peer, waits_in_vain(failed))

    # Workers

    def _serve(self, peer: _Peer, events: int) -> None:
        machine = peer.machine
        if machine is None:
            self._serve_partless(peer)
            return
        if events & select.EPOLLOUT and machine.want_write:
            machine = machine.do_write()
        if not machine.terminal or machine.want_write:
            machine = self._read_noting(peer, machine) if self._settings.journal else machine.do_read()
        self._step(peer, machine)

    def _read_noting(self, peer: _Peer, machine: MachineState) -> MachineState:
        """Read, and let the worker's track hear what it said."""
        waiting = machine.waiting
        known = len(waiting)
        machine = machine.do_read()
        if peer.track is not None:
            for message in islice(waiting, known, None):
                peer.track.hear(message)
        return machine

    def _serve_partless(self, peer: _Peer) -> None:
        if peer.fd not in self._spares:
            self._greet(peer)
            return
        assert peer.channel is not None
        try:
            peer.channel.do_read()
        except (OSError, ProtocolError) as error:
            debug(f"a spare worker: {describe(error)}")
        if peer.channel.sock is None:
            self._forget(peer)

    def _step(self, peer: _Peer, machine: MachineState) -> None:
        """Move a machine on, send what it has to say, and see to its end."""
        if not machine.terminal and (machine.want_handle or machine.sock is None):
            machine = machine.do_handle()
        if machine.want_write:
            machine = machine.do_write()
        if machine is not peer.machine:
            debug(f"{type(machine).__name__} {machine}")
            before, peer.machine = peer.machine, machine
            if peer.attempt is not None and self.ledger.leads(peer.attempt):
                self._states[self._places[peer.attempt.part.number]] = machine
            if peer.track is not None and before is not None:
                peer.track.machine = machine
                self._reporter.worker_moved(peer.track, before)
        if not machine.terminal:
            self._set_mask(peer, machine)
        elif machine.want_write and machine.sock is not None:
            self._set_mask(peer, machine)
            self._after(FLUSH_TIMEOUT, self._finish, peer)
        else:
            self._finish(peer)

    def _kill(self, peer: _Peer) -> None:
        self._end(peer, f"not finished after {self._settings.kill_time:g} s", self._settings.kill_state)

    def _end(
        self, peer: _Peer, why: str, state: Callable[[MachineState], MachineState] | None = None
    ) -> None:
        """End a machine that is not finished, in an error or in `state`, and tell its worker."""
        machine = peer.machine
        if machine is None or machine.terminal:
            return
        machine.enqueue("quit:")
        machine = machine.do_write()
        if state is None:
            following: MachineState = ErrorState(machine, why)
        else:
            following = checked(machine, "kill_state", enter, machine, state)
        self._step(peer, following)

    def _dismiss(self, peer: _Peer) -> None:
        """Tell a worker that is not needed any more to end."""
        if peer.channel is not None and (peer.machine is None or not peer.machine.terminal):
            if peer.track is not None:
                peer.track.finished = time.time()
                self._reporter.worker_finished(peer.track)
            peer.channel.enqueue("quit:")
            try:
                peer.channel.do_write()
            except OSError as error:
                debug(f"worker at {peer.address}: {describe(error)}")
        self._forget(peer)

    # Connections

    def _after(self, delay: float, action: Callable[[_Peer], None], peer: _Peer) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._sequence), action, peer))

    def _set_mask(self, peer: _Peer, channel: SocketNB) -> None:
        wanted = select.EPOLLIN
        if channel.want_write or channel.ssl_write:
            wanted |= select.EPOLLOUT
        if wanted != peer.mask:
            self._epoll.modify(peer.fd, wanted)
            peer.mask = wanted

    def _forget(self, peer: _Peer) -> None:
        """Close a connection; a closed descriptor leaves the epoll by itself."""
        del self._peers[peer.fd]
        self._spares.pop(peer.fd, None)
        if peer in self._strangers:
            self._strangers.remove(peer)
        if peer.channel is None:
            peer.sock.close()
        else:
            peer.channel.close()


def waits_in_vain(failed: int) -> str:
    """What became of a part whose left neighbour, or one further left, has failed."""
    return f"waits for part {failed}, which failed"
