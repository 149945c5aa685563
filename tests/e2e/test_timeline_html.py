"""The HTML timeline, and the timeline as SVG, in a real browser, from disk, without a network."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mu.history.runs import load
from mu.history.timeline_html import page
from mu.history.timeline_image import draw
from tests.support.browser import CHROMIUM, Browser
from tests.support.made_runs import one_long_worker, record, write_record

# If this is set, screenshots of the page are kept in that directory, for people to look at.
PICTURES = os.environ.get("MU_TEST_PICTURES")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (bin/setup.sh dev installs it)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


def shown(browser: Browser, tmp_path: Path, parts: int) -> Path:
    path = tmp_path / f"{parts}.html"
    path.write_text(page(load(write_record(tmp_path / "run", parts, failing=0.1))))
    browser.requests.clear()
    browser.open(path)
    return path


def picture(browser: Browser, tmp_path: Path, name: str) -> None:
    assert len(browser.screenshot(Path(PICTURES or tmp_path) / f"{name}.png")) > 5000


def details(browser: Browser) -> str:
    return str(browser.run("document.getElementById('details').innerText"))


def search(browser: Browser, text: str) -> None:
    browser.run(
        f"(e => {{ e.value = {json.dumps(text)}; e.dispatchEvent(new Event('input')) }})"
        "(document.getElementById('search'))"
    )
    browser.frame()


@pytest.mark.parametrize("parts", [5, 5000])
def test_it_works_from_disk(browser: Browser, tmp_path: Path, parts: int) -> None:
    path = shown(browser, tmp_path, parts)
    made = record(parts, failing=0.1)
    workers = sum(len(part["attempts"]) for part in made["parts"])
    assert f"{workers:,} of {workers:,} workers" in browser.run(
        "document.getElementById('range').textContent"
    )
    assert f"of {parts:,} parts done" in browser.run("document.getElementById('fate').textContent")
    assert "upload" in browser.run("document.getElementById('legend').innerText")
    # The canvas has pixels in the activities' colours.
    colours = browser.run(
        "(() => { const d = pen.getImageData(0, 0, canvas.width, canvas.height).data, n = {};"
        "for (let i = 0; i < d.length; i += 4) {"
        "  const c = [d[i], d[i+1], d[i+2]]; n[c] = (n[c] || 0) + 1; } return n })()"
    )
    assert all(colours.get(colour, 0) > 500 for colour in ("68,119,170", "238,187,68", "136,34,85"))
    picture(browser, tmp_path, f"timeline-{parts}")
    # However many workers there are, the page draws only as many bars as fit.
    boxes = browser.run(
        "(() => { let n = 0; const fill = pen.fillRect.bind(pen); pen.fillRect = (...a) => { n++; fill(...a) };"
        "draw(); delete pen.fillRect; return n })()"
    )
    assert 8 * 5 <= boxes < 760 * 20
    assert browser.requests == [path.as_uri()]
    assert browser.errors == []


def test_search_shows_a_part(browser: Browser, tmp_path: Path) -> None:
    shown(browser, tmp_path, 5000)
    search(browser, "4321")
    said = details(browser)
    assert said.startswith("part 4321\n")
    assert "PNG2Y4MRetrieveAndRunState" in said
    assert "OK:RETRIEVE(mybucket/frame0)" in said
    assert "retrieve" in said
    picture(browser, tmp_path, "timeline-5000-part")
    search(browser, "5000")
    assert details(browser) == "There is no part 5000."
    search(browser, "")
    assert "longest" in details(browser)
    assert browser.errors == []


def test_parts_are_found_by_the_names_of_their_inputs(browser: Browser, tmp_path: Path) -> None:
    made = record(30)
    for part in made["parts"]:
        for attempt in part["attempts"]:
            attempt["name"] = f"film/{part['part']:03}.png"
    (tmp_path / "run.json").write_text(json.dumps(made))
    (tmp_path / "x.html").write_text(page(load(tmp_path)))
    browser.open(tmp_path / "x.html")
    assert "film/0" in details(browser)  # it is among the longest attempts
    search(browser, "017.png")
    assert details(browser).startswith("part 17 film/017.png")
    search(browser, "7")  # a number searches for the part
    assert details(browser).startswith("part 7 film/007.png")
    search(browser, "018.jpg")
    assert details(browser) == "There is no part 018.jpg."
    assert browser.errors == []


def test_a_failure_is_told_as_text(browser: Browser, tmp_path: Path) -> None:
    shown(browser, tmp_path, 100)
    failed = next(part for part in record(100, failing=0.1)["parts"] if len(part["attempts"]) == 2)
    search(browser, str(failed["part"]))
    assert details(browser).startswith(f"part {failed['part']}, attempt 2\n")
    browser.run("document.querySelector('#details button').click()")
    said = details(browser)
    assert said.startswith(f"part {failed['part']}\nfailed, ")
    assert 'exit status 1 from: ./png2y4m\n    | <b>bad</b> & "frame"' in said
    assert browser.errors == []


def test_programs_that_failed_are_told(browser: Browser, tmp_path: Path) -> None:
    made = record(1)
    made["parts"][0]["attempts"][0]["runs"] = [[1.0, 0], [1.5, 3], [1.75, -9]]
    (tmp_path / "run.json").write_text(json.dumps(made))
    (tmp_path / "x.html").write_text(page(load(tmp_path)))
    browser.open(tmp_path / "x.html")
    search(browser, "0")
    said = details(browser)
    assert "programs that failed\n1.50 s\texit status 3\t\n1.75 s\tsignal 9" in said
    assert browser.errors == []


def test_a_picture_of_many_workers_keeps_its_colours(browser: Browser, tmp_path: Path) -> None:
    from matplotlib.image import imread

    draw(load(write_record(tmp_path / "run", 1000)), tmp_path / "x.svg")
    browser.open(tmp_path / "x.svg")
    browser.screenshot(tmp_path / "x.png")
    pixels = (imread(tmp_path / "x.png")[:, :, :3] * 255).round().astype(int)
    for colour, least in (
        ((0x44, 0x77, 0xAA), 50_000),
        ((0xEE, 0xBB, 0x44), 30_000),
        ((0x88, 0x22, 0x55), 5000),
    ):
        assert (pixels == colour).all(axis=2).sum() > least


@pytest.mark.parametrize("workers", [5, 100, 1_000, 5_000, 50_000])
def test_the_last_pixel_is_the_end(browser: Browser, tmp_path: Path, workers: int) -> None:
    """In the second half of the run only one worker is left; its colour is drawn up to the last pixel."""
    (tmp_path / "x.html").write_text(page(one_long_worker(workers)))
    browser.open(tmp_path / "x.html")
    browser.frame()
    last, right = browser.run(
        "(() => { const ratio = window.devicePixelRatio || 1, top = Math.ceil(TOP * ratio), w = canvas.width;"
        "const d = pen.getImageData(0, top, w, canvas.height - top).data; let last = -1;"
        "for (let i = 0; i < d.length; i += 4)"
        "  if (d[i] === 0xee && d[i+1] === 0xbb && d[i+2] === 0x44) last = Math.max(last, i / 4 % w);"
        "return [last, (LEFT + box().w) * ratio] })()"
    )
    assert abs(last - right) < 4
    said = browser.run("document.getElementById('shared').textContent")
    assert bool(said) == (workers >= 1_000)
    assert workers < 50_000 or said.startswith("a line of pixels for up to ")
    assert browser.errors == []


def test_zoom_move_and_click(browser: Browser, tmp_path: Path) -> None:
    shown(browser, tmp_path, 500)
    everything = browser.run("({ ...view })")
    for _ in range(10):
        browser.mouse("mouseWheel", 500, 400, deltaX=0, deltaY=-100)
    browser.frame()
    near = browser.run("({ ...view })")
    assert near["t1"] - near["t0"] < 0.2 * (everything["t1"] - everything["t0"])
    assert (near["r0"], near["r1"]) == (everything["r0"], everything["r1"])
    for _ in range(10):
        browser.mouse("mouseWheel", 500, 400, deltaX=0, deltaY=-100, modifiers=8)
    browser.frame()
    rows = browser.run("({ ...view })")
    assert rows["r1"] - rows["r0"] < 0.2 * (near["r1"] - near["r0"])
    browser.mouse("mousePressed", 500, 400, button="left", clickCount=1)
    browser.mouse("mouseMoved", 400, 300, button="left", buttons=1)
    browser.mouse("mouseReleased", 400, 300, button="left", clickCount=1)
    browser.frame()
    moved = browser.run("({ ...view })")
    assert moved["t0"] > rows["t0"]
    assert moved["r0"] > rows["r0"]
    assert "How to look at it" in details(browser)
    browser.mouse("mouseMoved", 500, 400)
    assert browser.run("document.getElementById('tip').textContent").startswith("part ")
    browser.click(500, 400)
    assert details(browser).startswith("part ")
    browser.run("document.getElementById('fit').click()")
    browser.frame()
    assert browser.run("({ ...view })") == everything
    assert browser.errors == []


def test_orders(browser: Browser, tmp_path: Path) -> None:
    shown(browser, tmp_path, 100)
    found = browser.run(
        "['connected', 'part', 'end', 'length', 'failed'].map(name => {"
        "  document.getElementById('order').value = name; document.getElementById('order').onchange();"
        "  return order.slice(0, 3).map(([i]) => [rows[i].c, rows[i].p, rows[i].f, rows[i].o]) })"
    )
    by_connected, by_part, by_end, by_length, failed_first = found
    assert [row[0] for row in by_connected] == sorted(row[0] for row in by_connected)
    assert by_part[0][1] == 0
    assert [row[2] for row in by_end] == sorted(row[2] for row in by_end)
    lengths = [row[2] - row[0] for row in by_length]
    assert lengths == sorted(lengths, reverse=True)
    assert failed_first[0][3] == "failed"


def test_parts_are_within_their_workers_bars(browser: Browser, tmp_path: Path) -> None:
    """Twelve parts on three workers are three bars, on which a click finds the part; each kind of failure is named."""
    made = record(12, failing=0)
    for number, part in enumerate(made["parts"]):
        attempt = part["attempts"][0]
        shift = 6 * (number // 3) - attempt["connected"] + 0.3 * (number % 3)
        for field in ("connected", "finished"):
            attempt[field] += shift
        for field in ("states", "messages"):
            attempt[field] = [[moment + shift, what] for moment, what in attempt[field]]
        attempt["worker"] = number % 3 + 1
        made["run"]["seconds"] = attempt["finished"]
    made["parts"][4]["attempts"][0]["outcome"] = made["parts"][4]["outcome"] = "failed"
    (tmp_path / "run.json").write_text(json.dumps(made))
    (tmp_path / "x.html").write_text(page(load(tmp_path)))
    browser.open(tmp_path / "x.html")
    browser.frame()
    assert "3 of 3 workers" in browser.run("document.getElementById('range').textContent")
    legend = browser.run("document.getElementById('legend').innerText")
    assert "wait" in legend
    assert "failed for good" in legend
    assert "tried again" not in legend
    x, y = browser.run(
        "(() => { const { w, h } = box(), b = canvas.getBoundingClientRect(), r = rows.findIndex(r => r.p === 7);"
        "return [b.left + LEFT + (rows[r].c + .5 - view.t0) / (view.t1 - view.t0) * w,"
        "  b.top + TOP + (place[r] + .5 - view.r0) / (view.r1 - view.r0) * h] })()"
    )
    browser.click(x, y)
    assert details(browser).startswith("part 7\n")
    assert "worker 2 at" in details(browser)
    picture(browser, tmp_path, "timeline-parts")
    browser.run("(e => { e.value = 'part'; e.onchange() })(document.getElementById('order'))")
    browser.frame()
    assert "of 12 attempts" in browser.run("document.getElementById('range').textContent")
    assert browser.errors == []


def test_a_stretch_of_time_is_chosen_above_the_bars(browser: Browser, tmp_path: Path) -> None:
    shown(browser, tmp_path, 100)
    left, top, wide, begin, end = browser.run(
        "(b => [b.left + LEFT, b.top, box().w, view.t0, view.t1])(canvas.getBoundingClientRect())"
    )
    rows = browser.run("[view.r0, view.r1]")
    at = [left + wide * share for share in (0.75, 0.5, 0.25)]
    browser.mouse("mousePressed", at[0], top + 60, button="left", clickCount=1)
    browser.mouse("mouseMoved", at[1], top + 60, button="left", buttons=1)
    browser.mouse("mouseReleased", at[2], top + 60, button="left", clickCount=1)
    browser.frame()
    wanted = [begin + (end - begin) * share for share in (0.25, 0.75)]
    assert browser.run("[view.t0, view.t1]") == pytest.approx(wanted, abs=(end - begin) * 0.01)
    assert browser.run("[view.r0, view.r1]") == rows
    assert browser.errors == []


def test_statistics_lead_to_bars(browser: Browser, tmp_path: Path) -> None:
    """A click on a line of the tables shows the attempt that the line is about."""
    shown(browser, tmp_path, 100)
    run = load(tmp_path / "run")
    said = details(browser)
    assert "what the job waited for" in said
    assert "straggling" in said
    assert browser.run("$('details').scrollWidth <= $('details').clientWidth")
    click = "[...document.querySelectorAll('#details table button')].find(b => b.textContent === %s).click()"
    browser.run(click % "'straggling'")
    assert details(browser).startswith(max(run.rows, key=lambda row: row.finished).label + "\n")
    browser.run("choose(-1)")
    browser.run(click % "'PNG2Y4MUploadState'")
    visits = [
        (end - begin, row.label) for row in run.rows for begin, end, name in row.spans() if "Upload" in name
    ]
    assert details(browser).startswith(max(visits)[1] + "\n")
    assert browser.errors == []
