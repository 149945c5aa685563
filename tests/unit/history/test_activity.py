"""The activities of workers, derived from their answers, or from names of states where there are no answers."""

import pytest

from mu.history import activity
from mu.history.runs import Row
from mu.wire import protocol

STATES = [(1.0, "retrieve:3"), (2.0, "run:4"), (4.0, "upload:5"), (5.0, "FinalState")]


def row(messages: list[tuple[float, str]] | None = None, left_out: int = 0) -> Row:
    return Row(0, 1, 1.0, 5.0, "done", STATES, messages=messages or [], messages_left_out=left_out)


def test_answers_are_those_of_the_protocol() -> None:
    assert list(activity.ANSWERS) == [
        protocol.RETRIEVE, protocol.FETCH, protocol.LIST, protocol.RETVAL, protocol.EXEC, protocol.UPLOAD, protocol.PUT,
    ]  # fmt: skip
    assert (activity.REMARK, activity.FAILURE) == (protocol.INFO, protocol.FAIL)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("PNG2Y4MRetrieveLoopState", "fetch"),
        ("PNG2Y4MRetrieveAndRunState", "run"),
        ("RunAndUpload", "upload"),
        ("SSIMUploadState", "upload"),
        ("exec:87", "run"),
        ("WaitForOthers", "wait"),
        ("XCEncSettingsState", "other"),
        ("Prune", "other"),
        ("", "other"),
    ],
)
def test_names_of_states(name: str, wanted: str) -> None:
    assert activity.of_state(name) == wanted


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (row(), [(1, 2, "fetch"), (2, 4, "run"), (4, 5, "upload")]),
        # Answers are preferred to names of states; the time after the last answer is derived from names.
        (
            row([(1.5, "OK:SET"), (2.5, "OK:RETRIEVE(b/k)"), (3.5, "OK:EXEC({})")]),
            [(1, 1.5, "other"), (1.5, 2.5, "fetch"), (2.5, 4, "run"), (4, 5, "upload")],
        ),
        # An INFO message ends no activity, and a failure does not tell which activity it ends.
        (row([(1.5, "INFO:x"), (3.0, "FAIL(no)")]), [(1, 2, "fetch"), (2, 4, "run"), (4, 5, "upload")]),
        # Before the first answer that was kept, the activity is unknown.
        (
            row([(3.0, "OK:PUT({})"), (3.5, "OK:FETCH(x)")], left_out=9),
            [(1, 2, "fetch"), (2, 3, "run"), (3, 3.5, "fetch"), (3.5, 4, "run"), (4, 5, "upload")],
        ),
        # Clocks that were set back or ahead.
        (
            row([(2.0, "OK:LIST([])"), (1.0, "OK:PUT({})"), (9.0, "OK:RETVAL(0)")]),
            [(1, 2, "fetch"), (2, 5, "run")],
        ),
    ],
)
def test_spans(made: Row, wanted: list[activity.Span]) -> None:
    assert activity.spans(made) == wanted
