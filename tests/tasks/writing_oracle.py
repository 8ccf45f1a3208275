"""Golden records of the tasks that write, and tiny models for their tests."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from enfold.auto import load_model
from enfold.tasks import pipeline
from enfold.tokenization import Tokenizer
from tests.support import shared
from tests.tasks.writers import VOCABULARIES, build

GOLDEN = Path(__file__).parent / "golden" / "writing.json"
HEADS: dict[str, Any] = {"gpt2": "causal-lm", "t5": "seq2seq-lm", "marian": "seq2seq-lm"}

_kept: list[tempfile.TemporaryDirectory[str]] = []


@cache
def folder(kind: str) -> Path:
    """The tiny model's folder, made once a run; skips the test where its vocabulary is absent."""
    vocabulary = shared("vocab", VOCABULARIES[kind])
    place = tempfile.TemporaryDirectory()
    _kept.append(place)
    return build(kind, vocabulary, Path(place.name))


@cache
def loaded(kind: str, engine: Any = "cpu") -> Any:
    return load_model(folder(kind), HEADS[kind], engine=engine)


@cache
def tokenizer(kind: str) -> Tokenizer:
    return Tokenizer.from_folder(folder(kind))


def writer(task: str, kind: str, engine: str = "cpu", **options: Any) -> Any:
    """The task on the tiny model."""
    return pipeline(task, loaded(kind, engine), tokenizer=tokenizer(kind), **options)


def golden() -> list[Any]:
    """Test parameters: task, tiny model, call and the reference's records."""
    return [
        pytest.param(case["task"], case["model"], call, records, id=f"{case['task']}-{case['model']}-{number}")
        for case in json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
        for number, (call, records) in enumerate(zip(case["calls"], case["records"], strict=True))
    ]
