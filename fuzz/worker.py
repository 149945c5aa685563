"""Fuzzes a whole worker: commands, frames and state messages, mutated, through real sockets.

    PYTHONPATH=src:. python fuzz/worker.py [SECONDS [SEED]]

Sessions run one after the other, each with a worker process of its own. A finding is a worker that does not answer,
that ends although it was sent neither a broken frame nor a quit, whose exit status or standard error shows an
exception, that uses more than MOST_MEMORY, or that leaves a file or a process. It is printed with the seed and the
session's last messages, and the exit status is 1. The same seed repeats the same sessions.

Programs and paths come from fixed lists, since a mutated one could damage this machine.
"""

import contextlib
import json
import os
import queue
import random
import resource
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any

from mu.tls import keys
from mu.wire import framing, protocol
from tests.support.worker_rig import Listener, Peer, Worker

PATIENCE = 30.0
KEYS = keys.make_job_keys()
COMMANDS_A_SESSION = 150
MOST_MEMORY = 400 << 20
SHELL = (
    "true",
    "exit 3",
    "echo x",
    "cat",
    "printf '\\377'",
    "head -c 300000 /dev/zero",
    "kill -9 $$",
    "sleep 5 & :",
)
SHELL += (
    "setsid sleep 100 & :",
    "echo xc-dump; echo s > ##TMPDIR##/final.state",
    "ls -A",
    "mkdir d; chmod 0 d",
)
ARGV = (["true"], ["echo", "a b"], ["./none"], ["cat"], ["sh", "-c", "echo $0"], ["/"], [""])
FILES = (
    "f",
    "d/f",
    "in",
    "0.state",
    "é",
    "a\udcffb",
    "x" * 300,
    "##TMPDIR##/f",
    ".mu-worker",
    "d",
    "fifo",
    "a\nb",
)
PATTERNS = ("*", "**", "**/*", "[", "[!a", "{a,b}", "*" * 50, "?", "a[b-a]", "##TMPDIR##/*")
NAMES = ("set", "seti", "get", "geti", "dump_vals", "echo", "close_connect", "list", "fetch", "nothing", "")
VARIABLES = (
    "nonblock",
    "bg_silent",
    "bucket",
    "max_output",
    "hash_s3keys",
    "tell_sizes",
    "run_iter",
    "send_statefile",
)
VARIABLES += ("expect_statefile", "inkey", "targfile", "outkey", "fromfile", "cmdargs", "region", "if_match")
VALUES = ("0", "1", "-1", "99999999999999999999", "x", "", "f", "None", "1e9", "\u0663")
FIELDS = (
    "argv",
    "shell",
    "stdin",
    "env",
    "timeout",
    "max_output",
    "stdout",
    "stderr",
    "cwd",
    "follow",
    "id",
    "make",
)
JSON_VALUES: tuple[Any, ...] = (None, True, 0, -1, 1e308, 10**400, "", "x", "a\0b", "\ud800", [], ["f"], {})
JSON_VALUES += (
    {"file": "f"},
    {"file": ""},
    {"A": "1", "B": None},
    {"A=B": ""},
    ["f", 1],
    {"file": "d"},
    float("nan"),
    0.05,
)


class FindingError(Exception):
    """The worker did what it must not do."""


class Session:
    """A session with one worker, from its start to its end."""

    def __init__(self, chance: random.Random, base: Path) -> None:
        self.chance = chance
        self.place = base / "place"
        self.store = base / "store"
        self.place.mkdir()
        self.store.mkdir()
        self.sent: deque[bytes] = deque(maxlen=40)
        self.neighbours: list[Peer] = []
        self.accepted: queue.Queue[Peer] = queue.Queue()
        self.commands = 0

    def run(self) -> None:
        """Runs the session. Raises FindingError if the worker misbehaves."""
        chance = self.chance
        event = {"tell_facts": chance.randrange(2), "bucket": f"file://{self.store}", "run_id": "fuzz"}
        # Without TLS, or with one version of it; state sockets use the same as the connection to the coordinator.
        version = chance.choice((None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
        tls = (None,) if version is None else (KEYS, version)
        with Listener(*tls) as listener, Listener(*tls) as self.neighbour:
            started = Worker(listener.event(**event), "echo packaged ##QUALITY##", TMPDIR=str(self.place))
            with started as worker, listener.accept() as self.peer:
                self.peer.sock.settimeout(PATIENCE)
                accepting = threading.Thread(target=self.accept_neighbours, daemon=True)
                accepting.start()
                if not protocol.parse_hello(self.peer.receive() or ""):
                    raise FindingError("no hello")
                self.talk(worker)
                broken = chance.randrange(3)
                if broken == 0 and version is not None and chance.randrange(2):
                    self.send_below_tls(self.garbage())
                elif broken == 0:
                    self.send_raw(self.garbage())
                elif broken == 1:
                    self.send("quit:")
                self.end()
                for neighbour in self.neighbours:
                    neighbour.close()
                self.check_end(worker)
            self.neighbour.stop()
            accepting.join(PATIENCE)

    def talk(self, worker: Worker) -> None:
        """Sends commands, and checks that the worker still answers."""
        while self.commands < COMMANDS_A_SESSION:
            for _ in range(self.chance.randrange(1, 12)):
                self.send(self.command())
                self.commands += 1
            if self.neighbours and self.chance.random() < 0.3:
                self.speak_as_neighbour()
            self.wait_for_answer()
            if memory_of(worker.process.pid) > MOST_MEMORY:
                raise FindingError(f"{memory_of(worker.process.pid) >> 20} MB of memory")

    def wait_for_answer(self) -> None:
        """Waits for an answer to a new command; a worker that does commands one at a time may have earlier ones to do
        first."""
        token = f"{self.chance.getrandbits(64):x}"
        self.send("seti:nonblock:0", f"echo:{token}")
        while (message := self.peer.receive()) != f"OK:ECHO({token})":
            if message is None or message.startswith("FAIL(reset"):
                raise FindingError(f"the worker ended: {message}")

    def command(self) -> bytes:
        """Returns one command, mutated or not."""
        chance = self.chance
        kind = chance.randrange(12)
        if kind == 0:
            return framing.to_bytes(f"run:{chance.choice(SHELL)}")
        if kind in (1, 2):
            return self.exec()
        if kind == 3:
            return framing.to_bytes(f"put:{chance.choice(FILES)}{chance.choice(('', chr(0)))}") + self.noise()
        if kind == 4:
            return framing.to_bytes(f"fetch:{chance.choice(FILES)}")
        if kind == 5:
            return framing.to_bytes(f"list:{chance.choice(PATTERNS)}")
        if kind == 6:
            name = chance.choice(("retrieve", "upload"))
            key = chance.choice(("k", "a/b", "..", "/x", "", "a\0b", "é"))
            return framing.to_bytes(f"{name}:{key}\0##TMPDIR##/{chance.choice(FILES[:4])}")
        if kind == 7:
            name = chance.choice([name for name in VARIABLES if name != "bucket"])
            return framing.to_bytes(f"{chance.choice(('set', 'seti'))}:{name}:{chance.choice(VALUES)}")
        if kind == 8 and chance.random() < 0.4:
            return b"reset:"
        if kind == 9 and not self.neighbours:
            return self.connect()
        if kind == 10:
            return framing.to_bytes(f"{chance.choice(NAMES)}{chance.choice(':x ')}") + self.noise()
        return self.mutated(framing.to_bytes(f"echo:{chance.choice(VALUES)}"))

    def exec(self) -> bytes:
        """Returns an `exec:` of a program, with fields that may be of any type."""
        chance = self.chance
        fields: dict[str, Any] = {}
        if chance.random() < 0.9:
            fields["argv" if chance.randrange(2) else "shell"] = None
            fields = {name: chance.choice(ARGV if name == "argv" else SHELL) for name in fields}
        for _ in range(chance.randrange(3)):
            name = chance.choice(FIELDS)
            if name not in ("argv", "shell"):
                fields[name] = chance.choice(JSON_VALUES)
        text = json.dumps(fields)
        cut = chance.randrange(len(text)) if chance.random() < 0.05 else len(text)
        return framing.to_bytes(f"exec:{text[:cut]}")

    def connect(self) -> bytes:
        """Returns a command that connects a state socket to this process, which must accept it."""
        self.send(f"connect:127.0.0.1:{self.neighbour.port}:hello")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self.peer.receive()
            if message is None:
                raise FindingError("the worker ended")
            if message.startswith("OK:CONNECT"):
                self.neighbours.append(self.accepted.get(timeout=PATIENCE))
                break
            if message == "FAIL(already connected)":
                break
        return b"echo:"

    def accept_neighbours(self) -> None:
        """Accepts state sockets in a thread, since a worker that connects by TLS waits for the handshake.

        Returns once the listener is closed.
        """
        with contextlib.suppress(OSError):
            while True:
                self.accepted.put(self.neighbour.accept())

    def speak_as_neighbour(self) -> None:
        """Sends a state message, valid or not, or closes the connection."""
        peer = self.neighbours[-1]
        state = b"STATE(%d):" % self.chance.randrange(5) + zlib.compress(
            bytes(self.chance.randrange(100_000))
        )
        kind = self.chance.randrange(5)
        try:
            if kind == 0:
                peer.send(state)
            elif kind == 1:
                peer.send(self.mutated(state))
            elif kind == 2:
                peer.sock.sendall(self.mutated(framing.encode(state)))
            elif kind == 3:
                peer.send(b"STATE(" + self.noise())
            else:
                self.neighbours.pop().close()
        except OSError:  # the worker has closed the connection
            self.neighbours.pop().close()

    def garbage(self) -> bytes:
        """Returns bytes that are not a frame, or a frame that is cut short."""
        return self.chance.choice(
            (
                b"x" * 13,
                b"00000000000x ",
                b"999999999999 x",
                b"-00000000001 x",
                self.mutated(framing.encode(b"echo:x"))[:-1],
                os.urandom(100),
            )
        )

    def mutated(self, data: bytes) -> bytes:
        """Returns data with a few bytes changed, removed or added; the command's name is kept, so that it stays
        harmless."""
        chance = self.chance
        changed = bytearray(data)
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(changed) + 1)
            kind = chance.randrange(3)
            if kind == 0 and place < len(changed):
                changed[place] = chance.randrange(256)
            elif kind == 1:
                del changed[place : place + chance.randrange(4)]
            else:
                changed[place:place] = chance.randbytes(chance.randrange(4))
        return bytes(changed)

    def noise(self) -> bytes:
        """Returns random bytes."""
        size = self.chance.choice((0, 1, 10, 1000, 200_000))
        return self.chance.randbytes(size).replace(b"/", b"_").replace(b"..", b"__")

    def send(self, *commands: str | bytes) -> None:
        """Sends commands, whole or in pieces."""
        for command in commands:
            data = framing.encode(framing.to_bytes(command))
            self.sent.append(data[:200])
            cut = self.chance.randrange(len(data)) if self.chance.random() < 0.1 else 0
            for piece in (data[:cut], data[cut:]):
                self.send_raw(piece)

    def send_raw(self, data: bytes) -> None:
        """Sends raw bytes on the connection to the worker."""
        self.peer.sock.sendall(data)

    def send_below_tls(self, data: bytes) -> None:
        """Sends, below TLS, bytes that are no TLS record or a broken one."""
        with socket.socket(fileno=os.dup(self.peer.sock.fileno())) as below:
            below.sendall(self.chance.choice((b"", b"\x17\x03\x03\x00\x20", b"\x15\x03\x03\x00\x02")) + data)

    def end(self) -> None:
        """Shuts down our direction of the connection, and reads what the worker still sends."""
        try:
            self.peer.sock.shutdown(1)
            self.peer.rest()
        except (OSError, framing.ProtocolError):
            pass

    def check_end(self, worker: Worker) -> None:
        """Checks that the worker ended without an exception and left no file and no process."""
        worker.result()
        for line in worker.errors.splitlines():
            if not line.startswith("mu worker: "):
                raise FindingError(f"it says: {worker.errors[-2000:]}")
        if left := [path.name for path in self.place.iterdir()]:
            raise FindingError(f"it left {left}")


def memory_of(pid: int) -> int:
    """Returns the bytes of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> int:
    """Runs sessions until the time is over; returns the exit status."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("FUZZ_SEED") or random.getrandbits(32))
    until = time.monotonic() + seconds
    sessions = commands = 0
    while time.monotonic() < until:
        base = Path(tempfile.mkdtemp(prefix="mu-fuzz-"))
        session = Session(random.Random(seed + sessions), base)
        try:
            session.run()
        except Exception as error:
            print(f"seed {seed + sessions}: {type(error).__name__}: {error}")
            for data in session.sent:
                print(f"  {data!r}")
            return 1
        finally:
            shutil.rmtree(base, ignore_errors=True)
        sessions += 1
        commands += session.commands
    print(f"{sessions} workers took {commands} commands")
    return 0


if __name__ == "__main__":
    sys.exit(main())
