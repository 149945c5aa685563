"""Pictures of runs, and what is said of files that are none."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mu import cli, timeline
from mu.runs import Row, Run, load
from mu.timeline_html import page
from tests.made_runs import record, write_record, write_times

DATA = Path(__file__).parents[1] / "data"


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@pytest.mark.parametrize("parts", [1, 5, 100, 1000])
def test_png(tmp_path: Path, parts: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.png"
    assert cli.main(["timeline", str(write_record(tmp_path / "run", parts)), "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    width, height = size(path.read_bytes())
    assert width == 1320
    assert 400 < height < 1600


@pytest.mark.parametrize("parts", [5, 1000])
def test_svg_has_a_polygon_for_each_visit(tmp_path: Path, parts: int) -> None:
    path = tmp_path / "x.svg"
    run = load(write_record(tmp_path / "run", parts))
    timeline.draw(run, path)
    text = path.read_text()
    drawn = re.findall(r'<g id="PolyCollection_\d+">(.*?)\n   </g>', text, re.DOTALL)
    assert sum(block.count("<path") for block in drawn) == sum(len(row.spans()) for row in run.rows)
    assert len(drawn) == 3


@pytest.mark.parametrize("name", ["times_png2y4m.txt", "times_xcenc_K4.txt"])
@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_the_originals_files(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    assert cli.main(["timeline", str(DATA / name), "-o", str(path)]) == 0
    assert path.stat().st_size > 5000


def test_a_record_and_its_times_are_the_same_run(tmp_path: Path) -> None:
    one = load(write_record(tmp_path / "run", 50, failing=0.2))
    other = load(write_times(tmp_path / "times", 50, failing=0.2))
    assert [(row.part, row.outcome, row.spans()) for row in one.rows] == [
        (row.part, row.outcome, row.spans()) for row in other.rows
    ]
    assert (one.parts, one.done) == (other.parts, other.done)


def test_a_run_that_never_had_a_worker(tmp_path: Path) -> None:
    made = record(2) | {"parts": [{"part": 0, "outcome": "no worker", "attempts": []}]}
    (tmp_path / "run.json").write_text(json.dumps(made))
    for ending in ("png", "html"):
        assert cli.main(["timeline", str(tmp_path), "-o", str(tmp_path / f"x.{ending}")]) == 0


def states_of(names: list[str]) -> Run:
    entered = [(float(place * (place + 1)), name) for place, name in enumerate(names)]
    end = float(len(names) * (len(names) + 1))
    return Run("x", end, 1, 1, [Row(0, 1, 0.0, end, "done", entered)])


def test_colours_are_for_the_states_that_take_most() -> None:
    names = [f"S{number}" for number in range(40)]
    colours = timeline.state_colours(states_of(names))
    assert list(colours) == [*names[-timeline.SHOWN_STATES :], timeline.OTHER]
    assert len(set(colours.values())) == len(colours)
    assert list(timeline.state_colours(states_of(["A", "B"]))) == ["A", "B"]


def test_curves() -> None:
    run = load_rows(("done", 2.0, 5.0), ("failed", 1.0, 3.0), ("unfinished", 4.0, 9.0))
    assert timeline.curves(run) == {
        "connected": [(1.0, 1), (2.0, 2), (4.0, 3)],
        "at their end": [(3.0, 1), (5.0, 2)],
    }


def load_rows(*rows: tuple[str, float, float]) -> Run:
    made = [Row(n, 1, begin, end, fate, [(begin, "A")]) for n, (fate, begin, end) in enumerate(rows)]
    return Run("x", 9.0, len(made), 1, made)


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    text = page(load(write_record(tmp_path / "run", 30, failing=0.5)))
    assert not re.search(r"https?://|src=|@import|url\(", text)
    assert "<b>bad" not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert any("<b>bad</b>" in row["e"][1] for row in data["rows"] if "e" in row)
    assert text.count("</script>") == 2


GOOD = "0:[(0.5, 'A'), (1.0, 'B')]\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (GOOD + "1:[(0.5, 'A'\n", "line 2: neither part:"),
        (GOOD + GOOD + "nonsense\n", "line 3: neither part:"),
        ("", "no worker is in it"),
        ('{"schema": 1,\n"run": }', "line 2: this is no JSON"),
        ('{"schema": 99}', "a record of schema 99; this version of mu reads 1"),
        ('{"schema": 1}', "not the form of a record (KeyError: 'run')"),
        (
            '{"schema": 1, "run": {"script": "x", "seconds": 1, "started": "", "ended": ""}, "launch": null,'
            ' "parts": [], "cost": 3}',
            "not the form of a record (TypeError: ",
        ),
        (b"0:[(0.5, 'A')]\n\xff\xfe\n", "line 2: this is not text"),
    ],
)
@pytest.mark.parametrize("command", ["timeline", "stats"])
def test_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, why: str, command: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    words = ["-o", str(tmp_path / "x.png")] if command == "timeline" else []
    assert cli.main([command, str(path), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mu {command}: {path}")
    assert why in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("run", "output", "why"),
    [
        ("nosuch", "x.png", "cannot read nosuch: No such file or directory"),
        ("run", "x.gif", "x.gif: the name must end in .png, .svg or .html"),
        ("run", "no/such/x.png", "cannot write no/such/x.png: No such file or directory"),
        ("run", "no/such/x.html", "cannot write no/such/x.html: No such file or directory"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: str,
    output: str,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_record(tmp_path / "run", 2)
    assert cli.main(["timeline", run, "-o", output]) == 2
    assert capsys.readouterr().err == f"mu timeline: {why}\n"


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    write_record(tmp_path / "run", 2)
    assert cli.main(["timeline", str(tmp_path / "run"), "-o", str(tmp_path / "x.png")]) == 2
    assert "pip install 'mu[look]'" in capsys.readouterr().err
    assert cli.main(["timeline", str(tmp_path / "run"), "-o", str(tmp_path / "x.html")]) == 0
