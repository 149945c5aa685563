"""Exceptions that a part's commands raise, and that a part can raise to tell how it has ended."""

from typing import TYPE_CHECKING

from mu.errors import MuError

if TYPE_CHECKING:
    from mu.jobs.results import Completed


class CommandFailed(MuError):  # noqa: N818
    """The worker could not do a command; the text is the reason. The worker itself can still be used.

    `final` is true if the reason is one that another attempt would meet again, such as a key that does not exist.
    """

    final = False


class TransferFailed(CommandFailed):
    """An object could not be fetched or stored."""


class ProgramFailed(CommandFailed):
    """A program has ended with a status other than 0, or has run into its time limit.

    `completed` has its status, output and times; the text shows the end of its output.
    """

    def __init__(self, what: str, completed: "Completed") -> None:
        super().__init__(what)
        self.completed = completed


class Misuse(MuError):  # noqa: N818
    """A part uses the API wrongly; the text names file and line. Another attempt would end the same way."""


class Final(MuError):  # noqa: N818
    """Raised by a part that has failed, if another attempt would end the same way."""


class FinalFailure(CommandFailed, Final):
    """A state machine has failed in a way that its next attempt would, too, such as one whose classes are wrong."""


class PartFailed(Final):
    """The part whose result was awaited (`mu.done`) has failed for good."""


class Skip(MuError):  # noqa: N818
    """Raised by a part that has nothing to do for its input. The part is done, with None as its result."""


class WorkerLost(BaseException):
    """The worker is gone: from now on every await raises this.

    It does not derive from Exception, so that `except Exception` around a command cannot swallow it and go on with a
    worker that is gone.
    """
