"""The part of a coroutine's machine that waits for time and for other parts, rather than for the worker."""

from time import monotonic
from typing import Any

from mu.jobs.context import STALL, Context
from mu.jobs.errors import Misuse
from mu.jobs.requests import WAITING, Expired, Timeout
from mu.jobs.task import Task
from mu.machine import MachineState
from mu.wire.socket_nb import SocketLike, SocketNB


class Nap:
    """A time at which a task is resumed (`part` None), or at which we check whether part `part` can ever be done."""

    __slots__ = ("deadline", "part", "request", "task")

    def __init__(self, deadline: float, task: Task, part: int | None = None) -> None:
        self.deadline = deadline
        self.task = task
        self.request = task.request
        self.part = part


class WaitingState(MachineState):
    """Resumes tasks when a timer is due, when their timeout is over, and when the part that they wait for is done."""

    def __init__(self, prevState: SocketLike | SocketNB, part: int, context: Context) -> None:
        super().__init__(prevState, part)
        self.wake_at = None
        self._context = context
        self._timers: list[Nap | Timeout] = []
        self._arrived: list[Task] = []
        self._awaited: dict[Task, int] = {}
        self._task: Task | None = None  # the task that is running
        self._inner: MachineState | None = None  # the state machine that drives the worker at present

    # Implemented by the coroutine's own class

    def _go_on(self, task: Task, value: Any, error: BaseException | None = None) -> MachineState:
        raise NotImplementedError

    def _abandon(self, task: Task) -> None:
        raise NotImplementedError

    def _mark(self, word: str) -> None:
        raise NotImplementedError

    # Called by requests

    def sleep_until(self, moment: float, task: Task) -> None:
        """Resumes a task at a time of the monotonic clock (seconds)."""
        self._set(Nap(moment, task))
        self._mark("sleep")

    def limit(self, timeout: Timeout) -> None:
        """Starts a timeout of the running task."""
        timeout.task = self._task
        self._set(timeout)

    def unlimit(self, timeout: Timeout) -> None:
        """Ends a timeout, whose awaits are done."""
        timeout.task = None
        if timeout in self._timers:
            self._timers.remove(timeout)
            self._set()

    def _set(self, *more: "Nap | Timeout") -> None:
        self._timers += more
        moments = [timer.deadline for timer in self._timers]
        if self._inner is not None and self._inner.wake_at is not None:
            moments.append(self._inner.wake_at)
        self.wake_at = min(moments, default=None)

    def _stop_waiting(self, task: Task) -> None:
        """Removes a task from those that wait for another part."""
        part = self._awaited.pop(task, None)
        if part is not None:
            self._context.release(self, task, part)

    def _release(self) -> None:
        """Removes all waiting, because the part is over."""
        for task in list(self._awaited):
            self._stop_waiting(task)
        self._timers = []
        self.wake_at = None

    def wait_for(self, part: int, task: Task) -> Any:
        """Returns the result of a part, or WAITING; then `arrived` is called when it is over."""
        assert task.request is not None
        where = task.request.where
        known, value = self._context.outcome(part, where)
        if known:
            return value
        self._context.wait(self, task, part, where)
        self._awaited[task] = part
        self._set(Nap(monotonic() + STALL, task, part))
        self._mark("done")
        return WAITING

    def arrived(self, task: Task) -> None:
        """Marks a task whose awaited part is over; the next `do_handle` resumes it."""
        self._arrived.append(task)
        self.wake_at = 0.0

    def _look_at_clock(self) -> MachineState:
        """Resumes the tasks whose timer is due, or whose awaited part is over."""
        state: MachineState = self
        while self._arrived and state is self:
            state = self._resume_after(self._arrived.pop(0))
        now = monotonic()
        due = [timer for timer in self._timers if timer.deadline <= now]
        if state is self:
            self._timers = [timer for timer in self._timers if timer.deadline > now]
            self._set()
        for timer in sorted(due, key=lambda timer: timer.deadline):
            if state is not self:
                break
            state = self._expire(timer)
        return state

    def _resume_after(self, task: Task) -> MachineState:
        part = self._awaited.pop(task, None)
        request = task.request
        if part is None or request is None:
            return self  # it no longer waits
        self._context.release(self, task, part)
        self._timers = [
            timer for timer in self._timers if not (isinstance(timer, Nap) and timer.request is request)
        ]
        try:
            _, value = self._context.outcome(part, request.where)
        except Exception as error:
            return self._go_on(task, None, error)
        return self._go_on(task, value)

    def _expire(self, timer: "Nap | Timeout") -> MachineState:
        task = timer.task
        if isinstance(timer, Timeout):
            if task is None or task.finished:
                return self
            self._abandon(task)
            return self._go_on(task, None, Expired(timer))
        if task is None or task.request is None or task.request is not timer.request:
            return self  # it no longer waits
        if timer.part is None:
            return self._go_on(task, None)
        if not self._context.stalled(timer.part):
            self._set(Nap(monotonic() + STALL, task, timer.part))
            return self
        where = task.request.where
        self._abandon(task)
        text = (
            f"{where}: part {timer.part} has not begun, and all workers have parts that wait for others: have more "
            "workers, or put the inputs that others wait for first"
        )
        return self._go_on(task, None, Misuse(text))
