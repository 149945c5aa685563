"""Error texts for parts that went wrong: one line with file and line of the user's own code."""

from types import FrameType

from mu.errors import describe, is_users, text_of
from mu.jobs.context import Context
from mu.jobs.errors import CommandFailed, Final, Misuse, WorkerLost
from mu.jobs.requests import line_of, short
from mu.jobs.task import Task
from mu.jobs.tasks import user_place

NOT_HERE = (
    "cannot be awaited in a part; await its worker's methods (several at once: worker.together), mu.sleep, mu.done, "
    "or coroutines of these"
)


# What asyncio says without a loop: in a process that has had none yet, and in one that has.
NO_LOOP = ("no running event loop", "There is no current event loop")


def explained_error(error: BaseException) -> BaseException:
    """Returns the exception to report for `error`: asyncio's own error is replaced by one that tells what to await."""
    if isinstance(error, RuntimeError) and text_of(error).startswith(NO_LOOP):
        return Misuse(f"{user_place(error)}: asyncio {NOT_HERE}")
    return error


def failure(error: BaseException, where: str, lost: str) -> str:
    """Returns the failure text of a part: that of a command's or the part's own failure, or of any other exception
    with `where` it came from.

    `lost` is the reason why the worker is gone, if it is.
    """
    if isinstance(error, CommandFailed | Final | Misuse | WorkerLost):
        text = text_of(error) or describe(error)
    else:
        text = describe(error) + (f" ({where})" if where else "")
    if lost and not isinstance(error, WorkerLost):
        text += f", after the worker was lost: {lost}"
    return text


def is_final(error: BaseException) -> bool:
    """Returns whether another attempt would fail in the same way: the part says so, or its own code raised the
    exception. What commands and `mu.timeout` raise is not final."""
    if isinstance(error, CommandFailed):
        return isinstance(error, Final)
    return not isinstance(error, TimeoutError | WorkerLost)


def foreign(where: str, awaited: object) -> Misuse:
    """Returns the error for awaiting an object that no part can await; asyncio yields None for a pause."""
    what = "asyncio" if awaited is None or hasattr(awaited, "_asyncio_future_blocking") else "this"
    shown = "" if awaited is None else f" ({type(awaited).__name__})"
    return Misuse(f"{where}: {what}{shown} {NOT_HERE}")


def place_of_task(task: Task, frame: FrameType) -> str:
    """Returns file and line at which a task's innermost coroutine in the user's code waits; if it has none, those of
    the whole part, `frame`."""
    place, coroutine = f"{short(frame.f_code.co_filename)}:{frame.f_lineno}", task.coroutine
    while coroutine is not None and hasattr(coroutine, "cr_frame"):
        if coroutine.cr_frame is not None and is_users(coroutine.cr_code.co_filename):
            place = f"{short(coroutine.cr_code.co_filename)}:{coroutine.cr_frame.f_lineno}"
        coroutine = coroutine.cr_await
    return place


def no_coroutine(context: Context, made: object) -> Misuse:
    """Returns the error for a function that returned `made`, which is no coroutine."""
    name = context.name
    why = (
        "has a `yield`, so it is not a coroutine function: return its result"
        if hasattr(made, "ag_frame")
        else f"is not a coroutine function: write `async def {name}`"
    )
    return Misuse(f"{context.defined}: {name} {why}")


def tell_blocking(context: Context, seconds: float, before: int, line: int) -> None:
    """Prints, once for each place, that a part has blocked the coordinator for `seconds` between two awaits.

    `before` is the instruction of the first await; `line` the line of the second one (0: the part ended).
    """
    first = line_of(context.code, before)
    lines = f"line {first}" if line in (0, first) else f"lines {first} to {line}"
    context.tell_once(
        f"{context.file}:{first}",
        f"{short(context.file)}:{first}: {context.name} kept the coordinator and all other workers waiting "
        f"for {seconds:.1f} s ({lines}): run long computations as a program on the worker",
    )
