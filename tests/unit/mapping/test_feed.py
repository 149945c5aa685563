"""The inputs on their way to the coordinator's loop."""

from collections.abc import Iterator

from mu.errors import MuError
from mu.jobs.reading import ReadAhead
from mu.mapping import words
from mu.mapping.feed import Feed
from mu.mapping.inputs import Input
from mu.mapping.outputs import Outputs
from mu.mapping.rows import listed


def endless(error: Exception, number: int) -> Iterator[Input]:
    """Yields so many inputs, then raises the error."""
    yield from listed(map(str, range(number)))
    raise error


def test_an_error_that_can_be_explained_ends_the_inputs_with_the_reason() -> None:
    ahead = ReadAhead(endless(MuError("the bucket is gone"), 3))
    items = (item if there else None for there, item in ahead)
    command = words.command(("true", "{}"))
    feed = Feed(items, command, Outputs((), listed([])), "")
    assert [work.item.text for work in feed if work is not None] == ["0", "1", "2"]
    assert (feed.broken, feed.complete) == ("the bucket is gone", False)
    feed = Feed(listed(["0"]), command, Outputs((), listed([])), "")
    assert len([work for work in feed if work is not None]) == 1
    assert (feed.broken, feed.complete) == ("", True)
