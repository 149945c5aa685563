"""The coordinator's event loop: one epoll, one machine for each worker, timers in a heap.

The door (`mu.door`) lets workers in; the ledger (`mu.parts`) says which part each one gets, or that it waits
as a spare. Each wake-up costs work for the connections that are ready and the timers that are due, however
many others there are.
"""

import heapq
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import count, islice

from OpenSSL import SSL

from mu.console.system import caught_signals
from mu.console.terminal import debug
from mu.defs import Defs
from mu.errors import MuError, ProtocolError, describe
from mu.machine import ErrorState, MachineState, checked, described, enter, enter_fitting, listed, settle
from mu.report.reporter import Reporter
from mu.report.worker_log import Track
from mu.server.acceptor import MAX_HELLO, Door
from mu.server.connections import Connections, Peer
from mu.server.ledger import Attempt, Ledger
from mu.server.settings import Launch, Settings
from mu.wire.socket_nb import SocketNB

FLUSH_TIMEOUT = 10.0
TICK = 0.5
BATCH = 64


class Loop:
    """One run. `states` receives a machine for each part in the order in which parts got their first worker, and
    has their last states at the end, each of the attempt that counted; `tracks` has all attempts, as they
    began. After `run`, `ended` says why it stopped early, if it did, `signal` is the signal that
    stopped it, if one did, and `worker_seconds` sums all workers' lives, from hello to end, spares included."""

    def __init__(
        self,
        settings: Settings,
        constructor: Callable[..., MachineState],
        states: list[MachineState],
        listener: socket.socket,
        context: SSL.Context | None,
        launch: Launch | None,
        reporter: Reporter,
        notes: deque[str],
    ) -> None:
        self.ended = ""
        self.signal = 0
        self.start = time.time()
        self.worker_seconds = 0.0
        self.tracks: list[Track] = []
        self.ledger = Ledger(settings.parts, settings.retries, settings.backup)
        self._settings = settings
        self._constructor = constructor
        self._states = states
        self._places: dict[int, int] = {}  # part number → place in states
        self._doomed: dict[int, int] = {}  # part number → the failed part that it depends on
        self._launch = launch
        self._reporter = reporter
        self._notes = notes  # of the relay, which is another thread
        self._connections = Connections()
        self._door = Door(listener, context, self._connections, settings, reporter, self._admit)
        self._spares: dict[int, Peer] = {}
        self._workers: dict[Attempt, Peer] = {}
        self._timers: list[tuple[float, int, Callable[[Peer], None], Peer]] = []
        self._sequence = count()
        self._hellos = 0
        self._given_up = 0  # workers that were launched and are not expected any more
        self._relaunches = 0  # since a worker has connected
        self._accepted = 0
        self._quiet_since = time.monotonic()
        self._next_watch = 0.0

    def run(self) -> None:
        """Drive all machines until each is terminal, launching fails, or a signal comes."""
        try:
            with caught_signals(self.on_signal) as wake:
                self._connections.epoll.register(wake, select.EPOLLIN)
                while not self.ended and not self.ledger.finished:
                    self._turn(wake)
                if self._launch is not None:
                    self._launch.cancel()
                self._door.close()
                for peer in self._connections.all():
                    self._dismiss(peer)
                if self._launch is not None:
                    self._launch.wait()  # for the account: launching may be a moment behind the last worker
                    self._hear_of(self._launch)
        finally:
            self._connections.epoll.close()

    def _turn(self, wake: int) -> None:
        """Wait, then serve what is ready.

        All that is ready is read, then all machines are moved, then all that they say is sent: the same short code
        many times in a row, without system calls in between, costs clearly less than going from one to the other.
        """
        timeout = TICK
        if self._timers:
            timeout = max(0.0, min(timeout, self._timers[0][0] - time.monotonic()))
        ready: list[tuple[Peer, MachineState]] = []
        at_the_door = False
        get = self._connections.get
        for fd, _ in self._connections.epoll.poll(timeout, BATCH):
            peer = get(fd)
            if peer is None:
                if fd == wake:
                    os.read(wake, 4096)
                at_the_door = at_the_door or fd == self._door.fileno()
            elif peer.machine is None:
                self._serve_partless(peer)
            else:
                ready.append((peer, self._read(peer, peer.machine)))
        ready = [(peer, machine if machine.terminal else machine.do_handle()) for peer, machine in ready]
        for peer, machine in ready:
            if get(peer.fd) is peer:  # not ended because of one before it
                self._follow(peer, machine)
        if at_the_door:  # now that nobody is left over whose descriptor a new connection might get
            self._door.accept()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, action, peer = heapq.heappop(self._timers)
            if peer in self._connections:
                action(peer)
        if now >= self._next_watch:
            self._next_watch = now + TICK / 2
            self._watch(now)
        self._reporter.tick(now=now)

    def _watch(self, now: float) -> None:
        """See to what no connection tells: launching, silence, strangers, stragglers."""
        self._door.expire(now)
        while self._notes:
            self._reporter.note(self._notes.popleft())
        ledger = self.ledger
        if self._launch is not None:
            self._hear_of(self._launch)
            failure = self._launch.failure()
            if failure is not None and ledger.unattended:
                self.ended = f"launching failed: {failure}"
                return
        slow = ledger.want_backups(now)
        if slow:
            self._reporter.note(f"{slow} part{'s take' if slow > 1 else ' takes'} long: backing up")
            self._find_workers()
        if not ledger.wanted or self._launched_more():
            self._quiet_since = now
        elif now - self._quiet_since > self._settings.connect_timeout:
            self._miss_workers(now)

    def _hear_of(self, launch: Launch) -> None:
        self._reporter.launch = launch.progress
        self._reporter.launch_note = launch.note()

    def _miss_workers(self, now: float) -> None:
        """Parts have waited for workers for as long as they may."""
        waited = f"no worker has connected for {self._settings.connect_timeout:g} s"
        launch, progress = self._launch, self._reporter.launch
        # Others would only wait behind those that have not been launched yet.
        pending = progress is not None and progress.ended < progress.total
        if launch is not None and self._relaunches < self._settings.retries:
            self._quiet_since = now
            if pending and self.ledger.running:
                return  # those at work may be what the others wait for
            self._relaunches += 1
            if pending:
                self._reporter.note(f"{waited}: waiting for launching{self._reporter.launch_note}")
            else:
                self._given_up = launch.asked - self._hellos
                self._reporter.note(f"{waited}: launching {self.ledger.wanted} more{self._doubt()}")
                self._find_workers()
        elif not self.ledger.running:
            if pending and launch is not None:
                launch.cancel()
                launch.wait()  # now it knows what the rest was waiting for
                self._hear_of(launch)
            self.ended = f"{waited}{self._reporter.launch_note if pending else self._doubt()}"

    def _doubt(self) -> str:
        """What may be wrong if not a single worker has got here."""
        if self._launch is None or self._hellos:
            return ""
        return f" (can workers reach this machine's port {self._door.port}? See -a, firewalls, and mu doctor)"

    def _launched_more(self) -> bool:
        """Whether the service has accepted more invocations since this was last asked."""
        accepted = 0 if self._reporter.launch is None else self._reporter.launch.accepted
        before, self._accepted = self._accepted, accepted
        return accepted > before

    def on_signal(self, number: int) -> None:
        """Stop the run; this process, if it is being stopped already."""
        if self.signal:
            os._exit(128 + number)  # the second one: at once
        self.signal = number
        self.ended = f"stopped by {signal.Signals(number).name}"

    # Parts

    def _admit(self, peer: Peer, channel: SocketNB) -> None:
        """A worker has said hello."""
        self._hellos += 1
        self._relaunches = 0
        peer.hello = self._quiet_since = time.monotonic()
        self._give_part(peer, channel)

    def _give_part(self, peer: Peer, channel: SocketNB) -> None:
        """Let a worker that has said hello begin, or wait until it is needed."""
        attempt = self.ledger.begin(time.monotonic())
        if attempt is None:
            if self.ledger.may_want_more and _waits(channel):
                self._spares[peer.fd] = peer
                self._connections.watch(peer, channel)
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
        peer.attempt, peer.machine, peer.track, peer.title = attempt, machine, track, machine.title
        self._workers[attempt] = peer
        self.tracks.append(track)
        if part.number not in self._places:
            self._places[part.number] = len(self._states)
            self._states.append(machine)
            self._reporter.connected += 1
        elif self.ledger.leads(attempt):
            self._states[self._places[part.number]] = machine
        self._reporter.worker_connected(track)
        debug(f"part {listed(part.number)}: worker at {peer.address}")
        if settings.kill_time is not None:
            self._after(settings.kill_time, self._kill, peer)
        if not self.ledger.wanted and not self.ledger.may_want_more:
            self._door.close()
        self._follow(peer, machine if machine.terminal else machine.do_handle())

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

    def _finish(self, peer: Peer) -> None:
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
        elif self.ledger.failure(attempt, described(machine), final=attempt.part.number in self._doomed):
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
        try:
            numbers = list(dependants(machine))
        except Exception as error:
            self._reporter.note(f"dependants of part {failed}: {describe(error)}")
            return
        for number in numbers:
            self._doomed.setdefault(number, failed)
        for attempt, peer in list(self._workers.items()):
            if self._doomed.get(attempt.part.number) == failed:
                self._end(peer, waits_in_vain(failed))

    # Workers

    def _read(self, peer: Peer, machine: MachineState) -> MachineState:
        """Take in what has come, and let the worker's track hear what it said; the state that follows.

        What waits to be sent is sent later (`_follow`): a write to a connection that the worker has closed fails, and
        then nobody would hear why it did.
        """
        if machine.terminal and not machine.want_write:
            return machine
        if not self._settings.journal:
            return machine.do_read()
        waiting = machine._channel.parser.messages
        known = len(waiting)
        machine = machine.do_read()
        track = peer.track
        if track is not None:
            heard = list(islice(waiting, known, None))
            kept = [message for message in heard if not track.hear(message)]
            if len(kept) < len(heard):
                for _ in heard:
                    waiting.pop()
                waiting.extend(kept)
        return machine

    def _serve_partless(self, peer: Peer) -> None:
        if peer.fd not in self._spares:
            self._door.greet(peer)
            return
        assert peer.channel is not None
        try:
            peer.channel.do_read()
        except (OSError, ProtocolError) as error:
            debug(f"a spare worker: {describe(error)}")
        if not _waits(peer.channel):
            self._forget(peer)

    def _follow(self, peer: Peer, machine: MachineState) -> None:
        """Send what a machine has to say, and see to the state that it is in now."""
        channel = machine._channel  # what all its states share
        if channel.out and channel.sock is not None:
            machine = machine.do_write()
        if machine is not peer.machine:
            if Defs.debug:
                debug(f"{type(machine).__name__} {machine.actorNum}: {described(machine)}")
            before, peer.machine = peer.machine, machine
            if peer.attempt is not None and self.ledger.leads(peer.attempt):
                self._states[self._places[peer.attempt.part.number]] = machine
            peer.title = machine.title
            if peer.track is not None and before is not None:
                peer.track.machine = machine
                self._reporter.worker_moved(peer.track, before)
        elif machine.title != peer.title:
            peer.title = machine.title
            if peer.track is not None:
                self._reporter.worker_moved(peer.track, machine)
        if machine.wake_at is not None:
            self._wake_by(peer, machine.wake_at)
        if not machine.terminal:
            if channel.out or channel.ssl_write or peer.mask != select.EPOLLIN:
                self._connections.watch(peer, machine)
        elif machine.want_write and machine.sock is not None:
            self._connections.watch(peer, machine)
            self._after(FLUSH_TIMEOUT, self._finish, peer)
        else:
            self._finish(peer)

    def wake(self, machine: MachineState) -> None:
        """Have `machine` handled in the next turn although its worker has said nothing: something else that it waits
        for is there. Only from this loop's thread."""
        peer = self._connections.get(machine.fileno())
        if peer is not None and peer.machine is machine:
            self._wake_by(peer, 0.0)

    def _wake_by(self, peer: Peer, moment: float) -> None:
        """Set a timer, unless one that is due before is set: that one sees what is still to be waited for."""
        if peer.wake_at is None or moment < peer.wake_at:
            peer.wake_at = moment
            heapq.heappush(self._timers, (moment, next(self._sequence), self._wake, peer))

    def _wake(self, peer: Peer) -> None:
        now = time.monotonic()
        if peer.wake_at is None or peer.wake_at > now:
            return  # an earlier timer has done this one's work
        peer.wake_at = None
        machine = peer.machine
        if machine is not None and not machine.terminal:
            self._follow(peer, machine.do_handle())

    def _kill(self, peer: Peer) -> None:
        self._end(peer, f"terminated after {self._settings.kill_time:g} seconds", self._settings.kill_state)

    def _end(self, peer: Peer, why: str, state: Callable[[MachineState], MachineState] | None = None) -> None:
        """End a machine that is not finished, in an error or in `state`, and tell its worker."""
        machine = peer.machine
        if machine is None or machine.terminal:
            return
        machine.enqueue("quit:")
        machine = machine.do_write()
        if state is None:
            following: MachineState = ErrorState(machine, why)
        else:
            following = settle(checked(machine, "kill_state", enter_fitting, machine, state, why))
            if not following.terminal:
                following = ErrorState(following, f"{why}, and {type(following).__name__} is no end")
        self._follow(peer, following)

    def _dismiss(self, peer: Peer) -> None:
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

    def _after(self, delay: float, action: Callable[[Peer], None], peer: Peer) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._sequence), action, peer))

    def _forget(self, peer: Peer) -> None:
        """Close the connection of a worker."""
        self._spares.pop(peer.fd, None)
        if peer.hello is not None:
            self.worker_seconds += time.monotonic() - peer.hello
            peer.hello = None
        self._connections.close(peer)


def _waits(channel: SocketNB) -> bool:
    """Whether a spare worker does what it should: it has said hello and, as it was asked nothing, nothing more. What it
    might say is that it is about to end."""
    return channel.sock is not None and len(channel.waiting) <= 1 and channel.unread <= MAX_HELLO


def waits_in_vain(failed: int) -> str:
    """What became of a part whose left neighbour, or one further left, has failed."""
    return f"waits for part {listed(failed)}, which failed"
