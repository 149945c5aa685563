"""The display as text: drawn from snapshots only, in windows of any size, on any background colour."""

import io
import re

import pytest
from rich.color import Color
from rich.console import Console
from rich.text import Text

from mu.report.display import Display, styles
from mu.report.failure import Failure
from mu.report.figures import counted, duration, megabytes, short, span
from mu.report.reporter import Counts
from mu.report.snapshot import ErrorKind, Snapshot, Standing

SLOW = Standing(17, "frames/00000017.png", 2, "RunState", 12.3, 15.1)
FAILED = ErrorKind(11, Failure(5, "RunState", "exit status 1 from: ./x\n    | no"), "in/5.png")


def at(seconds: float) -> Snapshot:
    """Returns a snapshot of a run of 1,000 parts on 100 workers that does 10 parts a second and reads 20 MB a
    second."""
    done = int(seconds * 10)
    return Snapshot(
        at=seconds,
        counts=Counts(
            parts=1000, begun=min(1000, done + 100), done=done, failed=3, repeated=8, workers=100, hellos=100,
            limit=100, retrieved=int(seconds * 20e6), uploaded=int(seconds * 5e6), dollars=seconds / 1000,
        ),
        running=97,
        states={"RunState": 60, "UploadState": 37},
        slowest=[SLOW] * 45,
        took=(4.1, 6.0, 9.9, 12.0),
        errors=[FAILED],
    )  # fmt: skip


def display(seconds: int = 40, encoding: str = "utf-8") -> Display:
    made = Display(encoding)
    for half in range(2 * seconds + 1):
        made.add(at(half / 2))
    return made


def shown(made: Display, width: int, height: int) -> str:
    return "\n".join(text.plain for text in made.lines(width, height))


def test_a_large_window_shows_it_all_and_is_used_to_its_end() -> None:
    lines = display().lines(200, 49)
    text = "\n".join(line.plain for line in lines)
    assert len(lines) == 49
    assert all(line.plain.strip() for line in lines[-10:])
    assert max(line.cell_len for line in lines) > 190
    for told in (
        "40.0 s   workers 100   running 97   tried again 8   done 400 of 1,000   failed 3",
        "40 %  10.0/s  1:00 left",
        "each part took  p50 4.1 s  p90 6 s  p99 9.9 s  longest 12 s",
        "cost so far ~$0.04  per hour ~$3.60",
        "retrieved 800.0 MB at 20.0 MB/s",
        "uploaded 200.0 MB at 5.0 MB/s",
        "parts per second  last 10 s 10  most 1",
        "parts under way  now 97",
        "MB/s retrieved  last 10 s 20  most 2",
        "MB/s uploaded  last 10 s 5  most 5",
        "workers connected  now 100",
        "parts done so far  now 400",
        "workers in each state",
        "11 × exit status 1 from: ./x  part 5 in/5.png in RunState",
    ):
        assert told in text, told
    assert re.search(r"slowest parts now +in state +for +of", text)
    assert re.search(r"part 17 \(2\) frames/00000017\.png RunState +12\.3 s +15\.1 s", text)
    assert text.count("0 s ─") == 7


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize(
    ("width", "height"),
    [
        (1, 1),
        (2, 9),
        (19, 50),
        (20, 5),
        (40, 23),
        (60, 24),
        (80, 23),
        (118, 11),
        (120, 29),
        (200, 49),
        (400, 100),
    ],
)
def test_it_fits_and_can_be_said(width: int, height: int, encoding: str) -> None:
    lines = display(encoding=encoding).lines(width, height)
    assert 1 <= len(lines) <= height
    assert all(text.cell_len < max(width, 2) for text in lines)
    "".join(text.plain for text in lines).encode(encoding)


@pytest.mark.parametrize(("width", "height"), [(80, 23), (40, 23)])
def test_a_small_window_has_what_matters_most(width: int, height: int) -> None:
    text = shown(display(), width, height)
    for told in ("400 of 1,000", "40 %", "p50 4.1 s", "p99 9.9 s", "cost so far ~$0.04", "parts per second",
                 "RunState", "slowest parts now", "11 × exit status 1"):  # fmt: skip
        assert told in text, told


def test_nothing_is_shown_that_is_not_known() -> None:
    made = Display()
    made.add(Snapshot(1.0, Counts(parts=5)))
    text = shown(made, 200, 49)
    assert "MB" not in text
    assert "$" not in text
    assert "took" not in text
    assert shown(Display(), 80, 24).startswith("0.0 s ")


def test_inputs_that_are_still_being_read_are_told_as_such() -> None:
    made = Display()
    made.add(Snapshot(1.0, Counts(parts=5, parts_known=False)))
    assert "done 0 of 5 or more" in shown(made, 100, 5)


def test_texts_are_fit_for_a_terminal() -> None:
    nasty = "\x1b[2J\x07\n\t"
    made = Display()
    made.add(
        Snapshot(
            5.0, Counts(parts=9, launch_note=f"; {nasty}"), running=1, states={f"S{nasty}": 1},
            slowest=[Standing(1, nasty, 1, nasty, 1.0, 2.0)],
            errors=[ErrorKind(1, Failure(1, nasty, "why"), nasty)],
        )
    )  # fmt: skip
    assert "\x1b" not in "".join(text.plain for text in made.lines(200, 49))
    assert all("\n" not in text.plain for text in made.lines(200, 49))


def luminance(colour: str) -> float:
    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = Color.parse(colour).get_truecolor()
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


@pytest.mark.parametrize("colour", styles())
def test_colours_can_be_read_on_black_and_on_white(colour: str) -> None:
    """The contrast ratio of WCAG is at least 3, which it requires for graphics and large text."""
    light = luminance(colour)
    assert (light + 0.05) / 0.05 > 3.5
    assert 1.05 / (light + 0.05) > 3.5


def test_there_are_no_other_colours() -> None:
    """Neither palette colours, which look different on each terminal, such as yellow, nor dim text are used."""
    used = set()
    for text in display().lines(200, 49):
        used |= {str(span.style) for span in text.spans} | {str(text.style)}
    assert used - {"", "bold", *styles(), *(f"bold {colour}" for colour in styles())} == set()


def test_without_colours_the_words_tell_all() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=200)
    with console.capture() as captured:
        for text in display().lines(200, 49):
            console.print(text, soft_wrap=True)
    assert not re.search(r"\x1b\[[0-9;]*[34]\d", captured.get())


@pytest.mark.parametrize(("ended", "told"), [(9_951, " 99 %"), (9_999, " 99 %"), (10_000, "100 %")])
def test_the_bar_tells_of_all_parts_only_at_the_end(ended: int, told: str) -> None:
    made = Display()
    made.add(Snapshot(1.0, Counts(10_000, begun=10_000, done=ended - 51, failed=51)))
    assert told in made.lines(80, 24)[1].plain


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (duration(7), "0:07"), (duration(750), "12:30"), (duration(3723), "1:02:03"),
        (span(0.0421), "0.0421 s"), (span(599), "599 s"), (span(1205), "20:05"),
        (megabytes(400_000), "0.4 MB"), (megabytes(4.5e9), "4.5 GB"),
        (short(0.016), "0.016"), (short(4.12), "4.1"), (short(3.0), "3"), (short(1234.5), "1,234"),
        (counted(1, "worker"), "1 worker"), (counted(1200, "worker"), "1,200 workers"),
    ],
)  # fmt: skip
def test_numbers(written: str, told: str) -> None:
    assert written == told


def test_lines_are_texts() -> None:
    assert all(isinstance(text, Text) for text in display().lines(80, 24))
