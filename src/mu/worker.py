"""The worker: what runs in a Lambda function, driven by the coordinator.

A package's `lambda_function.py` calls `lambda_handler`. With `mode` 0 that runs the packaged command
once. Otherwise it connects to the coordinator, says `OK:HELLO`, and then a single loop serves the
command socket, the state socket and the work that threads do for it:

    command socket --messages--> Handler.handle --answers--> command socket
                                        |
                                      Work --> Tasks (threads) --answer, when it is done--^

All of `retrieve`, `upload`, `run` and `connect` is work for a thread, in either mode, so that the loop
can see at any time that the coordinator is gone, that the deadline nears, or that a state has come.
The modes differ only in when the next command is taken: at once, or after the work's answer.

Time counts: thousands start together, and each pays for its own start. So this module and those that
it imports load little, and boto3 only once HELLO has been sent.
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
from math import inf
from time import monotonic
from typing import Any

from mu.defs import Defs
from mu.errors import MuError, ProtocolError, UsageError, one_line, reason
from mu.handler import End, Handler, Reset, Work
from mu.wire import framing, protocol
from mu.wire.connect import BOTH_READ, dial_patiently, drain, say_goodbye, tls_context
from mu.wire.socket_nb import SocketNB
from mu.work.command_template import integer
from mu.work.log import log
from mu.work.outside import Outside, TimeLimit, time_limit
from mu.work.threads import Tasks
from mu.work.workdir import Workdir, base_directory

# How long the coordinator may be out of reach, and how long there may be nothing to do.
PATIENCE = 5.0
IDLE = 300.0
# How long the last messages may take to leave, and the coordinator to close its end.
FLUSH = 10.0
LINGER = 1.0
# Answers, in bytes, that are sent together.
BATCH = 1 << 16

# How long what a part has begun may take to end before the worker is given up for other parts.
RESET_PATIENCE = 10.0

QUIT = "quit"
_used = False


class Loop:
    """Takes the coordinator's commands, one after the other, until there is a reason to end."""

    def __init__(
        self, link: SocketNB, handler: Handler, outside: Outside, limit: TimeLimit, idle: float
    ) -> None:
        self._link = link
        self._handler = handler
        self._outside = outside
        self._tasks = outside.tasks
        self._state = outside.state
        self._s3 = outside.s3
        self._limit = limit
        self._idle = idle
        self._active = monotonic()
        self._under_way: list[Work] = []
        self._blocked = False  # until the work that has the worker to itself is done
        self._room = 0  # bytes of answers that may be made before some are sent
        self._resets = 0  # what was begun before the last one gets no answer
        self._drained = False  # the coordinator has been told that there shall be no more parts
        self._over = ""  # why the worker is to end, if it is
        outside.say = self._answer

    def run(self) -> str:
        """Returns why the worker ends."""
        link, vals = self._link, self._handler.vals
        try:
            link.do_write()
            if vals["bucket"]:
                self._s3.warm(str(vals["region"]))
            while True:
                self._wait()
                if link.sock is None:
                    return "the coordinator has closed the connection"
                if self._over:
                    return self._over
                self._tell_draining()
                now = monotonic()
                if now >= self._limit.warning:
                    self._answer(out_of_time(self._under_way))
                    return "the time limit is near"
                if not self._under_way and now >= self._active + self._idle:
                    return f"nothing to do for {self._idle:g} seconds"
                # The coordinator must take the answers to some commands before more are looked at.
                self._room = 0 if link.want_write else BATCH
                while self._room > 0 and self._can_handle():
                    if not self._handle(link.dequeue() or ""):
                        return QUIT
                link.do_write()
        except (OSError, ProtocolError) as error:
            return f"lost the coordinator: {reason(error)}"

    def _can_handle(self) -> bool:
        return self._link.want_handle and not self._blocked

    def _wait(self) -> None:
        """Wait until something can be done; read, write, and do what threads have posted."""
        until = self._limit.warning
        if self._over or (self._can_handle() and not self._link.want_write):
            until = 0.0
        elif not self._under_way:
            until = min(until, self._active + self._idle)
        poll = select.poll()
        links = {link.fileno(): link for link in (self._link, *self._state.links)}
        for descriptor, link in links.items():
            writing = link.want_write or link.ssl_write
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if writing else 0))
        poll.register(self._tasks, select.POLLIN)
        for descriptor, _ in poll.poll(_milliseconds(until)):
            self._active = monotonic()
            if descriptor not in links:
                self._tasks.collect()
            elif links[descriptor] is self._link:
                self._link.do_read()
                self._link.do_write()
            else:
                known = self._state.lost
                for failure in self._state.serve(links[descriptor]):
                    self._answer(failure)
                if self._state.lost != known and self._missed():
                    self._answer(self._state.failure())

    def _missed(self) -> bool:
        """Whether a run under way needs the state socket: it waits for a state, or its own is to be sent."""
        sends = integer(self._handler.vals, "send_statefile")
        runs = [work for work in self._under_way if work.label.startswith("run:")]
        return any(sends or self._state.lacks(run.awaits) for run in runs)

    def _handle(self, text: str) -> bool:
        """Do one command; False if it is the last."""
        try:
            reply = self._handler.handle(text)
        except Exception as error:  # a command must not go without its answer
            reply = [protocol.fail(reason(error))]
        if isinstance(reply, End):
            return False
        if isinstance(reply, Reset):
            self._reset()
        elif isinstance(reply, Work):
            self._begin(reply)
        else:
            for answer in reply:
                self._answer(answer)
        return True

    def _begin(self, work: Work) -> None:
        resets = self._resets

        def done(answer: str) -> None:
            if resets != self._resets:
                return
            self._under_way.remove(work)
            self._blocked = self._blocked and work.background
            self._answer(answer)

        if work.early:
            self._answer(work.early)
        self._under_way.append(work)
        self._blocked = not work.background
        self._tasks.start(work.job, done, at_once=not work.background)

    def _reset(self) -> None:
        """End what the last part has begun, remove what it has left, and say hello again."""
        outside = self._outside
        if outside.draining:
            self._fail_to_reset("the worker takes no more parts")
            return

        def job() -> str:
            until = min(self._limit.warning, monotonic() + RESET_PATIENCE)
            while not self._tasks.quiet(0.05):  # a program may just be starting
                if monotonic() >= until:
                    return "a command of the last part does not end"
                outside.groups.kill(for_good=False)
            try:
                outside.leftovers.clear(until)
            except OSError as error:
                return reason(error)
            return ""

        def done(failure: str) -> None:
            self._under_way.clear()
            self._state.reset()
            self._handler.renew()
            if failure:
                self._fail_to_reset(failure)
            else:
                self._blocked = False
                self._answer(hello(self._handler, outside, fresh=False))

        self._resets += 1
        self._under_way = [Work("reset:", job)]
        self._blocked = True
        self._tasks.forget()
        self._state.close()
        outside.groups.kill(for_good=False)
        self._tasks.start(job, done, at_once=True)

    def _fail_to_reset(self, why: str) -> None:
        """No other part can be done here: say so, and end."""
        self._answer(protocol.fail(f"reset: {why}"))
        self._over = f"could not reset: {why}"

    def _tell_draining(self) -> None:
        """Let the coordinator know, once, that the worker shall have no other part."""
        if self._outside.draining and not self._drained:
            self._drained = True
            if integer(self._handler.vals, "tell_facts"):
                self._answer(f"{protocol.DRAINING}SIGTERM")

    def _answer(self, text: str) -> None:
        self._room -= len(text)
        payload = _payload(text)
        if len(payload) > Defs.max_message:
            payload = b"FAIL(the answer has %d bytes, over the limit of %d)" % (
                len(payload),
                Defs.max_message,
            )
        self._link.enqueue(payload)


def lambda_handler(command: str, event: Mapping[str, Any], context: Any) -> str | list[str]:
    """Be a worker: `command` is the packaged one, `event` the event's fields, `context` Lambda's.

    Returns the answer to the packaged command (mode 0), the answers to the event's commands (mode 2), or why the
    worker ended. What keeps it from
    beginning is no exception either, since Lambda would start it again: it is logged and returned.
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


def run_once(handler: Handler, outside: Outside, limit: TimeLimit) -> str:
    """The packaged command's answer, as text that JSON can hold."""
    work = handler.handle("run:")
    assert isinstance(work, Work)
    return _payload(_done(work, outside, limit)).decode("utf-8", "replace")


def run_commands(handler: Handler, outside: Outside, limit: TimeLimit, event: Mapping[str, Any]) -> list[str]:
    """The answers to the event's `commands`, which are done in order: a worker without a coordinator.

    Commands and answers are Base64, since they may be any bytes. None follows one that has failed, or an `exec:` whose
    status is not in the event's `ok`.
    """
    import binascii

    commands, ok = event.get("commands"), event.get("ok", [0])
    if not isinstance(commands, list) or not isinstance(ok, list):
        raise UsageError("mode 2: the event has no list of commands, or of statuses that are ok")
    answers = []
    for coded in commands:
        reply = handler.handle(framing.to_text(binascii.a2b_base64(coded)))
        if not isinstance(reply, (list, Work)):
            raise UsageError("mode 2: a command that is only for a coordinator")
        answer = reply[-1] if isinstance(reply, list) else _done(reply, outside, limit)
        answers.append(binascii.b2a_base64(_payload(answer), newline=False).decode())
        if answer.startswith(protocol.FAIL):
            break
        if answer.startswith(protocol.EXEC):
            result = protocol.exec_result(answer)
            if result["timed_out"] or result["status"] not in ok:
                break
    return answers


def _done(work: Work, outside: Outside, limit: TimeLimit) -> str:
    """The answer to a piece of work, or that there was no time for it."""
    answers: list[str] = []
    outside.tasks.start(work.job, answers.append)
    poll = select.poll()
    poll.register(outside.tasks, select.POLLIN)
    while not answers and monotonic() < limit.warning:
        if poll.poll(_milliseconds(limit.warning)):
            outside.tasks.collect()
    return answers[0] if answers else out_of_time([work])


def serve(handler: Handler, outside: Outside, limit: TimeLimit, idle: float = IDLE) -> str:
    """Serve the coordinator to the end; returns why that came."""
    vals = handler.vals
    host, port = str(vals["addr"]), integer(vals, "port")
    tells = bool(integer(vals, "tell_facts"))

    def again() -> bool:
        # A coordinator of the original's makes its next run on the same port with the same keys: whoever was in its
        # queue when a run ended must not join the next. Ours has other keys, or a run id.
        return tells or not outside.reached

    if tells:
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
        link.enqueue(_payload(hello(handler, outside, fresh=_first_of_process())))
        ended = Loop(link, handler, outside, limit, idle).run()
        if ended != QUIT:
            log(ended)
        return ended
    finally:
        _flush([link], limit.patience(FLUSH))
        outside.groups.kill()
        # The coordinator counts this part as done: a state that its neighbour waits for has all the time there is.
        _flush(outside.state.links, limit.end if ended == QUIT else limit.patience(FLUSH))
        for each in [link, *outside.state.links]:
            _part(each, limit.patience(LINGER))


def hello(handler: Handler, outside: Outside, fresh: bool) -> str:
    """What the worker says first. A run whose keys serve others, too, knows its own workers by its id, and our
    coordinators want to know what they have got."""
    vals = handler.vals
    run_id = str(vals.get("run_id") or "")
    return protocol.hello(run_id, outside.facts(fresh) if integer(vals, "tell_facts") else None)


def _first_of_process() -> bool:
    """Whether no worker has been in this process before."""
    global _used
    first, _used = not _used, True
    return first


def out_of_time(under_way: Sequence[Work]) -> str:
    """The answer to all commands that will have none."""
    doing = under_way[0].label if under_way else "idle"
    if len(under_way) > 1:
        doing = f"{len(under_way)} commands, {doing}"
    return protocol.fail(f"worker is about to reach its time limit in STATE {one_line(doing)}")


def _keys(event: Mapping[str, Any], directory: str) -> ssl.SSLContext | None:
    """How to speak TLS; None if the event names no CA."""
    cacert, srvcrt, srvkey = (event.get(name) for name in ("cacert", "srvcrt", "srvkey"))
    if not cacert:
        return None
    if not srvcrt or not srvkey:
        raise UsageError("the event has a cacert, but no srvcrt and srvkey to go with it")
    return tls_context(str(cacert), str(srvcrt), str(srvkey), directory)


def _payload(text: str) -> bytes:
    try:
        return framing.to_bytes(text)
    except UnicodeEncodeError:  # from the event's JSON, which can hold what no message can
        return text.encode("utf-8", "backslashreplace")


def _failed(text: str) -> str:
    log(text)
    return protocol.fail(text)


def _milliseconds(until: float) -> float | None:
    """How long to poll; None for ever."""
    return None if until == inf else max(0.0, until - monotonic()) * 1000


def _flush(links: Sequence[SocketNB], until: float) -> None:
    """Send what waits to be sent."""
    for link in links:
        with contextlib.suppress(OSError):
            link.do_write()
            while link.want_write and monotonic() < until:
                poll = select.poll()
                poll.register(link, select.POLLOUT)
                poll.poll(_milliseconds(until))
                link.do_write()


def _part(link: SocketNB, until: float) -> None:
    """Close a connection so that what was sent arrives: what comes in after a close would undo it."""
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
    """Let signals wake the loop, and SIGTERM end the worker so that what it started ends with it.

    Without the waker a signal that comes just before the loop waits would be seen only after that. Where
    this is not the process's main thread, or it has other plans for SIGTERM, these stay.
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
