"""`mu timeline`: a run as a picture. A bar for each worker, coloured by state; above them, how many were launched,
connected and at their end by when.

matplotlib draws thousands of bars quickly if they are few objects: one collection of polygons for each
state, whatever the number of workers.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mu.errors import UsageError
from mu.history.chart import OTHER_COLOUR, curves, lines, state_colours
from mu.history.runs import Run

FAILED_COLOUR = "#dd2222"
DPI = 120


def draw(run: Run, path: Path) -> None:
    """Write a PNG or SVG of `run`. UsageError if matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "pictures need matplotlib: pip install 'mu-workers[look]' (a timeline in .html needs nothing)"
        ) from None
    colours = state_colours(run)
    count = max(1, len(run.rows))
    # Inches: few bars are thick, many share what a screen or a page has.
    bars = min(max(0.25 * count, 1.2), 4.5 + 0.004 * min(count, 1000))
    columns = 4 if sum(sorted(map(len, colours))[-4:]) < 110 else 3
    strip, gap, head, foot = 1.1, 0.25, 0.7, 0.6 + 0.2 * -(-(len(colours) + 1) // columns)
    height = head + strip + gap + bars + foot
    figure = Figure(figsize=(11, height), dpi=DPI)
    (FigureCanvasSVG if path.suffix == ".svg" else FigureCanvasAgg)(figure)
    left, width = 0.085, 0.885
    axes = figure.add_axes((left, foot / height, width, bars / height))
    above = figure.add_axes((left, (foot + bars + gap) / height, width, strip / height), sharex=axes)
    _bars(axes, run, colours, int(bars * DPI))
    _curves(above, run)
    figure.text(
        left, 1 - 0.25 / height, _title(run), fontsize=11, fontweight="bold", va="center", parse_math=False
    )
    _legend(figure, run, colours, columns, 0.06 / height)
    svg = path.suffix == ".svg"
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about characters that no font here has
        figure.savefig(file, format=path.suffix[1:], metadata={"Date": None} if svg else None)
    made = file.getvalue()
    # To SVG, matplotlib does not tell that edges are to be sharp.
    path.write_bytes(
        made.replace(b'<g id="thin', b'<g shape-rendering="crispEdges" id="thin') if svg else made
    )


def _title(run: Run) -> str:
    failed = len({row.part for row in run.rows if row.outcome == "failed"})
    text = f"{run.name}: {run.done} of {run.parts} parts done in {run.seconds:.1f} s"
    extra = len(run.rows) - len({row.part for row in run.rows})
    return (
        text + (f", {failed} with a failure" if failed else "") + (f", {extra} tried again" if extra else "")
    )


def _bars(axes: Any, run: Run, colours: Mapping[str, str], pixels: int) -> None:
    """Bars in so many lines of pixels: where there are more workers than that, one stands for its neighbours."""
    from matplotlib.collections import PolyCollection

    boxes: dict[str, list[Sequence[tuple[float, float]]]] = {}
    ends: list[tuple[float, int]] = []
    shown = lines(run.rows, pixels)
    count = len(shown)
    half = 0.4 if count <= 200 else 0.5
    for place, row in enumerate(shown):
        low, high = place - half, place + half
        for begin, end, name in row.spans():
            colour = colours.get(name, OTHER_COLOUR)
            boxes.setdefault(colour, []).append([(begin, low), (begin, high), (end, high), (end, low)])
        if row.outcome == "failed":
            ends.append((row.finished, place))
    many = sum(map(len, boxes.values())) > 20_000
    thin = count > 200
    for number, (colour, polygons) in enumerate(boxes.items()):
        # Thin bars must not fade into each other's edges; and an SVG of very many would be of no use.
        made = PolyCollection(
            polygons,
            facecolors=colour,
            edgecolors="white" if count <= 40 else "none",
            linewidths=0.4,
            antialiased=not thin,
            rasterized=many,
            gid=f"{'thin' if thin else 'bars'}{number}",
        )
        axes.add_collection(made, autolim=False)
    if ends:
        moments, places = zip(*ends, strict=True)
        size = 40 if count <= 100 else 14
        axes.scatter(moments, places, marker="x", s=size, color=FAILED_COLOUR, zorder=3, clip_on=False)
    begin = min([0.0, *(moment for moment, _ in run.launched)])
    axes.set_xlim(
        begin, max(run.seconds, *(row.finished for row in run.rows), begin + 1e-3) if run.rows else 1
    )
    axes.set_ylim(max(1, count) - 0.5, -0.5)
    axes.set_xlabel("seconds", fontsize=9)
    if count <= 30:
        axes.set_yticks(range(count), [row.label.replace(", attempt ", " · ") for row in shown])
    else:
        each = len(run.rows) / count
        text = "workers, as they connected"
        axes.yaxis.set_major_formatter(lambda line, _: f"{line * each:.0f}")
        axes.set_ylabel(
            text if each == 1 else f"{text}\n(each line: the last to end of {each:.3g})", fontsize=9
        )
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _curves(axes: Any, run: Run) -> None:
    end = max([run.seconds, *(row.finished for row in run.rows)])
    styles = {"launched": ("#777777", "--"), "connected": ("#111111", "-"), "at their end": ("#228833", "-")}
    for name, points in curves(run).items():
        colour, style = styles[name]
        moments = [points[0][0], *(moment for moment, _ in points), max(end, points[-1][0])]
        counts = [0, *(count for _, count in points), points[-1][1]]
        axes.step(moments, counts, where="post", color=colour, linestyle=style, linewidth=1.3, label=name)
    axes.set_ylim(0, None)
    axes.set_ylabel("workers", fontsize=9)
    axes.tick_params(labelsize=8, labelbottom=False)
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False, borderaxespad=0.1
    )


def _legend(figure: Any, run: Run, colours: Mapping[str, str], columns: int, bottom: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = list(colours)
    entries: list[Any] = [Patch(color=colour) for colour in colours.values()]
    if any(row.outcome == "failed" for row in run.rows):
        names.append("failed")
        entries.append(Line2D([], [], color=FAILED_COLOUR, marker="x", linestyle=""))
    if entries:
        legend = figure.legend(
            entries, ["-"] * len(entries), loc="lower center", bbox_to_anchor=(0.5, bottom),
            ncols=min(columns, len(entries)), fontsize=8, frameon=False, handlelength=1.2, borderaxespad=0,
        )  # fmt: skip
        # Not as labels: matplotlib 3.9 leaves those out that begin with "_".
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set(text=name, parse_math=False)
