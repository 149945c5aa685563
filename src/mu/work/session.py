"""A worker's session, after its hello: serves the coordinator, or does an event's commands without one.

It is imported while the hello is under way to the coordinator; what the hello needs is in `mu.work.arrival`.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any

from mu.errors import UsageError
from mu.wire import framing, protocol
from mu.wire.connect import drain, say_goodbye
from mu.wire.socket_nb import SocketNB
from mu.work.log import log
from mu.work.loop import QUIT, Loop, out_of_time
from mu.work.outside import Outside
from mu.work.replies import Commands, Work
from mu.work.time_limit import TimeLimit, milliseconds
from mu.work.variables import integer

# Seconds that there may be nothing to do, unless the coordinator is ours: its parts may wait for one another as long as
# they like, it dismisses a worker that it does not need, and keep-alive finds out that it is gone.
IDLE = 300.0
# Seconds for sending the last messages, and for the coordinator to close its end.
FLUSH = 10.0
LINGER = 1.0


@contextlib.contextmanager
def at_work(outside: Outside, limit: TimeLimit) -> Iterator[None]:
    """Lets signals wake the session while it lasts, and then ends all that it has started.

    Without that, a signal that comes just before the session waits would be noticed only after the wait. Outside the
    process's main thread no signal arrives.
    """
    main = threading.current_thread() is threading.main_thread()
    waker = signal.set_wakeup_fd(outside.tasks.waker, warn_on_full_buffer=False) if main else -1
    try:
        yield
    finally:
        if main:
            signal.set_wakeup_fd(waker)
        outside.groups.kill()
        outside.tasks.stop(limit.patience(LINGER))
        outside.leftovers.end_processes(limit.patience(LINGER))


def serve(
    sock: socket.socket, handler: Commands, outside: Outside, limit: TimeLimit, idle: float = IDLE
) -> str:
    """Serves the coordinator, which has had the hello, to the end; returns the reason of the end.

    `idle`: seconds that a coordinator which does not ask for facts may leave the worker without anything to do.
    """
    if integer(handler.vals, "tell_facts"):
        idle = inf
        # Elsewhere than in the main thread, other threads share this process.
        if threading.current_thread() is threading.main_thread():
            outside.leftovers.adopt()
    link = SocketNB(sock)
    ended = ""
    try:
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


def run_once(handler: Commands, outside: Outside, limit: TimeLimit) -> str:
    """Returns the packaged command's answer, as text that JSON can hold."""
    work = handler.handle("run:")
    assert isinstance(work, Work)
    return framing.to_payload(_done(work, outside, limit)).decode("utf-8", "replace")


def run_commands(
    handler: Commands, outside: Outside, limit: TimeLimit, event: Mapping[str, Any]
) -> list[str]:
    """Does the event's `commands` in order, without a coordinator; returns their answers.

    Commands and answers are Base64, since they may be any bytes. No command follows one that has failed, or an
    `exec:` whose status is not in the event's `ok` or whose outputs are missing.
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
        answers.append(binascii.b2a_base64(framing.to_payload(answer), newline=False).decode())
        if not protocol.goes_on(answer, ok):
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
