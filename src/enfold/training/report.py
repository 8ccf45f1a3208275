"""A training run as one page of HTML: it opens offline, in light and dark, on a phone, on paper, read aloud."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from enfold.checkpoint.atomic import atomic_write
from enfold.errors import InputError, MissingDependencyError
from enfold.training.plots import MARKS, Chart, charts, draw
from enfold.training.summary import RunSummary, is_number, labelled, timeline
from enfold.training.templates import Words, check_language, render
from enfold.training.templates.formats import Language, clean, cut, duration, figure, one_line, rate, setting, share
from enfold.training.templates.views import Column, View, confusion_view, grid, pairs_view, spaced

__all__ = ["RunSummary", "columns_of", "metric_name", "warnings_of", "write_report"]

_MOST_LABELS = 30
_MOST_LABEL_ROWS = 50
_MOST_HISTORY = 50
_MOST_EXAMPLES = 50
_MOST_CHARACTERS = 600
_TILES = 3
_OF_A_LABEL = ("precision", "recall", "f1")


def write_report(summary: RunSummary, path: str | os.PathLike[str], *, language: Language = "en") -> None:
    """Writes the report of a run: one file, complete or not at all.

    Curves need matplotlib. Without it the page says how to get them, and has the same numbers as tables.

    Args:
        summary: the run.
        path: the page's file, as ``"run/report.html"``; its folder is made where it lacks.
        language: of all fixed words.

    Raises:
        InputError: another language, or a path that is a folder.
    """
    check_language(language)
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file to write the report to, as {path / 'report.html'}")
    page = render("report.html", language, _page(summary, Words(language)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(page.encode("utf-8"))


def _page(summary: RunSummary, words: Words) -> dict[str, Any]:
    rows = timeline(summary.history)
    drawn, missing = _charts(summary, rows, words)
    return {
        "task": one_line(summary.task),
        "model": one_line(summary.model),
        "state": words[f"stopped.{summary.stopped}"],
        "warnings": warnings_of(summary, words),
        "tiles": _tiles(summary, words),
        "overview": _overview(summary, words),
        **_evaluation(summary, words),
        "charts": drawn,
        "missing": missing,
        "evaluations": _evaluations(rows, words),
        "steps": _steps(rows, words),
        **_worst(summary, words),
        "data": _data(summary, words),
        "data_labels": _data_labels(summary, words),
        "settings": _settings(summary, words),
        "command": Markup(escape(clean(summary.command))) if summary.command else None,
        "environment": [(one_line(name), one_line(value)) for name, value in summary.environment.items()],
    }


def warnings_of(summary: RunSummary, words: Words) -> list[str]:
    """What a reader has to know before any figure: an unfinished run, metrics of training data, a loss of NaN."""
    found = []
    rows = timeline(summary.history)
    if summary.stopped in ("interrupted", "failed"):
        last = figure(max((row["step"] for row in rows), default=0))
        found.append(words.say("unfinished", why=words[f"unfinished.{summary.stopped}"], step=last))
    if summary.seen_in_training:
        found.append(words.say("seen", names=_joined(summary.seen_in_training, words)))
    losses = [row for row in rows if is_number(row.get("loss"))]
    broken = [row for row in losses if not abs(row["loss"]) < float("inf")]
    if broken:
        counts = {"count": figure(len(broken)), "all": figure(len(losses))}
        found.append(words.say("diverged", **counts, step=figure(broken[0]["step"])))
    return found + [one_line(note, 1000) for note in summary.notes]


def _joined(names: Sequence[str], words: Words) -> str:
    shown = [one_line(name, 80) for name in names[:_MOST_LABELS]]
    more = len(names) - len(shown)
    shown += [words.say("count.more", count=figure(more))] * (more > 0)
    return words["comma"].join(shown)


def metric_name(name: str, summary: RunSummary, words: Words) -> str:
    """What a metric is called, with the label that it is of."""
    if summary.positive is None or name not in _OF_A_LABEL:
        return words.name(name)
    return words.say("metric.of", name=words.name(name), label=one_line(summary.positive, 40))


def _tiles(summary: RunSummary, words: Words) -> list[tuple[str, str]]:
    """The few numbers that are looked for first: the metric that chose the weights, then others."""
    chosen = summary.best_by or ""
    names = sorted(summary.evaluation, key=lambda name: (name != chosen, name == "loss"))[:_TILES]
    tiles = [(metric_name(name, summary, words), figure(summary.evaluation[name])) for name in names]
    for role in ("train", "evaluation"):
        if summary.tables(role):
            tiles.append((words[f"rows.{role}"], figure(summary.rows(role))))
    if summary.seconds is not None:
        tiles.append((words["time"], duration(summary.seconds, words.language)))
    return tiles


def _overview(summary: RunSummary, words: Words) -> list[tuple[str, str]]:
    facts = [("base", one_line(summary.base) if summary.base else words["scratch"])]
    if summary.labels:
        facts.append(("labels", _joined(summary.labels, words)))
    if summary.best_step is not None:
        step = figure(summary.best_step)
        by = metric_name(summary.best_by, summary, words) if summary.best_by else None
        facts.append(("best", words.say("best.value", step=step, metric=by) if by else step))
    if summary.parameters:
        facts.append(("parameters", parameters_of(summary, words)))
    speeds = (("samples", summary.samples_per_second), ("tokens", summary.tokens_per_second))
    known = [words.say(f"speed.{name}", count=figure(value)) for name, value in speeds if value is not None]
    if known:
        facts.append(("speed", words["comma"].join(known)))
    if summary.languages:
        facts.append(("languages", _joined(summary.languages, words)))
    if summary.max_tokens is not None:
        facts.append(("max_tokens", figure(summary.max_tokens)))
    facts.append(("licence", one_line(summary.licence) if summary.licence else words["licence.none"]))
    return [(words[key], value) for key, value in facts]


def parameters_of(summary: RunSummary, words: Words) -> str:
    """How many parameters there are and how many were trained."""
    trained, every = summary.parameters or (0, 0)
    counts = {"all": figure(every), "trained": figure(trained)}
    return words.say("parameters.value", **counts, share=share(trained, every))


def _evaluation(summary: RunSummary, words: Words) -> dict[str, Any]:
    found = summary.evaluation.items()
    metrics = [{"metric": metric_name(name, summary, words), "value": value} for name, value in found]
    names = [str(table["name"]) for table in summary.tables("evaluation")]
    matrix = pairs = None
    if summary.confusion is not None and len(summary.labels):
        small = len(summary.labels) <= _MOST_LABELS
        matrix = confusion_view(summary) if small else None
        pairs = None if small else pairs_view(summary, words)
    return {
        "metrics": grid(metrics, words, title=words["evaluation"], names={"metric": "metric", "value": "value"}),
        "measured_on": words.say("evaluation.of", names=_joined(names, words))
        if names
        else words["evaluation.unnamed"],
        "by_label": grid(list(summary.by_label), words, title=words["by_label"], most=500),
        "confusion": matrix,
        "pairs": pairs,
    }


def _charts(
    summary: RunSummary, rows: Sequence[Mapping[str, Any]], words: Words
) -> tuple[list[dict[str, Any]], str | None]:
    """The charts with their pictures, or what to do to get them."""
    found: list[dict[str, Any]] = []
    best = summary.best_by or ""
    for number, chart in enumerate(charts(rows, best), 1):
        marks_best = summary.best_step is not None and chart.kind != "learning_rate"
        step = summary.best_step if marks_best else None
        label = _spoken(chart, words)
        try:
            svg = Markup(draw(chart, label=label, identifier=f"chart-{number}", best_step=step))
        except MissingDependencyError:
            return [], words.say("curves.matplotlib", command="pip install 'enfold[train]'")
        legend = [
            (f"series-{at}", MARKS[at - 1] if line.marked else "━", metric_name(line.name, summary, words))
            for at, line in enumerate(chart.lines, 1)
        ]
        if step is not None:
            legend.append(("best", "┆", words["best.step"]))
        notes = [words["chart.smoothed"]] if any(line.raw for line in chart.lines) else []
        if chart.left_out:
            left_out = [words.name(name) for name in chart.left_out]
            notes.append(words.say("chart.left_out", names=_joined(left_out, words)))
        found.append({"title": _title(chart, words), "svg": svg, "legend": legend, "note": words.gap.join(notes)})
    return found, None


def _title(chart: Chart, words: Words) -> str:
    title = words.name(chart.lines[0].name) if chart.kind == "metric" else words[f"chart.{chart.kind}"]
    return words.say("chart.logarithmic", title=title) if chart.logarithmic else title


def _spoken(chart: Chart, words: Words) -> str:
    """A chart in a sentence for each line."""
    parts = [_title(chart, words) + words["colon"]]
    for line in chart.lines:
        points = [(step, value) for step, value in zip(line.steps, line.values, strict=True) if value == value]
        ends = {"first": points[0], "last": points[-1]}
        ends["low"], ends["high"] = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])
        write = rate if chart.kind == "learning_rate" else figure
        given = {name: write(value) for name, (_, value) in ends.items()}
        steps = {f"{name}_step": figure(step) for name, (step, _) in ends.items()}
        parts.append(words.say("chart.line", name=words.name(line.name), **given, **steps))
    return words.gap.join(parts)


def _evaluations(rows: Iterable[Mapping[str, Any]], words: Words) -> View | None:
    measured = [row for row in rows if row.get("evaluation")]
    flat = [{key: row[key] for key in ("step", "epoch") if key in row} | dict(row["evaluation"]) for row in measured]
    return _history(flat, "history.evaluation", words)


def _steps(rows: Iterable[Mapping[str, Any]], words: Words) -> View | None:
    return _history([row for row in rows if "evaluation" not in row], "history.train", words)


def _history(rows: Sequence[Mapping[str, Any]], title: str, words: Words) -> View | None:
    shown = spaced(rows, _MOST_HISTORY)
    note = ""
    if len(shown) < len(rows):
        note = words.say("history.some", shown=figure(len(shown)), all=figure(len(rows)))
    return grid(shown, words, title=words[title], note=note)


def _worst(summary: RunSummary, words: Words) -> dict[str, Any]:
    examples = []
    for example in summary.worst[:_MOST_EXAMPLES]:
        text, more = cut(example.get("text", ""), _MOST_CHARACTERS)
        text += words.say("text.more", count=figure(more)) if more else ""
        names = (("label", "true"), ("predicted", "predicted"), ("loss", "loss"), ("score", "score"))
        facts = [(words[f"worst.{name}"], figure(example[key])) for key, name in names if example.get(key) is not None]
        if "label" in example and example["label"] == example.get("predicted"):
            facts = [(name, f"{value} ✓" if name == words["worst.predicted"] else value) for name, value in facts]
        place = example.get("place")
        examples.append(
            {
                "text": text if text.strip() else words["worst.empty"],
                "facts": facts,
                "place": one_line(place) if place is not None else None,
            }
        )
    counts = {"shown": figure(len(examples)), "all": figure(len(summary.worst))}
    note = words.say("worst.some", **counts) if len(examples) < len(summary.worst) else ""
    return {"worst": examples, "worst_note": note}


def _data(summary: RunSummary, words: Words) -> View | None:
    keys = ("name", "role", "rows", "columns", "sha256")
    rows = []
    for table in summary.data:
        row = {key: table[key] for key in keys if table.get(key) is not None}
        row["role"] = words[f"role.{table['role']}"]
        if "columns" in row:
            row["columns"] = columns_of(row["columns"])
        rows.append(row)
    return grid(rows, words, title=words["data"], names={key: f"data.{key}" for key in keys}, kinds={"sha256": "hash"})


def columns_of(columns: Any) -> str:
    """Columns in a line; those that the file calls otherwise with its name."""
    if isinstance(columns, Mapping):
        return ", ".join(str(name) if name == own else f"{name} ← {own}" for name, own in columns.items())
    return columns if isinstance(columns, str) else ", ".join(map(str, columns))


def _data_labels(summary: RunSummary, words: Words) -> View | None:
    """How many rows of each label there are for training and for evaluation; the most frequent where they are many."""
    counts = {role: labelled(summary.tables(role)) for role in ("train", "evaluation")}
    used = [role for role, found in counts.items() if found]
    labels = list(dict.fromkeys([*summary.labels, *counts["train"], *counts["evaluation"]]))
    if not used:
        return None
    if len(labels) > _MOST_LABEL_ROWS:
        labels.sort(key=lambda label: -sum(found.get(label, 0) for found in counts.values()))
    rows = []
    for label in labels[:_MOST_LABEL_ROWS]:
        row: dict[str, Any] = {"label": one_line(label, 80)}
        for role in used:
            count, total = counts[role].get(label, 0), sum(counts[role].values())
            row[role] = f"{figure(count)} ({share(count, total)})"
        rows.append(row)
    columns = (Column(words["label"]), *(Column(words[f"role.{role}"], "number") for role in used))
    more = len(labels) - len(rows)
    note = words.say("count.more", count=figure(more)) if more else ""
    return View(words["data.labels"], columns, [list(row.values()) for row in rows], note=note)


def _settings(summary: RunSummary, words: Words) -> View:
    rows = []
    for name, value in summary.settings.items():
        mark = "● " if summary.differs(name) else ""
        default = setting(summary.defaults[name]) if name in summary.defaults else ""
        rows.append([one_line(name), mark + setting(value), default])
    columns = (Column(words["setting"]), Column(words["value"], "value"), Column(words["default"], "value"))
    marked = any(map(summary.differs, summary.settings))
    return View(words["settings"], columns, rows, note=words["settings.changed"] if marked else "")
