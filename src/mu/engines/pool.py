"""Workers on machines that each have a pilot (`mu.pilot`), which this process talks to over its stdin and stdout.

A machine is given by how its pilot is started: on this machine by running Python, on another by OpenSSH. One thread for
each machine starts its pilot and reads what it says; another writes, so that no call waits for a machine.
"""

import json
import logging
import queue
import secrets
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mu.engines.protocol import Limit
from mu.engines.starts import GIVE_UP, CountedEngine, Starts
from mu.errors import MuError, one_line, reason

logger = logging.getLogger(__name__)

LINGER = 3.0  # seconds that the end of a run waits for workers, which have been told to quit, to end
SAID_KEPT = 20  # lines that a pilot, or ssh, has written to stderr
MAX_LINE = 1 << 16  # bytes of a line from a pilot that are read at a time


@dataclass
class Machine:
    """Where workers run: up to `slots` at a time. Sub-classes know how a pilot is started there."""

    name: str
    slots: int
    process: "subprocess.Popen[bytes] | None" = None
    ready: bool = False
    dead: str = ""  # why there will be no (more) workers there
    running: set[str] = field(default_factory=set)
    unseen: int = 0  # workers in a row that ended without having connected
    orders: "queue.SimpleQueue[bytes | None]" = field(default_factory=queue.SimpleQueue)
    said: list[str] = field(default_factory=list)

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        """Start the pilot. May wait. Raises MuError or OSError."""
        raise NotImplementedError

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> bytes:
        """What the pilot is to read first, with the event in it. May wait. Raises MuError, or OSError if it is gone."""
        raise NotImplementedError

    def explain(self, said: Sequence[str], status: int | None) -> str:
        """Why the pilot has ended, in one line, from what it wrote to stderr and its exit status."""
        return said[-1] if said else f"its pilot ended with status {status}"

    def close(self) -> None:
        """Leave nothing behind there."""


class Pool(CountedEngine):
    """An engine over some machines."""

    def __init__(self, name: str, machines: Sequence[Machine], reason: str) -> None:
        self.name = name
        self.machines = list(machines)
        self.starts = Starts(f"{name}-{secrets.token_hex(4)}")
        self._reason = reason
        self._event: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._cancelled = False
        self.news: deque[str] = deque()  # for people, once: machines that are not used any more

    def limit(self) -> Limit:
        """One for each slot."""
        return Limit(sum(machine.slots for machine in self.machines if not machine.dead), self._reason)

    def own_address(self) -> str:
        """For machines that are this one."""
        return "127.0.0.1"

    def start(self, event: str, number: int) -> None:
        """Begin to start pilots, and workers once they are ready."""
        self._event = json.loads(event)
        self.more(number)

    def more(self, number: int) -> None:
        """Start so many more, where there is room, now or when others have ended."""
        if number > 0:
            self.starts.ask(number)
            self._begin_pilots(self.asked)
            self._place()

    def probe(self, event: str, patience: float) -> list[tuple[str, str]]:
        """Start every machine's pilot and no worker: each one's name, and why it is of no use, empty if all is well.

        Waits, up to `patience` in seconds; `wait` ends it.
        """
        self._event = json.loads(event)
        self._begin_pilots(len(self.machines))
        until = time.monotonic() + patience
        while time.monotonic() < until and not all(m.ready or m.dead for m in self.machines):
            time.sleep(0.05)
        late = f"it has not answered for {patience:g} s"
        return [(m.name, m.dead or ("" if m.ready else late)) for m in self.machines]

    def left(self, facts: Mapping[str, Any]) -> None:
        """Its machine tells of its end."""

    def failure(self) -> str | None:
        """That no machine can be used, or that workers end before they connect, all of them."""
        with self._lock:
            dead = [machine for machine in self.machines if machine.dead]
            if len(dead) == len(self.machines) and not self._cancelled:
                return "; ".join(dict.fromkeys(self._said_of(machine) for machine in dead))
        return super().failure() if len(self.machines) == 1 else None

    def note(self) -> str:
        """Machines that cannot be used, and how many workers wait."""
        with self._lock:
            dead = [
                self._said_of(machine) for machine in self.machines if machine.dead and not self._cancelled
            ]
            pending = [machine.name for machine in self.machines if machine.process and not machine.ready]
        waiting = self.starts.waiting
        words = f"; {self.asked - waiting} of {self.asked} started" if waiting else ""
        if waiting and pending and not dead:
            words += f", waiting for {one_line(', '.join(pending[:5]))}"
        return words + "".join(f"; {text}" for text in dead)

    def cancel(self) -> None:
        """Start no more."""
        with self._lock:
            self._cancelled = True

    def wait(self) -> None:
        """Give workers, which were told to quit, a moment; then end what is left."""
        until = time.monotonic() + LINGER
        for machine in self.machines:
            machine.orders.put(json.dumps({"stop": 1.0}).encode() + b"\n")
            machine.orders.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for machine in self.machines:
            if machine.process is not None and machine.process.poll() is None:
                machine.process.kill()  # its pilot sees the end of its input, and ends by itself
            machine.close()

    def _said_of(self, machine: Machine) -> str:
        return machine.dead if len(self.machines) == 1 else f"{machine.name}: {machine.dead}"

    def _begin_pilots(self, number: int) -> None:
        """Start pilots on as many machines as there are workers for."""
        with self._lock:
            new = [machine for machine in self.machines if machine.process is None and not machine.dead]
            begun = len(self.machines) - len(new)
            if len(self._threads) >= len(self.machines):
                return
            for machine in new[: max(0, number - begun)]:
                if any(thread.name == f"pilot {machine.name}" for thread in self._threads):
                    continue
                thread = threading.Thread(
                    target=self._look_after, args=(machine,), name=f"pilot {machine.name}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _place(self) -> None:
        """Start those that wait on the machines with most room."""
        with self._lock:
            if self._cancelled:
                return
            while True:
                usable = [m for m in self.machines if m.ready and not m.dead and len(m.running) < m.slots]
                if not usable:
                    return
                machine = max(usable, key=lambda m: m.slots - len(m.running))
                others = max((m.slots - len(m.running) for m in usable if m is not machine), default=0)
                names = self.starts.take(max(1, machine.slots - len(machine.running) - others))
                if not names:
                    return
                machine.running.update(names)
                machine.orders.put(json.dumps({"start": names}).encode() + b"\n")

    def _look_after(self, machine: Machine) -> None:
        """Start a machine's pilot, and hear what it says, until it ends."""
        status = None
        try:
            process = machine.spawn(self._event)
            with self._lock:
                machine.process = process
            hearing = threading.Thread(target=_hear_errors, args=(machine, process), daemon=True)
            hearing.start()
            with suppress(BrokenPipeError):  # it has ended, and has said why
                machine.orders.put(machine.greet(process, self._event))
            threading.Thread(target=_write, args=(machine, process), daemon=True).start()
            assert process.stdout is not None
            while line := process.stdout.readline(MAX_LINE):
                self._take(machine, line)
            status = process.wait()
            hearing.join(1.0)
            why = machine.explain(machine.said, status)
        except (MuError, OSError) as error:
            why = str(error) if isinstance(error, MuError) else reason(error)
        except Exception as error:  # whatever it is, it must not end unseen
            why = reason(error)
        if machine.process is not None and machine.process.poll() is None:
            machine.process.kill()
        with self._lock:
            machine.ready = False
            if not machine.dead:
                self._give_up(machine, why)
            for name in machine.running:
                self.starts.ended(name, why)
            machine.running.clear()
        machine.close()
        logger.debug("%s: %s: %s", self.name, machine.name, why)
        self._place()

    def _take(self, machine: Machine, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):  # what a login script prints, for instance
            logger.debug("%s: %s", machine.name, one_line(line.decode(errors="replace")))
            return
        if "ready" in message:
            with self._lock:
                machine.ready = True
        name = message.get("ended")
        if isinstance(name, str):
            said = one_line(str(message.get("said", "")))
            with self._lock:
                machine.running.discard(name)
                machine.unseen = 0 if self.starts.ended(name, said) else machine.unseen + 1
                hopeless = machine.unseen >= GIVE_UP and not self.starts.anonymous
                if hopeless and len(self.machines) > 1 and not machine.dead:
                    self._give_up(
                        machine, f"workers end there before they connect: {said or 'they say nothing'}"
                    )
        self._place()

    def _give_up(self, machine: Machine, why: str) -> None:
        """Start no more there; to be called with the lock held."""
        machine.dead = why
        if not self._cancelled:
            self.news.append(f"engine {self.name}: {self._said_of(machine)}")


def _write(machine: Machine, process: "subprocess.Popen[bytes]") -> None:
    """Hand a machine's orders to its pilot."""
    assert process.stdin is not None
    try:
        while (order := machine.orders.get()) is not None:
            process.stdin.write(order)
            process.stdin.flush()
        process.stdin.close()
    except (OSError, ValueError):
        pass  # it has ended; who reads what it says will see why


def _hear_errors(machine: Machine, process: "subprocess.Popen[bytes]") -> None:
    """Keep the last lines that a pilot writes to stderr."""
    assert process.stderr is not None
    while line := process.stderr.readline(MAX_LINE):
        text = one_line(line.decode("utf-8", "replace"))
        if text:
            machine.said.append(text)
            del machine.said[:-SAID_KEPT]
