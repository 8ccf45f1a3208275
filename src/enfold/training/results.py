"""What a run leaves in its folder: the model, its tokenizer, its card and its report."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from enfold.adapters import count_parameters, save_adapter
from enfold.checkpoint.files import write_json
from enfold.engines.torch.model import TorchModel
from enfold.errors import InputError
from enfold.tasks.embed import Embed
from enfold.tokenization import Tokenizer
from enfold.training.card import write_card
from enfold.training.data import Table
from enfold.training.evaluation import Evaluation
from enfold.training.goals import Goal
from enfold.training.goals.embeddings import Embeddings
from enfold.training.job import usual_rate
from enfold.training.loop import Run, State
from enfold.training.material import Material
from enfold.training.report import RunSummary, write_report
from enfold.training.settings import Settings
from enfold.training.templates import Words
from enfold.training.templates.formats import Language, figure

__all__ = ["Results", "command_line", "digest", "environment", "summary_of", "write_results"]

logger = logging.getLogger("enfold")

_MOST_TEXT = 2000
_SAMPLE = 200
"""Rows by which the language of examples is told."""
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True)
class Results:
    """What came of a run, and what is told of it besides.

    Attributes:
        run: the run.
        state: where it ended.
        found: the evaluation of what is kept, or None.
        material: what it was made of.
        command: the command line, or None.
        language: of card and report.
        has_adapter: only an adapter and the head were trained.
    """

    run: Run
    state: State
    found: Evaluation | None
    material: Material
    command: str | None
    language: Literal["en", "zh"]
    has_adapter: bool


def write_results(results: Results, folder: Path) -> None:
    """Writes model, tokenizer, card and report; an adapter also on its own, in ``folder/adapter``."""
    run = results.run
    model, tokenizer = run.execution.model, run.reading.tokenizer
    _save_model(model, tokenizer, run.goal, folder)
    if results.has_adapter:
        try:
            save_adapter(model, folder / "adapter", base=results.material.base_name)
            tokenizer.save_pretrained(folder / "adapter")
        except InputError as error:  # the model is whole in `folder`: a run's end is no time to fail
            logger.warning("the adapter alone is not kept beside the merged model: %s", error)
    summary = summary_of(results)
    write_json(folder / "training.json", {"settings": dict(summary.settings), "metrics": dict(summary.evaluation)})
    write_card(summary, folder, language=results.language)
    write_report(summary, folder / "report.html", language=results.language)


def _save_model(model: TorchModel, tokenizer: Tokenizer, goal: Goal, folder: Path) -> None:
    if not isinstance(goal, Embeddings):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return
    Embed(model, tokenizer, modules=goal.modules).save_pretrained(folder)


def summary_of(results: Results) -> RunSummary:
    """The run as plain data."""
    run, state, found = results.run, results.state, results.found
    trained = count_parameters(run.execution.model)
    held = results.material.held_out
    tables = [_told(results.material.learnt, "train"), *([] if held is None else [_told(held, "evaluation")])]
    settings = {**asdict(run.settings), "learning_rate": run.rate, "max_length": run.reading.max_length}
    metric = getattr(found.meter, "metric", None) if found is not None else None
    examples = state.step * run.settings.batch_size
    return RunSummary(
        task=run.goal.name,
        model=run.execution.model.blueprint.class_name,
        base=results.material.base_name,
        labels=run.goal.labels,
        settings=settings,
        defaults={**asdict(Settings()), "learning_rate": usual_rate(run.goal, run.settings, results.has_adapter)},
        command=results.command,
        environment=environment(),
        data=tables,
        example_language=_written_in(results.material.learnt),
        max_tokens=int(run.examples.ids.lengths.max()),
        notes=_notes(results),
        seconds=state.seconds,
        samples_per_second=examples / max(1e-9, state.seconds),
        tokens_per_second=state.all_tokens / max(1e-9, state.seconds),
        parameters=(sum(each.numel() for each in run.parameters.values()), trained.total),
        best_step=state.best_step,
        best_by=run.criterion.metric if held is not None else None,
        stopped=state.stopped or "finished",  # type: ignore[arg-type]
        history=run.watch.history,
        evaluation={} if found is None else found.metrics,
        positive=getattr(metric, "positive", None),
        by_label=() if metric is None else getattr(metric, "by_label", list)(),
        confusion=getattr(metric, "confusion", None),
        worst=[] if found is None or held is None else _worst(found, held),
    )


def _told(table: Table, role: Literal["train", "evaluation"]) -> dict[str, Any]:
    """What is said of a table."""
    told: dict[str, Any] = {"name": _short(table.name), "rows": len(table), "role": role, "sha256": digest(table)}
    told["columns"] = list(table.columns)
    if "label" in table.columns:
        values = [value for value in table.column("label") if isinstance(value, str)]
        if values:
            names, counts = np.unique(np.array(values, dtype=object).astype(str), return_counts=True)
            told["labels"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return told


def _notes(results: Results) -> tuple[str, ...]:
    """What was cut."""
    words = Words(results.language)
    told: dict[str, None] = {}  # once, where the same rows are learnt from and judged by
    for cut in results.material.cuts(results.run.reading):
        given = {"count": figure(cut.count), "total": figure(cut.total), "limit": figure(cut.limit)}
        told[words.say("cut", name=_short(cut.table), **given, tokens=figure(cut.tokens))] = None
    return tuple(told)


def _written_in(table: Table) -> Language:
    """Chinese where the first rows have more Chinese characters than other letters, else English."""
    text = "".join(str(value) for record in table.records[:_SAMPLE] for value in record)
    chinese = len(_CHINESE.findall(text))
    return "zh" if chinese > sum(map(str.isalpha, text)) - chinese else "en"


def _short(name: str) -> str:
    """A file without the folders before it, which are nobody else's."""
    return ", ".join(Path(part).name if os.sep in part else part for part in name.split(", "))


def digest(table: Table) -> str:
    """Of the rows that were used, in their order."""
    digest = hashlib.sha256()
    for record in table.records:
        digest.update(repr(record).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _worst(found: Evaluation, table: Table) -> list[dict[str, Any]]:
    rows = []
    for each in found.worst:
        row = table.rows[each.row]
        texts = [str(value) for name, value in row.items() if name not in ("label", "score")]
        rows.append(
            {
                "text": " | ".join(texts)[:_MOST_TEXT],
                "label": each.label,
                "predicted": each.predicted,
                "loss": each.loss,
                "place": _short(table.place(each.row)),
            }
        )
    return rows


def environment() -> Mapping[str, str]:
    """Versions, processor and system."""
    found = {"python": platform.python_version()}
    for name in ("enfold", "torch", "numpy", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        **found,
        "processor": device,
        "threads": str(torch.get_num_threads()),
        "system": platform.platform(terse=True),
    }


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def command_line() -> str:
    """The command that this process was started with, as a shell takes it."""
    return "enfold " + " ".join(map(shlex.quote, sys.argv[1:]))
