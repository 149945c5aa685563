"""Workers on machines that each run a pilot (`mu.pilot`), which this process controls over its stdin and stdout.

A subclass of `Machine` knows how to start the pilot: with Python on this machine, with OpenSSH on another. For each
machine one thread starts its pilot and reads its messages, and another writes, so that no call waits for a machine.
"""

import json
import logging
import math
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

LINGER = 3.0  # seconds that the end of a run waits for workers that were told to quit
PATIENCE = 120.0  # seconds without any progress of a machine for which the run waits until its pilot is ready
PIECE = 1 << 16  # bytes that are written to a pilot at a time
SAID_KEPT = 20  # lines of a pilot's or ssh's stderr that are kept
MAX_LINE = 1 << 16  # bytes that are read at a time of a pilot's line


@dataclass
class Machine:
    """A place for up to `slots` workers at a time. Subclasses know how to start a pilot there."""

    name: str
    slots: int
    process: "subprocess.Popen[bytes] | None" = None
    moved: float = -math.inf  # when its start, or what is written to it, last went on, by the monotonic clock
    ready: bool = False
    dead: str = ""  # why no more workers can run there; empty if they can
    running: set[str] = field(default_factory=set)
    unseen: int = 0  # consecutive workers that ended without having connected
    orders: "queue.SimpleQueue[bytes | None]" = field(default_factory=queue.SimpleQueue)
    said: list[str] = field(default_factory=list)

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        """Starts the pilot. May block. Raises MuError or OSError."""
        raise NotImplementedError

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> list[bytes]:
        """Returns the pieces of the pilot's first input, with the event in it. May block. Raises MuError, or OSError
        if it is gone."""
        raise NotImplementedError

    def explain(self, said: Sequence[str], status: int | None) -> str:
        """Returns why the pilot has ended, in one line, from its stderr and its exit status."""
        return said[-1] if said else f"its pilot ended with status {status}"

    def coming(self, patience: float) -> bool:
        """Returns whether its pilot is on the way to being ready, and has got on in the last `patience` seconds."""
        return not self.ready and not self.dead and time.monotonic() - self.moved < patience

    def close(self) -> None:
        """Removes what the pilot has left there."""


class Pool(CountedEngine):
    """An engine that uses one or more machines."""

    def __init__(self, name: str, machines: Sequence[Machine], reason: str) -> None:
        self.name = name
        self.machines = list(machines)
        self.starts = Starts(f"{name}-{secrets.token_hex(4)}")
        self._reason = reason
        self._event: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._cancelled = False
        self._news: deque[str] = deque()  # about machines that are no longer used

    def news(self) -> list[str]:
        """Returns which machines are no longer used, and why."""
        with self._lock:
            lines = list(self._news)
            self._news.clear()
            return lines

    def limit(self) -> Limit:
        """Returns the number of slots."""
        return Limit(sum(machine.slots for machine in self.machines if not machine.dead), self._reason)

    def own_address(self) -> str:
        """Returns the loopback address, for workers on this machine."""
        return "127.0.0.1"

    def start(self, event: str, number: int) -> None:
        """Begins to start pilots, and workers once these are ready."""
        self._event = json.loads(event)
        self.more(number)

    def more(self, number: int) -> None:
        """Starts this many more workers, now where there is room, or when others have ended."""
        if number > 0:
            self.starts.ask(number)
            self._begin_pilots(self.asked)
            self._place()

    def probe(self, event: str, patience: float) -> list[tuple[str, str]]:
        """Starts every machine's pilot without workers; returns each machine's name and its error, empty if it is
        usable.

        Waits up to `patience` seconds for each step of a machine; `wait` ends the pilots.
        """
        self._event = json.loads(event)
        self._begin_pilots(len(self.machines))
        while any(machine.coming(patience) for machine in self.machines):
            time.sleep(0.05)
        late = f"it has not answered for {patience:g} s"
        return [(m.name, m.dead or ("" if m.ready else late)) for m in self.machines]

    @property
    def pending(self) -> int:
        """How many workers wait for machines that are being reached, or get their files."""
        with self._lock:
            coming = any(machine.coming(PATIENCE) for machine in self.machines)
        return self.starts.waiting if coming else 0

    def left(self, facts: Mapping[str, Any]) -> None:
        """Does nothing: the machine's pilot reports the end."""

    def failure(self) -> str | None:
        """Returns why no more workers will come: no machine can be used, or all workers end before they connect."""
        with self._lock:
            dead = [machine for machine in self.machines if machine.dead]
            if len(dead) == len(self.machines):
                return "; ".join(dict.fromkeys(self._said_of(machine) for machine in dead))
        return super().failure() if len(self.machines) == 1 else None

    def note(self) -> str:
        """Returns the machines that cannot be used, and how many workers are not started yet."""
        with self._lock:
            dead = [self._said_of(machine) for machine in self.machines if machine.dead]
            pending = [machine.name for machine in self.machines if machine.process and not machine.ready]
        waiting = self.starts.waiting
        words = f"; {self.asked - waiting} of {self.asked} started" if waiting else ""
        if waiting and pending and not dead:
            words += f", waiting for {one_line(', '.join(pending[:5]))}"
        return words + "".join(f"; {text}" for text in dead)

    def cancel(self) -> None:
        """Stops starting workers."""
        with self._lock:
            self._cancelled = True

    def wait(self) -> None:
        """Waits briefly for workers, which were told to quit, then ends the remaining ones.

        Nothing waits for machines that are not ready, since they have no workers.
        """
        until = time.monotonic() + LINGER
        for machine in self.machines:
            machine.orders.put(json.dumps({"stop": 1.0}).encode() + b"\n")
            machine.orders.put(None)
            if machine.process is not None and not machine.ready:
                machine.process.kill()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for machine in self.machines:
            if machine.process is not None and machine.process.poll() is None:
                machine.process.kill()  # ssh is killed; the pilot sees the end of its input, and exits
            machine.close()

    def _said_of(self, machine: Machine) -> str:
        return machine.dead if len(self.machines) == 1 else f"{machine.name}: {machine.dead}"

    def _begin_pilots(self, number: int) -> None:
        """Starts pilots on as many machines as the workers need."""
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
                machine.moved = time.monotonic()
                try:
                    thread.start()
                except RuntimeError as error:  # there can be no more threads
                    self._give_up(machine, reason(error))
                else:
                    self._threads.append(thread)

    def _place(self) -> None:
        """Starts waiting workers on the machines with most room."""
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
        """Starts a machine's pilot, and reads its messages until it ends."""
        status = None
        try:
            process = machine.spawn(self._event)
            with self._lock:
                machine.process = process
            hearing = threading.Thread(target=_hear_errors, args=(machine, process), daemon=True)
            hearing.start()
            assert process.stdout is not None
            with process.stdout as answers:
                try:
                    for piece in machine.greet(process, self._event):
                        machine.orders.put(piece)
                    machine.moved = time.monotonic()
                except BrokenPipeError:
                    pass  # it has ended; its stderr has the reason
                finally:
                    threading.Thread(target=_write, args=(machine, process), daemon=True).start()
                while line := answers.readline(MAX_LINE):
                    self._take(machine, line)
            status = process.wait()
            hearing.join(1.0)
            why = machine.explain(machine.said, status)
        except (MuError, OSError) as error:
            why = str(error) if isinstance(error, MuError) else reason(error)
        except Exception as error:  # any error must be reported
            why = reason(error)
        if machine.process is not None and machine.process.poll() is None:
            machine.process.kill()
        with self._lock:
            if not self._cancelled:  # otherwise it was told to end, and `note` tells what was before
                machine.ready = False
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
        if not isinstance(message, dict):  # for example output of a login script
            logger.debug("%s: %s", machine.name, one_line(line.decode(errors="replace")))
            return
        if "ready" in message:
            with self._lock:
                machine.ready = True
        if "draining" in message:
            with self._lock:
                self._give_up(machine, "its pilot was told to end (SIGTERM)")
        name = message.get("ended")
        if isinstance(name, str):
            said = one_line(str(message.get("said", "")))
            with self._lock:
                machine.running.discard(name)
                machine.unseen = 0 if self.starts.ended(name, said) else machine.unseen + 1
                hopeless = machine.unseen >= GIVE_UP and not self.starts.anonymous
                if hopeless and len(self.machines) > 1:
                    self._give_up(
                        machine, f"workers end there before they connect: {said or 'they say nothing'}"
                    )
        self._place()

    def _give_up(self, machine: Machine, why: str) -> None:
        """Marks a machine as unusable, unless starting was cancelled; the caller holds the lock."""
        if not machine.dead and not self._cancelled:
            machine.dead = why
            self._news.append(f"engine {self.name}: {self._said_of(machine)}")


def _write(machine: Machine, process: "subprocess.Popen[bytes]") -> None:
    """Writes a machine's orders to its pilot, and closes its input; runs in a thread."""
    assert process.stdin is not None
    # If it has ended, the thread that reads from it finds the reason.
    with suppress(OSError, ValueError), process.stdin as orders:
        while (order := machine.orders.get()) is not None:
            whole = memoryview(order)
            for at in range(0, len(order), PIECE):
                orders.write(whole[at : at + PIECE])
                orders.flush()
                machine.moved = time.monotonic()


def _hear_errors(machine: Machine, process: "subprocess.Popen[bytes]") -> None:
    """Keeps the last lines that a pilot writes to stderr, until it closes that; runs in a thread."""
    assert process.stderr is not None
    with process.stderr as lines:
        while line := lines.readline(MAX_LINE):
            text = one_line(line.decode("utf-8", "replace"))
            if text:
                machine.said.append(text)
                del machine.said[:-SAID_KEPT]
