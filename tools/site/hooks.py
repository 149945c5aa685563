"""What MkDocs does not do by itself: pages that are not in docs/, links between them, and diagrams without a network.

Links in the repository are written so that they work in an editor and on a forge; here they are changed to those of
the site. A link to a file that is no page of the site stays as it is, and fails the strict build.
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
# Pages of the repository that are not in docs/, and what they are called in the site.
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
    """Add the pages that are not in docs/."""
    for path, name in PAGES.items():
        text = site_text((ROOT / path).read_text(), path)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page of docs/ with the links of the site."""
    if page.file.src_uri in PAGES.values():
        return markdown
    return site_text(markdown, f"docs/{page.file.src_uri}")


def site_text(text: str, path: str) -> str:
    """The text of the file `path` of the repository as it is in the site."""
    pieces = FENCE.split(text)
    pieces[::2] = [LINK.sub(lambda found: site_link(found[1], path), piece) for piece in pieces[::2]]
    pieces[1::2] = [svg(piece) if piece.startswith("```mermaid") else piece for piece in pieces[1::2]]
    return "".join(pieces)


def site_link(link: str, path: str) -> str:
    """Where a link in the file `path` leads in the site."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return PAGES.get(target) or target.removeprefix("docs/")
