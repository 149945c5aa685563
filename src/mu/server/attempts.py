"""The attempts of a run: which machine does which part, and how each attempt ended.

The ledger counts parts and attempts. This module connects them with machines, tells the reporter and the script about
them (`states`, `on_outcome`), and fails the parts that depend on a failed one.
"""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from mu.errors import MuError, describe
from mu.machine import (
    CLOSED,
    ErrorState,
    MachineState,
    checked,
    constructor_name,
    described,
    enter,
    enter_fitting,
    listed,
    settle,
)
from mu.report.failure import Failure, failure_of
from mu.report.telling import Telling
from mu.report.worker_log import Track
from mu.server.connections import Ahead, Peer
from mu.server.ledger import Attempt, Ledger
from mu.server.settings import Outcome, Settings
from mu.wire import clock
from mu.wire.socket_nb import SocketNB

if TYPE_CHECKING:
    from mu.history.recorder import Recorder

MAX_NAME = 200  # characters of a part's name
FAILURES_KEPT = 1000  # failures that are kept for the summary


class Attempts:
    """Begins attempts, follows their machines, and settles their parts in the ledger.

    `states` receives one machine for each part, in the order in which parts got their first worker; at the end it
    holds the last state of the attempt that decided the part. None keeps no machines. `recorder`, if there is one, is
    told of each attempt that is over. `failures` holds the first `FAILURES_KEPT` parts that failed for good.
    """

    def __init__(
        self,
        settings: Settings,
        constructor: Callable[..., MachineState],
        states: list[MachineState] | None,
        ledger: Ledger,
        telling: Telling,
        on_outcome: Callable[[Outcome], object] | None,
    ) -> None:
        self.recorder: Recorder | None = None
        self.failures: list[Failure] = []
        self.made = 0  # attempts so far
        self._settings = settings
        self._constructor = constructor
        self._takes_attempt = getattr(constructor, "takes_attempt", False) is True
        self._states = states
        self._ledger = ledger
        self._telling = telling
        self._on_outcome = on_outcome
        self._places: dict[int, int] = {}  # part number → place in states
        self._doomed: dict[int, int] = {}  # part number → the failed part that it depends on
        self._workers: dict[Attempt, Peer] = {}
        self._warned: set[str] = set()  # warnings about states that were given

    def begin(self, peer: Peer, channel: SocketNB, attempt: Attempt) -> MachineState:
        """Gives a part to a worker; returns the machine's first state, an ErrorState if it cannot be made."""
        machine = self.prepare(peer, channel, attempt)
        self.confirm(peer, machine, attempt)
        return machine

    def prepare(self, peer: Peer, channel: SocketNB, attempt: Attempt) -> MachineState:
        """Returns the machine for a part that a worker will get; it is not reported before `confirm`."""
        part = attempt.part
        self._workers[attempt] = peer
        try:
            if self._doomed and part.number in self._doomed:
                raise MuError(dependency_error(self._doomed[part.number]))
            if self._takes_attempt:
                return enter(channel, self._constructor, attempt, peer.facts)
            if self._settings.grouped:
                return enter(channel, self._constructor, part.number, part.group)
            return enter(channel, self._constructor, part.number)
        except MuError as error:
            named = MachineState(channel, part.number)
            named.title = named.stateinfo[-1] = constructor_name(self._constructor)
            machine = ErrorState(named, str(error))
            machine.final = True
            return machine

    def give_back(self, ahead: Ahead) -> None:
        """Returns a prepared part that has not begun to the ledger, where it waits for another worker.

        Its machine is dropped before, since the next one will have the same number of the attempt, after which a part
        may have named its files.
        """
        ahead.machine._drop()
        self._workers.pop(ahead.attempt, None)
        self._ledger.give_back(ahead.attempt)

    def confirm(self, peer: Peer, machine: MachineState, attempt: Attempt) -> None:
        """Records that a worker has begun the part that `prepare` made a machine for."""
        part = attempt.part
        track = Track(
            machine,
            peer.address,
            number=attempt.number,
            keep=self._settings.journal,
            worker=peer.worker,
            name=name_of(part.input),
        )
        peer.attempt, peer.machine, peer.track, peer.title = attempt, machine, track, machine.title
        self.made += 1
        if self._states is not None:
            place = self._places.get(part.number)
            if place is None:
                self._places[part.number] = len(self._states)
                self._states.append(machine)
            elif self._ledger.leads(attempt):
                self._states[place] = machine
        self._telling.worker_connected(track)

    def moved(self, peer: Peer, machine: MachineState) -> None:
        """Records that a worker's machine has entered another state."""
        before, peer.machine = peer.machine, machine
        peer.title = machine.title
        attempt, track = peer.attempt, peer.track
        if self._states is not None and attempt is not None and self._ledger.leads(attempt):
            self._states[self._places[attempt.part.number]] = machine
        if track is not None and before is not None:
            track.machine = machine
            self._telling.worker_moved(track, before)

    def retitled(self, peer: Peer, machine: MachineState) -> None:
        """Records that the current state of a worker's machine has changed its title."""
        peer.title = machine.title
        if peer.track is not None:
            self._telling.worker_moved(peer.track, machine)

    def end(self, peer: Peer, now: float) -> tuple[bool, list[Peer]]:
        """Settles the part of a worker whose machine has ended; afterwards the worker has no part.

        Returns whether the part is done by this attempt, and the workers whose attempts are no longer needed.
        """
        machine, attempt, track = peer.machine, peer.attempt, peer.track
        assert machine is not None
        assert attempt is not None
        assert track is not None
        del self._workers[attempt]
        peer.attempt = peer.machine = peer.track = None
        self._over(track)
        number = attempt.part.number
        if not isinstance(machine, ErrorState):
            if self._states is not None:
                self._states[self._places[number]] = machine
            loop_left = getattr(machine, "loop_left", "")
            if loop_left and loop_left not in self._warned:
                self._warned.add(loop_left)
                self._telling.line(loop_left)
            losers = self._ledger.succeeded(attempt, now)
            if self._on_outcome is not None:
                self._tell_outcome(attempt, machine, "done", "", now, peer)
            return True, [self._workers.pop(loser) for loser in losers] if losers else []
        why = described(machine)
        final = getattr(machine, "final", False) is True or number in self._doomed
        seems_final = getattr(machine, "seems_final", None)
        excused = peer.draining and CLOSED in why
        if self._ledger.failure(
            attempt, why, final=final, seems_final=seems_final, proven=peer.completed > 0, excused=excused
        ):
            if len(self.failures) < FAILURES_KEPT or self._states is not None:
                self.failures.append(
                    failure_of(machine, name_of(attempt.part.input))._replace(part=listed(number))
                )
            if self._on_outcome is not None:
                self._tell_outcome(attempt, machine, "failed", why, now, peer)
            return False, self._dependants(machine, number)
        leader = self._ledger.leader(attempt)
        other = None if leader is None else self._workers[leader].machine
        if other is not None and self._states is not None:
            self._states[self._places[number]] = other
        self._telling.attempt_failed(track, other_running=other is not None)
        return False, []

    def abandon(self, peer: Peer) -> None:
        """Takes a worker's part from it, because its result is no longer needed."""
        if peer.machine is not None:
            peer.machine._drop()
        if peer.track is not None:
            self._over(peer.track)
        peer.attempt = peer.machine = peer.track = None

    def _over(self, track: Track) -> None:
        track.finished = clock.now()
        self._telling.worker_finished(track)
        if self.recorder is not None:
            self.recorder.over(track)

    def report(self, now: float) -> None:
        """Lets the record, if there is one, store how far the run is."""
        if self.recorder is not None:
            self.recorder.tick(now, self._telling.tally.counts, self._under_way)

    def _under_way(self) -> list[Track]:
        return [peer.track for peer in self._workers.values() if peer.track is not None]

    def stop(self, now: float) -> None:
        """Tells the script, when the run ends, about the parts that have begun and not ended."""
        if self._on_outcome is None:
            return
        for attempt in self._ledger.under_way():
            peer = self._workers.get(attempt)
            if peer is not None and peer.machine is not None:
                self._tell_outcome(attempt, peer.machine, "stopped", "", now, peer)
        for attempt in self._ledger.to_repeat():
            self._on_outcome(Outcome(attempt.part, "stopped", None, "", attempt.number, 0.0, {}, None))

    def doomed_by(self, attempt: Attempt) -> int | None:
        """Returns the number of the failed part that this attempt's part depends on; None if there is none."""
        return self._doomed.get(attempt.part.number)

    def _tell_outcome(
        self, attempt: Attempt, machine: MachineState, status: str, error: str, now: float, peer: Peer
    ) -> None:
        assert self._on_outcome is not None
        result: Any = getattr(machine, "result", None)
        self._on_outcome(
            Outcome(
                attempt.part, status, result, error, attempt.number, now - attempt.began, peer.facts, machine
            )
        )

    def _dependants(self, machine: MachineState, failed: int) -> list[Peer]:
        """Returns the workers whose parts depend on one that has failed.

        Dependent parts without a worker fail when they get one.
        """
        dependants = self._settings.dependants
        if dependants is None or failed in self._doomed:
            return []
        try:
            numbers = list(dependants(machine))
        except Exception as error:
            self._telling.note(f"dependants of part {listed(failed)}: {describe(error)}")
            return []
        for number in numbers:
            self._doomed.setdefault(number, failed)
        return [
            peer for attempt, peer in self._workers.items() if self._doomed.get(attempt.part.number) == failed
        ]


def last_state(
    machine: MachineState, why: str, state: Callable[[MachineState], MachineState] | None = None
) -> MachineState:
    """Returns the state in which a machine is ended from outside: `state`, or an ErrorState with the reason `why`."""
    machine._drop()
    if state is None:
        return ErrorState(machine, why)
    following = settle(checked(machine, "kill_state", enter_fitting, machine, state, why))
    if following.terminal:
        return following
    return ErrorState(following, f"{why}, and {type(following).__name__} is not a terminal state")


def summary_of(failures: Sequence[Failure]) -> list[Failure]:
    """Returns the failures, sorted by part."""
    return sorted(failures, key=lambda failure: failure.part)


def name_of(given: Any) -> str:
    """Returns the name of a part for messages, from its input; at most `MAX_NAME` characters.

    The input is a text, a number, a path, or an object with a text attribute `name`. The name of any other object is
    empty, since its text might be long or slow to make.
    """
    if isinstance(given, int | float | PurePath) and not isinstance(given, bool):
        return str(given)[:MAX_NAME]
    try:
        name = getattr(given, "name", given)
    except Exception:  # a property of the user's own
        return ""
    return name[:MAX_NAME] if isinstance(name, str) else ""


def dependency_error(failed: int) -> str:
    """Returns the error text of a part that depends on one that has failed."""
    return f"waits for part {listed(failed)}, which failed"
