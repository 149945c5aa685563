"""Runs invocations: the queue, the fork servers, the logs. It knows nothing of AWS's APIs, HTTP or moto.

One thread owns everything: it starts the fork servers (a child dies with the thread that started it, so that
thread must last), reads and writes their sockets without blocking, and completes the futures. The others only
append to a queue and wake it. A fork server's socket never blocks this thread, and this thread always reads;
so a fork server may block on writing, and the two cannot wait for each other.

An invocation waits until fewer than `concurrency` run, in the order of arrival, and then goes to the fork
server of its function, code and settings, which is started for the first of them. If the system refuses another
process, the limit falls to what is running and the invocation goes back to the head of the queue; with each
invocation that ends the limit rises again. Nothing is dropped before `close`, and nothing is tried twice.
"""

import concurrent.futures
import contextlib
import json
import os
import queue
import re
import selectors
import shutil
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mu.local import invocation
from mu.local.fork_server_handle import ForkServer, Job, Outcome
from mu.local.function_spec import FunctionSpec
from mu.local.unzip import BadPackageError

IDLE_SERVERS = 4  # fork servers kept although they have nothing to do
INIT_SECONDS = 60.0  # how long the import of a handler may take
TAIL_BYTES, TAIL_LINES = 4096, 20
TAILS = 10  # how many of a function's failures are reported one by one, with the end of their log
REQUEST = re.compile(r"RequestId: \S+ (?:Error: )?")


class CancelledError(Exception):
    """The executor was closed before the invocation had ended."""


class Executor:
    """Runs functions' code on this machine.

    `directory` is an existing one for packages and logs, `environment` is given to every function on top of
    its own, `logs` is where the invocations' logs go (`<logs>/<function>/<request id>.log`). `report` is
    called, in another thread, with texts for the user. With `private_tmp` false the workers share the host's
    /tmp, and have a TMPDIR each.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        concurrency: int = 1000,
        logs: Path | None = None,
        report: Callable[[str], None],
        private_tmp: bool = True,
    ) -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._logs = logs or directory / "logs"
        self._report = report
        self._private_tmp = private_tmp
        self._most = self._limit = concurrency
        self._running = 0
        self._incoming: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._servers: dict[tuple[object, ...], ForkServer] = {}
        self._warned: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._untold: Counter[tuple[str, str]] = Counter()  # failures beyond those, by function and message
        self._closing = False
        self._gate = threading.Lock()  # held to queue a job, and to say that no more are taken
        self._selector = selectors.DefaultSelector()
        self._wake, self._wakened = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._wakened, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    def invoke(
        self, function: FunctionSpec, payload: bytes, request_id: str | None = None
    ) -> "concurrent.futures.Future[Outcome]":
        """Queue an invocation; `payload` is JSON. The future fails with CancelledError if `close` comes first."""
        request_id = request_id or str(uuid.uuid4())
        log = self._logs / function.name / f"{request_id}.log"
        job = Job(function, payload, request_id, log, concurrent.futures.Future())
        with self._gate:
            if self._closing:
                job.future.set_exception(CancelledError())
            else:
                self._incoming.put(job)
                self._nudge()
        return job.future

    def close(self) -> None:
        """End all invocations and every process; returns when they are gone."""
        with self._gate:
            if not self._closing:
                self._closing = True
                self._nudge()
        self._thread.join()

    def _nudge(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then it is awake
            self._wake.send(b"x")

    def _run(self) -> None:
        try:
            while not self._closing:
                for key, events in self._selector.select(self._patience()):
                    if key.data is None:
                        self._wakened.recv(4096)
                    else:
                        self._serve(key.data, events)
                while not self._incoming.empty():
                    self._waiting.append(self._incoming.get())
                self._stop_stuck()
                self._start_waiting()
        finally:
            self._stop_all()

    def _serve(self, server: ForkServer, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(server)
        if events & selectors.EVENT_READ:
            heads = server.hear()
            if heads is None:
                self._fail_all(
                    server, _error("Runtime.ExitError", "the function's process ended unexpectedly")
                )
                self._stop(server)
                return
            for head in heads:
                self._handle(server, head)

    def _handle(self, server: ForkServer, head: dict[str, Any]) -> None:
        if "ready" in head:
            server.ready = True
            if head["shared_tmp"]:
                self._warn_once(
                    f"workers share this machine's /tmp: no mount namespace ({head['shared_tmp']})"
                )
            for job in server.jobs.values():
                server.begin(job)
            self._flush(server)
        elif "failed" in head:
            self._fail_all(server, json.dumps(head["failed"]).encode())
            self._stop(server)
        elif "refused" in head:
            self._put_back(server.jobs.pop(head["id"]), head["refused"])
        else:
            self._end(server, server.jobs.pop(head["id"]), head)
            server.idle_since = time.monotonic()

    # Starting

    def _start_waiting(self) -> None:
        while self._waiting and self._running < self._limit:
            job = self._waiting.popleft()
            self._running += 1
            try:
                job.log.parent.mkdir(parents=True, exist_ok=True)
                server = self._server(job.function)
            except (BadPackageError, OSError) as error:
                self._fail(job, _error("Runtime.BadPackage", str(error)))
                continue
            server.jobs[job.request_id] = job
            if server.ready:
                server.begin(job)
                self._flush(server)

    def _server(self, function: FunctionSpec) -> ForkServer:
        key = function.server_key()
        if key not in self._servers:
            self._stop_idle()
            server = ForkServer(function, self._directory, self._environment, private_tmp=self._private_tmp)
            self._servers[key] = server
            self._selector.register(server.control, selectors.EVENT_READ | selectors.EVENT_WRITE, server)
        return self._servers[key]

    def _put_back(self, job: Job, reason: str) -> None:
        """No process could be made for the job."""
        others = self._running - 1
        if others == 0:
            self._fail(job, _error("Runtime.NoProcess", f"no process for the worker: {reason}"))
            return
        self._running = self._limit = others
        self._waiting.appendleft(job)
        self._warn_once(f"the system has no room for more workers at once, they wait: {reason}")

    def _flush(self, server: ForkServer) -> None:
        more = selectors.EVENT_WRITE if server.flush() else 0
        self._selector.modify(server.control, selectors.EVENT_READ | more, server)

    # Ending

    def _end(self, server: ForkServer, job: Job, head: dict[str, Any]) -> None:
        """A worker's process has ended."""
        answer = server.take_result(job)
        timeout = f"Task timed out after {job.function.timeout:.2f} seconds"
        with contextlib.suppress(OSError), job.log.open("a") as log:
            if head["timed_out"]:
                log.write(f"{job.request_id} {timeout}\n")
            log.write(
                f"END RequestId: {job.request_id}\n"
                f"REPORT RequestId: {job.request_id}\tDuration: {head['seconds'] * 1000:.2f} ms\t"
                f"Memory Size: {job.function.memory_mb} MB\tMax Memory Used: {head['peak_kb'] // 1024} MB\n"
            )
        if head["timed_out"]:
            self._fail(job, _error("Sandbox.Timedout", f"RequestId: {job.request_id} Error: {timeout}"))
        elif head["code"] != 0 or not answer:
            self._fail(job, invocation.ended_badly(job.request_id, head["code"]))
        elif answer.startswith(invocation.ERROR):
            self._fail(job, answer[1:])
        else:
            self._complete(job, Outcome(job.request_id, answer[1:], False, job.log))

    def _fail(self, job: Job, error: bytes) -> None:
        message = json.loads(error)["errorMessage"]
        name = job.function.name
        self._failures[name] += 1
        if self._failures[name] <= TAILS:
            self._report(f"{name} failed: {message}\n  request {job.request_id}{_tail(job.log)}")
        else:
            self._untold[name, REQUEST.sub("", message)] += 1
        self._complete(job, Outcome(job.request_id, error, True, job.log))

    def _fail_all(self, server: ForkServer, error: bytes) -> None:
        """Fail the jobs of a fork server that cannot go on. They are told once: they have failed as one."""
        jobs = list(server.jobs.values())
        server.jobs.clear()
        if jobs:
            message = json.loads(error)["errorMessage"]
            count = f"{len(jobs)} invocation{'s' if len(jobs) > 1 else ''}"
            self._report(f"{jobs[0].function.name} failed: {message}\n  {count}{_tail(server.log)}")
        for job in jobs:
            with contextlib.suppress(OSError):
                shutil.copyfile(server.log, job.log)
            self._complete(job, Outcome(job.request_id, error, True, job.log))

    def _complete(self, job: Job, outcome: Outcome) -> None:
        self._running -= 1
        self._limit = min(self._most, self._limit + 1)
        if not self._running:
            self._tell_untold()
        job.future.set_result(outcome)

    def _tell_untold(self) -> None:
        for (name, message), count in self._untold.items():
            self._report(f"{name} failed {count} times more: {message}")
        self._untold.clear()

    def _stop_stuck(self) -> None:
        for server in list(self._servers.values()):
            if not server.ready and time.monotonic() >= server.started + INIT_SECONDS:
                message = f"the import of the handler took over {INIT_SECONDS:.0f} seconds"
                self._fail_all(server, _error("Runtime.InitTimeout", message))
                self._stop(server)

    def _stop_idle(self) -> None:
        idle = sorted((s for s in self._servers.values() if not s.jobs), key=lambda s: s.idle_since)
        for server in idle[: max(0, len(idle) - IDLE_SERVERS + 1)]:
            self._stop(server)

    def _stop(self, server: ForkServer) -> None:
        self._servers = {key: other for key, other in self._servers.items() if other is not server}
        self._selector.unregister(server.control)
        server.close()
        server.wait()

    def _stop_all(self) -> None:
        with self._gate:
            self._closing = True
        self._tell_untold()
        for server in self._servers.values():
            server.close()
        jobs = [job for server in self._servers.values() for job in server.jobs.values()]
        for server in self._servers.values():
            server.wait()
        while not self._incoming.empty():
            self._waiting.append(self._incoming.get())
        for job in (*jobs, *self._waiting):
            job.future.set_exception(CancelledError())
        self._selector.close()
        self._wake.close()
        self._wakened.close()

    def _patience(self) -> float | None:
        """Seconds until a fork server counts as stuck."""
        starting = [server.started for server in self._servers.values() if not server.ready]
        return max(0.0, min(starting) + INIT_SECONDS - time.monotonic()) if starting else None

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._report(f"warning: {text}")


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": kind}).encode()


def _tail(log: Path) -> str:
    """The last lines of a log, each on a line of its own, or ""; bytes that are not text are shown as escapes."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="backslashreplace").splitlines()
    except OSError:
        return ""
    return "".join(f"\n  | {line}" for line in lines[-TAIL_LINES:])
