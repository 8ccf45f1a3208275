"""The curves of a training run: which there are, and each as an SVG that takes its colours from the page.

::

    history ──charts──▶ Chart(lines of numbers) ──draw──▶ <svg> in the colours var(--ink), var(--series-1) …

Charts are plain numbers and need nothing; only drawing needs matplotlib. A picture holds digits alone: names stand in
the page, in any script, so no font of this machine is asked for them.
"""

from __future__ import annotations

import html
import io
import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from enfold.errors import MissingDependencyError
from enfold.training.summary import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MARKS", "Chart", "Line", "charts", "draw", "smooth", "thin"]

Kind = Literal["loss", "scores", "metric", "learning_rate", "trials"]
Across = Literal["steps", "numbers", "sizes", "choices"]

MARKS: Final = "●■▲◆▼✚"
"""What tells lines apart beside their colours, as a legend writes it."""

_MARKERS: Final = "os^DvP"
_MOST_POINTS = 400
_MOST_MARKED = 40
_MOST_METRICS = 4
_LOG_FROM = 100.0
_DECADES_ALONE = 50.0
_NARROW = 5.0
_MOST_FIGURES = 4
_INCHES = (4.7, 2.7)
_POINTS = 9.0
# matplotlib wants colours of its own kind; these stand for the page's and are put back in what it wrote.
_STAND_INS: Final = {f"#fe00{index:02x}": name for index, name in enumerate(("ink-soft", "rule", "best"), 16)} | {
    f"#fe00{index:02x}": f"series-{index}" for index in range(1, 7)
}
_COLOURS: Final = {name: colour for colour, name in _STAND_INS.items()}
_NOT_SCORES: Final = ("_per_second", "seconds", "runtime")
_TOO_LARGE = 1e30
_DRAWING: Final = threading.Lock()


@dataclass(frozen=True)
class Line:
    """Numbers over steps; a value that is none (NaN) is a gap.

    Attributes:
        name: what it shows, as ``"accuracy"``.
        steps: (N,) where.
        values: (N,) what.
        raw: (M,) pairs of step and value before smoothing, drawn faintly; empty where nothing was smoothed.
        marked: each point is measured, and shown as one.
        join: how points are joined: by a line from one to the next, by stairs (each holds until the next), or not.
    """

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    raw: tuple[tuple[int, float], ...] = ()
    marked: bool = False
    join: Literal["line", "stairs", "none"] = "line"


@dataclass(frozen=True)
class Chart:
    """Lines that share their axes.

    Attributes:
        kind: of what it shows.
        lines: those that are drawn.
        left_out: names of those that found no room.
        across: what runs from left to right: whole numbers, any, those that are told apart by their size, or choices
            by their number from 0.
        ticks: what is written below the choices.
    """

    kind: Kind
    lines: tuple[Line, ...]
    left_out: tuple[str, ...] = ()
    across: Across = "steps"
    ticks: tuple[str, ...] = ()

    @property
    def logarithmic(self) -> bool:
        """Whether the values reach over so many sizes that a plain axis would hide the small ones."""
        finite = [value for line in self.lines for value in line.values if _drawn(value)]
        return self.kind == "loss" and min(finite) > 0 and max(finite) / min(finite) > _LOG_FROM


def charts(history: Iterable[Mapping[str, Any]], first: str | None = None) -> list[Chart]:
    """The charts of a run's rows, in the order in which a page shows them.

    Metrics from 0 to 1 share one, at most six, that named ``first`` before all; others have one each, at most four.
    """
    trained: dict[str, list[tuple[int, float]]] = {}
    measured: dict[str, list[tuple[int, float]]] = {}
    for row in history:
        for into, values in ((trained, row), (measured, row.get("evaluation", {}))):
            for name, value in values.items():
                if is_number(value):
                    into.setdefault(name, []).append((int(row["step"]), float(value)))
    found = [_loss(trained.get("loss", []), measured.pop("loss", []))]
    names = [name for name in measured if name not in ("step", "epoch") and not name.endswith(_NOT_SCORES)]
    names.sort(key=lambda name: name != first)
    scores = [name for name in names if all(0 <= value <= 1 or value != value for _, value in measured[name])]
    others = [name for name in names if name not in scores]
    found.append(Chart("scores", tuple(_marked(name, measured[name]) for name in scores[:6]), tuple(scores[6:])))
    for name in others[:_MOST_METRICS]:
        left_out = tuple(others[_MOST_METRICS:]) if name == others[0] else ()
        found.append(Chart("metric", (_marked(name, measured[name]),), left_out))
    rates = thin(trained.get("learning_rate", []))
    found.append(Chart("learning_rate", (Line("learning_rate", *_columns(rates)),)))
    return [chart for chart in (_drawable(chart) for chart in found) if chart.lines]


def _loss(trained: Sequence[tuple[int, float]], measured: Sequence[tuple[int, float]]) -> Chart:
    smoothed = list(zip([step for step, _ in trained], smooth([value for _, value in trained]), strict=True))
    line = Line("train_loss", *_columns(thin(smoothed)), raw=tuple(thin(trained)))
    return Chart("loss", (line, _marked("evaluation_loss", measured)))


def _drawn(value: float) -> bool:
    """Whether a value has a place in a picture."""
    return abs(value) < _TOO_LARGE


def _marked(name: str, pairs: Sequence[tuple[int, float]]) -> Line:
    return Line(name, *_columns(thin(pairs)), marked=len(pairs) <= _MOST_MARKED)


def _columns(pairs: Sequence[tuple[int, float]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(step for step, _ in pairs), tuple(value for _, value in pairs)


def _drawable(chart: Chart) -> Chart:
    lines = tuple(line for line in chart.lines if any(map(_drawn, line.values)))
    return Chart(chart.kind, lines, chart.left_out)


def smooth(values: Sequence[float]) -> list[float]:
    """A running mean in which what is further back counts less; half as much after a fiftieth of all values.

    The mean is one of the values seen so far alone: its begin isn't drawn towards zero. Values that are no numbers
    stay what they are and count nothing.
    """
    decay = 0.5 ** (1 / max(len(values) / 50, 1))
    total = weight = 0.0
    result = []
    for value in values:
        if math.isfinite(value):
            total, weight = total * decay + value, weight * decay + 1.0
            result.append(total / weight)
        else:
            result.append(math.nan)
    return result


def thin(pairs: Sequence[tuple[int, float]], most: int = _MOST_POINTS) -> list[tuple[int, float]]:
    """At most ``most`` of the pairs: of each stretch the lowest and the highest, so that no spike is lost.

    The first and the last pair stay.
    """
    if len(pairs) <= most:
        return list(pairs)
    inner, stretches = len(pairs) - 2, (most - 2) // 2
    kept = {0, len(pairs) - 1}
    for number in range(stretches):
        stretch = range(1 + number * inner // stretches, 1 + (number + 1) * inner // stretches)
        kept |= {
            min(stretch, key=lambda at: _order(pairs[at][1], 1)),
            min(stretch, key=lambda at: _order(pairs[at][1], -1)),
        }
    return [pairs[at] for at in sorted(kept)]


def _order(value: float, sign: int) -> float:
    return sign * value if math.isfinite(value) else math.inf


def draw(chart: Chart, *, label: str, identifier: str, best_step: float | None = None) -> str:
    """A chart as an ``<svg>`` element, in colours that the page sets.

    Args:
        chart: what is drawn.
        label: says what it shows to those who can't see it.
        identifier: begins the names of its parts, which have to differ within a page.
        best_step: where a dashed line stands.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context, style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("curves need matplotlib: pip install 'enfold[train]'") from error
    written = io.StringIO()
    # What a user has set for pictures of their own doesn't count here; the settings are one for all threads.
    with _DRAWING, style.context("default"), rc_context({"svg.fonttype": "none", "svg.hashsalt": identifier}):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.add_subplot()
        _frame(axes, chart)
        if best_step is not None:
            axes.axvline(best_step, color=_COLOURS["best"], linewidth=1.2, linestyle=(0, (4, 3)))
        for number, line in enumerate(chart.lines, 1):
            _plot(axes, line, _COLOURS[f"series-{number}"], _MARKERS[number - 1])
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=empty)
    return _embedded(written.getvalue(), identifier, label)


def _frame(axes: Axes, chart: Chart) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter

    _across(axes, chart)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_COLOURS["rule"])
    axes.grid(axis="y", color=_COLOURS["rule"], linewidth=0.7)
    axes.tick_params(colors=_COLOURS["ink-soft"], labelsize=_POINTS, length=0, pad=5)
    axes.tick_params(axis="both", which="minor", length=0)
    if chart.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    short = chart.logarithmic or chart.kind == "learning_rate"
    plain = FuncFormatter(lambda value, _: f"{value:.3g}")
    axes.yaxis.set_major_formatter(plain if short else ScalarFormatter(useOffset=False))


def _across(axes: Axes, chart: Chart) -> None:
    """What runs from left to right, and what is written below it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if chart.across == "choices":
        axes.set_xticks(range(len(chart.ticks)), chart.ticks)
        axes.set_xlim(-0.5, len(chart.ticks) - 0.5)
        return
    form = "{:,.0f}" if chart.across == "steps" else "{:.3g}"
    places = [step for line in chart.lines for step in line.steps]
    low, high = min(places), max(places)
    if chart.across == "sizes":
        axes.set_xscale("log")
        if low == high:
            axes.set_xlim(low / 2, high * 2)  # matplotlib itself finds no room around one size
        wide, narrow = high >= _DECADES_ALONE * low, low < high < _NARROW * low
        sizes = LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=7)
        axes.xaxis.set_major_locator(MaxNLocator(_MOST_FIGURES) if narrow else sizes)
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif chart.across == "numbers":
        axes.xaxis.set_major_locator(MaxNLocator(_MOST_FIGURES))
    else:
        if low == high:
            axes.set_xlim(low - 1, high + 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form.format(value)))


def _plot(axes: Axes, line: Line, colour: str, marker: str) -> None:
    if line.raw:
        steps, raw = _columns(line.raw)
        axes.plot(steps, _with_gaps(raw), color=colour, linewidth=0.8, alpha=0.35)
    values = _with_gaps(line.values)
    alone = sum(map(math.isfinite, values)) == 1
    shape = marker if line.marked or alone else "none"
    look: dict[str, Any] = {"linewidth": 1.8, "markersize": 5, "markeredgewidth": 0}
    look |= {"linestyle": "none"} if line.join == "none" else {}
    look |= {"drawstyle": "steps-post"} if line.join == "stairs" else {}
    axes.plot(line.steps, values, color=colour, marker=shape, **look)


def _with_gaps(values: Iterable[float]) -> list[float]:
    return [value if _drawn(value) else math.nan for value in values]


def _embedded(svg: str, identifier: str, label: str) -> str:
    """What matplotlib wrote as an element of a page: no header and fonts, the page's colours, names of its own."""
    svg = re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"#fe00[0-9a-f]{2}", lambda found: f"var(--{_STAND_INS[found[0]]})", svg)
    svg = re.sub(
        r"font: [^;\"]*; |font-size: [^;\"]*; |font-family: [^;\"]*; | transform=\"rotate\(-0 [^\"]*\"", "", svg
    )
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(?<=\.\d\d)\d+", "", tag[0]), svg)  # places, not what axes say
    svg = svg.replace(" \n", " ").replace("xlink:href", "href")
    svg = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f"{identifier}-", svg)
    box = re.search(r'viewBox="([\d. ]+)"', svg)
    begin = f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{html.escape(label)}">'
    return begin + svg[svg.index(">") + 1 :].strip()
