"""Which part of the job each worker gets: workers are told apart only by the order they connect in."""

from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """A part's number, as states see it, and the keyframe group it belongs to."""

    number: int
    group: int


def connection_order(
    num_parts: int, keyframe_distance: int | None = None, num_list: Sequence[int] | None = None
) -> list[Part]:
    """The parts in the order in which connecting workers get them.

    With a keyframe distance K the groups are 0..K-1, K..2K-1, …; all first members come first, then all
    second ones, so that no worker waits for a left neighbour that has not started. `num_list` gives the
    n-th part another number.
    """
    size = keyframe_distance or 1
    order = sorted(range(num_parts), key=lambda part: (part % size, part)) if size > 1 else range(num_parts)
    return [Part(num_list[part] if num_list else part, part // size) for part in order]
