"""One family of exceptions; the class tells who caused the error: the caller, the peer, or the job.

Workers and coordinators use this module, so it imports only modules that are loaded anyway.
"""

from __future__ import annotations

import os
from typing import Any


class MuError(Exception):
    """The base class of all exceptions that mu raises on purpose. `str(error)` is one line for the user, without
    secrets."""


class UsageError(MuError):
    """A mistake of the caller: in a flag, a file, a credential, an argument. Nothing has been started.

    Commands print it as one line and exit with status 2.
    """


class ProtocolError(MuError):
    """A mistake of the peer: it sent something that the wire format does not allow."""


class LaunchError(MuError):
    """Workers could not be launched, and a retry would not help."""


class JobError(MuError, SystemExit):
    """The job has ended, but not all of its parts are done; the summary with the reasons was printed.

    Also a SystemExit, so that a script that does not catch it ends with `code` as its exit status (1; 130 or 143
    after a signal) and no traceback.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code: int = code
        self.job: Any = None  # the Job that `mu.run` would have returned, or the MapResult of `mu.map`


class Stopped(SystemExit):
    """A signal has stopped a job of `mu.run`, `mu.main` or `mu.map`; `job` is what would have been returned.

    It is raised whatever `check` says and is no Exception, so that `except mu.JobError` around one of many jobs does
    not make the program go on with the next one. A program that does not catch it ends with `code` as its exit
    status (130 after SIGINT, 143 after SIGTERM) and no traceback.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code: int = code
        self.job: Any = None


class Interrupted(Stopped, KeyboardInterrupt):
    """Ctrl-C (SIGINT) has stopped a job."""


def stopped(error: JobError, job: object) -> Stopped | None:
    """Returns the exception to raise for a job that a signal has ended; None if it has ended for another reason."""
    if error.code <= SIGNALLED:
        return None
    kind = Interrupted if error.code == SIGNALLED + SIGINT else Stopped
    made = kind(str(error), error.code)
    made.job = job
    return made


SIGNALLED = 128  # the exit status after a signal is this plus the signal's number
SIGINT = 2  # a worker would load the module `signal` only for this number


def describe(error: BaseException) -> str:
    """Returns one line for an exception, with its class."""
    text = text_of(error).strip().replace("\n", " ")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def text_of(error: BaseException) -> str:
    """Returns the text of an exception; empty if it cannot be made, since its class may be the user's own."""
    try:
        return str(error)
    except Exception:
        return ""


def place(error: BaseException) -> str:
    """Returns ` (FILE:LINE)` where the user's own code raised an exception, or called what did; otherwise an empty
    text."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_users(file):
            found = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


def is_users(file: str) -> bool:
    """Returns whether a source file is the user's own, and not mu's, Python's or an installed library's."""
    return not file.startswith((OURS, LIBRARY, "<frozen")) and "site-packages" not in file


# Directory of mu's own files, and those of the standard library.
OURS = __file__.rpartition("/")[0] + "/"
LIBRARY = os.__file__.rpartition("/")[0] + "/"

LONGEST = 300  # the most characters of a reason


def one_line(text: str, longest: int = LONGEST) -> str:
    """Returns `text` with line breaks and runs of blanks as single blanks, cut at `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def reason(error: BaseException) -> str:
    """Returns in one line what went wrong, such as `no such file or directory`, without secrets."""
    if "Invalid header value" in text_of(error):
        # http.client's text quotes the header: a session token, or a signature and an access key.
        return "the AWS credentials contain invalid characters, such as a line break: set them again"
    if isinstance(error, OSError) and error.strerror:
        # A TLS error's text is `[SSL: REASON] words (_ssl.c:1006)`; only the words help.
        text = error.strerror.partition(" (_ssl.c")[0]
        text = text.partition("] ")[2] or text
        return one_line(text[:1].lower() + text[1:])
    return one_line(text_of(error)) or type(error).__name__
