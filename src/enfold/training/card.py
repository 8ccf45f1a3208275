"""A trained model's card: README.md with the header that hubs read, and no more said than was measured."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from enfold.checkpoint.atomic import atomic_write
from enfold.errors import InputError, TaskError
from enfold.training.report import columns_of, metric_name, warnings_of
from enfold.training.summary import RunSummary, is_number, labelled
from enfold.training.templates import Words, check_language, render
from enfold.training.templates.formats import Language, figure, one_line, setting

__all__ = ["write_card"]

_MOST_LABELS = 50
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}|multilingual")
_TAGS: Final = {
    "embed": "sentence-similarity",
    "search": "sentence-similarity",
    "zero-shot-by-embedding": "zero-shot-classification",
}
_PIPELINES: Final = {
    "multi-label-classification": "text-classification",
    "regression": "text-classification",
    "masked-lm": "fill-mask",
    "causal-lm": "text-generation",
}
"""Tasks by what is trained, where that has another name."""
_ANGLED_MASK: Final = ("Roberta", "XLMRoberta", "Camembert", "MPNet", "Bart", "MBart")
_Z_95 = 1.959964


@dataclass(frozen=True)
class Use:
    """How a task is called: lines of Python and of the shell, where ``{…}`` are literals that fit their place."""

    python: str
    shell: str


_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "text": "The goods came late, but they were as described.",
        "other": "The parcel took two weeks.",
        "name": "Ada Lovelace lived in London.",
        "question": "Where did Ada Lovelace live?",
        "begin": "Once upon a time",
        "masked": "The goods came {mask}.",
        "topics": "delivery,price",
    },
    "zh": {
        "text": "货到得晚了，不过和描述的一样。",
        "other": "包裹在路上走了两个星期。",
        "name": "鲁迅出生在绍兴。",
        "question": "鲁迅出生在哪里？",
        "begin": "从前，",
        "masked": "货到得很{mask}。",
        "topics": "物流,价格",
    },
}

_USES: Final[Mapping[str, Use]] = {
    "text-classification": Use("print(run({text}))", "enfold run {task} --model {model} {text}"),
    "token-classification": Use(
        'print(run({name}, aggregation_strategy="simple"))',
        "enfold run {task} --model {model} --aggregation simple {name}",
    ),
    "question-answering": Use(
        "print(run(question={question}, context={name}))",
        "enfold run {task} --model {model} --question {question} {name}",
    ),
    "fill-mask": Use("print(run({masked}))", "enfold run {task} --model {model} {masked}"),
    "zero-shot-classification": Use(
        "print(run({text}, candidate_labels={topic_list}))",
        "enfold run {task} --model {model} --labels {topics} {text}",
    ),
    "zero-shot-by-embedding": Use(
        "print(run({text}, {topic_list}))", "enfold run {task} --model {model} --labels {topics} {text}"
    ),
    "embed": Use(
        "vectors = run([{text}, {other}])\nprint(vectors @ vectors.T)", "enfold run embed --model {model} {text}"
    ),
    "sentence-similarity": Use(
        "print(run([{text}], [{other}]))", "enfold run {task} --model {model} --source {text} {other}"
    ),
    "search": Use(
        "run.index([{text}, {other}])\nprint(run({question}))",
        "enfold search {question} --in letters.txt --model {model}",
    ),
    "feature-extraction": Use(
        "print(run({text}, return_tensors=True).shape)", "enfold run {task} --model {model} {text}"
    ),
    "text-generation": Use(
        "print(run({begin}, max_new_tokens=50))", "enfold generate {begin} --model {model} --max-new-tokens 50"
    ),
    "text2text-generation": Use("print(run({text}))", "enfold run {task} --model {model} {text}"),
    "summarization": Use("print(run({text}))", "enfold summarize letter.txt --model {model}"),
    "translation": Use("print(run({text}))", "enfold translate letter.txt --model {model}"),
}


def write_card(summary: RunSummary, folder: str | os.PathLike[str], *, language: Language = "en") -> None:
    """Writes README.md into a model's folder, complete or not at all; one that is there is replaced.

    Texts of the data don't appear in it, nor do folders of this machine except within the command line.

    Args:
        summary: the run that made the model.
        folder: the model's folder; its name becomes the model's.
        language: of all fixed words.

    Raises:
        InputError: another language, or no such folder.
    """
    check_language(language)
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected the one that the trained model was saved into")
    card = render("card.md", language, _card(summary, folder.resolve().name or "model", Words(language)))
    with atomic_write(folder / "README.md") as file:
        file.write(card.encode("utf-8"))


def _card(summary: RunSummary, name: str, words: Words) -> dict[str, Any]:
    task = _task(summary.task)
    summary = replace(summary, data=[{**table, "name": _last_part(table["name"])} for table in summary.data])
    settings = [(key, setting(value), summary.differs(key)) for key, value in summary.settings.items()]
    return {
        "name": one_line(name),
        "header": _header(summary, name, task),
        "task": summary.task,
        "model": summary.model,
        "base": _public(summary.base),
        "warnings": warnings_of(summary, words),
        "parameters": [figure(count) for count in summary.parameters or ()],
        "python": _python(summary, name, task, words.language),
        "shell": _shell(summary, name, task, words.language),
        "data": [_table(table, words) for table in summary.data],
        "licence": summary.licence,
        "metrics": [(metric_name(key, summary, words), key, figure(each)) for key, each in summary.evaluation.items()],
        "measured_on": words["comma"].join(_data_names(summary)),
        "limits": _limits(summary, words),
        "command": summary.command,
        "settings": settings,
        "marked": any(differs for _, _, differs in settings),
        "environment": list(summary.environment.items()),
    }


def _task(name: str) -> str | None:
    """The pipeline's own name of a task; None for one that no pipeline does."""
    from enfold.tasks.registry import find

    try:
        return find(_called(name))[0]
    except TaskError:
        return None


def _called(name: str) -> str:
    """What a pipeline is asked for."""
    return _PIPELINES.get(name, name)


def _public(source: str | None) -> str | None:
    """A source as it may be published: of a path its last part alone."""
    if source is None or _is_hub_id(source) or source.startswith("pypi:"):
        return source
    return _last_part(source)


def _is_hub_id(source: str) -> bool:
    return bool(_HUB_ID.fullmatch(source)) and not Path(source).exists()


def _last_part(path: object) -> str:
    return re.split(r"[/\\]", str(path).rstrip("/\\"))[-1] or str(path)


def _data_names(summary: RunSummary) -> list[str]:
    return [one_line(table["name"], 80) for table in summary.tables("evaluation")]


def _table(table: Mapping[str, Any], words: Words) -> list[str]:
    columns, digest = table.get("columns"), table.get("sha256")
    cells = [str(table["name"]), words[f"role.{table['role']}"], figure(table["rows"])]
    return [*cells, columns_of(columns) if columns else "–", str(digest) if digest else "–"]


def _header(summary: RunSummary, name: str, task: str | None) -> list[tuple[str, Any]]:
    """The header's keys and values, as hubs expect them; what isn't known has no key."""
    header: list[tuple[str, Any]] = []
    if summary.licence:
        known = _LICENCE.fullmatch(summary.licence.lower())
        header.append(("license", summary.licence.lower() if known else "other"))
        header += [] if known else [("license_name", one_line(summary.licence))]
    languages = [code for code in map(str.lower, summary.languages) if _LANGUAGE.fullmatch(code)]
    if languages:
        header.append(("language", list(dict.fromkeys(languages))))
    header.append(("library_name", "enfold"))
    if summary.base and _is_hub_id(summary.base):
        header.append(("base_model", summary.base))
    if task:
        header.append(("pipeline_tag", _TAGS.get(task, task)))
    header.append(("tags", list(dict.fromkeys(["enfold", one_line(summary.task, 60)]))))
    metrics = [(key, float(value)) for key, value in summary.evaluation.items() if math.isfinite(value)]
    if metrics:
        header.append(("model-index", _index(summary, name, task, metrics)))
    return header


def _index(summary: RunSummary, name: str, task: str | None, metrics: list[tuple[str, float]]) -> Mapping[str, Any]:
    tag = _TAGS.get(task, task) if task else one_line(summary.task, 60)
    data = ", ".join(_data_names(summary)) or "not stated"
    return {"name": one_line(name), "task": tag, "dataset": data, "metrics": metrics}


def _example_texts(summary: RunSummary, write: Any, language: Language) -> dict[str, str]:
    """Example texts in the data's language, as literals."""
    spoken = summary.languages[0].lower() if summary.languages else summary.example_language or language
    chinese = spoken.startswith("zh")
    prefix = re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", summary.model)
    mask = "<mask>" if prefix in _ANGLED_MASK else "[MASK]"
    texts = _TEXTS["zh" if chinese else "en"]
    return {key: write(text.replace("{mask}", mask)) for key, text in texts.items()} | {
        "topic_list": json.dumps(texts["topics"].split(","), ensure_ascii=False)
    }


def _python_text(text: str) -> str:
    """A literal of Python, in double quotes; what can't be printed is escaped."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else ascii(text)


def _python(summary: RunSummary, name: str, task: str | None, language: Language) -> str:
    place = _python_text(f"./{name}")
    if task is None:
        model = summary.model if summary.model.isidentifier() else "AutoModel"
        return (
            "import enfold\n\n"
            f"tokenizer = enfold.AutoTokenizer.from_pretrained({place})\n"
            f"model = enfold.{model}.from_pretrained({place})"
        )
    call = _USES[task].python.format(**_example_texts(summary, _python_text, language))
    return f"import enfold\n\nrun = enfold.pipeline({_python_text(_called(summary.task))}, {place})\n{call}"


def _shell(summary: RunSummary, name: str, task: str | None, language: Language) -> str:
    place = shlex.quote(f"./{name}")
    if task is None:
        return f"enfold info {place}"
    texts = _example_texts(summary, shlex.quote, language)
    return _USES[task].shell.format(task=shlex.quote(_called(summary.task)), model=place, **texts)


def _limits(summary: RunSummary, words: Words) -> list[str]:
    """What the model can't do, or what isn't known of it: only what the run itself says."""
    found = []
    if summary.labels:
        shown = [one_line(label, 80) for label in summary.labels[:_MOST_LABELS]]
        more = len(summary.labels) - len(shown)
        shown += [words.say("count.more", count=figure(more))] * (more > 0)
        found.append(words.say("card.limits.labels", labels=words["comma"].join(shown)))
    spoken = words["comma"].join(one_line(code, 20) for code in summary.languages)
    key = "card.limits.languages" if spoken else "card.limits.languages.none"
    found.append(words.say(key, languages=spoken))
    if summary.max_tokens is not None:
        found.append(words.say("card.limits.tokens", count=figure(summary.max_tokens)))
    if summary.tables("train"):
        found.append(words.say("card.limits.rows", count=figure(summary.rows("train"))))
    else:
        found.append(words["card.limits.rows.none"])
    if counts := labelled(summary.tables("train")):
        rarest = min(counts, key=lambda label: counts[label])
        key = "card.limits.rare.once" if counts[rarest] == 1 else "card.limits.rare"
        found.append(words.say(key, label=one_line(rarest, 80), count=figure(counts[rarest])))
    if interval := _interval(summary):
        low, high = interval
        rows = figure(summary.rows("evaluation"))
        found.append(words.say("card.limits.interval", count=rows, low=f"{low:.3f}", high=f"{high:.3f}"))
    return [*found, words["card.limits.bias"]]


def _interval(summary: RunSummary) -> tuple[float, float] | None:
    """Wilson's 95 % interval of an accuracy over rows (https://doi.org/10.2307/2276774); None where there is none."""
    accuracy, rows = summary.evaluation.get("accuracy"), summary.rows("evaluation")
    rated = _task(summary.task) == "text-classification" and is_number(accuracy) and rows
    if accuracy is None or not rated or not 0 <= accuracy <= 1:
        return None
    spread = _Z_95**2 / rows
    middle = (accuracy + spread / 2) / (1 + spread)
    half = _Z_95 * math.sqrt(accuracy * (1 - accuracy) / rows + spread / (4 * rows)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)
