"""Every family and head: a goal's loss is the reference's, for the same ids and weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold.auto import load_model
from enfold.engines.torch.model import TorchModel
from enfold.training.examples import Examples, Ragged
from enfold.training.goals import Goal, Reading
from enfold.training.goals.answers import QuestionAnswering
from enfold.training.goals.base import IGNORED
from enfold.training.goals.choices import MultipleChoice
from enfold.training.goals.classification import Classification, MultiLabel, Regression
from enfold.training.goals.language import CausalLM
from enfold.training.goals.tokens import TokenClassification
from enfold.training.goals.writing import Seq2Seq
from tests.reference import CASES, Reference, make_reference
from tests.training.goals.support import Lesson, given

TOLERANCE = 2e-5
NAMES = ("a", "b", "c")
GOALS: dict[str, Goal] = {
    "sequence-classification": Classification(NAMES),
    "token-classification": TokenClassification(NAMES),
    "question-answering": QuestionAnswering(),
    "multiple-choice": MultipleChoice(2),
    "causal-lm": CausalLM(),
    "seq2seq-lm": Seq2Seq(),
}


def rows_of(made: Reference) -> tuple[list[Any], list[Any] | None]:
    """Each sequence's ids and types without its padding."""
    mask = made.mask.reshape(-1, made.mask.shape[-1])
    ids = [row[kept].numpy() for row, kept in zip(made.inputs["input_ids"].view_as(mask), mask, strict=True)]
    types = made.inputs.get("token_type_ids")
    if types is None:
        return ids, None
    return ids, [row[kept].numpy() for row, kept in zip(types.view_as(mask), mask, strict=True)]


def tensors(ids: Any, types: Any) -> dict[str, torch.Tensor]:
    found = {"input_ids": torch.as_tensor(np.stack(ids)).long()}
    return found if types is None else {**found, "token_type_ids": torch.as_tensor(np.stack(types)).long()}


def lesson_of(made: Reference, goal: Goal, examples: Examples) -> Lesson:
    model = load_model(str(made.folder), goal.head, engine="torch")
    assert isinstance(model, TorchModel)
    goal.adopt(model)
    return Lesson(goal, model, Reading(None, model.arch, 64, "truncate"), examples)  # type: ignore[arg-type]


def reference_loss(made: Reference, rows: list[tuple[dict[str, Any], float]]) -> float:
    """Of rows that the reference reads one by one, since its losses count padding's scores in: mean by weight."""
    with torch.no_grad():
        total = sum(float(made.model(**row).loss) * weight for row, weight in rows)
    return total / sum(weight for _, weight in rows)


def compared(made: Reference, goal: Goal) -> tuple[float, float]:
    """Our loss and the reference's."""
    draw = np.random.default_rng(0)
    ids, types = rows_of(made)
    kinds = [None] * len(ids) if types is None else types
    rows: list[tuple[dict[str, Any], float]] = []
    targets: Any
    count = 1
    if isinstance(goal, Seq2Seq):
        targets = Ragged.of(
            [draw.integers(3, made.model.config.vocab_size - 1, 2 + index) for index in range(4)], np.int64
        )
        types = None
        rows = [
            ({**tensors([each], None), "labels": torch.as_tensor(wanted)[None]}, len(wanted))
            for each, wanted in zip(ids, targets.take(np.arange(4)), strict=True)
        ]
    elif isinstance(goal, CausalLM):
        kept = [index for index, each in enumerate(ids) if len(each) > 1]
        ids, types = [ids[index] for index in kept], None
        targets = Ragged.of([np.full(len(each), -1) for each in ids])
        rows = [
            ({**tensors([each], None), "labels": torch.as_tensor(each).long()[None]}, len(each) - 1) for each in ids
        ]
    elif isinstance(goal, MultipleChoice):
        ids = [ids[0], ids[0][::-1].copy()] * 2
        types = None if types is None else [kinds[0]] * 4
        targets, count = np.array([1, 0]), 2
        for index, target in enumerate(targets):
            both = tensors(ids[2 * index :][:2], None if types is None else types[:2])
            rows.append(({**{name: each[None] for name, each in both.items()}, "labels": torch.tensor([target])}, 1))
    elif isinstance(goal, TokenClassification):
        labels = [draw.integers(0, 3, len(each)) for each in ids]
        for each in labels:
            each[1::3] = IGNORED
        targets = Ragged.of(labels, np.int64)
        for each, kind, label in zip(ids, kinds, labels, strict=True):
            inputs = tensors([each], None if kind is None else [kind])
            rows.append(({**inputs, "labels": torch.as_tensor(label)[None]}, int((label != IGNORED).sum())))
    elif isinstance(goal, QuestionAnswering):
        targets = np.stack([draw.integers(0, len(each), 2) for each in ids])
        for each, kind, (start, end) in zip(ids, kinds, targets, strict=True):
            places = {"start_positions": torch.tensor([start]), "end_positions": torch.tensor([end])}
            rows.append(({**tensors([each], None if kind is None else [kind]), **places}, 1))
    else:
        targets = _labels(goal, draw)
        for each, kind, label in zip(ids, kinds, targets, strict=True):
            rows.append(
                ({**tensors([each], None if kind is None else [kind]), "labels": torch.as_tensor(label)[None]}, 1)
            )
    lesson = lesson_of(made, goal, given(ids, targets, count, types))
    return lesson.loss(), reference_loss(made, rows)


def _labels(goal: Goal, draw: np.random.Generator) -> Any:
    if isinstance(goal, MultiLabel):
        return draw.integers(0, 2, (4, 3)).astype(np.float32)
    return draw.normal(size=4).astype(np.float32) if isinstance(goal, Regression) else draw.integers(0, 3, 4)


@pytest.mark.parametrize(("family", "kind"), [case for case in CASES if case[1] in GOALS])
def test_the_loss_is_the_references(family: str, kind: Any, tmp_path: Path) -> None:
    made = make_reference(family, kind, 1, tmp_path, **({} if kind in ("question-answering",) else {"num_labels": 3}))
    ours, theirs = compared(made, GOALS[kind])
    assert ours == pytest.approx(theirs, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize(("goal", "labels"), [(MultiLabel(NAMES), 3), (Regression(), 1)])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "bart"])
def test_other_labels_too(family: str, goal: Goal, labels: int, tmp_path: Path) -> None:
    problem = "regression" if labels == 1 else "multi_label_classification"
    made = make_reference(family, "sequence-classification", 2, tmp_path, num_labels=labels, problem_type=problem)
    ours, theirs = compared(made, goal)
    assert ours == pytest.approx(theirs, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize("family", [name for name, kind in CASES if kind == "masked-lm"])
def test_masked_words_have_the_references_loss(family: str, tmp_path: Path) -> None:
    """The head is computed where there is a label, the reference's everywhere."""
    from enfold.training.goals.tokens import per_token_batch

    made = make_reference(family, "masked-lm", 3, tmp_path)
    ids, types = rows_of(made)
    draw = np.random.default_rng(1)
    labels = [np.where(draw.random(len(each)) < 0.4, each[::-1], IGNORED).astype(np.int64) for each in ids]
    labels[0][0] = ids[0][0]
    goal = TokenClassification(NAMES)
    model = load_model(str(made.folder), "masked-lm", engine="torch")
    assert isinstance(model, TorchModel)
    reading = Reading(None, model.arch, 64, "window")  # type: ignore[arg-type]
    lesson = Lesson(goal, model, reading, given(ids, Ragged.of(labels, np.int64), 1, types))
    batch = per_token_batch(goal, reading, lesson.examples, lesson.everything)
    ours = float(lesson.objective()(batch).detach()) / batch.weight
    padded = torch.full(made.inputs["input_ids"].shape, IGNORED)
    for row, (label, kept) in enumerate(zip(labels, made.mask, strict=True)):
        padded[row, kept] = torch.as_tensor(label)
    with torch.no_grad():
        theirs = float(made.model(**made.inputs, labels=padded).loss)
    assert ours == pytest.approx(theirs, rel=TOLERANCE, abs=TOLERANCE)
