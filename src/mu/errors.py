"""One family of exceptions: whose fault it was is the class.

Both ends of the wire use this module, so it imports nothing that is not there already.
"""

import os


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
        self.code: int = code
        self.job: object = None  # what `mu.run` would have returned


def describe(error: BaseException) -> str:
    """One line for an exception."""
    text = str(error).strip().replace("\n", " ")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(error: BaseException) -> str:
    """` (FILE:LINE)`: where the user's own code raised an exception, or called what did; nothing if none was in it."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((OURS, LIBRARY, "<frozen")) and "site-packages" not in file:
            found = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return found


# Where mu's own files are, and those of the standard library.
OURS = __file__.rpartition("/")[0] + "/"
LIBRARY = os.__file__.rpartition("/")[0] + "/"

LONGEST = 300  # characters of a reason in one line


def one_line(text: str, longest: int = LONGEST) -> str:
    """`text` with its line breaks and runs of blanks as single blanks, cut at `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def reason(error: BaseException) -> str:
    """One line that says what went wrong, such as `no such file or directory`, without secrets."""
    if "Invalid header value" in str(error):
        # http.client's words, which quote the header: a session token, or a signature and an access key.
        return "the AWS credentials have odd characters in them, such as a line break: set them anew"
    if isinstance(error, OSError) and error.strerror:
        # A TLS error's text is `[SSL: REASON] words (_ssl.c:1006)`: the words are what helps.
        text = error.strerror.partition(" (_ssl.c")[0]
        text = text.partition("] ")[2] or text
        return one_line(text[:1].lower() + text[1:])
    return one_line(str(error)) or type(error).__name__
