"""R-Drop and distillation by their formulas, beside the labels' loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from enfold.errors import InputError
from enfold.training.goals import Goal
from enfold.training.goals.answers import QuestionAnswering
from enfold.training.goals.classification import Classification
from enfold.training.goals.embeddings import Embeddings
from enfold.training.goals.tokens import TokenClassification
from enfold.training.objective import Objective, Teacher
from tests.training.goals.support import Lesson, lesson, tiny_folder
from tests.training.support import reviews

LABELS = ("no", "yes")
ROWS: dict[str, tuple[type[Goal], list[dict[str, Any]]]] = {
    "sequence-classification": (Classification, reviews(10)),
    "token-classification": (
        TokenClassification,
        [{"tokens": row["text"].split(), "tags": [row["label"]] * len(row["text"].split())} for row in reviews(6)],
    ),
    "question-answering": (
        QuestionAnswering,
        [{"question": "who ?", "context": row["text"], "answers": row["text"].split()[0]} for row in reviews(6)],
    ),
}


def made(head: str, family: str = "bert") -> Lesson:
    kind, rows = ROWS[head]
    return lesson(tiny_folder("uncased", head, family, LABELS), None, rows, kind)


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """Σ p log(p / q) over everything, of scores."""
    p, q = one.double().softmax(-1), other.double().softmax(-1)
    ratio = torch.where(p > 0, p / q, torch.ones_like(p))
    return (p * ratio.log()).sum()


@pytest.mark.parametrize("head", list(ROWS))
def test_two_passes_must_agree(head: str) -> None:
    """Half of the paper's sum: (L1 + L2) / 2 + α / 4 · (KL(1, 2) + KL(2, 1))."""
    here = made(head)
    batch = here.batch()
    noise = iter([0.0, 0.3])

    def run(batch: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        logits = here.model.outputs(batch.packed, tokens=batch.tokens)["logits"].detach()
        return {"logits": logits + next(noise) * torch.randn(logits.shape)}

    ours = Objective(here.goal, run, r_drop=0.7)(batch)
    noise = iter([0.0, 0.3])
    one, other = (here.goal.logits(run(batch), batch) for _ in range(2))
    labels = sum(torch.nn.functional.cross_entropy(each, batch.targets, reduction="sum") for each in (one, other))
    expected = labels / 2 + 0.7 / 4 * (divergence(one, other) + divergence(other, one))
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("head", list(ROWS))
def test_a_pupil_agrees_with_its_teacher(head: str) -> None:
    """(1 - s) · labels + s · T² · KL(teacher / T, pupil / T)."""
    here, teacher = made(head), made(head, "distilbert").model
    batch = here.batch()
    ours = here.objective(teacher=Teacher(teacher, share=0.3, temperature=2.5))(batch)
    with torch.no_grad():
        pupil = here.goal.logits(here.model.outputs(batch.packed, tokens=batch.tokens), batch)
        wanted = here.goal.logits(teacher.outputs(batch.packed, tokens=batch.tokens), batch)
    labels = torch.nn.functional.cross_entropy(pupil, batch.targets, reduction="sum")
    expected = 0.7 * labels + 0.3 * 2.5**2 * divergence(wanted / 2.5, pupil / 2.5)
    assert float(ours.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_a_teacher_of_itself_only_lets_the_labels_speak() -> None:
    here = made("sequence-classification")
    batch = here.batch()
    plain = float(here.objective()(batch).detach())
    taught = float(here.objective(teacher=Teacher(here.model, share=0.4))(batch).detach())
    assert taught == pytest.approx(0.6 * plain, rel=1e-5)


def test_vectors_learn_their_teachers_likenesses() -> None:
    """Cosines among the texts of a batch, times 20, without those of a text with itself."""
    rows = [
        {"anchor": row["text"], "positive": other["text"]} for row, other in zip(reviews(5), reviews(5, 1), strict=True)
    ]
    here = lesson(tiny_folder("uncased", "masked-lm"), None, rows, Embeddings)
    teacher = lesson(tiny_folder("uncased", "masked-lm", "distilbert"), None, rows, Embeddings).model
    batch = here.batch()
    ours = here.objective(teacher=Teacher(teacher, share=1.0, temperature=2.0))(batch)
    scores = []
    for model in (teacher, here.model):
        with torch.no_grad():
            vectors = here.goal.logits(model.outputs(batch.packed, fields=here.goal.fields), batch).reshape(10, -1)
        cosines = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1) * 20
        scores.append(cosines[~torch.eye(10, dtype=torch.bool)].view(10, 9))
    assert float(ours.detach()) == pytest.approx(4 * float(divergence(scores[0] / 2, scores[1] / 2)), rel=1e-4)


@pytest.mark.parametrize("head", list(ROWS))
def test_gradients_of_parts_are_those_of_the_whole(head: str) -> None:
    here = made(head)
    objective = here.objective(r_drop=0.5)

    def gradients(parts: list[Any]) -> list[Tensor]:
        here.model.zero_grad()
        for part in parts:
            objective(here.batch(part)).backward()  # type: ignore[no-untyped-call]
        return [each.grad.clone() for each in here.model.parameters() if each.grad is not None]

    whole, cut = gradients([here.everything]), gradients(np.array_split(here.everything, 4))
    assert len(whole) == len(cut)
    assert all(torch.allclose(one, other, atol=2e-4, rtol=1e-3) for one, other in zip(whole, cut, strict=True))


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.5}, {"temperature": 0.0}, {"temperature": -1.0}])
def test_a_teachers_numbers_are_checked(options: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a teacher's share is .* expected a share above 0 and up to 1"):
        Teacher(made("sequence-classification").model, **options)
