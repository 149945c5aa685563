#!/usr/bin/env python3
"""A picture of a terminal, from a recording of asciinema's form: what its window showed at a moment.

It understands the control sequences that the live display writes: line ends, colours, cursor up, and clearing to the
end of the line or of the window. Chromium draws the picture.

usage: bench/picture.py FILE.cast -o FILE.png [--at SECONDS] [--white]
"""

import argparse
import io
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

MOVES = re.compile(r"\x1b\[(\d*)([FJK])|\r?\n|\r")
EIGHT = [(0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205)]
THEMES = {
    False: TerminalTheme((0, 0, 0), (229, 229, 229), [*EIGHT, (229, 229, 229)]),
    True: TerminalTheme((255, 255, 255), (0, 0, 0), [*EIGHT, (229, 229, 229)]),
}
# With this font and line height, block elements fill the whole line, so that those of neighbouring lines touch.
SIZE, HEIGHT, WIDTH, EDGE = 14, 16.3, 8.43, 12
PAGE = """<meta charset=utf-8><style>body {{margin: EDGEpx; background: {background}; color: {foreground}}}
pre {{margin: 0; font: SIZEpx/HEIGHTpx "DejaVu Sans Mono", monospace}} {stylesheet}</style><pre>{code}</pre>"""


def window(cast: str, at: float) -> tuple[list[str], int, int]:
    """Returns the lines in the window after so many seconds, with their colours, and the window's columns and lines."""
    head, *events = map(json.loads, cast.splitlines())
    data = "".join(text for moment, _, text in events if moment <= at)
    whole = data.rfind("\x1b[J")  # end of the last complete update
    data = data if whole < 0 or at == float("inf") else data[: whole + 3]
    lines, row, end = [""], 0, 0
    for found in MOVES.finditer(data):
        lines[row] += data[end : found.start()]
        end = found.end()
        if found[2] == "F":
            row = max(0, row - int(found[1] or 1))
            lines[row] = ""
        elif found[2] == "J":
            del lines[row + 1 :]
        elif found[2] is None and "\n" in found[0]:
            row += 1
            lines[row : row + 1] = [""]
    lines[row] += data[end:]
    return lines[-head["height"] :], head["width"], head["height"]


def page(lines: list[str], columns: int, white: bool) -> str:
    """Returns a window's coloured lines as an HTML page."""
    console = Console(
        file=io.StringIO(), record=True, width=columns, force_terminal=True, color_system="truecolor"
    )
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop", highlight=False)
    form = PAGE
    for name, value in (("EDGE", EDGE), ("SIZE", SIZE), ("HEIGHT", HEIGHT)):
        form = form.replace(name, str(value))
    return console.export_html(theme=THEMES[white], code_format=form)


def main() -> None:
    """Draws the picture that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cast", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--at", type=float, default=float("inf"), metavar="SECONDS")
    parser.add_argument("--white", action="store_true", help="a bright ground (default: a dark one)")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no chromium here")
    lines, columns, height = window(args.cast.read_text(), args.at)
    with tempfile.TemporaryDirectory() as directory:
        html = Path(directory, "page.html")
        html.write_text(page(lines, columns, args.white))
        size = f"{round(columns * WIDTH + 2 * EDGE)},{round(height * HEIGHT + 2 * EDGE)}"
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={directory}/profile",
        ]
        command = [
            chromium,
            *flags,
            f"--window-size={size}",
            f"--screenshot={args.output.absolute()}",
            html.as_uri(),
        ]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
