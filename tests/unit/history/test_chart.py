"""Colours and helpers that all pictures of a run share."""

from itertools import combinations

import pytest

from mu.history import activity, chart
from mu.history.runs import Row, Run

# Linear RGB as people with each kind of colour blindness see it (Machado, Oliveira, Fernandes 2009, severity 1).
SEEN = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}
APART = 20  # distance in CIELAB; a distance of about 2 is just noticeable, side by side


def lab(linear: list[float]) -> tuple[float, float, float]:
    """Converts linear sRGB to CIELAB."""
    r, g, b = (min(1.0, max(0.0, value)) for value in linear)
    x, y, z = (
        value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116
        for value in (
            (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
            0.2126 * r + 0.7152 * g + 0.0722 * b,
            (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
        )
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("who", SEEN)
def test_colours_are_apart_for_everybody(who: str) -> None:
    found = []
    for text in (*chart.COLOURS.values(), "#ffffff"):
        values = [int(text[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        found.append(lab([sum(a * b for a, b in zip(line, linear, strict=True)) for line in SEEN[who]]))
    *colours, white = found
    for one, other in combinations(colours, 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > APART**2
    assert all(white[0] - colour[0] > 10 for colour in colours)


def test_each_activity_has_a_colour() -> None:
    assert tuple(chart.COLOURS) == activity.ACTIVITIES


ROWS = [
    Row(0, 1, 0.0, 1.0, "failed", [(0.0, "run")], worker=1),
    Row(1, 1, 0.5, 2.0, "unfinished", [(0.5, "fetch")], worker=2),
    Row(2, 1, 1.0, 2.0, "done", [(1.0, "upload")], worker=1),
    Row(0, 2, 2.5, 3.0, "failed", [(2.5, "run")], worker=1),
    Row(3, 2, 2.6, 3.0, "failed", [(2.6, "run")]),
    Row(3, 1, 2.6, 3.0, "done", [(2.6, "run")]),
]
RUN = Run("x", 3.0, 4, 2, ROWS)


def test_parts_are_within_their_workers() -> None:
    found = chart.workers(RUN)
    assert [[row.part for row in worker.rows] for worker in found] == [[0, 2, 0], [1], [3], [3]]
    assert [worker.label for worker in found] == [
        "worker 1, 3 parts",
        "part 1",
        "part 3, attempt 2",
        "part 3",
    ]
    assert chart.worker_spans(found[0]) == [
        (0.0, 1.0, "run"), (1.0, 2.0, "upload"), (2.0, 2.5, "wait"), (2.5, 3.0, "run"),
    ]  # fmt: skip
    assert chart.curves(RUN) == {
        "connected": [(0.0, 1), (0.5, 2), (2.6, 3), (2.6, 4)],
        "at their end": [(3.0, 1), (3.0, 2), (3.0, 3)],
    }
    assert list(chart.occurring(RUN)) == ["fetch", "run", "upload", "wait"]


def test_how_many_are_at_what() -> None:
    rows = [
        Row(0, 1, 0.0, 3.0, "done", [(0.0, "fetch"), (1.5, "run")], worker=1),
        Row(1, 1, 4.0, 5.0, "done", [(4.0, "run")], worker=1),
        Row(2, 1, 0.25, 0.75, "done", [(0.25, "run")], worker=2),
    ]
    assert chart.at_work(Run("x", 5.0, 3, 3, rows), -1.0, 5.0, 6) == {
        "fetch": [0, 1, 0.5, 0, 0, 0],
        "run": [0, 0.5, 0.5, 1, 0, 1],
        "wait": [0, 0, 0, 0, 1, 0],
    }


@pytest.mark.parametrize("bins", [1, 7, 400])
def test_all_time_is_in_the_areas(bins: int) -> None:
    found = chart.at_work(RUN, 0.0, 3.0, bins)
    spans = [span for worker in chart.workers(RUN) for span in chart.worker_spans(worker)]
    for name, values in found.items():
        assert sum(values) * 3.0 / bins == pytest.approx(sum(e - b for b, e, of in spans if of == name))
    assert found.keys() == chart.occurring(RUN).keys()


def test_a_failure_is_final_if_nothing_came_after_it() -> None:
    assert chart.final_failures(RUN) == {(0, 2)}
