"""The coordinator's event loop: one epoll, one machine for each worker, one deadline for each connection.

The acceptor admits workers; the ledger decides which part each worker gets; `Attempts` knows which machine does which
part; `Staffing` has workers launched. A turn costs work only for the connections that are ready and the timers that
are due, however many other connections there are.

A worker goes through: hello, a part until its machine ends, `reset:`, hello, the next part, …, `quit:`. A worker to
which the machine itself has sent `quit:`, as all machines of the original do, ends with its part.
"""

import logging
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable

from OpenSSL import SSL

from mu.console.system import caught_signals
from mu.engines.protocol import Engine
from mu.errors import ProtocolError, describe
from mu.machine import ErrorState, MachineState, described, handled, listed, out_of_memory
from mu.machine.info import Told
from mu.report.telling import Telling
from mu.server.acceptor import Acceptor
from mu.server.attempts import Attempts, dependency_error, last_state
from mu.server.connections import Ahead, Connections, Peer
from mu.server.intake import Intake
from mu.server.ledger import Attempt, Ledger
from mu.server.resets import Resets
from mu.server.reuse import Reuse, has_sent_nothing, store_facts
from mu.server.settings import Settings
from mu.server.staffing import Staffing
from mu.server.timers import Timers
from mu.server.worker_messages import WorkerMessages
from mu.wire import clock
from mu.wire.protocol import QUIT, Hello
from mu.wire.socket_nb import SocketNB

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT = 10.0
SPARE_TIMEOUT = 300.0  # seconds; a spare worker costs as much as a busy one
TICK = 0.5
INPUT_POLL = 0.02  # seconds between checks for inputs that are not ready yet
BATCH = 64


class Loop:
    """Drives one run.

    After `run`, `ended` is the reason why it stopped early, and `signal` the signal that stopped it, if any;
    `worker_seconds` is how long workers were connected in total, from hello to end, spares included; Lambda bills
    `billed_seconds` of them. `waited` tells whether the engine's `wait` was called.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        attempts: Attempts,
        telling: Telling,
        listener: socket.socket,
        context: SSL.Context | None,
        engine: Engine | None,
        notes: deque[str],
        staffing: Staffing,
        on_tick: Callable[[], object] = lambda: None,
    ) -> None:
        self.ended = ""
        self.signal = 0
        self.waited = False
        self.start = clock.now()
        self.worker_seconds = self.billed_seconds = 0.0
        self.ledger = ledger
        self._settings = settings
        self._attempts = attempts
        self._telling = telling
        self._engine = engine
        self._notes = notes  # lines to print from the relay, which runs in another thread
        self._staffing = staffing
        self._on_tick = on_tick
        self._connections = Connections()
        self._intake = Intake(self._connections)
        self._messages = WorkerMessages(settings, telling)
        self._timers = Timers(self._connections, self._wake)
        self._acceptor = Acceptor(listener, context, self._connections, settings, telling, self._admit)
        self._spares: dict[int, Peer] = {}
        self._told = Told()
        self._reuse = Reuse(settings, ledger, staffing, self._spares)
        self._resets = Resets(
            self._connections,
            self._timers,
            staffing,
            ledger,
            attempts,
            self._give_part,
            self._begin_ahead,
            self._give_up,
        )
        self._debugging = logger.isEnabledFor(logging.DEBUG)
        self._next_watch = 0.0
        self._next_input_poll = 0.0

    def run(self) -> None:
        """Drives all machines until each is terminal, launching fails, or a signal comes.

        In every case launching is cancelled, the port is closed, and workers are told to end.
        """
        try:
            with caught_signals(self.on_signal) as wake:
                self._connections.epoll.register(wake, select.EPOLLIN)
                self._staffing.begin(time.monotonic())
                try:
                    while not self.ended and not self.ledger.finished:
                        self._turn(wake)
                    self.ended = self.ended or self.ledger.broken
                    self._attempts.stop(time.monotonic())
                finally:
                    self._close()
        finally:
            self._connections.epoll.close()

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.cancel()
        self._acceptor.close()
        for peer in self._connections.all():
            self._dismiss(peer)
        self.waited = True
        if self._engine is not None:
            self._engine.wait()  # the counts of launching are final only after that
            self._staffing.finish()

    def _turn(self, wake: int) -> None:
        """Waits, then serves the connections and timers that are ready.

        First all input is read, then all machines are moved, then all output is sent. Batching reads, then
        transitions, then writes keeps caches warm and saves CPU time (bench/coordinator.py).
        """
        ready: list[tuple[Peer, MachineState]] = []
        listener_ready = False
        get = self._connections.get
        for fd, _ in self._connections.epoll.poll(
            self._timers.timeout(INPUT_POLL if self.ledger.pending else TICK), BATCH
        ):
            peer = get(fd)
            if peer is None:
                if fd == wake:
                    os.read(wake, 4096)
                listener_ready = listener_ready or fd == self._acceptor.fileno()
            elif peer.machine is not None:
                ready.append((peer, self._read(peer, peer.machine)))
            elif peer.resetting:
                self._resets.read(peer)
                self._count_unfinished(peer, peer.channel)
            else:
                self._serve_partless(peer)
        ready = [(peer, machine if machine.terminal else handled(machine)) for peer, machine in ready]
        for peer, machine in ready:
            if get(peer.fd) is peer:  # a machine earlier in the list may have ended this one
                self._follow(peer, machine)
        if listener_ready:  # last: a new connection may get a descriptor that was closed in this turn
            self._acceptor.accept()
        now = time.monotonic()
        self._timers.run(now)
        if self.ledger.pending and now >= self._next_input_poll:
            self._next_input_poll = now + INPUT_POLL
            if self.ledger.wanted:
                self._find_workers()
        if now >= self._next_watch:
            self._next_watch = now + TICK / 2
            self._watch(now)
        self._telling.tick(now)

    def _watch(self, now: float) -> None:
        """Checks what no connection reports: launching, missing workers, unverified connections, slow parts. Lets the
        script do so, too."""
        self._acceptor.expire(now)
        self._intake.watch()
        self._attempts.report(now)
        self._on_tick()
        while self._notes:
            self._telling.note(self._notes.popleft())
        slow = self.ledger.want_backups(now)
        if slow:
            self._telling.note(f"{slow} part{'s take' if slow > 1 else ' takes'} long: backing up")
        ended = self._staffing.watch(now)
        if ended and not self.ended:
            self.ended = ended
        elif self.ledger.wanted:
            self._find_workers()

    def stop(self, why: str) -> None:
        """Ends the run at the next turn, with this reason."""
        self.ended = self.ended or why

    def on_signal(self, number: int) -> None:
        """Stops the run; at the second signal, exits this process at once."""
        if self.signal:
            os._exit(128 + number)
        self.signal = number
        self.ended = f"stopped by {signal.Signals(number).name}"

    # Parts

    def _admit(self, peer: Peer, channel: SocketNB, hello: Hello) -> None:
        """Counts a worker that has said hello for the first time, and gives it a part."""
        channel._channel.of_run = self._told
        peer.hello = time.monotonic()
        peer.worker = self._staffing.hello(peer.hello, hello.facts)
        store_facts(peer, hello, peer.hello)
        self._give_part(peer, channel)

    def _give_part(self, peer: Peer, channel: SocketNB) -> None:
        """Begins a part on a worker that has said hello; without a part the worker becomes a spare or is dismissed."""
        now = time.monotonic()
        attempt = self.ledger.begin(now) if self._reuse.has_time(peer, now) else None
        if attempt is None:
            peer.new = False
            if not has_sent_nothing(channel):
                self._forget(peer)
            elif self._reuse.may_wait(peer, now):
                self._spares[peer.fd] = peer
                self._timers.set(peer, SPARE_TIMEOUT, self._dismiss)
                self._connections.watch(peer, channel)
            else:
                self._dismiss(peer)
            if self.ledger.wanted and not self._spares:  # the worker had no time for the part
                self._staffing.fill()
            return
        peer.new = False
        self._timers.clear(peer)
        channel._channel.kept = bool(peer.facts)
        machine = self._attempts.begin(peer, channel, attempt)
        # What came along with the hello.
        self._messages.take_in(peer, channel._channel.parser.messages, 1)
        self._begin_part(peer, attempt, machine)

    def _begin_part(self, peer: Peer, attempt: Attempt, machine: MachineState) -> None:
        """Drives the machine of a worker that has just got a part."""
        if self._debugging:
            logger.debug("part %d: worker at %s", listed(attempt.part.number), peer.address)
        if self._settings.kill_time is not None:
            self._timers.set(peer, self._settings.kill_time, self._kill)
        # `wanted` comes first: it reads on, after which the ledger knows whether more parts may come later.
        if not (self._resets.ahead or self.ledger.wanted or self.ledger.may_want_more):
            self._acceptor.close()
        self._follow(peer, machine if machine.terminal else handled(machine))

    def _begin_ahead(self, peer: Peer, channel: SocketNB, ahead: Ahead) -> None:
        """Begins the part that a worker was given along with `reset:`, after its hello."""
        attempt, unread = ahead.attempt, int(ahead.unread)
        attempt.began = time.monotonic()
        self._attempts.confirm(peer, ahead.machine, attempt)
        self._messages.take_in(peer, channel._channel.parser.messages, unread)
        failed = self._attempts.doomed_by(attempt)
        if failed is not None and not ahead.machine.terminal:
            self._end(peer, dependency_error(failed))
        else:
            self._begin_part(peer, attempt, ahead.machine)

    def _find_workers(self) -> None:
        """Gives waiting parts to spare workers, and has more workers launched if parts are left."""
        while self._spares and self.ledger.wanted:
            peer = self._spares.pop(next(iter(self._spares)))
            assert peer.channel is not None
            self._give_part(peer, peer.channel)
        self._staffing.fill()

    def _finish(self, peer: Peer) -> None:
        """Settles the part of a machine that has ended, then reuses, keeps or dismisses its worker."""
        now = time.monotonic()
        channel = peer.channel
        assert channel is not None
        attempts = self._attempts
        self._timers.clear(peer)
        well, others = attempts.end(peer, now)
        for other in others:
            attempt = other.attempt
            failed = None if attempt is None or well else attempts.doomed_by(attempt)
            if failed is None:
                self._dismiss(other)
            else:
                self._end(other, dependency_error(failed))
        if well:
            peer.completed += 1
            peer.failures = 0
        else:
            peer.failures += 1
        if not self.ended and self._reuse.may_go_on(peer, channel, well, now):
            going_on = self._resets.begin(peer, channel, well=well)
        else:
            going_on = False
        if not going_on:
            self._forget(peer)
        if self.ledger.wanted:
            self._find_workers()

    def _give_up(self, peer: Peer) -> None:
        """Dismisses a worker that has failed to clean up; another one takes its place."""
        self._dismiss(peer)
        if self.ledger.wanted:
            self._find_workers()

    # Workers

    def _read(self, peer: Peer, machine: MachineState) -> MachineState:
        """Reads from a worker, and adds its messages to its log. Returns the machine's next state.

        Queued output is sent later (`_follow`): a write to a connection that the worker has closed fails, and then
        the worker's last message, which may contain the reason, would be lost.
        """
        if machine.terminal and not machine.want_write:
            return machine
        parser = machine._channel.parser
        waiting = parser.messages
        known = len(waiting)
        machine = machine.do_read()
        try:
            self._messages.take_in(peer, waiting, known)
        except MemoryError:
            machine = out_of_memory(machine)
        if parser.incomplete is not None or self._intake.held:
            self._count_unfinished(peer, machine)
        return machine

    def _count_unfinished(self, peer: Peer, channel: SocketNB | None) -> None:
        """Counts a worker's unfinished message; drops the largest if all of them together take too much memory."""
        if channel is None or not (channel._channel.parser.unfinished or peer in self._intake.held):
            return
        worst = self._intake.note(peer, channel)
        if worst is None:
            return
        why = f"{self._intake.held[worst]:,} bytes of its unfinished message took too much memory"
        logger.debug("worker at %s: %s", worst.address, why)
        if worst.machine is None or worst.machine.terminal:
            self._give_up(worst)
        else:
            self._end(worst, why)

    def _serve_partless(self, peer: Peer) -> None:
        if peer.fd not in self._spares:
            self._acceptor.greet(peer)
            return
        assert peer.channel is not None
        try:
            peer.channel.do_read()
        except (OSError, ProtocolError) as error:
            logger.debug("a spare worker: %s", describe(error))
        if not has_sent_nothing(peer.channel):
            self._forget(peer)

    def _follow(self, peer: Peer, machine: MachineState) -> None:
        """Sends a machine's queued output, and acts on the state that it is in now."""
        channel = machine._channel  # shared by all states of a machine
        if channel.out and channel.sock is not None:
            machine = machine.do_write()
        if machine is not peer.machine:
            if self._debugging:
                kind, number = type(machine).__name__, machine.actorNum
                logger.debug("%s %d: %s", kind, number, described(machine))
            self._attempts.moved(peer, machine)
        elif machine.title != peer.title:
            self._attempts.retitled(peer, machine)
        if machine.wake_at is not None:
            self._timers.wake_by(peer, machine.wake_at)
        if not machine.terminal:
            if channel.out or channel.ssl_write or peer.mask != select.EPOLLIN:
                self._connections.watch(peer, machine)
        elif channel.out and channel.sock is not None and not isinstance(machine, ErrorState):
            self._connections.watch(peer, machine)
            self._timers.set(peer, FLUSH_TIMEOUT, self._finish)
        else:
            self._finish(peer)

    def wake(self, machine: MachineState) -> None:
        """Lets the next turn handle `machine` although its worker has sent nothing, because another event that it
        waits for has happened. Only from this loop's thread."""
        peer = self._connections.get(machine.fileno())
        if peer is not None and peer.machine is machine:
            self._timers.wake_by(peer, 0.0)

    def _wake(self, peer: Peer) -> None:
        machine = peer.machine
        if machine is not None and not machine.terminal:
            self._follow(peer, handled(machine))

    def _kill(self, peer: Peer) -> None:
        self._end(peer, f"terminated after {self._settings.kill_time:g} seconds", self._settings.kill_state)

    def _end(self, peer: Peer, why: str, state: Callable[[MachineState], MachineState] | None = None) -> None:
        """Ends a machine that is not terminal, in an ErrorState or in `state`, and ends its worker."""
        machine = peer.machine
        if machine is None or machine.terminal:
            return
        machine.enqueue(QUIT)
        machine = machine.do_write()
        self._follow(peer, last_state(machine, why, state))

    def _dismiss(self, peer: Peer) -> None:
        """Tells a worker that is no longer needed to end, and closes its connection."""
        if peer.channel is not None and (peer.machine is None or not peer.machine.terminal):
            self._attempts.abandon(peer)
            peer.channel.enqueue(QUIT)
            try:
                peer.channel.do_write()
            except OSError as error:
                logger.debug("worker at %s: %s", peer.address, describe(error))
        self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        """Closes the connection of a worker, and removes it from all lists."""
        self._spares.pop(peer.fd, None)
        self._resets.forget(peer)
        if peer.hello is not None:
            seconds = time.monotonic() - peer.hello
            peer.hello = None
            self.worker_seconds += seconds
            if self._staffing.goodbye(peer.facts):
                self.billed_seconds += seconds
        self._connections.close(peer)
        if peer in self._intake.held:
            self._intake.forget(peer)
