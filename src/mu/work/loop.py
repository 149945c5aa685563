"""The worker's loop: handles the coordinator's commands, the state socket, and results of threads, in one thread.

The loop itself watches a program that an `exec:` starts in the foreground, and does a `reset:` that finds nothing to
clear: for short parts, handing these to a thread and back would cost more than all the rest.

`reset:` makes a used worker as good as a new one: what the last part has started is ended without an answer, its
files are removed, and the worker says hello again.
"""

from __future__ import annotations

import select
import signal
from collections.abc import Sequence
from time import monotonic

from mu.defs import Defs
from mu.errors import ProtocolError, one_line, reason
from mu.wire import framing, protocol
from mu.wire.socket_nb import SocketNB
from mu.work.outside import Outside
from mu.work.process import Ended
from mu.work.replies import Commands, End, Reset, Running, Work
from mu.work.time_limit import TimeLimit, milliseconds
from mu.work.variables import integer

# Bytes of answers that are sent together.
BATCH = 1 << 16

# Seconds that what a part has started may take to end; after that the worker ends, too.
RESET_PATIENCE = 10.0

# Seconds that the hello after `reset:` waits for the end of a program that was requested right behind it. The answer
# of a short program is sent along with the hello, which halves the cost of sending on both ends.
HOLD = 0.005

# Seconds for which the answer of the first program that SIGTERM has ended waits for the worker's own SIGTERM.
SIGNAL_PATIENCE = 1.0

QUIT = "quit"
NO_MORE_PARTS = "the worker takes no more parts"


def _statuses(number: int) -> tuple[str, ...]:
    """Returns how the answers begin whose program, or the last one of its shell, was ended by a signal."""
    return tuple(
        begin
        for status in (-number, 128 + number)
        for begin in (f"{protocol.RETVAL}{status})", f'{protocol.EXEC}{{"status":{status},')
    )


TERMINATED, KILLED = _statuses(signal.SIGTERM), _statuses(signal.SIGKILL)


class Loop:
    """Handles the coordinator's commands, one after the other, until there is a reason to end."""

    def __init__(
        self, link: SocketNB, handler: Commands, outside: Outside, limit: TimeLimit, idle: float
    ) -> None:
        self._link = link
        self._handler = handler
        self._outside = outside
        self._tasks = outside.tasks
        self._state = outside.state
        self._limit = limit
        self._idle = idle
        self._active = monotonic()
        self._under_way: list[Work] = []
        self._blocked = False  # whether work is running beside which no command may be handled
        self._room = 0  # bytes of answers that may be queued before some are sent
        self._running: Running | None = None  # the program of a foreground `exec:` that the loop watches
        self._cleared = False  # whether `reset:` was the last command
        self._held = 0.0  # until when the hello after `reset:` is held back
        self._resets = 0  # counts resets; work begun before the last one gets no answer
        self._patience = SIGNAL_PATIENCE
        self._drained = False  # whether the coordinator was told that the worker takes no more parts
        self._over = ""  # why the worker must end; empty if it goes on
        outside.say = self._answer

    def run(self) -> str:
        """Runs the loop; returns why the worker ends."""
        link, vals = self._link, self._handler.vals
        try:
            link.do_write()
            bucket = str(vals["bucket"])
            if bucket and not bucket.startswith(protocol.FILE_BUCKET):
                self._outside.s3.warm(str(vals["region"]), bucket)
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
                # The coordinator must read the answers to some commands before more commands are handled.
                self._room = 0 if link.want_write else BATCH
                while self._room > 0 and self._can_handle():
                    if not self._handle(link.dequeue() or ""):
                        return QUIT
                if self._cleared and self._running is not None:
                    self._held = monotonic() + HOLD
                self._cleared = False
                if not self._holding():
                    link.do_write()
        except (OSError, ProtocolError) as error:
            return f"lost the coordinator: {reason(error)}"
        finally:
            if self._running is not None:
                self._running.watched.close()

    def _holding(self) -> bool:
        """Returns whether the hello after `reset:` still waits for the end of the program that was requested behind
        it."""
        return self._running is not None and monotonic() < self._held

    def _can_handle(self) -> bool:
        return self._link.want_handle and not self._blocked

    def _wait(self) -> None:
        """Waits until something can be done; reads, writes, and makes the calls that threads have posted."""
        until = self._limit.warning
        if self._over or (self._can_handle() and not self._link.want_write):
            until = 0.0
        elif not self._under_way:
            until = min(until, self._active + self._idle)
        holding = self._holding()
        if holding:
            until = min(until, self._held)
        watched = None if self._running is None else self._running.watched
        poll = select.poll()
        if watched is not None:
            until = min(until, watched.look_at())
            for descriptor in watched.descriptors:
                poll.register(descriptor, select.POLLIN)
        links = {link.fileno(): link for link in (self._link, *self._state.links)}
        for descriptor, link in links.items():
            writing = (link.want_write and not holding) or link.ssl_write
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if writing else 0))
        poll.register(self._tasks, select.POLLIN)
        for descriptor, _ in poll.poll(milliseconds(until)):
            self._active = monotonic()
            if watched is not None and descriptor in watched.descriptors:
                watched.read(descriptor)
            elif descriptor not in links:
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
        if self._running is not None and (ended := self._running.watched.over()) is not None:
            self._finish(self._running, ended)

    def _finish(self, running: Running, ended: Ended) -> None:
        """Answers for the program that the loop watches, which has ended."""
        self._running = None
        running.watched.close()
        self._under_way = [work for work in self._under_way if work.background]
        self._blocked = False
        self._conclude(running.answer(ended))

    def _missed(self) -> bool:
        """Returns whether a running command needs the state socket: it waits for a state, or its own must be sent."""
        sends = integer(self._handler.vals, "send_statefile")
        runs = [work for work in self._under_way if work.label.startswith("run:")]
        return any(sends or self._state.lacks(run.awaits) for run in runs)

    def _handle(self, text: str) -> bool:
        """Handles one command; returns False if it is the last."""
        try:
            reply = self._handler.handle(text)
        except Exception as error:  # every command must get an answer
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
            self._conclude(answer)

        if work.start is not None:
            started = work.start()
            if isinstance(started, str):
                self._answer(started)
                return
            if started is not None:
                self._running = started
                self._under_way.append(work)
                self._blocked = True
                return
        if work.early:
            self._answer(work.early)
        self._under_way.append(work)
        self._blocked = not work.background
        self._tasks.start(work.job, done, at_once=not work.background)

    def _reset(self) -> None:
        """Ends what the last part has started, removes what it has left, and says hello again."""
        outside = self._outside
        self._blocked = True  # if this fails, no command behind it may be done
        if outside.draining:
            self._fail_to_reset(NO_MORE_PARTS)
            return

        def job() -> str:
            until = min(self._limit.warning, monotonic() + RESET_PATIENCE)
            while not self._tasks.quiet(0.05):  # repeated, since a program may just be starting
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
            if not failure and outside.draining:  # the signal came meanwhile
                failure = NO_MORE_PARTS
            if failure:
                self._fail_to_reset(failure)
            else:
                self._blocked = False
                self._answer(outside.hello(self._handler.vals, fresh=False))

        self._resets += 1
        self._tasks.forget()
        self._state.close()
        if self._tasks.idle and outside.leftovers.none():
            done("")
            self._cleared = True
            return
        self._under_way = [Work("reset:", job)]
        outside.groups.kill(for_good=False)
        self._tasks.start(job, done, at_once=True)

    def _fail_to_reset(self, why: str) -> None:
        """Reports that no other part can be done here, and ends the worker."""
        self._answer(protocol.fail(f"reset: {why}"))
        self._over = f"could not reset: {why}"

    def _tell_draining(self) -> None:
        """Tells the coordinator, once, that the worker takes no other part."""
        if self._outside.draining and not self._drained:
            self._drained = True
            if integer(self._handler.vals, "tell_facts"):
                self._answer(f"{protocol.DRAINING}SIGTERM")

    def _conclude(self, text: str) -> None:
        """Answers a command that is over.

        If the system that ends this worker has ended the command's program, too (Slurm signals all processes of a
        job), the worker ends without an answer: the part is lost with its worker, and its program has not failed.
        """
        if text.startswith(TERMINATED):
            ending = self._outside.drains_within(self._patience)
            self._patience = 0.0  # what ends programs here is not what ends the worker
        else:
            ending = text.startswith(KILLED) and self._outside.draining
        if ending:
            self._tell_draining()
            self._over = "it is ended, and its program was, too"
        else:
            self._answer(text)

    def _answer(self, text: str) -> None:
        self._room -= len(text)
        answer = framing.to_payload(text)
        if len(answer) > Defs.max_message:
            why = f"the answer has {len(answer)} bytes, over the limit of {Defs.max_message}"
            answer = protocol.fail(why).encode()
        self._link.enqueue(answer)


def out_of_time(under_way: Sequence[Work]) -> str:
    """Returns the answer that replaces all open answers when the time is over."""
    doing = under_way[0].label if under_way else "idle"
    if len(under_way) > 1:
        doing = f"{len(under_way)} commands, {doing}"
    return protocol.fail(f"{protocol.OUT_OF_TIME} in STATE {one_line(doing)}")
