"""MkDocs hooks: add pages that are not in docs/, adapt the links between pages, and draw diagrams at build time.

Links in the repository work in an editor and on a forge; these hooks change them to links within the site. A link to a
file that is not a page of the site stays unchanged, so the strict build fails.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
from state_diagram import svg

ROOT = Path(__file__).parents[2]
# Pages of the repository that are not in docs/, and their names in the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bench/README.md": "bench.md",
    "tools/png2y4m/README.md": "png2y4m.md",
}
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are not in docs/."""
    for path, name in PAGES.items():
        text = site_text((ROOT / path).read_text(), path)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns a page of docs/ with its links changed to those of the site."""
    if page.file.src_uri in PAGES.values():
        return markdown
    return site_text(markdown, f"docs/{page.file.src_uri}")


def site_text(text: str, path: str) -> str:
    """Returns the text of the repository's file `path` with links and diagrams for the site."""
    pieces = FENCE.split(text)
    pieces[::2] = [LINK.sub(lambda found: site_link(found[1], path), piece) for piece in pieces[::2]]
    pieces[1::2] = [svg(piece) if piece.startswith("```mermaid") else piece for piece in pieces[1::2]]
    return "".join(pieces)


def site_link(link: str, path: str) -> str:
    """Returns the target in the site of a link in the file `path`."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return PAGES.get(target) or target.removeprefix("docs/")
