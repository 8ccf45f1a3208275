"""Features of a frozen encoder give the losses and gradients that the whole model gives."""

from typing import Any

import pytest
import torch

from enfold.auto import load_model
from enfold.errors import InputError
from enfold.training.features import Features
from enfold.training.fit import fit
from enfold.training.goals import Goal
from enfold.training.goals.choices import MultipleChoice
from enfold.training.goals.embeddings import Embeddings
from enfold.training.goals.language import MaskedLM
from enfold.training.objective import Objective
from enfold.training.settings import Settings
from tests.training.goals.support import Lesson, lesson, tiny_folder
from tests.training.support import reviews
from tests.training.test_objective import LABELS, ROWS


def made(head: str, vocabulary: str = "uncased", family: str = "") -> Lesson:
    kind, rows = ROWS[head]
    return lesson(tiny_folder(vocabulary, head, family, LABELS), None, rows, kind)


def agree(here: Lesson) -> None:
    """Losses and the head's gradients, of all examples, and of some in another order."""
    for name, parameter in here.model.named_parameters():
        parameter.requires_grad_(".head." in name)
    features = Features(here.model, here.goal, here.reading, here.examples, budget=50)
    for chosen in (here.everything, here.everything[::-2].copy()):
        batch = here.batch(chosen)
        found = []
        for objective in (here.objective(), Objective(here.goal, features)):
            here.model.zero_grad()
            loss = objective(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = {name: each.grad for name, each in here.model.named_parameters() if each.grad is not None}
            found.append((float(loss.detach()), gradients))
        (whole, expected), (quick, got) = found
        assert quick == pytest.approx(whole, rel=1e-5)
        assert set(got) == set(expected)
        assert all(torch.allclose(got[name], expected[name], atol=1e-4) for name in got)


@pytest.mark.parametrize("head", list(ROWS))
@pytest.mark.parametrize(("vocabulary", "family"), [("uncased", ""), ("uncased", "distilbert"), ("roberta", "")])
def test_features_give_the_whole_models_losses(head: str, vocabulary: str, family: str) -> None:
    agree(made(head, vocabulary, family))


def test_choices_have_features_too() -> None:
    rows = [{"text": "who ?", "choices": ["a film", row["text"], "ada"], "label": 1} for row in reviews(5)]
    agree(lesson(tiny_folder("uncased", "masked-lm"), None, rows, MultipleChoice))


def test_a_dropping_out_model_has_whole_features() -> None:
    """What is computed once is computed without dropout."""
    here = made("sequence-classification")
    here.model.train()
    one, other = (Features(here.model, here.goal, here.reading, here.examples, 64).states for _ in range(2))
    here.model.eval()
    assert torch.equal(one, other)
    assert torch.equal(one, Features(here.model, here.goal, here.reading, here.examples, 64).states)


@pytest.mark.parametrize(
    ("goal", "rows"),
    [(MaskedLM, [{"text": "ada lives in london"}]), (Embeddings, [{"anchor": "a", "positive": "b"}])],
)
def test_what_changes_each_time_has_none(goal: type[Goal], rows: Any) -> None:
    here = lesson(tiny_folder("uncased", "masked-lm"), None, rows, goal)
    with pytest.raises(InputError, match=r"freeze='encoder' computes features once, and .* use freeze='embeddings'"):
        Features(here.model, here.goal, here.reading, here.examples, 64)


def test_a_run_with_features_is_the_frozen_models() -> None:
    folder = str(tiny_folder("uncased", "sequence-classification", labels=LABELS))
    curves = []
    for freeze in ("encoder", None):
        settings = Settings(
            precision="float32", freeze=freeze, max_steps=12, batch_size=4, learning_rate=1e-3, dropout=0.0, log_every=1
        )  # type: ignore[arg-type]
        model: Any = load_model(folder, "sequence-classification", engine="torch")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(".head." in name)
        rows = reviews(24)
        fitted = fit(model, rows, tokenizer=folder, evaluation=None, settings=settings)
        curves.append([line["loss"] for line in fitted.history])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][-1] != curves[0][0]
