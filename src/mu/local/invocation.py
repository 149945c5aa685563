"""One invocation as the handler sees it: its import, its context, and its result or error in Lambda's form.

This file is loaded by path into the fork server, so it may import only the standard library.
"""

import importlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Handler = Callable[[Any, Any], Any]

RESULT, ERROR = b"R", b"E"
PYOPENSSL = "urllib3.contrib.pyopenssl"


@dataclass
class Context:
    """The second argument of a handler, with the same fields as Lambda's."""

    function_name: str
    function_version: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    aws_request_id: str
    log_group_name: str
    log_stream_name: str
    deadline: float = field(repr=False)
    """When the function is killed, by time.monotonic()."""
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Returns the milliseconds until the function is killed, never below 0."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


class InitError(Exception):
    """The handler cannot be found; `document` is the error with which Lambda would answer."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.document = {"errorMessage": message, "errorType": kind, "stackTrace": []}


def load(handler: str) -> Handler:
    """Imports the function that `module.function` names. Raises InitError if there is none.

    An exception of the import itself, other than ImportError and SyntaxError, becomes an InitError with its type.
    """
    name, _, function = handler.rpartition(".")
    if not name:
        raise InitError("Runtime.MalformedHandlerName", f"Bad handler '{handler}': not MODULE.FUNCTION")
    try:
        module = importlib.import_module(name.replace("/", "."))
    except ImportError as error:
        traceback.print_exc()
        raise InitError("Runtime.ImportModuleError", f"Unable to import module '{name}': {error}") from error
    except SyntaxError as error:
        traceback.print_exc()
        raise InitError("Runtime.UserCodeSyntaxError", f"Syntax error in module '{name}': {error}") from error
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise InitError(type(error).__name__, str(error)) from error
    found: Handler | None = getattr(module, function, None)
    if not callable(found):
        raise InitError("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{name}'")
    return found


def warm_up() -> None:
    """Imports boto3 and makes an S3 client, so that handlers share what that loads.

    Lambda has no pyOpenSSL; without it the time is a quarter and the memory a sixth less.
    """
    sys.modules[PYOPENSSL] = None  # type: ignore[assignment]  # so that its import fails
    try:
        import boto3

        boto3.client("s3")
    except ImportError:
        pass
    except Exception as error:  # handlers then do it themselves, and report what fails
        print(f"S3 was not made ready: {error!r}")  # noqa: T201
    finally:
        del sys.modules[PYOPENSSL]


def prepare_worker() -> None:
    """Lets mu's worker, if the package has one, load what its commands need."""
    prepare = getattr(sys.modules.get("mu.worker"), "prepare", None)
    if prepare is not None:
        prepare()


def log_to_stdout() -> None:
    """Sends the root logger's records to the invocation's log, as Lambda does."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    handler.formatter.converter = time.gmtime  # type: ignore[union-attr]
    logging.getLogger().addHandler(handler)


def run(handler: Handler, payload: bytes, context: Context) -> bytes:
    """Calls the handler; returns RESULT or ERROR followed by a JSON document.

    A handler that exits the process (SystemExit) is an error, too, as on Lambda.
    """
    try:
        result = handler(json.loads(payload or b"{}"), context)
    except SystemExit as error:
        return _failure(
            "Runtime.ExitError", f"RequestId: {context.aws_request_id} Error: {_exit_reason(error)}", []
        )
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]  # without the frame of this function
        kind, message = type(error).__name__, str(error)
        lines = traceback.format_list(frames)
        print(f"[ERROR] {kind}: {message}\nTraceback (most recent call last):\n{''.join(lines)}", end="")  # noqa: T201
        return _failure(kind, message, lines)
    try:
        return RESULT + json.dumps(result).encode()
    except (TypeError, ValueError, RecursionError) as error:
        message = f"Unable to marshal response: {error}"
        print(f"[ERROR] Runtime.MarshalError: {message}")  # noqa: T201
        return _failure("Runtime.MarshalError", message, [])


def _exit_reason(error: SystemExit) -> str:
    if error.code in (None, 0):
        return "Runtime exited without providing a reason"
    code = error.code if isinstance(error.code, int) else 1
    return f"Runtime exited with error: exit status {code}"


def _failure(kind: str, message: str, stack: list[str]) -> bytes:
    return ERROR + json.dumps({"errorMessage": message, "errorType": kind, "stackTrace": stack}).encode()


def ended_badly(request_id: str, code: int | None) -> bytes:
    """Returns the error of a process that left no result: `code` as from subprocess, negative for a signal."""
    if not code:
        reason = "Runtime exited without providing a reason"
    elif code < 0:
        names = {-6: "aborted", -9: "killed", -11: "segmentation fault", -15: "terminated"}
        reason = f"Runtime exited with error: signal: {names.get(code, -code)}"
    else:
        reason = f"Runtime exited with error: exit status {code}"
    return _failure("Runtime.ExitError", f"RequestId: {request_id} Error: {reason}", [])[1:]
