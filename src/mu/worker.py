"""The worker: the program that runs in a Lambda function, driven by the coordinator.

A package's `lambda_function.py` calls `lambda_handler`. With `mode` 0 that runs the packaged command once. Otherwise
it connects to the coordinator, says `OK:HELLO`, and then a single loop serves the command socket, the state socket
and the work that threads do for it:

    command socket --messages--> Handler.handle --answers--> command socket
                                        |
                                      Work --> Tasks (threads) --answer, when it is done--^

`retrieve`, `upload`, `run` and `connect` are always done by threads, in either mode, so that the loop can see at any
time that the coordinator is gone, that the deadline is near, or that a state has come. The modes differ only in when
the next command is taken: at once, or after the work's answer.

Thousands of workers start together, and each pays for its own start. So this module and those that it imports load
little, and boto3 only after the hello.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from mu.errors import MuError, UsageError, reason
from mu.handler import Handler
from mu.wire import framing, protocol
from mu.wire.connect import BOTH_READ, dial_patiently, drain, say_goodbye, tls_context
from mu.wire.socket_nb import SocketNB
from mu.work.command_template import integer
from mu.work.log import log
from mu.work.loop import QUIT, Loop, hello, milliseconds, out_of_time, payload
from mu.work.outside import Outside, TimeLimit, time_limit
from mu.work.replies import Work
from mu.work.threads import Tasks
from mu.work.workdir import Workdir, base_directory

# Seconds that the coordinator may be unreachable, and that there may be nothing to do.
PATIENCE = 5.0
IDLE = 300.0
# Seconds for sending the last messages, and for the coordinator to close its end.
FLUSH = 10.0
LINGER = 1.0
_used = False


def lambda_handler(command: str, event: Mapping[str, Any], context: Any) -> str | list[str]:
    """Runs a worker: `command` is the packaged one, `event` the event's fields, `context` Lambda's.

    Returns the answer to the packaged command (mode 0), the answers to the event's commands (mode 2), or why the
    worker ended. A worker that cannot begin raises no exception, since Lambda would start it again: the reason is
    logged and returned.
    """
    limit = time_limit(context)
    if not isinstance(event, Mapping):
        return _failed(f"the event is no JSON object, but {type(event).__name__}")
    try:
        workdir = Workdir(base_directory())
    except OSError as error:
        return _failed(f"cannot make a directory in {base_directory()}: {reason(error)}")
    outside = Outside(workdir.path, limit, context)
    handler = Handler(command, event, workdir.path, outside)
    try:
        with _signals(outside.tasks):
            if integer(handler.vals, "mode") < 1:
                return run_once(handler, outside, limit)
            if integer(handler.vals, "mode") == 2:
                return run_commands(handler, outside, limit, event)
            outside.tls = _keys(event, workdir.path)
            return serve(handler, outside, limit)
    except (OSError, MuError) as error:
        return _failed(reason(error))
    finally:
        outside.groups.kill()
        outside.tasks.stop(limit.patience(LINGER))
        outside.leftovers.end_processes(limit.patience(LINGER))
        workdir.release(remove=bool(integer(handler.vals, "rm_tmpdir", 1)))


def prepare() -> None:
    """Imports the modules that commands import when they are first used: for a process that workers are forked from.

    On Lambda, where each worker is a process of its own, that would only delay the hello.
    """
    from mu.work import executable, file_store, files, program, s3, transfer  # noqa: F401


def run_once(handler: Handler, outside: Outside, limit: TimeLimit) -> str:
    """Returns the packaged command's answer, as text that JSON can hold."""
    work = handler.handle("run:")
    assert isinstance(work, Work)
    return payload(_done(work, outside, limit)).decode("utf-8", "replace")


def run_commands(handler: Handler, outside: Outside, limit: TimeLimit, event: Mapping[str, Any]) -> list[str]:
    """Does the event's `commands` in order, without a coordinator; returns their answers.

    Commands and answers are Base64, since they may be any bytes. No command follows one that has failed, or an
    `exec:` whose status is not in the event's `ok`.
    """
    import binascii

    commands, ok = event.get("commands"), event.get("ok", [0])
    if not isinstance(commands, list) or not isinstance(ok, list):
        raise UsageError("mode 2: the event has no list of commands, or of statuses that are ok")
    answers = []
    for coded in commands:
        try:
            command = framing.to_text(binascii.a2b_base64(coded))
        except (TypeError, ValueError):
            raise UsageError("mode 2: each of the event's commands is a text in Base64") from None
        reply = handler.handle(command)
        if not isinstance(reply, (list, Work)):
            raise UsageError("mode 2: a command that is only for a coordinator")
        answer = reply[-1] if isinstance(reply, list) else _done(reply, outside, limit)
        answers.append(binascii.b2a_base64(payload(answer), newline=False).decode())
        if answer.startswith(protocol.FAIL):
            break
        if answer.startswith(protocol.EXEC):
            result = protocol.exec_result(answer)
            if result["timed_out"] or result["status"] not in ok:
                break
    return answers


def _done(work: Work, outside: Outside, limit: TimeLimit) -> str:
    """Returns the answer to a piece of work, or that there was no time for it."""
    answers: list[str] = []
    outside.tasks.start(work.job, answers.append)
    poll = select.poll()
    poll.register(outside.tasks, select.POLLIN)
    while not answers and monotonic() < limit.warning:
        if poll.poll(milliseconds(limit.warning)):
            outside.tasks.collect()
    return answers[0] if answers else out_of_time([work])


def serve(handler: Handler, outside: Outside, limit: TimeLimit, idle: float = IDLE) -> str:
    """Serves the coordinator to the end; returns the reason of the end."""
    vals = handler.vals
    host, port = str(vals["addr"]), integer(vals, "port")
    tells = bool(integer(vals, "tell_facts"))

    def again() -> bool:
        # A coordinator of the original uses the same port and keys for its next run: a worker that was queued when
        # a run ended must not join the next one. Our coordinator has new keys, or a run id.
        return tells or not outside.reached

    # Elsewhere than in the main thread, other threads share this process.
    if tells and threading.current_thread() is threading.main_thread():
        outside.leftovers.adopt()
    try:
        until = min(limit.warning, monotonic() + PATIENCE)
        sock = dial_patiently(lambda: outside.connect(host, port), until, again)
        sock.setsockopt(*BOTH_READ)
    except (OSError, ValueError) as error:
        return _failed(f"could not reach the coordinator at {host}:{port}: {reason(error)}")
    link = SocketNB(sock)
    ended = ""
    try:
        link.enqueue(payload(hello(handler, outside, fresh=_first_of_process())))
        ended = Loop(link, handler, outside, limit, idle).run()
        if ended != QUIT:
            log(ended)
        return ended
    finally:
        _flush([link], limit.patience(FLUSH))
        outside.groups.kill()
        # The coordinator counts this part as done, so sending the state that the neighbour waits for may take all the
        # time left.
        _flush(outside.state.links, limit.end if ended == QUIT else limit.patience(FLUSH))
        for each in [link, *outside.state.links]:
            _part(each, limit.patience(LINGER))


def _first_of_process() -> bool:
    """Returns whether this is the first worker in this process."""
    global _used
    first, _used = not _used, True
    return first


def _keys(event: Mapping[str, Any], directory: str) -> ssl.SSLContext | None:
    """Returns the TLS context; None if the event names no CA."""
    cacert, srvcrt, srvkey = (event.get(name) for name in ("cacert", "srvcrt", "srvkey"))
    if not cacert:
        return None
    if not srvcrt or not srvkey:
        raise UsageError("the event has a cacert, but no srvcrt and srvkey")
    return tls_context(str(cacert), str(srvcrt), str(srvkey), directory)


def _failed(text: str) -> str:
    log(text)
    return protocol.fail(text)


def _flush(links: Sequence[SocketNB], until: float) -> None:
    """Sends queued output."""
    for link in links:
        with contextlib.suppress(OSError):
            link.do_write()
            while link.want_write and monotonic() < until:
                poll = select.poll()
                poll.register(link, select.POLLOUT)
                poll.poll(milliseconds(until))
                link.do_write()


def _part(link: SocketNB, until: float) -> None:
    """Closes a connection so that what was sent arrives: data that comes in after a close would reset the
    connection."""
    sock = link.sock
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            say_goodbye(sock)
            while (patience := until - monotonic()) > 0:
                sock.settimeout(patience)
                if drain(sock):
                    break
    link.close()


@contextlib.contextmanager
def _signals(tasks: Tasks) -> Iterator[None]:
    """Lets signals wake the loop, and SIGTERM end the worker with all that it has started.

    Without the waker, a signal that comes just before the loop waits would be noticed only after that. Outside the
    process's main thread, or if the process has its own handler of SIGTERM, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    term = signal.getsignal(signal.SIGTERM)
    if term is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, leave)
    waker = signal.set_wakeup_fd(tasks.waker, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(waker)
        if term is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, term)
