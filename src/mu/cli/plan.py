"""`mu plan`: what a job would do and cost, without starting anything."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mu.cli import regions
from mu.console.arguments import above, at_least, word
from mu.console.terminal import say
from mu.engines import aws_limits, ramp
from mu.engines.prediction import MOST_PARTS, Prediction, predict
from mu.errors import UsageError, one_line
from mu.launch import queries, resolve
from mu.launch.credentials import NoCredentialsError
from mu.launch.options import FUNCTION_TIMEOUT
from mu.report import cost
from mu.report.figures import counted

DESCRIPTION = """\
Predict a job without starting anything: how many workers it has by when, when it ends, and about what it costs. The
function's time limit and memory and the account's limits are asked from AWS; where that is not allowed, usual ones are
assumed, and said so.

The prediction knows how fast AWS lets a function grow, the limits, and the time limit. It does not know how long
your parts take: try one, and give its time with --seconds.

example:
  mu plan -l png2y4m_ab12cd34 -n 20000 --seconds 45 -r us-east-1,eu-west-1
"""

ROWS = 12  # of the table, about
ENDINGS = (".png", ".svg")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `mu plan`."""
    parser.add_argument("-l", "--function", required=True, type=word, metavar="NAME", help="the function")
    parser.add_argument(
        "-n", "--parts", required=True, type=at_least(1, MOST_PARTS), metavar="N", help="parts of the job"
    )
    parser.add_argument(
        "--seconds",
        required=True,
        type=above(0, "a positive number"),
        metavar="S",
        help="seconds a part takes",
    )
    regions.add_flag(parser.add_argument)
    parser.add_argument(
        "-W",
        "--workers",
        type=at_least(1),
        metavar="N",
        help="workers at a time (default: what the account allows)",
    )
    parser.add_argument(
        "--start",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds until a worker begins with its first part, which AWS bills (default: 1)",
    )
    parser.add_argument(
        "--ramp",
        type=ramp.parse,
        default=ramp.LAMBDA,
        metavar="BURST,RATE",
        help="growth (default: 1000,100, as AWS's)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="draw the curve, too: x.png or x.svg")


def run(args: argparse.Namespace) -> int:
    """Asks for the limits, predicts the job, and prints the result; returns the exit status."""
    if not 0 <= args.start < math.inf:
        raise UsageError(f"--start {args.start}: not a number of seconds, 0 or more")
    if args.output and Path(args.output).suffix not in ENDINGS:
        raise UsageError(f"{args.output}: the name must end in {' or '.join(ENDINGS)}")
    places = list(dict.fromkeys(regions.chosen(args)))
    askers = _askers(places)
    allowed = aws_limits.ask_all(askers, args.function)
    configuration = _configuration(askers[places[0]], args.function, places[0])
    aws_limits.check(allowed, args.function)
    limits = {region: one.number for region, one in allowed.items()}
    if args.workers is not None:
        limits = _at_most(args.workers, limits)
    timeout = configuration.get("Timeout")
    lifetime = float(timeout if isinstance(timeout, int | float) else FUNCTION_TIMEOUT)
    try:
        found = predict(args.parts, args.seconds, limits, ramp=args.ramp, start=args.start, lifetime=lifetime)
    except ValueError as error:
        raise UsageError(f"{args.function}: {error}") from None
    sys.stdout.write(
        report(found, args.parts, limits, [f"{one.number:,}: {one.reason}" for one in allowed.values()])
    )
    sys.stdout.write(cost.describe(_cost(found, configuration)) + "\n")
    if args.output:
        draw(found, Path(args.output), f"{args.function}: {args.parts:,} parts of {args.seconds:g} s")
        sys.stdout.write(f"{args.output}\n")
    return 0


def _askers(places: Sequence[str]) -> dict[str, queries.Ask]:
    """Returns what asks Lambda in each region. Without any credentials there is no answer, and a plan from
    assumptions. Raises UsageError for settings that are wrong."""
    try:
        return queries.askers(resolve(places))
    except NoCredentialsError as error:
        why = queries.UnansweredError("no credentials", str(error))

        def refuse(_: str) -> dict[str, Any]:
            raise why

        return dict.fromkeys(places, refuse)


def _configuration(ask: queries.Ask, function: str, region: str) -> dict[str, Any]:
    """Returns the function's configuration; empty, with a note, if we may not ask for it. Raises UsageError if there
    is no such function."""
    try:
        return ask(queries.about(queries.CONFIGURATION, function))
    except queries.UnansweredError as error:
        if error.code == "ResourceNotFoundException":
            raise UsageError(
                f"there is no function {function} in {region}: 'mu functions' lists them"
            ) from None
        say(
            f"mu plan: the function's memory and time limit are not known, and {FUNCTION_TIMEOUT} s are assumed:"
            f" {one_line(str(error))}"
        )
        return {}


def _at_most(workers: int, limits: dict[str, int]) -> dict[str, int]:
    """Returns the limits, lowered so that all regions together run at most this number of workers."""
    left, kept = workers, {}
    for place, (region, limit) in enumerate(sorted(limits.items(), key=lambda one: one[1])):
        kept[region] = min(limit, -(-left // (len(limits) - place)))
        left -= kept[region]
    return {region: kept[region] for region in limits}


def _cost(found: Prediction, configuration: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the estimated cost, each region at its own price; None if the function's memory is not known."""
    function = cost.function_of(configuration)
    if function is None:
        return None
    each = [
        # Without `starts`: the seconds of the workers include their starts (--start).
        cost.estimate(function, found.worker_seconds[region], number, [region])
        for region, number in found.invocations.items()
        if number
    ]
    prices = [one["dollars"] for one in each]
    return {
        **each[0],
        "gb_seconds": sum(one["gb_seconds"] for one in each),
        "requests": sum(one["requests"] for one in each),
        "regions": [region for one in each for region in one["regions"]],
        "dollars": None if None in prices else sum(prices),
    }


def report(found: Prediction, parts: int, limits: dict[str, int], reasons: Sequence[str]) -> str:
    """Returns the table and its summary as text."""
    curve = found.curve()
    several = len(limits) > 1
    heading = ("TIME", *(limits if several else ()), "WORKERS", "PARTS DONE")
    rows = []
    for seconds in _moments(found):
        now: dict[str, int] = next((point for when, point in reversed(curve) if when <= seconds), {})
        each = [f"{now.get(region, 0):,}" for region in limits] if several else []
        rows.append((clock(seconds), *each, f"{sum(now.values()):,}", f"{found.done_by(seconds):,}"))
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    lines = [
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        for row in (heading, *rows)
    ]
    peak = max(sum(point.values()) for _, point in curve)
    invocations = sum(found.invocations.values())
    lines += [
        "",
        f"{counted(parts, 'part')} done after {clock(found.end)}, by at most {counted(peak, 'worker')} at a time, "
        f"{counted(invocations, 'invocation')}",
        "workers at a time: " + "; ".join(reasons),
    ]
    return "\n".join(lines) + "\n"


def _moments(found: Prediction) -> list[float]:
    """Returns the times that the table shows: evenly spread ones, the first moment of most workers, and the end."""
    curve = found.curve()
    totals = [(seconds, sum(point.values())) for seconds, point in curve]
    most = max(total for _, total in totals)
    full = next(seconds for seconds, total in totals if total == most)
    step = found.end / (ROWS - 3)
    nice = max(1.0, round(step, -math.floor(math.log10(step)))) if step > 0 else 1.0
    even = [nice * number for number in range(int(found.end / nice) + 1)]
    return sorted({0.0, *even, full, found.end})


def clock(seconds: float) -> str:
    """Returns a time as text: 12.3 s, 4:05 or 1:04:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def draw(found: Prediction, path: Path, title: str) -> None:
    """Writes a PNG or SVG of workers over time, by region, and the share of parts done. Raises UsageError."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("pictures need matplotlib: pip install 'mu-workers[look]'") from None
    figure = Figure(figsize=(10, 4.5), dpi=120, layout="constrained")
    (FigureCanvasSVG if path.suffix == ".svg" else FigureCanvasAgg)(figure)
    axes = figure.add_subplot()
    curve = found.curve()
    times = [seconds for seconds, _ in curve]
    names = list(found.invocations)
    layers = [[point[region] for _, point in curve] for region in names]
    axes.stackplot(times, layers, labels=names, step="post", alpha=0.75)
    axes.set_xlim(0, found.end or 1)
    axes.set_ylim(0, None)
    axes.set_xlabel("seconds")
    axes.set_ylabel("workers")
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    beside = axes.twinx()
    whole = found.done[-1][1]
    beside.step(
        [0, *(seconds for seconds, _ in found.done)],
        [0, *(100 * done / whole for _, done in found.done)],
        where="post",
        color="black",
        linewidth=1.2,
        label="parts done",
    )
    beside.set_ylim(0, 100)
    beside.set_ylabel("parts done, %")
    axes.legend(
        *(
            a + b
            for a, b in zip(axes.get_legend_handles_labels(), beside.get_legend_handles_labels(), strict=True)
        ),
        loc="lower right",
        fontsize=8,
    )
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
