"""Converts a Mermaid state diagram, as `mu diagram` prints it, to SVG when the site is built, so pages need no script.

States are drawn in layers, each state below those that lead to it. Arrows over several layers bend around the states
between them; arrows that lead back up are drawn on the right. The page's style sheet sets the colours.
"""

import html
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

STEP = re.compile(r"(?:state )?(\S+) --> (\S+)(?: : (.*))?")
CHARACTER, HEIGHT, LAYER, GAP, MARGIN, DOT = 7.6, 30, 74, 34, 16, 16
ROUNDS = 8  # of ordering; enough, because these diagrams have about ten states


class Step(NamedTuple):
    """An arrow from one state to another, and the condition for taking it."""

    before: str
    after: str
    when: str


class Place(NamedTuple):
    """The centre of a state's box, and its width."""

    x: float
    y: float
    width: float


def steps(fence: str) -> list[Step]:
    """Returns the arrows of a diagram. The names "" and END stand for the dots where it begins and ends."""
    found = filter(None, (STEP.fullmatch(line.strip()) for line in fence.splitlines()))
    return [Step(of[1].replace("[*]", ""), of[2].replace("[*]", END), of[3] or "") for of in found]


END = "\0"  # name of the dot where the machine ends; the dot where it begins has the empty name


def svg(fence: str) -> str:
    """Returns the diagram as an SVG element."""
    arrows = steps(fence)
    layer = layers(arrows)
    down = [arrow for arrow in arrows if layer[arrow.before] < layer[arrow.after]]
    back = [arrow for arrow in arrows if layer[arrow.before] >= layer[arrow.after]]
    rows, chains = ordered(layer, down, {name for arrow in back for name in arrow[:2]})
    places = placed(rows)
    right = max(place.x + place.width / 2 for place in places.values())
    drawn = [*_boxes(layer, places)]
    for arrow in down:
        drawn += _arrow([places[name] for name in chains[arrow]], arrow.when)
    # Shorter arrows are drawn nearer to the boxes.
    back.sort(key=lambda arrow: layer[arrow.before] - layer[arrow.after])
    for number, arrow in enumerate(back):
        drawn += _back(places[arrow.before], places[arrow.after], right + 22 + 18 * number, arrow.when)
    # Labels come last, so that no line is drawn over them.
    drawn.sort(key=lambda element: 'class="when"' in element)
    labels = max((len(arrow.when) for arrow in arrows), default=0)
    width = right + (22 + 18 * len(back) if back else 0) + max(MARGIN, labels * CHARACTER / 3)
    height = MARGIN + LAYER * (len(rows) - 1) + HEIGHT + MARGIN
    names = ", ".join(f"{arrow.before or 'start'} to {arrow.after.replace(END, 'end')}" for arrow in arrows)
    return (
        f'<svg class="states" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img" '
        f'aria-label="{html.escape(names)}">{ARROW}{"".join(drawn)}</svg>'
    )


ARROW = (
    '<defs><marker id="states-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
)


def layers(arrows: Sequence[Step]) -> dict[str, int]:
    """Returns each state's layer: one below the lowest state that leads to it, arrows that lead back not counted."""
    following = defaultdict(list)
    for arrow in arrows:
        following[arrow.before].append(arrow.after)
    back = set(_back_arrows("", following))
    found = {arrow.before: 0 for arrow in arrows} | {arrow.after: 0 for arrow in arrows}
    for _ in found:
        for arrow in arrows:
            if (arrow.before, arrow.after) not in back:
                found[arrow.after] = max(found[arrow.after], found[arrow.before] + 1)
    return found


def _back_arrows(
    name: str,
    following: Mapping[str, Sequence[str]],
    path: tuple[str, ...] = (),
    seen: set[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """Yields the arrows that close a cycle, that is, lead to a state on the path from the start to their own state."""
    seen = set() if seen is None else seen
    seen.add(name)
    for after in following.get(name, ()):
        if after in (*path, name):
            yield name, after
        elif after not in seen:
            yield from _back_arrows(after, following, (*path, name), seen)


def ordered(
    layer: Mapping[str, int], down: Sequence[Step], last: Collection[str]
) -> tuple[list[list[str]], dict[Step, list[str]]]:
    """Returns the names in each layer from left to right, and for each arrow the names that it goes through.

    In each layer between its ends, an arrow goes through a point of its own, whose name begins with a blank. The names
    in `last` are placed on the right, where the arrows that lead back are drawn, so that these cross no other state.
    """
    rows: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for name, number in layer.items():
        rows[number].append(name)
    chains = {}
    for place, arrow in enumerate(down):
        points = [f" {place}.{number}" for number in range(layer[arrow.before] + 1, layer[arrow.after])]
        chains[arrow] = [arrow.before, *points, arrow.after]
        for number, point in enumerate(points, layer[arrow.before] + 1):
            rows[number].append(point)
    near = defaultdict(list)
    for chain in chains.values():
        for one, other in pairwise(chain):
            near[one].append(other)
            near[other].append(one)
    # Each round sorts the layers by the mean place of each name's neighbours, downwards and then upwards.
    for _ in range(ROUNDS):
        for sequence in (range(1, len(rows)), range(len(rows) - 2, -1, -1)):
            for number in sequence:
                other = rows[number - 1 if sequence.step > 0 else number + 1]
                at = {name: (place + 0.5) / len(other) for place, name in enumerate(other)}

                def middle(name: str, at: Mapping[str, float] = at) -> float:
                    found = [at[each] for each in near[name] if each in at]
                    return (name in last) + (sum(found) / len(found) if found else 0.5)

                rows[number].sort(key=middle)
    return rows, chains


def placed(rows: Sequence[Sequence[str]]) -> dict[str, Place]:
    """Returns the place of each name: rows one below the other, each centred on the widest."""
    widths = {name: _width(name) for row in rows for name in row}
    spans = [sum(widths[name] for name in row) + GAP * (len(row) - 1) for row in rows]
    found = {}
    for number, row in enumerate(rows):
        x = MARGIN + (max(spans) - spans[number]) / 2
        for name in row:
            found[name] = Place(x + widths[name] / 2, MARGIN + HEIGHT / 2 + LAYER * number, widths[name])
            x += widths[name] + GAP
    return found


def _width(name: str) -> float:
    if name in ("", END):
        return DOT
    return 8 if name.startswith(" ") else len(name) * CHARACTER + 20


def _boxes(names: Mapping[str, int], places: Mapping[str, Place]) -> Iterator[str]:
    for name in names:
        x, y, width = places[name]
        if name in ("", END):
            if name:
                yield f'<circle class="ring" cx="{x:.1f}" cy="{y}" r="{DOT / 2}"/>'
            yield f'<circle class="dot" cx="{x:.1f}" cy="{y}" r="{DOT / 2 - 3 * bool(name)}"/>'
            continue
        yield f'<rect x="{x - width / 2:.1f}" y="{y - HEIGHT / 2}" width="{width:.1f}" height="{HEIGHT}" rx="5"/>'
        yield f'<text x="{x:.1f}" y="{y + 4.5}">{html.escape(name)}</text>'


def _arrow(way: Sequence[Place], when: str) -> Iterator[str]:
    """Yields the elements of an arrow down through these places, with its label."""
    first, last = way[0], way[-1]
    begin = _towards(first, way[1].x), first.y + (DOT if first.width == DOT else HEIGHT) / 2
    end = _towards(last, way[-2].x), last.y - (DOT if last.width == DOT else HEIGHT) / 2
    points = [begin, *((place.x, place.y) for place in way[1:-1]), end]
    line = f"M{begin[0]:.1f} {begin[1]}"
    for (x, y), (to, below) in pairwise(points):
        half = (y + below) / 2
        line += f"C{x:.1f} {half} {to:.1f} {half} {to:.1f} {below}"
    yield f'<path d="{line}" marker-end="url(#states-arrow)"/>'
    if when:
        (x, y), (to, below) = points[:2]
        yield _label((x + to) / 2, (y + below) / 2, when)


def _towards(place: Place, x: float) -> float:
    """Returns the x at which an arrow from or to `x` meets the box: the centre, shifted towards `x`."""
    reach = max(0.0, place.width / 2 - 14)
    return place.x + max(-reach, min(reach, (x - place.x) / 3))


def _back(before: Place, after: Place, x: float, when: str) -> Iterator[str]:
    """Yields the elements of an arrow up, from the right side of one box around the others to that of the other."""
    begin, end = before.x + before.width / 2, after.x + after.width / 2
    line = f"M{begin:.1f} {before.y}H{x - 8:.1f}Q{x:.1f} {before.y} {x:.1f} {before.y - 8}"
    line += f"V{after.y + 8}Q{x:.1f} {after.y} {x - 8:.1f} {after.y}H{end:.1f}"
    yield f'<path d="{line}" marker-end="url(#states-arrow)"/>'
    if when:
        yield _label(x, (before.y + after.y) / 2, when)


def _label(x: float, y: float, text: str) -> str:
    return f'<text class="when" x="{x:.1f}" y="{y + 4:.1f}">{html.escape(text)}</text>'
