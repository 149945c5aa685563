"""Which part goes to which connection."""

import pytest

from mu.parts import connection_order


@pytest.mark.parametrize(
    ("number", "distance", "listed", "order"),
    [
        (3, None, None, [0, 1, 2]),
        (1, None, None, [0]),
        (5, 4, None, [0, 4, 1, 2, 3]),
        (6, 2, None, [0, 2, 4, 1, 3, 5]),
        (7, 3, None, [0, 3, 6, 1, 4, 2, 5]),
        (3, 1, None, [0, 1, 2]),
        (3, 8, None, [0, 1, 2]),
        (3, None, [9, 4, 7], [9, 4, 7]),
        (5, 4, [10, 11, 12, 13, 20], [10, 20, 11, 12, 13]),
    ],
)
def test_connection_order(
    number: int, distance: int | None, listed: list[int] | None, order: list[int]
) -> None:
    assert [part.number for part in connection_order(number, distance, listed)] == order


def test_groups() -> None:
    assert [part.group for part in connection_order(5, 4)] == [0, 1, 0, 0, 0]
