"""What is told of a part that went wrong: one line with the file and line of the user's own code."""

from types import FrameType

from mu.errors import MuError, describe
from mu.jobs.context import Context
from mu.jobs.errors import Misuse, WorkerLost
from mu.jobs.requests import line_of, short
from mu.jobs.task import Task
from mu.jobs.tasks import is_users, user_place

NOT_HERE = "cannot be awaited in a part, but only the methods of its worker, mu.sleep, mu.done, and coroutines of these"


def known_by_its_words(error: BaseException) -> BaseException:
    """What an error of Python's own means here: awaiting asyncio often fails before anything is awaited."""
    if isinstance(error, RuntimeError) and str(error) == "no running event loop":
        return Misuse(f"{user_place(error)}: asyncio {NOT_HERE}")
    return error


def failure(error: BaseException, where: str, lost: str) -> str:
    """Why a part has failed: the text of mu's own errors, of others with `where` they came from. `lost` says what
    became of the worker, if it is gone."""
    if isinstance(error, MuError | WorkerLost):
        text = str(error) or describe(error)
    else:
        text = describe(error) + (f" ({where})" if where else "")
    if lost and not isinstance(error, WorkerLost):
        text += f", after the worker was lost: {lost}"
    return text


def foreign(where: str, awaited: object) -> Misuse:
    """What is wrong with awaiting something that no part can await; None is what asyncio yields for a pause."""
    what = "asyncio" if awaited is None or hasattr(awaited, "_asyncio_future_blocking") else "this"
    shown = "" if awaited is None else f" ({type(awaited).__name__})"
    return Misuse(f"{where}: {what}{shown} {NOT_HERE}")


def place_of_task(task: Task, frame: FrameType) -> str:
    """File and line at which a task's innermost coroutine of the user's waits, or else that of the whole part,
    `frame`."""
    place, coroutine = f"{short(frame.f_code.co_filename)}:{frame.f_lineno}", task.coroutine
    while coroutine is not None and hasattr(coroutine, "cr_frame"):
        if coroutine.cr_frame is not None and is_users(coroutine.cr_code):
            place = f"{short(coroutine.cr_code.co_filename)}:{coroutine.cr_frame.f_lineno}"
        coroutine = coroutine.cr_await
    return place


def tell_blocking(context: Context, seconds: float, before: int, line: int) -> None:
    """Tell once that a part did not let go of the coordinator between two awaits: that at the instruction `before` and
    that in `line` (0: the part ended)."""
    first = line_of(context.code, before)
    lines = f"{first}" if line in (0, first) else f"{first} to {line}"
    context.tell_once(
        f"{context.file}:{first}",
        f"{short(context.file)}:{first}: {context.name} kept the coordinator and all other workers waiting "
        f"for {seconds:.1f} s (lines {lines}): what takes long belongs into a program on the worker",
    )
