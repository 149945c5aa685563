"""Runs invocations: the account's limits, the queue, the fork servers, the logs. It does not know HTTP or moto.

One thread owns everything: it starts the fork servers (a child is killed with the thread that started it, so that
thread must last), reads and writes their sockets without blocking, and completes the futures. Other threads only
append to a queue and wake it. This thread never blocks on a fork server's socket and always reads; so a fork server
may block on writing without a deadlock.

Which invocations may run, and when events are retried, is decided by the model in account.py, on a clock that may be
faster than real time. An admitted invocation goes to the fork server of its function, code and settings, which is
started for the first of them. If the system refuses to make another process, only as many invocations as are running
may run until some have ended, and the refused one goes back to the head of the queue; with each that ends one more
may run.

An error of a job or of a fork server fails that job, or that server's jobs, and is reported. Any other error fails
all jobs and is reported, and the thread goes on; after `FAULTS` of these it ends, and fails all later jobs.
"""

import concurrent.futures
import contextlib
import json
import queue
import selectors
import shutil
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from mu.errors import describe
from mu.local import outcomes
from mu.local.account import Account, EventConfig, EventQueue
from mu.local.failure_reports import FailureReports
from mu.local.fork_server_handle import ForkServer, Job, Outcome
from mu.local.function_spec import FunctionSpec
from mu.local.outcomes import CancelledError, DroppedError, ThrottledError
from mu.local.unzip import BadPackageError

IDLE_SERVERS = 4  # idle fork servers that are kept
INIT_SECONDS = 60.0  # seconds that the import of a handler may take
FAULTS = 10  # internal errors in the executor's thread after which it gives up
PROCESSES = 1 << 30  # more than any system has


class Executor:
    """Runs functions' code on this machine.

    `directory` is an existing directory for packages and logs; `environment` is added to every function's own; `logs`
    is the directory of the invocations' logs (`<logs>/<function>/<request id>.log`). `account` holds the limits; its
    time is `clock` (seconds) times `clock_rate`. `report` is called, in another thread, with texts for the user. With
    `private_tmp` false the workers share the host's /tmp, and have a TMPDIR each. With `memory_limit`, a process of a
    function that uses more than its memory is killed. `programs` are the only ones on the functions' PATH.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        account: Account | None = None,
        clock_rate: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        logs: Path | None = None,
        report: Callable[[str], None],
        private_tmp: bool = True,
        memory_limit: bool = True,
        programs: Collection[str] | None = None,
    ) -> None:
        self._directory = directory
        self._environment = dict(environment)
        if programs is not None:
            self._environment["PATH"] = str(_only(programs, directory / "bin"))
        self._logs = logs or directory / "logs"
        self._reports = FailureReports(report)
        self._settings = {"private_tmp": private_tmp, "memory_limit": memory_limit}
        self.account = account or Account()
        self._clock, self._clock_rate = clock, clock_rate
        self._limit = PROCESSES
        self._running = 0
        self._incoming: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._events: EventQueue[Job] = EventQueue(self.account)
        self._waiting: deque[Job] = deque()  # jobs that are admitted and have no process yet
        self._servers: dict[tuple[object, ...], ForkServer] = {}
        self._faults = 0
        self._closing = False
        self._gate = threading.Lock()  # held to queue a job, and to stop accepting jobs
        self._selector = selectors.DefaultSelector()
        self._wake, self._wakened = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._wakened, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    def invoke(
        self,
        function: FunctionSpec,
        payload: bytes,
        request_id: str | None = None,
        event: EventConfig | None = None,
    ) -> "concurrent.futures.Future[Outcome]":
        """Runs a function; `payload` is JSON.

        Without `event` it runs at once or not at all: the future fails with ThrottledError if the account's limits do
        not permit it. With `event` it is queued and retried: the future has the last outcome, or DroppedError. It
        fails with CancelledError if `close` comes first.
        """
        request_id = request_id or str(uuid.uuid4())
        log = self._logs / function.name / f"{request_id}.log"
        job = Job(function, payload, request_id, log, concurrent.futures.Future(), event)
        with self._gate:
            if self._closing:
                job.future.set_exception(CancelledError())
            else:
                self._incoming.put(job)
                self._nudge()
        return job.future

    def close(self) -> None:
        """Ends all invocations and every process; returns when they are gone."""
        with self._gate:
            if not self._closing:
                self._closing = True
                self._nudge()
        self._thread.join()

    def _nudge(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then the thread is awake anyway
            self._wake.send(b"x")

    def _run(self) -> None:
        try:
            while not self._closing:
                try:
                    self._turn()
                except Exception as error:  # an internal error: the callers get it, and the thread goes on
                    self._faults += 1
                    self._fail_everything(error)
                    if self._faults >= FAULTS:
                        return
        finally:
            self._stop_all()

    def _turn(self) -> None:
        for key, events in self._selector.select(self._patience()):
            if key.data is None:
                self._wakened.recv(4096)
            else:
                self._serve(key.data, events)
        while not self._incoming.empty():
            self._accept(self._incoming.get())
        for event, admitted in self._events.take(self._now()):
            job = event.item
            job.queued = event
            if admitted:
                self._waiting.append(job)
            else:
                self._reports.dropped(job.function.name)
                if not self._running and not self._events:
                    self._reports.tell_untold()
                job.future.set_exception(DroppedError())
        self._stop_stuck()
        self._start_waiting()

    def _now(self) -> float:
        """Returns the account's time."""
        return self._clock() * self._clock_rate

    def _accept(self, job: Job) -> None:
        place = job.function.region, job.function.name
        if job.event is not None:
            self._events.put(job, place, job.event, self._now())
            return
        refused = self.account.admit(place, self._now())
        if refused:
            job.future.set_exception(ThrottledError(refused))
        else:
            self._waiting.append(job)

    def _serve(self, server: ForkServer, events: int) -> None:
        """Reads and writes a fork server's socket; any error ends that server and its jobs."""
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(server)
            if events & selectors.EVENT_READ:
                heads = server.hear()
                if heads is None:
                    raise EOFError("the function's process ended unexpectedly")
                for head in heads:
                    self._handle(server, head)
        except Exception as error:
            message = str(error) if isinstance(error, EOFError) else f"the local engine: {describe(error)}"
            self._fail_all(server, outcomes.error("Runtime.ExitError", message))
            self._stop(server)

    def _handle(self, server: ForkServer, head: dict[str, Any]) -> None:
        if "ready" in head:
            server.ready = True
            if head["shared_tmp"]:
                self._reports.warn_once(
                    f"workers share this machine's /tmp: no mount namespace ({head['shared_tmp']})"
                )
            for job in server.jobs.values():
                server.begin(job)
            self._flush(server)
        elif "failed" in head:
            self._fail_all(server, json.dumps(head["failed"]).encode())
            self._stop(server)
        elif "killed" in head:
            function = server.jobs[head["id"]].function
            self._reports.warn_once(
                f"{function.name}: a program was killed, {function.memory_mb} MB of memory were used up "
                "(--no-memory-limit turns this off)"
            )
        elif "refused" in head:
            self._put_back(server.jobs.pop(head["id"]), head["refused"])
        else:
            self._end(server, server.jobs[head["id"]], head)
            server.idle_since = time.monotonic()

    # Starting jobs

    def _start_waiting(self) -> None:
        while self._waiting and self._running < self._limit:
            job = self._waiting.popleft()
            self._running += 1
            try:
                job.log.parent.mkdir(parents=True, exist_ok=True)
                server = self._server(job.function)
            except Exception as error:  # an error caused by a package must fail only its own job
                kind = (
                    "Runtime.BadPackage"
                    if isinstance(error, (BadPackageError, OSError))
                    else "Runtime.Unknown"
                )
                self._fail(job, outcomes.error(kind, str(error) or describe(error)))
                continue
            server.jobs[job.request_id] = job
            if server.ready:
                server.begin(job)
                self._flush(server)

    def _server(self, function: FunctionSpec) -> ForkServer:
        key = function.server_key()
        if key not in self._servers:
            self._stop_idle()
            server = ForkServer(function, self._directory, self._environment, **self._settings)
            self._servers[key] = server
            self._selector.register(server.control, selectors.EVENT_READ | selectors.EVENT_WRITE, server)
        return self._servers[key]

    def _put_back(self, job: Job, reason: str) -> None:
        """Puts a job back for which no process could be made."""
        others = self._running - 1
        if others == 0:
            self._fail(job, outcomes.error("Runtime.NoProcess", f"no process for the worker: {reason}"))
            return
        self._running = self._limit = others
        self._waiting.appendleft(job)
        self._reports.warn_once(f"the system has no room for more workers at once, they wait: {reason}")

    def _flush(self, server: ForkServer) -> None:
        more = selectors.EVENT_WRITE if server.flush() else 0
        self._selector.modify(server.control, selectors.EVENT_READ | more, server)

    # Ending jobs

    def _end(self, server: ForkServer, job: Job, head: dict[str, Any]) -> None:
        """Completes the job of a worker whose process has ended."""
        answer = server.take_result(job)
        outcomes.write_end(job, head)
        failed, document = outcomes.of_process(job, head, answer)
        del server.jobs[job.request_id]  # only now, so that after an exception `_serve` fails this job, too
        if failed:
            self._fail(job, document)
        else:
            self._complete(job, Outcome(job.request_id, document, False, job.log))

    def _fail(self, job: Job, error: bytes) -> None:
        self._reports.failed(job.function.name, error, job.request_id, job.log)
        self._complete(job, Outcome(job.request_id, error, True, job.log))

    def _fail_all(self, server: ForkServer, error: bytes) -> None:
        """Fails the jobs of a fork server that cannot go on; they are reported once."""
        jobs = list(server.jobs.values())
        server.jobs.clear()
        if jobs:
            self._reports.failed_together(jobs[0].function.name, error, len(jobs), server.log)
        for job in jobs:
            with contextlib.suppress(OSError):
                shutil.copyfile(server.log, job.log)
            self._complete(job, Outcome(job.request_id, error, True, job.log))

    def _fail_everything(self, error: Exception) -> None:
        """Fails all running and ready jobs after an internal error, and ends all fork servers."""
        document = outcomes.error("ServiceException", f"the local engine: {describe(error)}")
        with contextlib.suppress(Exception):
            self._reports.report(f"an error of the engine itself ends all invocations: {describe(error)}")
        for server in list(self._servers.values()):
            with contextlib.suppress(Exception):
                self._fail_all(server, document)
            self._stop(server)
        while self._waiting:
            job = self._waiting.popleft()
            self._running += 1
            self._complete(job, Outcome(job.request_id, document, True, job.log))

    def _complete(self, job: Job, outcome: Outcome) -> None:
        self._running -= 1
        self._limit = min(PROCESSES, self._limit + 1)
        if not self._running:
            self._reports.tell_untold()
        self.account.free((job.function.region, job.function.name))
        again = job.queued is not None and outcome.failed and self._events.retry(job.queued, self._now())
        if not again:
            job.future.set_result(outcome)

    def _stop_stuck(self) -> None:
        for server in list(self._servers.values()):
            if not server.ready and time.monotonic() >= server.started + INIT_SECONDS:
                message = f"the import of the handler took over {INIT_SECONDS:.0f} seconds"
                self._fail_all(server, outcomes.error("Runtime.InitTimeout", message))
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
        with contextlib.suppress(Exception):
            self._reports.tell_untold()
        for server in self._servers.values():
            server.close()
        jobs = [job for server in self._servers.values() for job in server.jobs.values()]
        for server in self._servers.values():
            server.wait()
        while not self._incoming.empty():
            self._waiting.append(self._incoming.get())
        for job in (*jobs, *self._waiting, *self._events.clear()):
            if not job.future.done():
                job.future.set_exception(CancelledError())
        self._selector.close()
        self._wake.close()
        self._wakened.close()

    def _patience(self) -> float | None:
        """Returns the seconds until a fork server counts as stuck, or an event is due."""
        starting = [server.started for server in self._servers.values() if not server.ready]
        waits = [min(starting) + INIT_SECONDS - time.monotonic()] if starting else []
        turn = self._events.next_turn()
        if turn is not None:
            waits.append((turn - self._now()) / self._clock_rate)
        return max(0.0, min(waits)) if waits else None


def _only(programs: Collection[str], directory: Path) -> Path:
    """Returns a new directory of links to those of the programs that this machine has."""
    directory.mkdir()
    for name in programs:
        found = shutil.which(name)
        if found:
            (directory / name).symlink_to(found)
    return directory
