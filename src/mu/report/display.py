"""The display of a run: lines of text for a window of any size, drawn from snapshots.

    display = Display(encoding="utf-8")
    display.add(Snapshot(at=12.5, counts=Counts(parts=100, done=40)))   # as often as there is news
    for text in display.lines(width=80, height=23):                    # rich.text.Text, each narrower than `width`
        console.print(text)

`Display` uses neither a clock nor a terminal: the time is that of the snapshots, so that a record is drawn like a
run. It keeps the history for its graphs in bounded memory. The live reporter and `mu watch` use it.

Rich provides texts, colours and the terminal's capabilities. Its tables and bars are not used: they measure every
cell each time, which took three times as long as these lines (4.6 against 1.4 ms for 20 rows of 4 columns), and its
progress bar cannot show parts that failed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.text import Text

from mu.console.terminal import visible
from mu.report.cost import money
from mu.report.figures import duration, in_megabytes, megabytes, short, span
from mu.report.graph import History, drawn
from mu.report.reporter import Counts
from mu.report.snapshot import PERCENTS, Snapshot, Standing

WINDOW = 10.0  # seconds over which the present rate, and so the time left, is computed
TWO_COLUMNS = 118  # characters of width from which tables are placed side by side
GRAPH = 38  # least characters of a graph, if there are several side by side
MAX_GRAPH = 12  # most lines of a graph, with title and axis
NAME = 40  # most characters of a part's name

# Each colour has a contrast of more than 3.5 to black and to white (tests/unit/report/test_display.py), since we
# cannot know the terminal's background. A terminal with 16 colours shows its nearest ones.
DONE, FAILED, RUNNING, AGAIN = "color(28)", "color(160)", "color(32)", "color(166)"
BYTES, LABEL, EMPTY = "color(133)", "color(243)", "color(243)"

DONE_FIGURE, RUNNING_FIGURE, WORKERS_FIGURE, IN_FIGURE, OUT_FIGURE, DOLLARS_FIGURE = range(6)


class Graph(NamedTuple):
    """A graph: the figure that it shows, its present value and format; `rate` shows growth per second, otherwise a
    level."""

    title: str
    figure: int
    colour: str
    now: float
    written: Callable[[float], str]
    rate: bool = True


class Display:
    """Draws the last snapshot that was added, and graphs of all of them. `encoding` is the terminal's.

    The time of `add` and `lines` does not depend on the size of the run.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._coding = encoding
        self._blocks = self.sayable("━▁█") == "━▁█"
        self._full, self._empty = "━━" if self._blocks else "=-"
        self._axis = "─" if self._blocks else "-"
        self.cut = "…" if self.sayable("…") == "…" else "~"
        self._history = History()
        self._last = Snapshot(0.0, Counts())

    def add(self, snapshot: Snapshot) -> None:
        """Adds a snapshot. Snapshots must be added in the order of their times."""
        self._last = snapshot
        counts = snapshot.counts
        self._history.add(
            snapshot.at,
            (
                counts.done,
                snapshot.running,
                counts.workers if counts.shared else counts.begun - counts.done - counts.failed,
                counts.retrieved or 0,
                counts.uploaded or 0,
                counts.dollars or 0.0,
            ),
        )

    def lines(self, width: int, height: int) -> list[Text]:
        """Returns at least one line and at most `height` lines, each narrower than `width`, or of one character."""
        found = [self._phases(width), self._bar(width)]
        note = self._last.counts.launch_note.lstrip("; ")
        if note:
            found.append(Text(self.sayable(visible(note)), LABEL))
        rest = height - len(found)
        if rest >= 4:
            figures = self._figures(width)[: max(1, rest // 4)]
            found += figures
            rest -= len(figures)
        if rest >= 12 and width >= GRAPH // 2:
            graphs = self._graphs(width, rest // 2 if rest >= 30 else rest // 3)
            found += graphs
            rest -= len(graphs)
        if rest >= 3:
            found += self._two_columns(width, rest) if width >= TWO_COLUMNS else self._one_column(width, rest)
        found = found[: max(1, height)]
        for text in found:
            self.fit(text, max(1, width - 1))
        return found

    # The sections of the display, from top to bottom

    def _phases(self, width: int) -> Text:
        """Returns a line with the numbers of parts and workers in each phase."""
        run = self._last.counts
        known = "" if run.parts_known else " or more"
        counts: list[tuple[str, str, str]] = [
            ("failed", f"{run.failed:,}", f"bold {FAILED}" if run.failed else ""),
            ("done", f"{run.done:,} of {run.parts:,}{known}", f"bold {DONE}"),
            ("running", f"{self._last.running:,}", f"bold {RUNNING}"),
            ("workers", f"{run.workers:,}", "bold")
            if run.shared
            else ("connected", f"{run.begun:,}", "bold"),
        ]
        if run.launch is not None:
            counts.append(("launched", f"{run.launch.accepted:,}", "bold"))
        if run.repeated:
            counts.insert(2, ("tried again", f"{run.repeated:,}", f"bold {AGAIN}"))
        clock = f"{self._last.at:.1f} s"
        while len(counts) > 1 and len(clock) + sum(len(name) + len(n) + 4 for name, n, _ in counts) > width:
            counts.pop()
        text = Text().append(clock, "bold")
        for name, number, style in reversed(counts):
            text.append(f"   {name} ", LABEL).append(number, style)
        return text

    def _bar(self, width: int) -> Text:
        """Returns a bar of parts done, failed, running and left, with the share, the rate and the estimated time
        left."""
        run = self._last.counts
        ended, parts = run.done + run.failed, max(1, run.parts)
        rate = self._history.recent(DONE_FIGURE, WINDOW)
        told = f" {100 * ended // parts:3d} %"  # rounded down, so that 100 % is all of them
        if rate and ended < parts:
            told += f"  {rate:.1f}/s  {duration((parts - ended) / rate)} left"
        size = max(0, width - 1 - len(told))
        text = Text()
        if size >= 8:
            failed = min(size, -(-run.failed * size // parts))
            done = min(run.done * size // parts, size - failed)
            running = min(self._last.running * size // parts, size - done - failed)
            text.append(self._full * done, DONE).append(self._full * failed, FAILED)
            text.append(self._full * running, RUNNING)
            text.append(self._empty * (size - done - failed - running), EMPTY)
        return text.append(told)

    def _figures(self, width: int) -> list[Text]:
        """Returns durations of parts, cost, and bytes, each with its name, in as few lines as possible."""
        run, pieces = self._last.counts, []
        recent = self._history.recent
        if self._last.took:
            names = [*(f"p{percent}" for percent in PERCENTS), "longest"]
            took = Text().append("each part took", LABEL)
            for name, seconds in zip(names, self._last.took, strict=False):
                if width >= TWO_COLUMNS or name in ("p50", "p99") or (name == "longest" and width >= 60):
                    took.append(f"  {name} ", LABEL).append(span(seconds))
            pieces.append(took)
        if run.dollars is not None:
            hour = 3600 * recent(DOLLARS_FIGURE, WINDOW)
            cost = Text().append("cost so far ", LABEL).append(f"~{money(run.dollars)}", "bold")
            if hour and width >= TWO_COLUMNS:
                cost.append("  per hour ", LABEL).append(f"~{money(hour)}")
            pieces.append(cost)
        for verb, size, figure in (
            ("retrieved", run.retrieved, IN_FIGURE),
            ("uploaded", run.uploaded, OUT_FIGURE),
        ):
            if size:
                rate = f"{recent(figure, WINDOW) / 1e6:,.1f} MB/s"
                pieces.append(
                    Text()
                    .append(f"{verb} ", LABEL)
                    .append(megabytes(size))
                    .append(" at ", LABEL)
                    .append(rate)
                )
        lines: list[Text] = []
        for piece in pieces:
            if lines and lines[-1].cell_len + piece.cell_len + 4 < width:
                lines[-1].append("    ").append_text(piece)
            else:
                lines.append(piece)
        return lines

    def _graphs(self, width: int, height: int) -> list[Text]:
        """Returns as many graphs side by side as there is room for, in one row or two."""
        wanted = self._wanted()
        per_row = min(len(wanted), max(1, (width + 2) // (GRAPH + 2)))
        rows = 2 if height >= 18 and len(wanted) > 3 else 1
        per_row = min(per_row, -(-len(wanted) // rows))
        each = min(MAX_GRAPH, height // rows)
        if each < 4:
            return []
        size = (width - 1 - 3 * (per_row - 1)) // per_row
        found: list[Text] = []
        for row in range(rows):
            graphs = wanted[row * per_row : (row + 1) * per_row]
            blocks = [self._graph(graph, size, each - 1) for graph in graphs]
            found.append(Text())
            for line in zip(*blocks, strict=True):
                text = Text()
                for place, piece in enumerate(line):
                    self.fit(piece, size)
                    text.append(" " * (place * (size + 3) - text.cell_len)).append_text(piece)
                found.append(text)
        return found

    def _wanted(self) -> list[Graph]:
        """Returns the graphs, the most important first."""
        run, recent = self._last.counts, self._history.recent
        running = float(self._last.running)
        wanted = [
            Graph("parts per second", DONE_FIGURE, DONE, recent(DONE_FIGURE, WINDOW), short),
            Graph("parts under way", RUNNING_FIGURE, RUNNING, running, short, rate=False),
        ]
        for verb, size, figure in (
            ("retrieved", run.retrieved, IN_FIGURE),
            ("uploaded", run.uploaded, OUT_FIGURE),
        ):
            if size:
                wanted.append(Graph(f"MB/s {verb}", figure, BYTES, recent(figure, WINDOW), in_megabytes))
        if run.shared:
            workers = float(run.workers)
            wanted.append(Graph("workers connected", WORKERS_FIGURE, RUNNING, workers, short, rate=False))
        wanted.append(Graph("parts done so far", DONE_FIGURE, DONE, float(run.done), short, rate=False))
        if run.dollars is not None:
            wanted.append(Graph("cost so far", DOLLARS_FIGURE, AGAIN, run.dollars, money, rate=False))
        return wanted

    def _graph(self, graph: Graph, width: int, height: int) -> list[Text]:
        """Returns a title, the graph, and its time axis, in `height` lines."""
        history = self._history
        values = (history.rates if graph.rate else history.levels)(graph.figure, width - 1)
        top = max(values, default=0.0)
        now = graph.written(graph.now)
        most = f"  most {graph.written(top)}" if top > graph.now or graph.rate else ""
        # A rate is that of the last ten seconds, so it may differ from the last column. In a small window it is "now".
        when = f"last {WINDOW:.0f} s" if graph.rate else "now"
        if len(f"{graph.title}  {when} {now}{most}") > width:
            when = "now"
        title = (
            Text()
            .append(graph.title, "bold")
            .append(f"  {when} ", LABEL)
            .append(now, "bold")
            .append(most, LABEL)
        )
        rows = [Text(row, graph.colour) for row in drawn(values, height - 2, top, blocks=self._blocks)]
        end = f" {duration(history.end)}"
        line = self._axis * max(0, width - 1 - len("0 s ") - len(end))
        return [title, *rows, Text(f"0 s {line}{end}", LABEL)]

    def _two_columns(self, width: int, height: int) -> list[Text]:
        """Returns states and errors on the left, the slowest parts on the right."""
        half = width // 2 - 2
        errors = self._error_lines(max(3, height // 2), height - 3)
        left = self._state_lines(half, height - len(errors))
        errors = self._error_lines(height - len(left), height - len(left))
        return self._side_by_side(left + errors, self._slow_lines(width - half - 4, height), half + 3)

    def _one_column(self, width: int, height: int) -> list[Text]:
        """Returns states, the slowest parts, and errors, one below the other."""
        errors = self._error_lines(max(3, height // 3), height - 1)
        height -= len(errors)
        states = self._state_lines(width, height if height < 8 else max(4, height - 7))
        return states + self._slow_lines(width, height - len(states)) + errors

    def _state_lines(self, width: int, height: int) -> list[Text]:
        """Returns how many workers are in each state, in the order in which states were first seen."""
        states = self._last.states
        shown = [(name, number) for name, number in states.items() if number > 0]
        room = height - 2
        if room < 1 or not shown:
            return []
        lines = [Text(), Text("workers in each state", "bold")]
        left = 0
        if len(shown) > room:
            most = set(sorted(states, key=lambda name: -states[name])[: room - 1])
            left = sum(number for name, number in shown if name not in most)
            shown = [(name, number) for name, number in shown if name in most]
        names = min(max((len(name) for name, _ in shown), default=0), max(10, width // 2))
        digits = len(f"{max((number for _, number in shown), default=0):,}")
        size = max(0, width - names - digits - 6)
        scale = max(1, self._last.running)
        for name, number in shown:
            text = Text(f"  {self._name(name, names):<{names}} ").append(f"{number:>{digits},} ", "bold")
            lines.append(text.append(self._full * min(size, -(-number * size // scale)), RUNNING))
        if left:
            lines.append(Text(f"  and {left:,} in other states", LABEL))
        return lines

    def _slow_lines(self, width: int, height: int) -> list[Text]:
        """Returns the parts that have been in their state for longest: the state, and for how long."""
        slowest = self._last.slowest[: max(0, height - 2)]
        if not slowest:
            return []
        names = [self._part(each) for each in slowest]
        wide = width >= 48
        room = max(20, width - (24 if wide else 14))
        state = max(len(each.state) for each in slowest)
        part = max(16 if wide else 10, min(max(map(len, names)), room - min(state, room // 2)))
        state = max(8, min(state, room - part))
        lines = [Text(), Text().append("slowest parts now", "bold")]
        if wide:
            head = f"{'in state':<{state}}{'for':>9}{'of':>10}"
            lines[1].append(" " * (part - 14)).append(head, LABEL)
        for name, each in zip(names, slowest, strict=True):
            text = Text(f"  {self._name(name, part, end=True):<{part}} ")
            text.append(f"{self._name(each.state, state):<{state}}", RUNNING).append(
                f"{each.in_state:7.1f} s"
            )
            lines.append(text.append(f"{each.under_way:8.1f} s") if wide else text)
        return lines

    @staticmethod
    def _part(each: Standing) -> str:
        again = f" ({each.attempt})" if each.attempt > 1 else ""
        return f"part {each.part}{again} {visible(each.name)}".rstrip()

    def _error_lines(self, share: int, most: int) -> list[Text]:
        """Returns the kinds of errors, most frequent first, in `share` lines, or in up to `most` if there is only one
        kind."""
        kinds = self._last.errors
        if not kinds or most < 3:
            return []
        lines = [Text(), Text("attempts that failed, by kind; the last of each", "bold")]
        room = min(most, share if len(kinds) > 1 else share + 4)
        times = "×" if self.sayable("×") == "×" else "x"
        outputs = 3 if 5 * len(kinds) <= room else 1
        for kind in kinds:
            first, *output = self.sayable(kind.last.why).splitlines() or [""]
            name = f" {self._name(kind.name, NAME, end=True)}" if kind.name else ""
            text = Text().append(f"  {kind.number:,} {times} ", f"bold {FAILED}").append(first, FAILED)
            where = f"  part {kind.last.part}{name} in {self.sayable(visible(kind.last.state))}"
            lines.append(text.append(where, LABEL))
            # The end of a program's output is the most useful.
            lines += [Text(f"    {line.strip()}", LABEL) for line in output[-outputs:]]
            if len(lines) >= room:
                break
        return lines[:room]

    def _side_by_side(self, left: list[Text], right: list[Text], column: int) -> list[Text]:
        lines = []
        for place in range(max(len(left), len(right))):
            text = Text().append_text(left[place]) if place < len(left) else Text()
            if place < len(right) and right[place].plain:
                self.fit(text, column - 2)
                text.append(" " * (column - text.cell_len)).append_text(right[place])
            lines.append(text)
        return lines

    # Fitting text to a terminal

    def fit(self, text: Text, width: int) -> None:
        """Cuts a line to `width`."""
        if text.cell_len > width:
            text.truncate(width - 1)
            text.append(self.cut)

    def sayable(self, text: str) -> str:
        """Returns `text` with characters that the terminal's encoding lacks replaced, so that its width is what is
        shown."""
        return text.encode(self._coding, "replace").decode(self._coding)

    def _name(self, name: str, width: int, *, end: bool = False) -> str:
        """Returns a name in at most `width` characters; with `end`, the end of the name is kept, which differs
        most."""
        name = self.sayable(visible(name))
        if len(name) <= width:
            return name
        if end and width > 20:
            return name[: width // 2] + self.cut + name[len(name) - (width - width // 2 - 1) :]
        return name[: max(1, width - 1)] + self.cut


def styles() -> Sequence[str]:
    """Returns all colours of the display, for the test of their contrast."""
    return (DONE, FAILED, RUNNING, AGAIN, BYTES, LABEL, EMPTY)
