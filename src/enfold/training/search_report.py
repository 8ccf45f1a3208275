"""A search as one page of HTML: its trials, the best so far, and what each setting had to do with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from enfold.checkpoint.atomic import atomic_write
from enfold.errors import MissingDependencyError
from enfold.training.criterion import Criterion
from enfold.training.plots import MARKS, Across, Chart, Line, draw
from enfold.training.space import Dimension, Range
from enfold.training.templates import Words, check_language, render
from enfold.training.templates.formats import Language, clean, duration, figure, one_line, share
from enfold.training.templates.views import Column, View
from enfold.training.trials import Trial, best_of, said

__all__ = ["SearchSummary", "write_search_report"]

_STATES = {
    "complete": "search.state.complete",
    "pruned": "search.state.pruned",
    "failed": "search.state.failed",
}
_MOST_SLICES = 8
_TICK_CHARACTERS = 48
"""That find room side by side below a chart."""


@dataclass(frozen=True, kw_only=True)
class SearchSummary:
    """A search and its trials, as plain data.

    Attributes:
        task: name of the task.
        base: what trials began from, by name; None: it has none.
        metric: by which they are compared; after ``-`` less is better.
        space: what is searched.
        trials: in their order.
        importances: shares of 1 by setting; empty: too few trials to tell.
        command: the command line that repeats the search.
        environment: versions, processor, threads, operating system.
    """

    task: str
    base: str | None
    metric: str
    space: tuple[Dimension, ...]
    trials: tuple[Trial, ...]
    importances: Mapping[str, float] = field(default_factory=dict)
    command: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def criterion(self) -> Criterion:
        """What tells the best trial."""
        return Criterion.of(self.metric)

    @property
    def best(self) -> Trial | None:
        """The best of the complete trials."""
        return best_of(self.trials, self.criterion.sign)


def write_search_report(summary: SearchSummary, path: Path, *, language: Language = "en") -> None:
    """Writes the page of a search: one file, complete or not at all.

    Args:
        summary: the search.
        path: the page's file.
        language: of all fixed words.

    Raises:
        InputError: another language.
    """
    check_language(language)
    page = render("search.html", language, _page(summary, Words(language)))
    with atomic_write(path) as file:
        file.write(page.encode("utf-8"))


def _page(summary: SearchSummary, words: Words) -> dict[str, Any]:
    drawn, missing = _pictures(summary, words)
    which = words["search.more" if summary.criterion.sign > 0 else "search.less"]
    failed = [trial for trial in summary.trials if trial.error]
    return {
        "task": one_line(summary.task),
        "base": one_line(summary.base) if summary.base else words["scratch"],
        "tiles": _tiles(summary, words),
        "compared": words.say("search.compared", metric=words.name(summary.criterion.metric), which=which),
        "space": _space(summary, words),
        "charts": drawn,
        "missing": missing,
        "trials": _trials(summary, words),
        "errors": [words.say("search.after", number=trial.number, error=one_line(trial.error)) for trial in failed],
        "command": Markup(escape(clean(summary.command))) if summary.command else None,
        "environment": [(one_line(name), one_line(value)) for name, value in summary.environment.items()],
    }


def _tiles(summary: SearchSummary, words: Words) -> list[tuple[str, str]]:
    best, trials = summary.best, summary.trials
    tiles = []
    if best is not None:
        tiles.append((words.name(summary.criterion.metric), figure(best.metric)))
        given = {"number": figure(best.number), "all": figure(len(trials))}
        tiles.append((words["search.best"], words.say("search.best.value", **given)))
    for state, name in (("pruned", "search.pruned"), ("failed", "search.failed")):
        tiles.append((words[name], figure(sum(trial.state == state for trial in trials))))
    return [*tiles, (words["time"], duration(sum(trial.seconds for trial in trials), words.language))]


def _space(summary: SearchSummary, words: Words) -> View:
    best, shares = summary.best, summary.importances
    names = (("setting", ""), ("search.values", "value"), ("search.found", "value"))
    columns = [Column(words[name], kind) for name, kind in names]
    rows = []
    for dim in sorted(summary.space, key=lambda dim: -shares.get(dim.name, 0.0)):
        found = "–" if best is None else one_line(said(best.values[dim.name]))
        row = [one_line(dim.name), _searched(dim, words), found]
        rows.append([*row, *([share(shares.get(dim.name, 0.0), 1.0)] if shares else [])])
    if shares:
        columns.append(Column(words["search.share"], "number"))
    note = words["search.share.about" if shares else "search.share.none"]
    return View(words["search.space"], tuple(columns), rows, note=note)


def _searched(dim: Dimension, words: Words) -> str:
    """What a setting may be."""
    values = dim.values
    if not isinstance(values, Range):
        return one_line(str(dim))
    kind = ".log" if values.log else ".step" if values.step else ""
    low, high, step = (f"{each or 0:g}" for each in (values.low, values.high, values.step))
    return words.say(f"search.range{kind}", low=low, high=high, step=step)


def _trials(summary: SearchSummary, words: Words) -> View:
    """All trials in their order; the best is marked."""
    best = summary.best
    columns = [Column(words["search.number"]), Column(words.name(summary.criterion.metric), "number")]
    columns += [Column(words["search.state"]), *(Column(one_line(dim.name)) for dim in summary.space)]
    columns += [Column(words["search.epochs"], "number"), Column(words["search.seconds"], "number")]
    rows = []
    for trial in summary.trials:
        row = [f"{'● ' if trial is best else ''}{trial.number}", "–" if trial.metric is None else figure(trial.metric)]
        row += [words[_STATES[trial.state]]]
        row += [one_line(said(trial.values[dim.name])) for dim in summary.space]
        epochs = f"{trial.evaluations[-1][0]:.3g}" if trial.evaluations else "–"
        rows.append([*row, epochs, f"{trial.seconds:.1f}"])
    return View(words["search.trials"], tuple(columns), rows)


def _pictures(summary: SearchSummary, words: Words) -> tuple[list[dict[str, Any]], str | None]:
    """The charts with their pictures, or what to do to get them."""
    if summary.best is None:
        return [], None
    order = sorted(summary.space, key=lambda dim: -summary.importances.get(dim.name, 0.0))[:_MOST_SLICES]
    charts = [_history(summary), *(_slice(summary, dim) for dim in order)]
    titles = [words["search.history"], *(words.say("search.slice", name=dim.name) for dim in order)]
    found = []
    for number, (chart, title, dim) in enumerate(zip(charts, titles, [None, *order], strict=True)):
        best = summary.best.number if dim is None else _place(dim, summary.best.values[dim.name])
        try:
            svg = draw(chart, label=_spoken(chart, title, words), identifier=f"chart-{number}", best_step=best)
        except MissingDependencyError:
            return [], words.say("curves.matplotlib", command="pip install 'enfold[train]'")
        legend = [
            (f"series-{at}", MARKS[at - 1] if line.marked else "━", words.name(line.name))
            for at, line in enumerate(chart.lines, 1)
        ]
        legend.append(("best", "┆", words["search.best"]))
        found.append({"title": title, "svg": Markup(svg), "legend": legend, "note": _choices(dim, words)})
    return found, None


def _history(summary: SearchSummary) -> Chart:
    """The metric of each trial, and the best so far."""
    lines = _points(summary.trials, lambda trial: trial.number)
    complete = [trial for trial in summary.trials if trial.state == "complete" and trial.metric is not None]
    better = max if summary.criterion.sign > 0 else min
    best = itertools.accumulate((trial.metric or 0.0 for trial in complete), better)
    numbers = tuple(float(trial.number) for trial in complete)
    return Chart("trials", (*lines, Line("best_so_far", numbers, tuple(best), join="stairs")))


def _slice(summary: SearchSummary, dim: Dimension) -> Chart:
    """The metric of each trial over one setting."""
    lines = _points(summary.trials, lambda trial: _place(dim, trial.values[dim.name]))
    if isinstance(dim.values, Range):
        across: Across = "sizes" if dim.values.log else "steps" if dim.whole else "numbers"
        return Chart("trials", lines, across=across)
    return Chart("trials", lines, across="choices", ticks=_ticks(dim))


def _points(trials: Iterable[Trial], place: Any) -> tuple[Line, ...]:
    """A line without a line for complete trials, and one for those that were given up."""
    lines = []
    for state in ("complete", "pruned"):
        chosen = [trial for trial in trials if trial.state == state and trial.metric is not None]
        last = [trial.metric or 0.0 if state == "complete" else trial.evaluations[-1][1] for trial in chosen]
        if chosen:
            lines.append(Line(state, tuple(map(float, map(place, chosen))), tuple(last), marked=True, join="none"))
    return tuple(lines)


def _place(dim: Dimension, value: Any) -> float:
    """Where a value stands from left to right."""
    return float(value) if isinstance(dim.values, Range) else float(dim.values.index(value))


def _ticks(dim: Dimension) -> tuple[str, ...]:
    """What is written below choices: numbers as they are, and of others which one it is."""
    choices = dim.choices or ()
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in choices):
        written = tuple(map(said, choices))
        if len(written) * (max(map(len, written)) + 1) <= _TICK_CHARACTERS:
            return written
    return tuple(str(number) for number in range(1, len(choices) + 1))


def _choices(dim: Dimension | None, words: Words) -> str:
    """What numbers of choices stand for."""
    if dim is None or isinstance(dim.values, Range) or _ticks(dim) == tuple(map(said, dim.values)):
        return ""
    return words.say("search.choices", names=words["comma"].join(one_line(said(each), 40) for each in dim.values))


def _spoken(chart: Chart, title: str, words: Words) -> str:
    """A chart in a sentence for each line."""
    parts: list[str] = [title + words["colon"]]
    for line in chart.lines:
        values: Sequence[float] = line.values
        given = {"count": figure(len(values)), "low": figure(min(values)), "high": figure(max(values))}
        parts.append(words.say("search.points", name=words.name(line.name), **given))
    return words.gap.join(parts)
