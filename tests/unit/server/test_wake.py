"""The loop's support for states that wait for other things than their worker: timers, wake-ups, new titles."""

import socket
import threading
import time
from typing import Any

from mu import MachineState, TerminalState, server
from mu.report.reporter import Reporter
from mu.server.loop import Loop
from mu.server.script_runs import prepared
from tests.support.fake_workers import FakeWorker


def run(first: Any, parts: int, reporter: Reporter | None = None) -> list[MachineState]:
    """Does a run of `first` whose workers send only their hello; returns its last states."""

    class ServerInfo:
        port_number = 0
        num_parts = parts

    states: list[MachineState] = []
    port = prepared(ServerInfo).port
    workers = [FakeWorker(port) for _ in range(parts)]
    for worker in workers:
        worker.say("OK:HELLO")
    server.server_main_loop(states, first, ServerInfo, reporter=reporter or Reporter(parts))
    return states


def test_a_state_is_handled_when_its_time_has_come() -> None:
    handled: list[float] = []

    class Later(MachineState):
        def __init__(self, prevState: Any, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.wake_at = time.monotonic() + 3600

        def do_handle(self) -> MachineState:
            self._channel.parser.messages.clear()
            now = time.monotonic()
            assert self.wake_at is not None
            handled.append(now - self.wake_at)
            if len(handled) < 4:
                self.wake_at = now + 0.01
                return self
            return TerminalState(self)

    run(Later, 1)
    assert handled[0] < 0  # the first call is for the hello
    assert len(handled) == 4
    assert all(late >= 0 for late in handled[1:])


def test_a_state_can_be_woken_by_another() -> None:
    waiting: dict[int, MachineState] = {}
    loops: list[Loop] = []
    made = Loop.__init__

    class Until(MachineState):
        done = False

        def do_handle(self) -> MachineState:
            self._channel.parser.messages.clear()
            if self.done:
                return TerminalState(self)
            waiting[self.actorNum] = self
            if len(waiting) == 3:
                for state in waiting.values():
                    state.done = True  # type: ignore[attr-defined]
                    loops[0].wake(state)
                    loops[0].wake(state)
            return self

    def remembered(self: Loop, *arguments: Any, **others: Any) -> None:
        loops.append(self)
        made(self, *arguments, **others)

    Loop.__init__ = remembered  # type: ignore[method-assign]
    try:
        states = run(Until, 3)
    finally:
        Loop.__init__ = made  # type: ignore[method-assign]
    assert [type(state) for state in states] == [TerminalState] * 3


def test_the_reporter_hears_of_a_new_title() -> None:
    heard: list[str] = []

    class Heard(Reporter):
        def worker_moved(self, track: Any, before: MachineState) -> None:
            heard.append(track.machine.title)

    class Titled(MachineState):
        title = "first"

        def do_handle(self) -> MachineState:
            messages = self._channel.parser.messages
            while messages:
                text = messages.popleft().decode()
                if text == "end":
                    return TerminalState(self)
                self.title = text
            return self

    class ServerInfo:
        port_number = 0

    port = prepared(ServerInfo).port
    worker = FakeWorker(port)
    worker.say("OK:HELLO")

    def go_on() -> None:
        wait_for(lambda: "OK:HELLO" in heard)
        worker.say("convert")
        wait_for(lambda: "convert" in heard)
        worker.say("convert")
        worker.say("end")

    thread = threading.Thread(target=go_on)
    thread.start()
    server.server_main_loop([], Titled, ServerInfo, reporter=Heard(1))
    thread.join()
    assert heard == ["OK:HELLO", "convert", ""]


def wait_for(holds: Any) -> None:
    """Polls until `holds()`; a socket's timeout is the pause."""
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(0.005)
        while not holds():
            try:
                one.recv(1)
            except TimeoutError:
                continue
