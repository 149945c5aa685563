"""What a part can meet, and what it can raise to say how it has ended."""

from typing import TYPE_CHECKING

from mu.errors import MuError

if TYPE_CHECKING:
    from mu.jobs.results import Completed


class CommandFailed(MuError):  # noqa: N818
    """The worker could not do a command; the text says why. The worker itself goes on."""


class TransferFailed(CommandFailed):
    """An object could not be fetched or stored."""


class ProgramFailed(CommandFailed):
    """A program has ended with another status than 0, or has taken too long.

    `completed` has all that is known of it; the text shows the end of what it printed.
    """

    def __init__(self, what: str, completed: "Completed") -> None:
        super().__init__(what)
        self.completed = completed


class Misuse(MuError):  # noqa: N818
    """A part uses the API wrongly: the text names the file and the line. Another attempt would end the same way."""


class Final(MuError):  # noqa: N818
    """Raised by a part: it has failed, and another attempt would end the same way."""


class PartFailed(Final):
    """The part whose result is waited for (`mu.done`) has failed for good."""


class Skip(MuError):  # noqa: N818
    """Raised by a part: there is nothing to do for this input. The part is done, with None as its result."""


class WorkerLost(BaseException):
    """The worker is gone: every await raises this from now on.

    It is no Exception, so that `except Exception` around a command does not go on with a worker that is not there.
    """
