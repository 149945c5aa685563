"""`mu timeline`: draws a run."""

import argparse
import sys
from pathlib import Path

from mu.console.terminal import say
from mu.errors import UsageError
from mu.history.runs import load, unfinished
from mu.history.timeline_image import draw

DESCRIPTION = """\
Draw a run: a bar for each worker, coloured by what it was doing (fetch, run, upload, wait, other), and how many workers
had been launched and connected by when. RUN is a directory that --record made, or a file that -O wrote.

The ending of the output's name decides: .png and .svg are pictures; .html is a page of one file to zoom and
search in, for any browser, without a network; .json is a trace (Chrome trace events), which
https://ui.perfetto.dev and chrome://tracing open.

example:
  examples/png2y4m_server.py -n 5 -l png2y4m_ab12cd34 -b mybucket --record run1
  mu timeline run1 -o run1.html
"""


ENDINGS = (".png", ".svg", ".html", ".json")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mu timeline`."""
    parser.add_argument(
        "run", metavar="RUN", help="a directory of --record or --results, or a file that -O wrote"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="what to write: x.png, x.svg, x.html or x.json"
    )


def run(args: argparse.Namespace) -> int:
    """Read, draw, and say where the picture is."""
    path = Path(args.output)
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path}: the name must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    found = load(args.run)
    if found.unfinished:
        say(unfinished(args.run))
        if not found.rows:
            raise UsageError(f"{args.run}: no worker has come to its end with a part yet")
    if _has_run(path):
        raise UsageError(f"{path} holds a run, which would be replaced: choose another name")
    try:
        if path.suffix == ".html":
            from mu.history.timeline_html import page

            path.write_text(page(found), encoding="utf-8")
        elif path.suffix == ".json":
            from mu.history.trace import trace

            path.write_text(trace(found), encoding="utf-8")
        else:
            draw(found, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    sys.stdout.write(f"{path}\n")
    return 0


def _has_run(path: Path) -> bool:
    """Returns whether a run can be read from this file: then it is a record, or what `-O` wrote."""
    try:
        load(path)
    except UsageError:
        return False
    return True
