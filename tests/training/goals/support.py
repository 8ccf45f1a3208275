"""A goal with a model and data: its examples, its batches and its loss."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from enfold.auto import load_model
from enfold.config import Config
from enfold.engines.torch.model import TorchModel
from enfold.tokenization import Tokenizer
from enfold.training.columns import with_roles
from enfold.training.data import Table, read_table
from enfold.training.examples import Batch, Examples, Ragged
from enfold.training.goals import Goal, Reading
from enfold.training.objective import Objective
from enfold.training.settings import Long, Settings
from tests.tasks.oracle import folder
from tests.tasks.tiny import Tiny

HEADS = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
}


@dataclass(frozen=True)
class Lesson:
    """Rows as a goal has them."""

    goal: Goal
    model: TorchModel
    reading: Reading
    examples: Examples

    @property
    def everything(self) -> Any:
        return np.arange(len(self.examples))

    def batch(self, chosen: Any = None, seed: int = 0) -> Batch:
        draw = np.random.default_rng(seed)
        return self.goal.batch(self.reading, self.examples, self.everything if chosen is None else chosen, draw)

    def objective(self, **options: Any) -> Objective:
        def run(batch: Batch) -> Any:
            return self.model.outputs(batch.packed, fields=self.goal.fields, tokens=batch.tokens, source=batch.source)

        return Objective(self.goal, run, **options)

    def loss(self, chosen: Any = None, **options: Any) -> float:
        batch = self.batch(chosen)
        with torch.no_grad():
            return float(self.objective(**options)(batch)) / batch.weight


def table_of(rows: Any, kind: type[Goal]) -> Table:
    return with_roles(read_table(rows), kind)


def lesson(
    model: TorchModel | str | Path,
    tokenizer: Tokenizer | None,
    rows: list[dict[str, Any]],
    goal: type[Goal] | Goal,
    *,
    max_length: int = 64,
    long: Long | None = None,
    settings: Settings | None = None,
    config: Config | None = None,
) -> Lesson:
    """Rows encoded for a model, which is loaded with the goal's head where a folder is given."""
    kind = goal if isinstance(goal, type) else type(goal)
    table = table_of(rows, kind)
    made = goal if isinstance(goal, Goal) else kind.of(table, settings or Settings(), config)
    if not isinstance(model, TorchModel):
        tokenizer = tokenizer or Tokenizer.from_folder(model)
        loaded = load_model(str(model), made.head, engine="torch", overrides=made.configure())
        assert isinstance(loaded, TorchModel)
        model = loaded
    assert tokenizer is not None
    made.adopt(model)
    reading = Reading(tokenizer, model.arch, max_length, long or made.default_long)
    return Lesson(made, model, reading, made.encode(table, reading))


def tiny_folder(vocabulary: str, head: str, family: str = "", labels: tuple[str, ...] = ("no", "yes")) -> Path:
    """A tiny model over a real vocabulary: ``uncased``, ``chinese`` or ``roberta``."""
    family = family or ("roberta" if vocabulary == "roberta" else "bert")
    return folder(Tiny(family=family, head=head, vocabulary=vocabulary, labels=labels))


def reading_of(place: Path, *, max_length: int = 64, long: Long = "window") -> Reading:
    """How the model of a folder reads."""
    return Reading(Tokenizer.from_folder(place), load_model(str(place), "base").arch, max_length, long)


def reference(place: Path, head: str, **options: Any) -> Any:
    """The reference's model of a folder, without dropout."""
    return getattr(transformers, HEADS[head]).from_pretrained(place, **options).eval()


def given(ids: list[Any], targets: Any, count: int = 1, types: list[Any] | None = None) -> Examples:
    """Examples of ids that no tokenizer made."""
    made = Ragged.of([np.asarray(each, np.int32) for each in ids])
    kinds = None if types is None else Ragged.of([np.asarray(each, np.int32) for each in types])
    return Examples(made, kinds, targets, np.arange(len(ids) // count), count)
