"""Drives a part's coroutine as a state machine, so that it runs on the coordinator's ordinary loop.

A coroutine runs until it awaits a request (`mu.jobs.requests`) that takes time. The request's command is sent, and
the coroutine is suspended until the answer has come; it needs neither a thread nor an asyncio task. The machine is a
single state object from the hello to the end. Reporters show its `title`: the stage that the part has named, or the
command that it waits for with its source line.
"""

import json
import logging
from collections.abc import Awaitable, Mapping, Sequence
from time import monotonic
from typing import Any

from mu.errors import describe, reason, text_of
from mu.jobs import explain
from mu.jobs.commands import CommandState
from mu.jobs.context import Context
from mu.jobs.ends import DoneState, FailedState
from mu.jobs.errors import CommandFailed, FinalFailure, Misuse, Skip, WorkerLost
from mu.jobs.requests import (
    WAITING,
    Command,
    Request,
    short,
    stepping,
)
from mu.jobs.task import Task
from mu.jobs.tasks import MAX_LOST, Group, close, user_place
from mu.jobs.worker import Worker
from mu.machine import CLOSED, INFO_BYTES, Constructor, ErrorState, MachineState, enter, set_info
from mu.wire.framing import to_text
from mu.wire.protocol import HELLO, INFO, OUT_OF_TIME, QUIT, failure_text
from mu.wire.reasons import is_final
from mu.wire.socket_nb import SocketLike, SocketNB

logger = logging.getLogger(__name__)

# Seconds that a coroutine may block the coordinator before a warning is printed.
BLOCKING = 0.1
# Consecutive awaits that may need no answer; more are an endless loop.
MAX_STEPS = 100_000


class CoroutineState(CommandState):
    """Drives one attempt at one part. `facts` are the facts in the worker's hello."""

    def __init__(
        self,
        prevState: SocketLike | SocketNB,
        part: int,
        input: Any,
        context: Context,
        attempt: int = 1,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(prevState, part, context)
        self.title = self.stateinfo[-1] = context.name
        self._hello = ""
        self._main: Task | None = None
        self._lost = ""
        self._broken = ""
        self._spared = 0  # consecutive awaits that failed because the worker is lost
        self._forgotten = ""
        self._told_so = False
        self._worker: Worker | None = Worker(self, part, attempt, facts or {}, context)
        self._input = input
        context.began(part)

    # Called by the coordinator's loop

    def expects_message(self, msg: str) -> bool:
        """Returns True: the coroutine may wait for any message."""
        return True

    def do_handle(self) -> MachineState:
        """Resumes the coroutine as far as answers have come, timers are due and other parts are done."""
        stepping.driver = self
        state: MachineState = self if self.wake_at is None else self._look_at_clock()
        messages = self._channel.parser.messages
        while state is self:
            if self._inner is not None:
                state = self._move_machine(self._inner)
                if self._inner is not None:
                    break
            elif not messages:
                break
            elif messages[0].startswith(INFO_BYTES):
                key, _, value = to_text(messages.popleft())[len(INFO) :].partition(":")
                too_much = set_info(self, key, value)
                if too_much:
                    state = self._lose(too_much)
            else:
                state = self._take(to_text(messages.popleft()))
        if state is self and self._channel.sock is None:
            state = self._lose(self._broken or CLOSED)
        stepping.driver = None
        return state

    def do_read(self) -> MachineState:
        """Reads from the worker; if the connection is broken, the coroutine gets WorkerLost where it waits."""
        try:
            SocketNB.do_read(self)
        except Exception as error:
            return self._break_off(f"reading from the worker: {describe(error)}")
        return self

    def do_write(self) -> MachineState:
        """Sends queued commands; if the connection is broken, the coroutine gets WorkerLost after the answers that
        came."""
        try:
            SocketNB.do_write(self)
        except Exception as error:
            return self._break_off(f"writing to the worker: {describe(error)}")
        return self

    def _break_off(self, why: str) -> MachineState:
        self._broken = why
        SocketNB.close(self)
        return self.do_handle()

    def _drop(self) -> None:
        """Ends the coroutine, whose `finally` blocks are done when this returns. The connection stays open."""
        main = self._main
        if main is None:
            return
        stepping.driver = self
        self._lost = "its result is no longer needed"
        self._inner = self._frame = self._main = None
        self._abandon(main)
        close(main.coroutine)
        self._release()
        self._context.ended(self.actorNum)
        stepping.driver = None

    # Answers

    def _take(self, answer: str) -> MachineState:
        """Hands an answer to the task whose command it belongs to."""
        if not self._hello:
            if not answer.startswith(HELLO):
                return self._unexpected(answer)
            self._hello = answer
            return self._start()
        waiting = self._open
        failure = failure_text(answer)
        if failure is not None and failure.startswith(OUT_OF_TIME):  # open commands get no answer
            return self._lose(failure)
        if not waiting:
            return self._unexpected(answer)
        if len(waiting) == 1:
            command = waiting[0]
            if not answer.startswith(command.expected):
                return self._unexpected(answer)
            waiting.clear()
        else:
            place = self._whose(answer)
            command = waiting[place]
            if not command.matches(answer):
                return self._unexpected(answer)
            del waiting[place]
        task = command.task
        if task is None:
            return self
        return self._go_on(task, answer)

    def _unexpected(self, answer: str) -> MachineState:
        if answer.startswith("FAIL"):  # a failure of the worker itself: no command is open
            return self._lose(answer[5:-1] if answer.endswith(")") else answer)
        shown = answer if len(answer) <= 80 else answer[:80] + "…"
        return self._lose(f"the worker sent {shown!r}, which answers no command")

    def _lose(self, reason: str) -> MachineState:
        """Raises WorkerLost in every task where it waits, because the worker is gone."""
        self._lost = self._lost or reason
        SocketNB.close(self)
        main = self._main
        if main is None:
            return self._end(None, WorkerLost(reason))
        state: MachineState = self
        self._inner = None
        while state is self and not main.finished:
            state = self._go_on(next(main.leaves(), main), None, WorkerLost(self._lost))
        return state

    # The coroutine

    def _start(self) -> MachineState:
        function, worker, given = self._context.function, self._worker, self._input
        self._worker = self._input = None
        try:
            coroutine = function(worker, given)
        except BaseException as error:
            return self._end(None, error)
        if not hasattr(coroutine, "cr_frame"):
            return self._end(None, explain.no_coroutine(self._context, coroutine))
        self._main = Task(coroutine)
        self._frame = coroutine.cr_frame
        self._context.adopt(coroutine.cr_code)
        return self._go_on(self._main, None)

    def _go_on(self, task: Task, value: Any, error: BaseException | None = None) -> MachineState:
        """Resumes a task with a value or an exception, until it waits or is over."""
        outer = self._task
        self._task = task
        task.request = None
        task.children = None
        coroutine = task.coroutine
        steps, before, began = 0, self._place, monotonic()
        try:
            while steps < MAX_STEPS:
                steps += 1
                try:
                    request = coroutine.send(value) if error is None else coroutine.throw(error)
                except StopIteration as end:
                    return self._over(task, end.value, None)
                except BaseException as raised:
                    return self._over(task, None, raised)
                value = error = None
                if self._lost:
                    self._spared += 1
                    if self._spared > MAX_LOST:
                        break
                    error = WorkerLost(self._lost)
                elif self._forgotten and not self._told_so:
                    self._told_so = True
                    error = Misuse(self._forgotten)
                elif not isinstance(request, Request):
                    error = explain.foreign(self._line_of(task), request)
                else:
                    request.task = task
                    task.request = request
                    try:
                        if type(request) is Command:  # the most frequent request; inlined to save a call
                            self.send(request, task)
                            return self
                        value = request.begin(self, task)
                    except Exception as raised:
                        error = raised
                        request.task = task.request = None
                        continue
                    if value is WAITING:
                        return self
            why = (
                f"keeps awaiting although the worker is lost ({self._lost})"
                if self._lost
                else f"awaits {MAX_STEPS} times without waiting for anything"
            )
            endless = Misuse(f"{self._line_of(task)}: {self._context.name} {why}")
            close(coroutine)
            return self._over(task, None, endless)
        finally:
            took = monotonic() - began
            if took > BLOCKING:
                explain.tell_blocking(
                    self._context, took, before, self._frame.f_lineno if self._frame is not None else 0
                )
            self._task = outer

    def _over(self, task: Task, value: Any, error: BaseException | None) -> MachineState:
        """Handles the end of a task: of the part itself, or of one that a `together` waits for."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        group = task.group
        if group is None:
            task.finished = True
            return self._end(value, error)
        if not group.ended(task, value, error) or group.beginning:
            return self
        self._leave_together(group)
        return self._go_on(group.parent, tuple(group.results), group.error)

    def _end(self, value: Any, error: BaseException | None) -> MachineState:
        """Returns the terminal state of the part."""
        context, line = self._context, self._frame.f_lineno if self._frame is not None else 0
        # Frees what the coroutine held, so that requests that were never awaited report that.
        self._frame = None
        self._main = None
        self._release()
        context.ended(self.actorNum)
        if error is None and self._forgotten:
            error = Misuse(self._forgotten)
        if error is None and self._lost:
            error = WorkerLost(self._lost)
        if error is None and value is not None:
            try:
                json.dumps(value, allow_nan=False)
            except Exception as problem:  # its class may be the user's own
                where = f"{short(context.file)}:{line}"
                text = f"{where}: {context.name} returned what JSON cannot hold: {reason(problem)}"
                error = Misuse(text)
        # `reset:` discards commands in the background, but is only read after a command in the foreground has ended.
        unanswered = any(isinstance(command, Command) and not command.background for command in self._open)
        if error is None or isinstance(error, Skip):
            if unanswered:
                self.enqueue(QUIT)  # the command may run for long
            return DoneState(self, value, "" if error is None else text_of(error) or "skipped")
        return self._failed(error, usable=not unanswered and not self._lost)

    def _failed(self, error: BaseException, usable: bool) -> MachineState:
        context, where = self._context, user_place(error)
        error = explain.explained_error(error)
        place = where or context.defined
        text = explain.failure(error, place, self._lost)
        final = not self._lost and explain.is_final(error)
        seems_final = not self._lost and isinstance(error, CommandFailed) and error.final
        state = FailedState(self, text, where=where, final=final, seems_final=seems_final, usable=usable)
        if context.keep_errors:
            state.error = error
        logger.debug("part %d failed at %s: %s", self.actorNum, place, describe(error))
        return state

    def _line_of(self, task: Task) -> str:
        return explain.place_of_task(task, self._frame)

    # Called by requests

    def forgotten(self, request: Request[Any]) -> None:
        """Fails the part, because a request was dropped without having been awaited."""
        self.misused(f"{request.where}: {request.call()} was not awaited: write `await` before it")

    def misused(self, text: str) -> None:
        """Makes the part fail with this text, at its next await or at its end."""
        if self._main is not None and not self._lost:
            self._forgotten = self._forgotten or text

    def _abandon(self, task: Task) -> None:
        """Ends a task's waiting: answers to its commands will be dropped."""
        self._stop_waiting(task)
        if self._inner is not None:
            self._inner = None
            self._lost = "the time for its state machine was over"
            SocketNB.close(self)
        if task.request is not None:
            task.request.task = None
        if task.children is not None:
            for child in task.children.tasks:
                if not child.finished:
                    self._abandon(child)
                    child.finished = True
                    close(child.coroutine)
            self._leave_together(task.children)

    # Several tasks at once

    def spawn(self, awaitables: Sequence[Awaitable[Any]], task: Task) -> Any:
        """Begins several tasks; returns their results if all end at once, otherwise WAITING: the last to end resumes
        `task`."""
        group = Group(task, awaitables)
        if group.background:
            if not self._beside:
                self._say("seti:bg_silent:1")
                self._say("seti:nonblock:1")
            self._beside += 1
        task.children = group
        for child in group.tasks:
            self._go_on(child, None)
        group.beginning = False
        if group.left:
            return WAITING
        task.children = None
        self._leave_together(group)
        if group.error is not None:
            raise group.error
        return tuple(group.results)

    def _leave_together(self, group: Group) -> None:
        if group.background:
            group.background = False
            self._beside -= 1
            if not self._beside and not self._lost:
                self._say("seti:nonblock:0")

    def enter_machine(self, constructor: Constructor, task: Task) -> None:
        """Hands the connection to a state machine; the machine's end resumes `task`."""
        if self._open or task.group is not None:
            raise Misuse(
                f"{self._line_of(task)}: a state machine cannot run beside other commands of the same worker"
            )
        inner = enter(self, constructor)
        if inner.expects_message(self._hello):
            self._channel.parser.messages.appendleft(self._hello.encode())
        self._inner = inner
        self.title = type(inner).__name__

    def _move_machine(self, inner: MachineState) -> MachineState:
        inner = inner.do_handle()
        self.title = type(inner).__name__
        if not inner.terminal:
            self._inner = inner
            self._set()
            return self
        self._inner = None
        assert self._main is not None
        if isinstance(inner, ErrorState):
            return self._machine_failed(inner)
        return self._go_on(self._main, inner)

    def _machine_failed(self, inner: ErrorState) -> MachineState:
        """Raises CommandFailed in the part whose state machine has failed, and ends the worker.

        The machine may have sent commands that are not answered yet. Their answers would look like those to the part's
        next commands, and the worker would read `reset:` only after the last of these commands has ended.
        """
        assert self._main is not None
        problem = (FinalFailure if inner.final else CommandFailed)(inner.err)
        problem.final = is_final(inner.err)
        state = self._go_on(self._main, None, problem)
        SocketNB.close(self)
        return state if state.terminal else self._lose(f"its state machine has failed: {inner.err}")
