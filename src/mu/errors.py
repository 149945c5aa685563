"""One family of exceptions: whose fault it was is the class.

Both ends of the wire use this module, so it imports nothing.
"""


class MuError(Exception):
    """Everything mu raises on purpose. `str(error)` is one line for the user, without secrets."""


class UsageError(MuError):
    """The caller's mistake: a flag, a file, a credential, an argument. Nothing has been started.

    Commands print it as one line and exit with status 2.
    """


class ProtocolError(MuError):
    """The peer's fault: it sent something that the wire format does not allow."""


class LaunchError(MuError):
    """Workers could not be launched, and trying again would not help."""


class JobError(MuError, SystemExit):
    """The job has ended without all its parts done; the summary that says why has been printed.

    Also a SystemExit, so that a script that does not catch it ends with `code` as its exit status
    (1; 130 or 143 after a signal) and no traceback.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
