"""The documentation site builds without warnings, loads nothing from other sites, and its search works from disk."""

import importlib.util
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

from tests.support import pages
from tests.support.browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[2]
# Attributes whose URLs a browser loads by itself; links (<a href>) are followed only by a reader.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
pytestmark = pytest.mark.timeout(1000)  # building takes seconds, or longer on a slow machine
NO_FETCH = {"canonical", "next", "prev", "alternate"}


class Page(HTMLParser):
    """`fetched`: URLs that are loaded with the page; `links`: targets of its links; `names`: its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        address = given.get(FETCHED.get(tag, ""))
        if address and not NO_FETCH & set(given.get("rel", "").split()):
            self.fetched.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="the group `docs` is not installed")
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [ROOT / "bin" / "docs.sh", place], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == f"docs: {place}/index.html"
    return place


@pytest.fixture(scope="module")
def made(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_nothing_is_fetched_from_elsewhere(made: dict[Path, Page], site: Path) -> None:
    fetched = [address for page in made.values() for address in page.fetched]
    assert fetched
    assert [address for address in fetched if urlsplit(address).netloc] == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//[^)\"']*", sheet.read_text()) == []


def test_links_and_anchors_lead_somewhere(made: dict[Path, Page]) -> None:
    checked = 0
    for path, page in made.items():
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.name}: {link}"
            if parts.fragment and target in made:
                assert unquote(parts.fragment) in made[target].names, f"{path.name}: {link}"
                checked += 1
    assert checked > 100


def test_the_python_api_is_all_of_the_public_names(made: dict[Path, Page], site: Path) -> None:
    import mu

    named = " ".join(made[site / "python.html"].names)
    missing = {
        name
        for name in dir(mu)
        if not isinstance(getattr(mu, name), ModuleType)
        and not re.search(rf"\b{name}\b", named)
        and name not in LEFT_TO_OTHER_PAGES
    }
    assert missing == set()


# Names that only scripts of the original use, which docs/porting.md describes.
LEFT_TO_OTHER_PAGES = {"Defs", "FDWrapper", "SocketNB"}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_search_works_without_a_server(site: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.open(site / "index.html")
        found = browser.run(SEARCH)
        assert ".html" in found
        assert browser.errors == []
        assert [
            request for request in browser.requests if urlsplit(request).scheme not in ("file", "data")
        ] == []


# Type a word as a reader does, and wait until the list of results is not empty.
SEARCH = """new Promise(done => {
  const field = document.querySelector('input[name="query"]');
  const list = document.querySelector('.md-search-result__list');
  const look = () => { if (list.querySelector('a')) done(list.querySelector('a').getAttribute('href')); };
  new MutationObserver(look).observe(list, { childList: true, subtree: true });
  document.querySelector('[data-md-toggle="search"]').click();
  field.focus();
  field.value = 'lambdaize';
  field.dispatchEvent(new KeyboardEvent('keyup', { key: 'e', bubbles: true }));
  look();
})"""


def diagrams() -> Iterator[tuple[str, str]]:
    """Returns each Mermaid block of docs/ with the name of its page."""
    for path in sorted(ROOT.glob("docs/*.md")):
        for fence in pages.fences(path):
            if fence.language == "mermaid":
                yield path.stem, fence.text


def test_diagrams_are_drawn(site: Path) -> None:
    found = list(diagrams())
    assert len(found) >= 3
    for page, text in found:
        drawn = (site / f"{page}.html").read_text()
        assert "stateDiagram" not in drawn
        for name in set(re.findall(r"\w+State\b", text)):
            assert f">{name}</text>" in drawn, name


@pytest.mark.parametrize("text", [text for _, text in diagrams()])
def test_states_in_a_diagram_do_not_overlap_and_arrows_go_down_or_back(text: str) -> None:
    spec = importlib.util.spec_from_file_location("state_diagram", ROOT / "tools/site/state_diagram.py")
    assert spec is not None
    assert spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    steps = drawing.steps(text)
    assert len(steps) == text.count("-->")
    layer = drawing.layers(steps)
    assert [name for name, number in layer.items() if number == 0] == [""]
    back = [step for step in steps if layer[step.before] >= layer[step.after]]
    assert all("Loop" in step.after for step in back)
    drawn = ET.fromstring(drawing.svg(text))
    assert len(drawn.findall("path")) == len(steps)
    places = [
        [float(box.get(side, "")) for side in ("x", "y", "width", "height")] for box in drawn.iter("rect")
    ]
    assert len(places) == len(layer) - 2
    for i, (x, y, width, height) in enumerate(places):
        for to, below, other, _ in places[:i]:
            assert y >= below + height or below >= y + height or x >= to + other or to >= x + width


def anchors(path: Path) -> Iterator[str]:
    """Returns the anchors that GitHub and similar sites give to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("tools/*/*.md")]), ids=os.fspath
)
def test_links_in_the_repository_lead_somewhere(path: Path) -> None:
    """The links work in the source files, in an editor or on GitHub and similar sites."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        parts = urlsplit(link)
        if not parts.scheme:
            target = path.parent / unquote(parts.path) if parts.path else path
            assert target.exists(), link
            assert not parts.fragment or parts.fragment in anchors(target), link
