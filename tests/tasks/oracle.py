"""Golden records and tiny pipelines for the tests of tasks."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from enfold.auto import load_model
from enfold.tasks import pipeline
from enfold.tokenization import Tokenizer
from tests.support import minilm, shared
from tests.tasks.tiny import Tiny, build

ENGINES = ("cpu", "torch")
GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-4

_kept: list[tempfile.TemporaryDirectory[str]] = []


def vocabulary(name: str) -> Path:
    """The folder of a vocabulary's files; skips the test where they are absent."""
    if name == "uncased":
        return minilm()
    return shared("vocab", {"chinese": "bert-base-chinese", "roberta": "roberta-base"}[name])


@cache
def folder(tiny: Tiny) -> Path:
    """The tiny model's folder, made once a run."""
    place = tempfile.TemporaryDirectory()
    _kept.append(place)
    return build(tiny, vocabulary(tiny.vocabulary), Path(place.name))


@cache
def _loaded(tiny: Tiny, engine: Any) -> Any:
    return load_model(folder(tiny), tiny.head, engine=engine)  # type: ignore[arg-type]


@cache
def _tokenizer(tiny: Tiny) -> Tokenizer:
    return Tokenizer.from_folder(folder(tiny))


def tiny_pipeline(task: str, tiny: Tiny, engine: str = "cpu", **options: Any) -> Any:
    """The task on the tiny model."""
    return pipeline(task, _loaded(tiny, engine), tokenizer=_tokenizer(tiny), **options)


def golden(task: str) -> list[Any]:
    """Test parameters: tiny model, call and the reference's answer, from the task's golden file."""
    stored = json.loads((GOLDEN / f"{task}.json").read_text(encoding="utf-8"))
    return [
        pytest.param(_tiny(model["model"]), call, records, id=f"{model['model']['family']}-{place}-{number}")
        for place, model in enumerate(stored["models"])
        for number, (call, records) in enumerate(zip(model["calls"], model["records"], strict=True))
    ]


def _tiny(values: dict[str, Any]) -> Tiny:
    return Tiny(**{**values, "labels": tuple(values["labels"])})


def assert_equal(ours: Any, theirs: Any, tolerance: float = TOLERANCE, where: str = "records") -> None:
    """Records are equal: scores within the tolerance, everything else exactly."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict) and list(ours) == list(theirs), f"{where}: {ours} is not like {theirs}"
        for key, value in theirs.items():
            assert_equal(ours[key], value, tolerance, f"{where}[{key!r}]")
    elif isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs), f"{where}: {ours} is not like {theirs}"
        for index, value in enumerate(theirs):
            assert_equal(ours[index], value, tolerance, f"{where}[{index}]")
    elif isinstance(theirs, float):
        assert type(ours) is float and abs(ours - theirs) <= tolerance, f"{where}: {ours} != {theirs}"
    else:
        assert type(ours) is type(theirs) and ours == theirs, f"{where}: {ours!r} != {theirs!r}"
