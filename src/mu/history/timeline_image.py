"""`mu timeline`: a run as a picture. It has a bar for each worker, coloured by activity; above them, how many workers
were at each activity at each moment, and were launched, connected and ended.

matplotlib draws thousands of bars quickly only if they are few objects: one collection of polygons for each activity,
whatever the number of workers.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mu.errors import UsageError
from mu.history.chart import (
    COLOURS,
    Worker,
    at_work,
    curves,
    final_failures,
    lines,
    occurring,
    worker_spans,
    workers,
)
from mu.history.runs import Run

# Failures differ by shape: a cross is final, a ring was retried.
REPEATED, FINAL = "failed, tried again", "failed for good"
FAILED: dict[str, dict[str, Any]] = {
    REPEATED: {"marker": "o", "facecolor": "white", "edgecolor": "#111111", "linewidth": 1.2},
    FINAL: {"marker": "X", "facecolor": "#dd2222", "edgecolor": "white", "linewidth": 0.5},
}
PART_COLOUR = "#111111"
AREA_BINS = 400  # number of points of the areas, over the whole time
MARKED_LINES = 100  # most bars for which the beginnings of parts are marked
DPI = 120


def draw(run: Run, path: Path) -> None:
    """Writes a PNG or SVG of `run`. Raises UsageError if matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "pictures need matplotlib: pip install 'mu-workers[look]' (a timeline in .html needs nothing)"
        ) from None
    colours = occurring(run)
    count = max(1, len(workers(run)))
    # Inches: few bars are thick; many bars share the size of a screen or a page.
    bars = min(max(0.25 * count, 1.2), 4.5 + 0.004 * min(count, 1000))
    strip, gap, head, foot = 1.4, 0.25, 0.7, 0.8
    height = head + strip + gap + bars + foot
    figure = Figure(figsize=(11, height), dpi=DPI)
    (FigureCanvasSVG if path.suffix == ".svg" else FigureCanvasAgg)(figure)
    left, width = 0.085, 0.885
    axes = figure.add_axes((left, foot / height, width, bars / height))
    above = figure.add_axes((left, (foot + bars + gap) / height, width, strip / height), sharex=axes)
    _bars(axes, run, int(bars * DPI))
    _curves(above, run)
    figure.text(
        left, 1 - 0.25 / height, _title(run), fontsize=11, fontweight="bold", va="center", parse_math=False
    )
    _legend(figure, run, colours, 0.06 / height)
    svg = path.suffix == ".svg"
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about characters that no installed font has
        figure.savefig(file, format=path.suffix[1:], metadata={"Date": None} if svg else None)
    made = file.getvalue()
    # matplotlib cannot set crisp edges in SVG.
    path.write_bytes(
        made.replace(b'<g id="thin', b'<g shape-rendering="crispEdges" id="thin') if svg else made
    )


def _title(run: Run) -> str:
    failed = len(final_failures(run)) if run.done is not None else 0  # else they are in `fate`
    again = len({row.part for row in run.rows if row.attempt > 1})
    text = f"{run.name}: {run.fate} in {run.seconds:.1f} s"
    return (
        text
        + (f", {failed:,} failed for good" if failed else "")
        + (f", {again:,} tried again" if again else "")
    )


def _bars(axes: Any, run: Run, pixels: int) -> None:
    """Draws bars in this many lines of pixels; if there are more workers, one bar represents several neighbours."""
    from matplotlib.collections import PolyCollection
    from matplotlib.ticker import MaxNLocator

    boxes: dict[str, list[Sequence[tuple[float, float]]]] = {}
    everyone = workers(run)
    shown = lines(everyone, pixels)
    count = len(shown)
    half = 0.4 if count <= 200 else 0.5
    for place, worker in enumerate(shown):
        low, high = place - half, place + half
        for begin, end, name in worker_spans(worker):
            colour = COLOURS[name]
            boxes.setdefault(colour, []).append([(begin, low), (begin, high), (end, high), (end, low)])
    begins = [
        (row.connected, place)
        for place, worker in enumerate(shown)
        for row in worker.rows
        if len(worker.rows) > 1
    ]
    if begins and count <= MARKED_LINES:
        moments, places = zip(*begins, strict=True)
        lows, highs = [place - half for place in places], [place + half for place in places]
        axes.vlines(moments, lows, highs, color=PART_COLOUR, linewidth=0.8, zorder=2.5)
    many = sum(map(len, boxes.values())) > 20_000
    thin = count > 200
    for number, (colour, polygons) in enumerate(boxes.items()):
        # The edges of thin bars must not fade into each other, and an SVG of very many bars would be useless.
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
    # Each failure is marked, including those of workers that share a line with others.
    final = final_failures(run)
    marks: dict[str, list[tuple[float, int]]] = {}
    for number, worker in enumerate(everyone):
        for row in worker.rows:
            if row.outcome == "failed":
                kind = FINAL if (row.part, row.attempt) in final else REPEATED
                marks.setdefault(kind, []).append((row.finished, number * count // len(everyone)))
    for kind, look in FAILED.items():
        if kind in marks:
            moments, places = zip(*marks[kind], strict=True)
            size = 55 if count <= 100 else 20 if kind == REPEATED else 40
            axes.scatter(moments, places, s=size, zorder=3, clip_on=False, label=kind, **look)
    begin = min([0.0, *(moment for moment, _ in run.launched)])
    axes.set_xlim(
        begin, max(run.seconds, *(row.finished for row in run.rows), begin + 1e-3) if run.rows else 1
    )
    axes.set_ylim(max(1, count) - 0.5, -0.5)
    axes.set_xlabel("seconds", fontsize=9)
    if count <= 30:
        axes.set_yticks(range(count), [_label(worker) for worker in shown])
    else:
        text = "workers, as they connected"
        if count < len(everyone):
            text += f"\n(a line for up to {-(-len(everyone) // count):,} workers: the last to end)"
        axes.set_ylabel(text, fontsize=9)
        # Round numbers of workers, which are between lines if several share one.
        wanted = [
            number
            for number in MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(0, len(everyone))
            if 0 <= number < len(everyone)
        ]
        axes.set_yticks(
            [number * count / len(everyone) for number in wanted], [f"{number:,.0f}" for number in wanted]
        )
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _label(worker: Worker) -> str:
    return worker.label.replace(", attempt ", " · ").replace(f", {len(worker.rows)} parts", "")


def _curves(axes: Any, run: Run) -> None:
    end = max([run.seconds, *(row.finished for row in run.rows)])
    styles = {"launched": ("#777777", "--"), "connected": ("#111111", "-"), "at their end": ("#1b7837", "-")}
    begin = min([0.0, *(moment for moment, _ in run.launched)])
    if end > begin:
        step = (end - begin) / AREA_BINS
        moments = [begin + step * (place + 0.5) for place in range(AREA_BINS)]
        below = [0.0] * AREA_BINS
        for name, values in at_work(run, begin, end, AREA_BINS).items():
            top = [low + value for low, value in zip(below, values, strict=True)]
            axes.fill_between(moments, below, top, color=COLOURS[name], linewidth=0)
            below = top
    for name, points in curves(run).items():
        colour, style = styles[name]
        moments = [points[0][0], *(moment for moment, _ in points), max(end, points[-1][0])]
        counts = [0, *(count for _, count in points), points[-1][1]]
        axes.step(moments, counts, where="post", color=colour, linestyle=style, linewidth=1.3, label=name)
    axes.set_ylim(0, None)
    axes.set_ylabel("workers", fontsize=9)
    axes.tick_params(labelsize=8, labelbottom=False)
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False, borderaxespad=0.1
    )


def _legend(figure: Any, run: Run, colours: Mapping[str, str], bottom: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Any] = [Patch(color=colour, label=name) for name, colour in colours.items()]
    everyone = workers(run)
    if len(everyone) <= MARKED_LINES and any(len(worker.rows) > 1 for worker in everyone):
        entries.append(Line2D([], [], color=PART_COLOUR, marker="|", linestyle="", label="a part begins"))
    failed = {(row.part, row.attempt) for row in run.rows if row.outcome == "failed"}
    final = final_failures(run)
    for (label, look), found in zip(FAILED.items(), (failed - final, final), strict=True):
        if found:
            entries.append(
                Line2D(
                    [], [], linestyle="", label=label, marker=look["marker"], markersize=7,
                    markerfacecolor=look["facecolor"], markeredgecolor=look["edgecolor"],
                )
            )  # fmt: skip
    if entries:
        figure.legend(
            handles=entries, loc="lower center", bbox_to_anchor=(0.5, bottom),
            ncols=len(entries), fontsize=8, frameon=False, handlelength=1.2, borderaxespad=0,
        )  # fmt: skip
