"""The process that a function's workers are forked from; the executor runs it as a script, by path.

    engine --socket--> fork server --fork--> worker, worker, worker ...

It unshares namespaces (sandbox.py), imports boto3 and the handler's module once, and then forks a worker for each
request. So a worker starts with everything imported, and shares those pages with all others. Nothing of the engine is
in this process: it is started with `python -I` and an environment of its own, its sys.path begins with the function's
package, and the four files beside it that it needs are loaded by path. So `import mu` in a worker finds the `mu` of
the package, or none.

Messages (messages.py) go both ways. The first message from the engine has the settings; once this process is ready,
each further one, {"id", "timeout", "arn", "log"} with the payload as its body, is an invocation. This process sends
{"ready": ...} or {"failed": error} once, then {"id", "code", "timed_out", "out_of_memory", "seconds", "peak_kb"} for
each invocation, or {"id", "refused": reason} if no process could be made, and {"id", "killed": True} when a program
was killed because of its memory. The worker writes its result to a file, since a result may be 6 MB, and this loop
must serve a thousand other workers.

The loop is single-threaded, which is required for safe forking: it waits for the socket, for SIGCHLD (through a
wake-up descriptor) and for the nearest deadline. A worker leads a process group of its own, which is killed when the
worker ends or its time is over. A process that has left the group becomes an orphan: it is this process's child, and
its mount namespace belongs to no living worker. When the socket is closed, or the engine dies, all processes are
killed.
"""

import contextlib
import gc
import importlib.util
import os
import resource
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mu.local import invocation, memory, messages, sandbox
else:

    def _beside(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(
            f"_fork_server_{name}", Path(__file__).with_name(f"{name}.py")
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look up their module
        spec.loader.exec_module(module)
        return module

    messages, invocation = _beside("messages"), _beside("invocation")
    sandbox, memory = _beside("sandbox"), _beside("memory")

OPEN_FILES = 1024  # a worker's limit of open files, as on Lambda


@dataclass
class Worker:
    """A running invocation."""

    id: str
    started: float
    deadline: float
    timed_out: bool = False
    out_of_memory: bool = False


class Server:
    """The loop, and the state of its workers."""

    def __init__(
        self,
        control: socket.socket,
        settings: dict[str, Any],
        handler: invocation.Handler,
        shown: list[str] | None,
    ) -> None:
        self.control = control
        self.settings = settings
        self.handler = handler
        self.shown = shown
        self.directory = os.open(settings["directory"], os.O_PATH | os.O_CLOEXEC)
        self.workers: dict[int, Worker] = {}
        self.buffer = bytearray()
        self.next_look = 0.0  # when memory is checked next, by the monotonic clock

    def serve(self) -> None:
        """Runs invocations until the engine closes the socket."""
        wake, wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # in case the handler's module has blocked signals
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while True:
            running = (worker.deadline for worker in self.workers.values() if not worker.timed_out)
            nearest = min(running, default=None)
            if nearest is not None and self.settings["memory_limit"]:
                nearest = min(nearest, self.next_look)
            wait = None if nearest is None else max(0.0, (nearest - time.monotonic()) * 1000 + 1)
            ready = {descriptor for descriptor, _ in poll.poll(wait)}
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                self.reap()
            if self.control.fileno() in ready:
                data = self.control.recv(1 << 18)
                if not data:
                    return
                self.buffer += data
                for head, body in messages.take(self.buffer):
                    self.start(head, body)
            self.kill_late()
            if self.settings["memory_limit"] and time.monotonic() >= self.next_look:
                self.kill_large()
                pause = memory.LOOK_AT_LEAST + memory.LOOK_PER_WORKER * len(self.workers)
                self.next_look = time.monotonic() + pause

    def start(self, head: dict[str, Any], payload: bytes) -> None:
        """Forks a worker; returns in the fork server only."""
        now = time.monotonic()
        worker = Worker(head["id"], now, now + head["timeout"])
        try:
            pid = os.fork()
        except OSError as error:
            send(self.control, {"id": worker.id, "refused": error.strerror})
            return
        if pid == 0:
            try:
                work(self, worker, head, payload)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        self.workers[pid] = worker

    def reap(self) -> None:
        """Reports workers that have ended to the engine, and kills what they left behind."""
        ended = 0
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            pid = found.si_pid
            worker = self.workers.pop(pid, None)
            if worker:
                kill_group(pid)  # while the zombie still holds the process id
            _, status, usage = os.wait4(pid, 0)
            ended += 1
            if worker:
                send(
                    self.control,
                    {
                        "id": worker.id,
                        "code": os.waitstatus_to_exitcode(status),
                        "timed_out": worker.timed_out,
                        "out_of_memory": worker.out_of_memory,
                        "seconds": time.monotonic() - worker.started,
                        "peak_kb": usage.ru_maxrss,
                    },
                )
        if ended and self.shown is not None:
            self.kill_orphans()

    def kill_late(self) -> None:
        """Kills the workers whose time is over; `reap` will find that they have ended."""
        now = time.monotonic()
        for pid, worker in self.workers.items():
            if worker.deadline <= now and not worker.timed_out:
                worker.timed_out = True
                kill_group(pid)

    def kill_large(self) -> None:
        """Kills a process of each worker whose processes use more memory than the function has."""
        if not self.workers:
            return
        for pid, sizes in memory.resident(self.workers, namespace_of).items():
            chosen = memory.victim(pid, sizes, self.settings["memory_mb"] << 20)
            if chosen is None:
                continue
            worker = self.workers[pid]
            if chosen == pid:
                worker.out_of_memory = True
                kill_group(pid)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chosen, signal.SIGKILL)
                send(self.control, {"id": worker.id, "killed": True})

    def kill_orphans(self) -> None:
        """Kills children in a mount namespace of no living worker; their own children become ours in turn."""
        orphans = children() - self.workers.keys()
        if orphans:
            living = {namespace_of(pid) for pid in self.workers}
            for pid in orphans:
                if namespace_of(pid) not in living:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kills every descendant and waits until none is left."""
        for pid in self.workers:
            kill_group(pid)
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                os.wait()


def children() -> set[int]:
    """Returns this process's children, zombies included; none if the kernel does not tell."""
    try:
        return set(map(int, Path("/proc/thread-self/children").read_text().split()))
    except FileNotFoundError:
        return set()


def namespace_of(pid: int) -> int | None:
    """Returns the mount namespace of a process; None when it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/mnt").stat().st_ino
    except OSError:
        return None


def kill_group(pid: int) -> None:
    """Kills the process group that a worker leads, and the worker if it does not lead it yet."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def work(server: Server, worker: Worker, head: dict[str, Any], payload: bytes) -> None:
    """Runs a worker, from the fork to the exit of its process."""
    settings = server.settings
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    server.control.close()
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs would ignore it, too
    sandbox.die_with_parent()
    log = os.open(head["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if server.shown is None:
        os.environ["TMPDIR"] = f"{settings['directory']}/{worker.id}.tmp"
        Path(os.environ["TMPDIR"]).mkdir()
    else:
        sandbox.private_tmp(settings["tmp_mb"], server.shown)
    os.chdir(settings["package"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{settings['version']}]{worker.id.replace('-', '')}"
    os.environ["AWS_LAMBDA_LOG_STREAM_NAME"] = stream
    context = invocation.Context(
        function_name=settings["name"],
        function_version=settings["version"],
        invoked_function_arn=head["arn"],
        memory_limit_in_mb=str(settings["memory_mb"]),
        aws_request_id=worker.id,
        log_group_name=f"/aws/lambda/{settings['name']}",
        log_stream_name=stream,
        deadline=worker.deadline,
    )
    os.write(1, f"START RequestId: {worker.id} Version: {settings['version']}\n".encode())
    process = os.getpid()
    answer = invocation.run(server.handler, payload, context)
    if os.getpid() != process:  # the handler has forked, and this is its child
        os._exit(0)
    with contextlib.suppress(ValueError, OSError):
        sys.stdout.flush()
    # Opened by a descriptor, since the path may be below the /tmp that is hidden now.
    result = os.open(f"{worker.id}.result", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=server.directory)
    with os.fdopen(result, "wb") as file:
        file.write(answer)
    os._exit(0)


def send(control: socket.socket, head: dict[str, Any]) -> None:
    """Sends a message; does nothing if the engine has gone, which the loop will notice."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        control.sendall(messages.pack(head))


def receive_settings(control: socket.socket) -> dict[str, Any]:
    """Returns the first message. The engine sends nothing more until this process says that it is ready."""
    buffer = bytearray()
    while True:
        data = control.recv(1 << 18)
        if not data:
            raise SystemExit(0)
        buffer += data
        for head, _ in messages.take(buffer):
            return head


def hide_tmp(settings: dict[str, Any]) -> tuple[list[str] | None, str | None]:
    """Makes the namespaces. Returns the paths that a worker's own /tmp must show, or None and why there is none."""
    if not settings["private_tmp"]:
        sandbox.adopt_orphans()
        return None, None
    reason = sandbox.isolate()
    if reason is None:
        try:
            interpreter = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sys.path]
            shown = sandbox.below_tmp([settings["package"], *interpreter])
            for path in {*shown, settings["package"]}:
                sandbox.make_read_only(path)
            return shown, None
        except OSError as error:
            reason = error.strerror
    return None, reason


def main() -> None:
    """Reads the settings, prepares, and serves."""
    sandbox.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    settings = receive_settings(control)
    sys.path[:0] = [settings["package"]]
    sys.path += [path for path in settings["libraries"] if path not in sys.path]
    sys.argv = [""]
    os.chdir(settings["package"])
    shown, reason = hide_tmp(settings)
    os.environ["LD_LIBRARY_PATH"] = f"{settings['package']}:{settings['package']}/lib"
    sys.dont_write_bytecode = True
    invocation.log_to_stdout()
    try:
        invocation.warm_up()
        handler = invocation.load(settings["handler"])
        invocation.prepare_worker()
    except invocation.InitError as error:
        send(control, {"failed": error.document})
        return
    gc.collect()
    gc.freeze()
    server = Server(control, settings, handler, shown)
    send(control, {"ready": True, "shared_tmp": reason})
    try:
        server.serve()
    finally:
        server.kill_all()


if __name__ == "__main__":
    try:
        main()
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        # Exit handlers and threads of the handler's module must not delay the end.
        os._exit(0)
