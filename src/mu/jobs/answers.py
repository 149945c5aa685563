"""Decodes answers to a worker's commands: each function returns the result, or raises the exception for the part."""

from mu.jobs import results
from mu.jobs.errors import TransferFailed
from mu.jobs.requests import failed
from mu.jobs.results import Completed, File
from mu.wire import protocol


def answer_or_failure(answer: str) -> str:
    """Returns the answer itself. Raises CommandFailed if it is a failure."""
    if answer.startswith("FAIL"):
        raise failed(answer)
    return answer


def exec_result(answer: str) -> Completed:
    """Returns how the program of an `exec:` ended. Raises CommandFailed if it could not be started."""
    try:
        return results.completed(protocol.exec_result(answer))
    except ValueError as error:
        raise failed(str(error)) from None


def bytes_moved(answer: str) -> int:
    """Returns how many bytes a transfer has moved. Raises TransferFailed if it failed."""
    if not answer.startswith("OK"):
        raise failed(answer, TransferFailed)
    return protocol.bytes_moved(answer)


def put_size(answer: str) -> int:
    """Returns how many bytes a `put:` has written. Raises CommandFailed if it failed."""
    number = answer[len(protocol.PUT) : -1]
    if not answer.startswith(protocol.PUT) or not number.isdigit():
        raise failed(answer)
    return int(number)


def file_data(answer: str) -> bytes:
    """Returns the bytes that a `fetch:` has read. Raises CommandFailed if it failed."""
    try:
        return protocol.fetch_data(answer)
    except ValueError as error:
        raise failed(str(error)) from None


def file_list(answer: str) -> list[File]:
    """Returns the files that a `list:` has found. Raises CommandFailed if it failed."""
    try:
        return [File(name, size) for name, size in protocol.list_result(answer)]
    except ValueError as error:
        raise failed(str(error)) from None
