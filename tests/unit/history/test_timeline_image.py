"""Pictures of runs, and the errors for files that are no records."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mu.cli import main, stats
from mu.history import chart, timeline_html, timeline_image
from mu.history.runs import Row, Run, load
from mu.history.timeline_html import page
from tests.support.made_runs import one_long_worker, record, write_record, write_times

DATA = Path(__file__).parents[2] / "data"


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


@pytest.mark.parametrize("parts", [1, 5, 100, 1000])
def test_png(tmp_path: Path, parts: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.png"
    assert main.main(["timeline", str(write_record(tmp_path / "run", parts)), "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    width, height = size(path.read_bytes())
    assert width == 1320
    assert 400 < height < 1600


@pytest.mark.parametrize("workers", [1, 5, 100, 1000, 5000, 50_000])
@pytest.mark.parametrize("most", [1, 7, 1020])
def test_of_the_rows_on_a_line_the_last_to_end_is_drawn(workers: int, most: int) -> None:
    run = one_long_worker(workers)
    shown = chart.lines(run.rows, most)
    assert len(shown) == min(workers, most)
    assert max(row.finished for row in shown) == 2.0
    assert [row.part for row in shown] == sorted(row.part for row in shown)


@pytest.mark.parametrize("workers", [5, 100, 1000, 5000, 50_000])
def test_the_last_pixel_of_a_picture_is_the_end(workers: int, tmp_path: Path) -> None:
    """In the second half of the run only one worker is left; its colour is drawn up to the last pixel."""
    image = pytest.importorskip("matplotlib.image")
    timeline_image.draw(one_long_worker(workers), tmp_path / "x.png")
    pixels = image.imread(tmp_path / "x.png")[:, :, :3]
    wanted = [int(chart.COLOURS["run"][place : place + 2], 16) / 255 for place in (1, 3, 5)]
    inside = pixels[int(pixels.shape[0] * 0.55) : int(pixels.shape[0] * 0.9)]
    columns = ((inside - wanted) ** 2).sum(axis=2).min(axis=0) < 0.02
    last = max(place for place, found in enumerate(columns) if found)
    assert abs(last - 0.97 * pixels.shape[1]) < 4


@pytest.mark.parametrize("workers", [5, 100, 1_000, 20_000])
def test_the_last_bar_of_an_svg_ends_where_the_run_does(workers: int, tmp_path: Path) -> None:
    """The bar ends at the right end of the axes; with too many bars for polygons, so does the embedded bitmap."""
    image = pytest.importorskip("matplotlib.image")
    timeline_image.draw(one_long_worker(workers), tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text()
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', text)[1])  # type: ignore[index]
    wanted = chart.COLOURS["run"]
    ends = [
        float(x)
        for block in re.findall(r'<g [^>]*id="(?:bars|thin)\d">(.*?)\n   </g>', text, re.DOTALL)
        if wanted in block
        for x in re.findall(r"[ML] ([\d.]+) ", block)
    ]
    for inside in re.findall(r"<image ([^>]*)/>", text):
        x = float(re.search(r' x="([\d.]+)"', inside)[1])  # type: ignore[index]
        pixels = image.imread(io.BytesIO(base64.b64decode(re.search(r"base64,\s*([^\"]+)", inside)[1])))  # type: ignore[index]
        scale = float(re.search(r' width="([\d.]+)"', inside)[1]) / pixels.shape[1]  # type: ignore[index]
        colour = [int(wanted[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        like = (((pixels[:, :, :3] - colour) ** 2).sum(axis=2) < 0.02) & (pixels[:, :, 3] > 0.5)
        columns = [place for place, found in enumerate(like.any(axis=0)) if found]
        ends += [x + scale * (place + 1) for place in columns]
    assert abs(max(ends) - 0.97 * width) < 2


def test_what_a_line_stands_for_is_said(tmp_path: Path) -> None:
    timeline_image.draw(one_long_worker(20_000), tmp_path / "x.svg")
    said = re.findall(r"<!-- (.*?) -->", (tmp_path / "x.svg").read_text())
    assert re.fullmatch(
        r"\(a line for up to \d+ workers: the last to end\)", next(t for t in said if "line for" in t)
    )
    assert {"0", "5,000", "10,000"} <= set(said)  # grid lines are at round numbers of workers


@pytest.mark.parametrize("parts", [5, 900])
def test_svg_has_a_polygon_for_each_activity(tmp_path: Path, parts: int) -> None:
    path = tmp_path / "x.svg"
    run = load(write_record(tmp_path / "run", parts))
    timeline_image.draw(run, path)
    text = path.read_text()
    drawn = re.findall(r'<g ([^>]*)id="(?:bars|thin)\d">(.*?)\n   </g>', text, re.DOTALL)
    assert sum(block.count("<path") for _, block in drawn) == sum(
        len(chart.worker_spans(worker)) for worker in chart.workers(run)
    )
    # Anti-aliasing would blend the colours of thin bars.
    assert [how for how, _ in drawn] == ['shape-rendering="crispEdges" ' if parts > 200 else ""] * 3


def test_names_are_taken_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "x.svg"
    rows = load_rows(("done", 0.0, 1.0)).rows
    timeline_image.draw(Run("cost_$5_vs_$\\6.txt", 1.0, 1, 1, rows), path)
    said = re.findall(r"<!-- (.*?) -->", path.read_text())
    assert "cost_$5_vs_$\\6.txt: 1 of 1 parts done in 1.0 s" in said


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    name = "cost_$5_vs_$6 caf\udce9 日本\x1b[2J.txt"
    write_times(tmp_path / name, 3)
    for ending in ("png", "svg", "html"):
        done = subprocess.run(
            [sys.executable, "-m", "mu", "timeline", tmp_path / name, "-o", tmp_path / f"{name}.{ending}"],
            env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / f"{name}.{ending}").stat().st_size > 5000
    assert "\x1b" not in stats.report(load(tmp_path / name))


@pytest.mark.parametrize("name", ["times_png2y4m.txt", "times_xcenc_K4.txt"])
@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_the_originals_files(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    assert main.main(["timeline", str(DATA / name), "-o", str(path)]) == 0
    assert path.stat().st_size > 5000


def test_a_record_and_its_times_are_the_same_run(tmp_path: Path) -> None:
    one = load(write_record(tmp_path / "run", 50, failing=0.2))
    other = load(write_times(tmp_path / "times", 50, failing=0.2))
    assert [(row.part, row.outcome == "failed", row.spans()) for row in one.rows] == [
        (row.part, row.outcome == "failed", row.spans()) for row in other.rows
    ]
    assert (one.fate, other.fate) == ("50 of 50 parts done", "50 parts (0 failed)")
    assert chart.final_failures(one) == chart.final_failures(other)


def test_times_do_not_tell_what_is_done(tmp_path: Path) -> None:
    """The parts of a run that was stopped look like those that are done, so nothing is said of either."""
    path = tmp_path / "t.txt"
    path.write_text(GOOD + GOOD.replace("0:", "1:") + "ERR:[1]\n")
    run = load(path)
    assert (run.done, [row.outcome for row in run.rows]) == (None, ["ended", "failed"])
    assert stats.report(run).startswith("t.txt: 2 parts (1 failed) in 1.00 s; 2 workers, 2 attempts\n")
    timeline_image.draw(run, tmp_path / "x.svg")
    assert "<!-- t.txt: 2 parts (1 failed) in 1.0 s -->" in (tmp_path / "x.svg").read_text()


def test_names_of_stages_are_read_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    states = [(0.5, "map"), (0.75, "run:4"), (1.0, "it's \x1b[2J\n"), (2.0, "DoneState")]
    path.write_text(f"0:{states}\n")
    assert main.main(["timeline", str(path), "-o", str(tmp_path / "x.html")]) == 0
    report = stats.report(load(path))
    assert "run:4" in report
    assert "it's \\x1b[2J\\n" in report


def test_the_page_tells_the_cost_as_the_run_did(tmp_path: Path) -> None:
    made = record(1)
    made["cost"] = {"dollars": 1734.2}
    (tmp_path / "run.json").write_text(json.dumps(made))
    data = json.loads(re.search(r'id="data">(.*?)</script>', page(load(tmp_path)), re.DOTALL)[1])  # type: ignore[index]
    assert (data["fate"], data["cost"]) == ("1 of 1 parts done", "about $1,734.20")


def test_a_run_that_never_had_a_worker(tmp_path: Path) -> None:
    made = record(2) | {"parts": [{"part": 0, "outcome": "no worker", "attempts": []}]}
    (tmp_path / "run.json").write_text(json.dumps(made))
    for ending in ("png", "html"):
        assert main.main(["timeline", str(tmp_path), "-o", str(tmp_path / f"x.{ending}")]) == 0


def test_a_legend_of_what_is_there(tmp_path: Path) -> None:
    """The legend names colours, marks of parts and both kinds of failures if and only if they are drawn."""
    rows = [
        Row(0, 1, 0.0, 1.0, "failed", [(0.0, "run")], worker=1),
        Row(1, 1, 1.5, 2.0, "done", [(1.5, "upload")], worker=1),
        Row(2, 1, 0.0, 2.0, "failed", [(0.0, "run")], worker=2),
    ]
    words = {
        "fetch",
        "run",
        "upload",
        "wait",
        "other",
        "a part begins",
        "failed, tried again",
        "failed for good",
    }
    shown = []
    again = Row(0, 2, 2.0, 3.0, "done", [(2.0, "run")], worker=1)
    for number, some in enumerate((rows[2:], rows[:2], [*rows, again])):
        path = tmp_path / f"{number}.svg"
        timeline_image.draw(Run("x", 3.0, 3, 1, some), path)
        shown.append(words & set(re.findall(r"<!-- (.*?) -->", path.read_text())))
    assert shown == [
        {"run", "failed for good"},
        {"run", "upload", "wait", "a part begins", "failed for good"},
        {"run", "upload", "wait", "a part begins", "failed, tried again", "failed for good"},
    ]


def test_curves() -> None:
    run = load_rows(("done", 2.0, 5.0), ("failed", 1.0, 3.0), ("unfinished", 4.0, 9.0))
    assert chart.curves(run) == {
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


def test_a_page_holds_a_bounded_number_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Row(part, 1, 0.0, 1.0, "done", [(0.0, "A")], messages=[(0.5, "INFO:x")] * number)
        for part, number in enumerate((2, 3, 1))
    ]
    run = Run("x", 9.0, len(rows), len(rows), rows)
    monkeypatch.setattr(timeline_html, "MAX_MESSAGES", 4)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page(run), re.DOTALL)[1])  # type: ignore[index]
    assert [len(row.get("m", [])) for row in data["rows"]] == [2, 0, 1]


GOOD = "0:[(0.5, 'A'), (1.0, 'B')]\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (GOOD + "1:[(0.5, 'A'\n", "line 2: neither part:"),
        (GOOD + GOOD + "nonsense\n", "line 3: neither part:"),
        ("", "no worker is in it"),
        ('{"schema": 1,\n"run": }', "line 2: this is no JSON"),
        ('{"schema": 99}', "a record of schema 99; this version of mu reads 1"),
        ('{"schema": NaN}', "$.schema: expected int, got float"),
        ('{"schema": 1}', "$: object missing required field run"),
        ('{"schema": 1, "run": 3, "parts": []}', "$.run: expected object, got int"),
        ('{"schema": 1, "x": ' + "[" * 200_000, "lists too deep"),
        ('{"schema": ' + "1" * 5000 + "}", "$.schema: integer value out of range"),
        ('{"schema": 1, "x": [Infinity, ' + "1" * 5000 + "]}", "numbers too long"),
        (b"0:[(0.5, 'A')]\n\xff\xfe\n", "line 2: this is not text"),
        (GOOD + "1:[(5.0, 'A'), (3.0, 'B')]\n", "line 2: time goes back, from 5 to 3 s"),
        (GOOD + "1:[(5.0, 'A'), (1e308, 'B')]\n", "line 2: a time that is out of range"),
    ],
)
@pytest.mark.parametrize("command", ["timeline", "stats"])
def test_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, why: str, command: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    words = ["-o", str(tmp_path / "x.png")] if command == "timeline" else []
    assert main.main([command, str(path), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mu {command}: {path}")
    assert why in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("seconds", "NaN", "$.run.seconds: expected float >= -1000000000000.0"),
        ("seconds", "Infinity", "$.run.seconds: expected float <= 1000000000000.0"),
        ("seconds", '"3"', "$.run.seconds: expected float, got str"),
        ("script", "3", "$.run.script: expected str, got int"),
        ("accepted_by", "[[0, Infinity]]", "$.launch.accepted_by[0][1]: expected int, got float"),
        ("accepted_by", "[[0]]", "$.launch.accepted_by[0]: expected array of length 2"),
        ("cost", "3", "$.cost: expected object | null, got int"),
        ("cost", '{"dollars": "3"}', "$.cost.dollars: expected float | null, got str"),
        ("cost", '{"dollars": NaN}', "$.cost.dollars: expected float >= 0.0"),
        ("part", "Infinity", "$.parts[0].part: expected int, got float"),
        ("part", "1e999", "$.parts[0].part: number out of range"),
        ("attempts", "3", "$.parts[0].attempts: expected array, got int"),
        ("attempts", "[3]", "$.parts[0].attempts[0]: expected object, got int"),
        ("attempt", "Infinity", "$.parts[0].attempts[0].attempt: expected int, got float"),
        ("connected", "1e999", "$.parts[0].attempts[0].connected: number out of range"),
        ("connected", "99", "$.parts[0].attempts[0].connected: time goes back, from 99 to "),
        ("states", "[]", "$.parts[0].attempts[0].states: there is none"),
        ("states", '[[NaN, "A"]]', "$.parts[0].attempts[0].states[0][0]: expected float >= -1000000000000.0"),
        ("states", '[[5, "A"], [3, "B"]]', "$.parts[0].attempts[0].states: time goes back, from 5 to 3 s"),
        ("states", '[[1, "A"], [2, 3]]', "$.parts[0].attempts[0].states[1][1]: expected str, got int"),
        ("states", '[[99, "A"]]', "$.parts[0].attempts[0].states: time goes back, from 99 to "),
        ("runs", "[[0, Infinity]]", "$.parts[0].attempts[0].runs[0][1]: expected int, got float"),
        (
            "moved",
            '{"retrieved": ' + "1" * 400 + "}",
            "$.parts[0].attempts[0].moved[...]: expected int <= 9007199254740992",
        ),
        (
            "spent",
            '{"run": -Infinity}',
            "$.parts[0].attempts[0].spent[...]: expected float >= -1000000000000.0",
        ),
        ("messages", "[3]", "$.parts[0].attempts[0].messages[0]: expected array, got int"),
    ],
)
@pytest.mark.parametrize("words", [["stats"], ["timeline", "-o", "x.png"], ["timeline", "-o", "x.html"]])
def test_a_field_that_makes_no_sense_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    field: str,
    value: str,
    why: str,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    made = record(2)
    first = made["parts"][0]
    for of in (made, made["run"], made["launch"], first, first["attempts"][0]):
        if field in of or (field == "moved" and "states" in of):
            of[field] = "@"
            break
    Path("run.json").write_text(json.dumps(made).replace('"@"', value))
    assert main.main([words[0], "run.json", *words[1:]]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mu {words[0]}: run.json: {why}")
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_what_is_odd_and_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lone surrogates, a clock that was set back a little, and settings of any type are accepted."""
    made = record(2)
    made["run"]["script"] = "\ud800.py"
    made["settings"] = {"kill_time": float("inf")}
    attempt = made["parts"][0]["attempts"][0]
    attempt["states"] = [[1.0, "A\ud800"], [0.5, "B"], [0.6, "C"]]
    attempt["messages"] = [[1.0, "\ud800"]]
    attempt["finished"] = 0.7
    (tmp_path / "run.json").write_text(json.dumps(made))
    row = next(row for row in load(tmp_path).rows if row.part == 0)
    assert (row.states, row.finished) == ([(1.0, r"A?"), (1.0, "B"), (1.0, "C")], 1.0)
    for ending in ("png", "svg", "html"):
        assert main.main(["timeline", str(tmp_path), "-o", str(tmp_path / f"x.{ending}")]) == 0
    assert main.main(["stats", str(tmp_path)]) == 0


def test_the_page_knows_of_programs_that_failed(tmp_path: Path) -> None:
    made = record(1)
    made["parts"][0]["attempts"][0]["runs"] = [[1.0, 0], [1.5, 3], [1.7, -9]]
    (tmp_path / "run.json").write_text(json.dumps(made))
    data = json.loads(re.search(r'id="data">(.*?)</script>', page(load(tmp_path)), re.DOTALL)[1])  # type: ignore[index]
    assert data["rows"][0]["x"] == [[1.5, 3], [1.7, -9]]


@pytest.mark.parametrize(
    ("run", "output", "why"),
    [
        ("nosuch", "x.png", "there is no nosuch: give the directory that --record named"),
        ("n" * 300, "x.png", f"cannot read {'n' * 300}: File name too long"),
        ("run", "x.gif", "x.gif: the name must end in .png, .svg, .html or .json"),
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
    assert main.main(["timeline", run, "-o", output]) == 2
    assert capsys.readouterr().err == f"mu timeline: {why}\n"


@pytest.mark.parametrize("write", [write_record, write_times])
def test_no_run_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Any) -> None:
    """Neither the one that is drawn nor another."""
    drawn = write(tmp_path / "x.json", 2)
    output = drawn / "run.json" if drawn.is_dir() else drawn
    before = output.read_bytes()
    for run in (drawn, write_record(tmp_path / "other", 2)):
        assert main.main(["timeline", str(run), "-o", str(output)]) == 2
        said = capsys.readouterr().err
        assert said == f"mu timeline: {output} holds a run, which would be replaced: choose another name\n"
    assert output.read_bytes() == before


def test_a_trace_is_replaced(tmp_path: Path) -> None:
    run, output = write_record(tmp_path / "run", 2), tmp_path / "x.json"
    for _ in range(2):
        assert main.main(["timeline", str(run), "-o", str(output)]) == 0


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    write_record(tmp_path / "run", 2)
    assert main.main(["timeline", str(tmp_path / "run"), "-o", str(tmp_path / "x.png")]) == 2
    assert "pip install 'mu-workers[look]'" in capsys.readouterr().err
    assert main.main(["timeline", str(tmp_path / "run"), "-o", str(tmp_path / "x.html")]) == 0
