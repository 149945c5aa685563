"""A worker's log: its time with one part, as the coordinator saw it."""

import re
from collections import deque
from typing import TYPE_CHECKING

from mu.machine import listed
from mu.wire import clock, protocol
from mu.wire.protocol import ACCOUNT, RETVAL

if TYPE_CHECKING:
    from mu.machine import MachineState

MAX_TEXT = 200
MESSAGES = 100_000  # messages that are kept in total, shared by the workers
# The status of a program, in the answers to `run:` and to `exec:`.
RUN = re.compile(rb"OK:RETVAL\((-?\d{1,18})\)|OK:EXEC\(\{\"status\": ?(-?\d{1,18})[,}]")
OUTPUT = re.compile(rb',"std(?:out|err)')  # where a program's output begins in the answer to `exec:`
EXEC, FETCH = protocol.EXEC.encode(), protocol.FETCH.encode()
ACCOUNT_BYTES, RETVAL_BYTES = ACCOUNT.encode(), RETVAL.encode()
MOVED = re.compile(re.escape(ACCOUNT_BYTES) + rb"(retrieved|uploaded):(\d{1,18})")
# The activity that ends with an answer that begins like this.
ACTIVITIES = (
    (protocol.RETRIEVE.encode(), "retrieve"),
    (protocol.UPLOAD.encode(), "upload"),
    (protocol.RETVAL.encode(), "run"),
    (EXEC, "run"),
)


def messages_each(parts: int) -> int:
    """Returns how many of each worker's messages a record keeps."""
    return max(8, min(200, MESSAGES // max(1, parts)))


class Track:
    """A worker's time with one part, from its beginning to its end; times are in seconds since the epoch.

    `machine` is its present state, at the end its last one. `number` counts the part's attempts, from 1; `worker` is
    the number of the worker, in the order of hellos, from 1 (0: not known). `name` is the name of the part's input,
    empty if it has none. `finished` is None until the end.

    The rest is filled only if a record is kept: `runs` has when each program ended and its exit status (negative: a
    signal); `moved` the bytes `retrieved` and `uploaded`, if the worker reports them; `spent` the seconds before each
    answer, summed by the command that it answers (`retrieve`, `upload`, `run`, `other`); `messages` the last few
    answers, shortened and without programs' output; and `heard` counts all answers.
    """

    __slots__ = (
        "_last",
        "address",
        "connected",
        "finished",
        "heard",
        "machine",
        "messages",
        "moved",
        "name",
        "number",
        "part",
        "runs",
        "spent",
        "worker",
    )

    def __init__(
        self,
        machine: "MachineState",
        address: str,
        number: int = 1,
        keep: int = 0,
        worker: int = 0,
        name: str = "",
    ) -> None:
        self.part = listed(machine.actorNum)
        self.worker = worker
        self.name = name
        self.number = number
        self.address = address
        self.machine = machine
        self.connected = self._last = clock.now()
        self.finished: float | None = None
        self.heard = 0
        if keep:
            self.runs: list[tuple[float, int]] = []
            self.spent: dict[str, float] = {}
            self.moved: dict[str, int] = {}
            self.messages: deque[tuple[float, str]] = deque(maxlen=keep)

    @property
    def since(self) -> float:
        """When the machine entered its present state."""
        entered = self.machine.timestamps
        return entered[-1] if entered else self.connected

    def hear(self, message: bytes) -> bool:
        """Logs a message of the worker; returns whether it was only for the log, and must not reach a state."""
        if message.startswith(ACCOUNT_BYTES):
            account = MOVED.fullmatch(message)
            if account:
                verb = account[1].decode()
                self.moved[verb] = self.moved.get(verb, 0) + int(account[2])
            return True
        now = clock.now()
        activity = next((name for start, name in ACTIVITIES if message.startswith(start)), "other")
        self.spent[activity] = self.spent.get(activity, 0.0) + now - self._last
        self._last = now
        self.heard += 1
        self.messages.append((now, shortened(message)))
        if activity == "run":
            run = RUN.match(message)
            if run:
                self.runs.append((now, int(run[1] or run[2])))
        return False


def shortened(message: bytes) -> str:
    """Returns a worker's answer in at most `MAX_TEXT` characters, with its size in place of a program's output."""
    if message.startswith(RETVAL_BYTES):
        status, begin, rest = message.partition(b":OUTPUT(")
        output, end, command = rest.rpartition(b"):COMMAND(")
        if begin and end:
            message = b"%s:OUTPUT(%d bytes):COMMAND(%s" % (status, len(output), command)
    elif message.startswith(EXEC):
        found = OUTPUT.search(message)
        if found:
            status = message[: found.start()]
            message = b"%s, %d bytes more})" % (status, len(message) - len(status) - len(b"})"))
    elif message.startswith(FETCH):
        message = b"%s%d bytes)" % (FETCH, len(message) - len(FETCH) - 1)
    text = message[: 4 * MAX_TEXT].decode("utf-8", "replace")
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
