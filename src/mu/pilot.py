"""The pilot: the process that an engine starts on a machine to fork workers there (`python3 -m mu.pilot`).

    engine --stdin--> pilot --fork--> worker, worker, worker ...
    engine <--stdout--

A worker that is forked from a process in which everything is imported starts in a few milliseconds. The engine sends
lines of JSON: {"event": ..., "package": DIRECTORY or null} first, then {"start": [ID, ...]}, and {"stop": SECONDS},
which the end of the input also means. The pilot answers {"ready": facts} once, and for each worker that has ended or
could not be started {"ended": ID, "status": ..., "said": its last line}; after SIGTERM it says {"draining": true}. The
event comes on stdin because it holds the job's keys, and other users can read command lines and environments.

`--event FILE` runs one worker in this process instead, for systems that start each worker themselves; `--number` is
its ID.

After SIGTERM no more parts are taken: a worker finishes its present part, and ends. A second SIGTERM ends it at once.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Optional

from mu import worker
from mu.errors import one_line
from mu.wire.protocol import FILE_BUCKET

LINGER = 1.0  # seconds that workers have for quitting when the engine is gone
HOOK_TIMEOUT = 5.0  # seconds that a connection may be silent
HOOK_PAUSE = 0.05  # seconds between looks whether a hook has brought the event
LOG_TAIL = 4096  # bytes at the end of a worker's log in which its last line is searched
MAX_LINE = 8 << 20  # bytes of one line from the engine, which holds an event
# Signals by which the pilot tells its workers to take no more parts, and to end at once. It does not pass SIGTERM on,
# since the system may send SIGTERM to all processes, and a worker's second one ends it.
DRAIN, END = signal.SIGUSR1, signal.SIGHUP

Handler = Callable[[Mapping[str, Any], Any], Any]


class Context:
    """The context that a worker gets, as from Lambda. `end`: when it will be killed, in seconds since the epoch."""

    def __init__(self, name: str, end: Optional[float] = None) -> None:  # noqa: UP045  of Python 3.9
        self.aws_request_id = name
        self.draining = False
        self._terminated = False
        if end is not None:
            until = time.monotonic() + end - time.time()
            self.get_remaining_time_in_millis = lambda: int(max(0.0, until - time.monotonic()) * 1000)

    def drain(self, *_: object) -> None:
        """Lets the worker take no more parts; handles a signal."""
        self.draining = True

    def terminate(self, number: int, _: object) -> None:
        """Handles SIGTERM: at the first one the worker takes no more parts, the second one ends it at once."""
        if self._terminated:
            sys.exit(128 + number)
        self._terminated = self.draining = True


def handler_of(package: Optional[str]) -> Handler:  # noqa: UP045
    """Returns the worker of a package, with its command, or one without a package. Changes to the package's
    directory."""
    if not package:
        return lambda event, context: worker.lambda_handler("", event, context)
    os.chdir(package)
    sys.path.insert(0, package)
    handler: Handler = importlib.import_module("lambda_function").lambda_handler
    return handler


class Pilot:
    """Forks workers when the engine asks for them."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.handler: Optional[Handler] = None  # noqa: UP045
        self.event: Mapping[str, Any] = {}
        self.end: Optional[float] = None  # noqa: UP045
        self.workers: dict[int, tuple[str, int]] = {}  # process → its ID, and the descriptor of its log
        self.draining = False
        self.remove = ""  # a package's directory that is removed at the end

    def serve(self) -> None:
        """Obeys the engine until it stops us or is gone, and then waits until the workers have ended."""
        wake, wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the engine, which then stops us
        signal.signal(signal.SIGTERM, self.drain)
        poll = select.poll()
        poll.register(self.source, select.POLLIN)
        poll.register(wake, select.POLLIN)
        buffer = bytearray()
        patience = LINGER
        stopped = told = False
        while not stopped and not (self.draining and not self.workers):
            ready = [descriptor for descriptor, _ in poll.poll()]
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            if self.draining and not told:
                told = True
                self.tell({"draining": True})
            if self.source in ready:
                data = os.read(self.source, 1 << 16)
                buffer += data
                stopped = not data or len(buffer) > MAX_LINE
                while not stopped and (found := buffer.find(b"\n")) >= 0:
                    line = bytes(buffer[:found])
                    del buffer[: found + 1]
                    seconds = self.obey(line)
                    if seconds is not None:
                        patience, stopped = seconds, True
            self.reap()
        self.finish(time.monotonic() + patience, poll, wake)

    def finish(self, until: float, poll: select.poll, wake: int) -> None:
        """Waits until all workers have ended; kills those that are still running at `until`."""
        with contextlib.suppress(KeyError):
            poll.unregister(self.source)
        self.signal_workers(DRAIN)  # those that are still connecting try no longer
        self.await_workers(until, poll, wake)
        self.signal_workers(END)  # they end with all that they have started
        self.await_workers(time.monotonic() + LINGER, poll, wake)
        for process in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
        if self.remove:
            import shutil

            shutil.rmtree(self.remove, ignore_errors=True)

    def obey(self, line: bytes) -> Optional[float]:  # noqa: UP045
        """Obeys one line; returns how long (seconds) to wait for workers if it means stop."""
        import json

        order = json.loads(line)
        if "event" in order:
            self.event, self.end = order["event"], order.get("end")
            if not str(self.event.get("bucket") or "").startswith(FILE_BUCKET):
                warm_s3(self.event)
            package = order.get("package")
            self.remove = package if order.get("remove") else ""
            if order.get("cached"):  # its directory is beside that of this module's package
                package = os.path.join(os.path.dirname(sys.path[0]), order["cached"])
            self.handler = handler_of(package)
            worker.prepare(self.event)
            # What is loaded now stays. So neither workers, which share its memory, nor the end of this process look for
            # cycles of objects in it.
            gc.freeze()
            self.tell({"ready": facts()})
        for name in order.get("start", ()):
            self.start(str(name))
        return order.get("stop")  # type: ignore[no-any-return]

    def start(self, name: str) -> None:
        """Forks a worker, unless no more parts are to be taken; returns in this process only."""
        if self.draining:
            self.tell({"ended": name, "status": 1, "said": "its pilot takes no more parts"})
            return
        log = os.memfd_create("log", os.MFD_CLOEXEC)
        # Held back until the worker has its own handlers, and this process knows the worker.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, DRAIN, END))
        try:
            process = os.fork()
        except OSError as error:
            os.close(log)
            self.tell({"ended": name, "status": 1, "said": f"cannot make a process: {error.strerror}"})
            process = -1
        if process > 0:
            self.workers[process] = (name, log)
        if process:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            return
        status = 1
        try:
            self.be_worker(name, log, blocked)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def be_worker(self, name: str, log: int, blocked: Set[int]) -> None:
        """Runs a worker from start to end, in its own process, with these signals blocked."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # programs would ignore it, too
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, replacement in ((0, nothing), (1, log), (2, log)):
            os.dup2(replacement, descriptor)
        for descriptor in (self.source, self.target):
            if descriptor > 2:
                os.close(descriptor)
        assert self.handler is not None
        context = Context(name, self.end)
        context.draining = self.draining
        signal.signal(signal.SIGTERM, context.terminate)
        signal.signal(DRAIN, context.drain)
        signal.signal(END, lambda *_: sys.exit(128 + END))
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.handler(self.event, context)

    def await_workers(self, until: float, poll: select.poll, wake: int) -> None:
        """Waits until all workers have ended, or until a time of the monotonic clock."""
        while self.workers and (left := until - time.monotonic()) > 0:
            poll.poll(left * 1000)
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            self.reap()

    def reap(self) -> None:
        """Reports the workers that have ended to the engine."""
        while self.workers:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            process = found.si_pid
            name, log = self.workers.pop(process, ("", -1))
            if log >= 0:  # kill the rest of its group while the zombie still holds the number
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            if log >= 0:
                said = last_words(log)
                os.close(log)
                self.tell({"ended": name, "status": os.waitstatus_to_exitcode(status), "said": said})

    def drain(self, *_: object) -> None:
        """Handles SIGTERM: the workers take no more parts, at the second one they end at once."""
        number = END if self.draining else DRAIN
        self.draining = True
        self.signal_workers(number)

    def signal_workers(self, number: int) -> None:
        """Sends all workers a signal."""
        for process in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Writes a line to the engine, if it still reads."""
        import json

        data = json.dumps(message).encode() + b"\n"
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self.target, data) :]


def last_words(log: int) -> str:
    """Returns the last line of a worker's log."""
    size = os.fstat(log).st_size
    text = os.pread(log, LOG_TAIL, max(0, size - LOG_TAIL)).decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(lines[-1]).replace("mu worker: ", "", 1) if lines else ""


def warm_s3(event: Mapping[str, Any]) -> None:
    """Imports boto3 if workers will need it: once here, rather than in each of them."""
    if event.get("bucket"):
        with contextlib.suppress(ImportError):
            import boto3  # noqa: F401


def facts() -> dict[str, Any]:
    """Returns facts about this machine for the engine."""
    return {"cpus": len(os.sched_getaffinity(0)), "machine": os.uname().machine, "host": os.uname().nodename}


def time_left(text: str) -> Optional[float]:  # noqa: UP045
    """Returns seconds from Slurm's text for a job's remaining time, such as 1-02:03:04; None for no limit."""
    days, _, rest = text.strip().rpartition("-")
    fields = rest.split(":")
    if not 2 <= len(fields) <= 3 or not all(field.isdigit() for field in (*fields, days or "0")):
        return None
    seconds = 0
    for field in fields:
        seconds = 60 * seconds + int(field)
    return 86400.0 * int(days or 0) + seconds


def slurm_end() -> Optional[float]:  # noqa: UP045
    """Returns when Slurm will end this job (seconds since the epoch); newer versions tell it, older ones are asked."""
    told = os.environ.get("SLURM_JOB_END_TIME", "")
    if told.isdigit():
        return float(told)
    import subprocess

    command = ["squeue", "--noheader", "--format=%L", "--jobs", os.environ.get("SLURM_JOB_ID", "")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    left = time_left(done.stdout)
    return None if left is None else time.time() + left


def once(path: str, name: str, package: Optional[str], end: Optional[float]) -> int:  # noqa: UP045
    """Runs one worker in this process; returns the exit status."""
    import json

    with open(path, encoding="utf-8") as file:
        event = json.load(file)
    context = Context(name, end)
    signal.signal(signal.SIGTERM, context.terminate)
    said = handler_of(package)(event, context)
    return int(str(said).startswith("FAIL("))


def hooks(port: int, package: Optional[str]) -> int:  # noqa: UP045
    """Runs one worker when the service that runs this machine asks for it: Lambda MicroVMs call hooks over HTTP.

    The hook whose path ends in `/run` brings {"event", "name"}, as its body or as its `runHookPayload`. All other
    hooks only check that we answer, and get status 200.
    """
    import http.server
    import json

    handler = handler_of(package)
    told: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        timeout = HOOK_TIMEOUT

        def do_POST(self) -> None:
            status, found = 200, None
            if self.path.rstrip("/").endswith("/run") and not told:
                try:
                    body = json.loads(
                        self.rfile.read(min(MAX_LINE, int(self.headers.get("Content-Length") or 0)))
                    )
                    payload = body.get("runHookPayload", body)
                    payload = json.loads(payload) if isinstance(payload, str) else payload
                    found = {"event": payload["event"], "name": str(payload["name"])}
                except (ValueError, KeyError, AttributeError, TypeError):
                    status = 400
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            if found:  # last, as then no more hooks are answered
                told.append(found)

        def log_message(self, *_: object) -> None:
            """Logs nothing, because the event holds keys."""

    with http.server.ThreadingHTTPServer(("", port), Hook) as server:
        server.timeout = HOOK_PAUSE
        sys.stderr.write(f"mu pilot: waiting for a hook on port {server.server_address[1]}\n")
        sys.stderr.flush()
        while not told:
            server.handle_request()
    context = Context(told[0]["name"])
    signal.signal(signal.SIGTERM, context.terminate)
    return int(str(handler(told[0]["event"], context)).startswith("FAIL("))


def main(arguments: Sequence[str]) -> int:
    """The command line; without arguments it obeys an engine on stdin."""
    import argparse

    parser = argparse.ArgumentParser(prog="mu.pilot")
    parser.add_argument("--event", default="")
    parser.add_argument("--number", default="0")
    parser.add_argument("--package", default="")
    parser.add_argument("--end", type=float)
    parser.add_argument("--slurm", action="store_true")
    parser.add_argument("--hooks", type=int, metavar="PORT")
    given = parser.parse_args(arguments)
    if given.hooks is not None:
        return hooks(given.hooks, given.package)
    if given.event:
        return once(given.event, given.number, given.package, slurm_end() if given.slurm else given.end)
    target = os.dup(1)
    os.set_inheritable(target, False)
    os.dup2(2, 1)  # output of a package's import must not reach the engine
    Pilot(0, target).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
