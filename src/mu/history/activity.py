"""The activity of a worker at each time, for pictures: fetch, run, upload, wait or other; the same words in every
job.

It is derived from the worker's answers: each ends what the worker had been doing since the previous answer. Without
answers (`-O` files, answers that a record has left out, failures) the name of the state is used: its last known word
counts, so that RetrieveAndRun is running.
"""

import re
from functools import cache

from mu.history.runs import Row

FETCH, RUN, UPLOAD, WAIT, OTHER = ACTIVITIES = ("fetch", "run", "upload", "wait", "other")
# Beginnings of answers in a record. A test compares them with `mu.wire.protocol`; they are copied, since records are
# kept.
ANSWERS = {
    "OK:RETRIEVE(": FETCH,
    "OK:FETCH(": FETCH,
    "OK:LIST(": FETCH,
    "OK:RETVAL(": RUN,
    "OK:EXEC(": RUN,
    "OK:UPLOAD(": UPLOAD,
    "OK:PUT(": UPLOAD,
}
REMARK, FAILURE = "INFO:", "FAIL("
WORDS = {
    **dict.fromkeys(("retrieve", "retrieving", "fetch", "download", "get", "list", "input"), FETCH),
    **dict.fromkeys(("run", "running", "exec", "execute", "encode", "decode", "convert", "compare"), RUN),
    **dict.fromkeys(("upload", "uploading", "put", "store", "save"), UPLOAD),
    **dict.fromkeys(("wait", "waiting", "sleep", "barrier"), WAIT),
}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

Span = tuple[float, float, str]


@cache
def of_state(name: str) -> str:
    """Returns the activity that a state's name contains; other if it contains none."""
    found = [WORDS[word.lower()] for word in WORD.findall(name) if word.lower() in WORDS]
    return found[-1] if found else OTHER


def spans(row: Row) -> list[Span]:
    """Returns begin, end and activity of all of an attempt's time, in order and without gaps or empty spans."""
    begin = min(row.connected, row.states[0][0])
    answered = row.messages[0][0] if row.messages and row.messages_left_out else begin
    found = _by_states(row, begin, answered)
    for moment, text in row.messages:
        if text.startswith(REMARK):
            continue  # it is sent while an activity goes on
        until = min(max(moment, answered), row.finished)
        if text.startswith(FAILURE):
            found += _by_states(row, answered, until)
        else:
            found.append((answered, until, _of_answer(text)))
        answered = until
    return _joined(found + _by_states(row, answered, row.finished))


def _of_answer(text: str) -> str:
    return next((activity for start, activity in ANSWERS.items() if text.startswith(start)), OTHER)


def _by_states(row: Row, begin: float, end: float) -> list[Span]:
    return [
        (max(begin, entered), min(end, left), of_state(name))
        for entered, left, name in row.spans()
        if entered < end and left > begin
    ]


def _joined(found: list[Span]) -> list[Span]:
    """Returns the spans that are not empty; neighbours of one activity are joined, and each begins where the previous
    ends."""
    made: list[Span] = []
    for begin, end, activity in found:
        if end <= begin:
            continue
        if made and made[-1][2] == activity:
            made[-1] = (made[-1][0], end, activity)
        else:
            made.append((made[-1][1] if made else begin, end, activity))
    return made
