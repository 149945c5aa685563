"""The executor's side of a fork server (fork_server.py): its process, its socket, its directory, its jobs.

The directory holds the unpacked package, the output of the handler's import, and each invocation's result until it is
read.
"""

import concurrent.futures
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mu.local import messages
from mu.local.account import Event, EventConfig
from mu.local.function_spec import FunctionSpec
from mu.local.unzip import unpack

PROGRAM = Path(__file__).with_name("fork_server.py")
STOP_SECONDS = 5.0  # seconds that a fork server has for ending by itself


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended. `payload` is the JSON of the result, or of the error if `failed`."""

    request_id: str
    payload: bytes = field(repr=False)
    failed: bool
    log: Path


@dataclass(eq=False)
class Job:
    """An invocation: `log` is the file for its output, `event` its settings in the queue if it is an asynchronous
    one, and `queued` its entry there."""

    function: FunctionSpec
    payload: bytes = field(repr=False)
    request_id: str
    log: Path
    future: "concurrent.futures.Future[Outcome]"
    event: EventConfig | None = None
    queued: "Event[Job] | None" = None


class ForkServer:
    """A fork server, which the constructor starts in `parent`, a directory. The calling thread must outlive it.

    Raises BadPackageError if the function's code cannot be unpacked.
    """

    def __init__(
        self,
        function: FunctionSpec,
        parent: Path,
        environment: Mapping[str, str],
        *,
        private_tmp: bool,
        memory_limit: bool,
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self.ready = False
        self.started = time.monotonic()
        self.idle_since = self.started
        self.directory = Path(tempfile.mkdtemp(prefix=f"{function.name}-", dir=parent)).resolve()
        self.log = self.directory / "init.log"
        self._input, self._output = bytearray(), bytearray()
        try:
            package = self.directory / "package"
            package.mkdir()
            unpack(function.code, package)
            self._spawn({**function.lambda_environment(str(package)), **environment})
        except BaseException:
            shutil.rmtree(self.directory)
            raise
        self._output += messages.pack(
            {
                "name": function.name,
                "version": function.version,
                "handler": function.handler,
                "memory_mb": function.memory_mb,
                "tmp_mb": function.tmp_mb,
                "directory": str(self.directory),
                "package": str(package),
                "libraries": _libraries(),
                "private_tmp": private_tmp,
                "memory_limit": memory_limit,
            }
        )

    def _spawn(self, environment: Mapping[str, str]) -> None:
        self.control, theirs = socket.socketpair()
        self.control.setblocking(False)
        with theirs, self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-u", str(PROGRAM), str(theirs.fileno())],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def begin(self, job: Job) -> None:
        """Queues the message by which a worker is forked for the job."""
        head = {
            "id": job.request_id,
            "timeout": job.function.timeout,
            "arn": job.function.arn,
            "log": str(job.log.absolute()),
        }
        self._output += messages.pack(head, job.payload)

    def flush(self) -> bool:
        """Writes as much as possible; returns whether something is left."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._output:
                sent = self.control.send(memoryview(self._output)[: 1 << 20])
                del self._output[:sent]
        return bool(self._output)

    def hear(self) -> list[dict[str, Any]] | None:
        """Returns the messages that have arrived, or None if the fork server has ended or will end."""
        try:
            data = self.control.recv(1 << 16)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        if not data:
            return None
        self._input += data
        return [head for head, _ in messages.take(self._input)]

    def take_result(self, job: Job) -> bytes:
        """Returns what the job's worker wrote as its result, b"" if nothing, and removes the file."""
        shutil.rmtree(self.directory / f"{job.request_id}.tmp", ignore_errors=True)
        file = self.directory / f"{job.request_id}.result"
        try:
            answer = file.read_bytes()
        except FileNotFoundError:
            return b""
        file.unlink()
        return answer

    def close(self) -> None:
        """Lets the fork server end."""
        self.control.close()

    def wait(self) -> None:
        """Waits, after `close`, until it has ended, and removes its directory. One that is still importing is
        killed."""
        if not (self.ready and self._ended()) and not (self._kill_inner() and self._ended()):
            # Also kills a child of it that is too new to be killed with its parent.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ended(self) -> bool:
        """Returns whether it ends soon."""
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _kill_inner(self) -> bool:
        """Kills the process's children; usually that is the real fork server, the first process of a PID namespace.

        The process itself ends when all of that namespace have ended. Returns whether there were any children.
        """
        children: list[str] = []
        with contextlib.suppress(OSError):
            pid = self.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)
        return bool(children)


def _libraries() -> list[str]:
    """Returns where workers find boto3, if that is not in the interpreter's own directories."""
    spec = importlib.util.find_spec("boto3")
    return [str(Path(spec.origin).parents[1])] if spec and spec.origin else []
