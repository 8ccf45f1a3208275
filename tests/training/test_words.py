"""The used rows of a table give the outputs, gradients and trained weights that the whole table gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from enfold.auto import load_config, load_model, make_model
from enfold.engines.torch.model import TorchModel
from enfold.families import FAMILIES
from enfold.packing import pack
from enfold.training.examples import Ragged, as_tensors
from enfold.training.execution import Execution
from enfold.training.goals import Reading
from enfold.training.goals.base import Goal
from enfold.training.goals.writing import Seq2Seq
from enfold.training.optim import make_optimizer
from enfold.training.settings import Settings
from enfold.training.words import UsedRows, used_rows
from tests.reference import make_reference
from tests.training.goals.support import Lesson, given
from tests.training.goals.test_families import GOALS, rows_of

ENCODERS = [
    (name, "sequence-classification") for name, family in FAMILIES.items() if "sequence-classification" in family.heads
]
WRITERS = [name for name, family in FAMILIES.items() if "seq2seq-lm" in family.heads]
KNOWN = [case for case in ENCODERS if case[0] != "enfold"]


class Specials:
    """A tokenizer's special tokens."""

    def __init__(self, ids: list[int]) -> None:
        self.all_special_ids = ids


def lesson_of(family: str, head: Any, folder: Path, targets: Any, **overrides: Any) -> Lesson:
    if family == "marian":
        overrides["decoder_vocab_size"] = 400
    made = make_reference(family, head, 1, folder, vocab_size=400, **overrides)
    ids, types = rows_of(made)
    lowest = min(90, made.model.config.vocab_size // 4)
    ids = [np.where(each > lowest, each % lowest + 3, each) for each in ids]
    if made.model.config.is_encoder_decoder:  # every text still ends as it should
        for each in ids:
            each[-1] = made.model.config.eos_token_id
            each[:-1][each[:-1] == made.model.config.eos_token_id] = 4
    goal: Goal = GOALS[head]
    model = load_model(str(folder), head, engine="torch")
    if family in ("t5", "mt5") and overrides.get("tie_word_embeddings") is False:
        torch.manual_seed(0)  # T5 1.1's output has a table of its own, which the reference's class can't be told
        model = make_model(load_config(str(folder)).updated(tie_word_embeddings=False), head)
        model.eval()
    assert isinstance(model, TorchModel)
    goal.adopt(model)
    reading = Reading(None, model.arch, 64, "truncate")  # type: ignore[arg-type]
    return Lesson(goal, model, reading, given(ids, targets, 1, types))


def trained(here: Lesson, rows: UsedRows | None, steps: int = 4) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of some steps, and the weights after them."""
    model, settings = here.model, Settings(optimizer="sgd", momentum=0.9, weight_decay=0.0)
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    if rows is not None:
        named["used"] = rows.weight
    optimizer = make_optimizer(named.items(), settings, 1e-2, model.arch.num_layers)
    run = Execution(model, here.goal.fields, rows, "float32", False)
    losses = []
    for _ in range(steps):
        batch = here.batch()
        loss = here.goal.losses(here.goal.logits(run(batch), batch), batch).sum() / batch.weight
        losses.append(float(loss.detach()))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    if rows is not None:
        rows.give_back()
    return losses, {name: each.detach().clone() for name, each in model.state_dict().items()}


def agree(family: str, head: Any, folder: Path, targets: Any, **overrides: Any) -> bool:
    """Whether there were used rows; where there were, all is as with the table."""
    whole = lesson_of(family, head, folder / "one", targets, **overrides)
    quick = lesson_of(family, head, folder / "two", targets, **overrides)
    before = {name: each.clone() for name, each in whole.model.state_dict().items()}
    rows = used_rows(quick.model, quick.goal.ids(quick.examples), Specials([0, 1]))  # type: ignore[arg-type]
    if rows is None:
        return False
    expected, weights = trained(whole, None)
    losses, got = trained(quick, rows)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert set(got) == set(weights)
    for name, value in weights.items():
        assert torch.allclose(got[name], value, atol=1e-4, rtol=1e-3), name
    assert any(not torch.equal(before[name], value) for name, value in weights.items() if "words" in name)
    assert all(each.requires_grad for each in quick.model.parameters())
    return True


@pytest.mark.parametrize(("family", "head"), KNOWN)
def test_a_classifiers_rows_learn_as_its_table_does(family: str, head: Any, tmp_path: Path) -> None:
    found = agree(family, head, tmp_path, np.array([0, 1, 2, 1]), num_labels=3)
    writes = family in WRITERS  # its decoder reads what the batch doesn't bring along
    assert found != writes


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_writers_rows_learn_as_its_table_does(family: str, tied: bool, tmp_path: Path) -> None:
    """A decoder's words are the data's too, and its encoder may share its table."""
    targets = Ragged.of([np.arange(5 + index, 9 + 2 * index) for index in range(4)], np.int64)
    found = agree(family, "seq2seq-lm", tmp_path, targets, tie_word_embeddings=tied)
    shares = family in ("t5", "mt5")  # others have a table for each side, where the output has one of its own
    assert found == (shares and not tied), "a table that is an output's too is used whole"


def test_ids_of_a_writer_are_of_both_sides_and_the_start(tmp_path: Path) -> None:
    targets = Ragged.of([np.array([201, 202]) for _ in range(4)], np.int64)
    here = lesson_of("t5", "seq2seq-lm", tmp_path, targets)
    assert isinstance(here.goal, Seq2Seq)
    here.goal.start = 333
    assert {201, 202, 333} | set(here.examples.ids.flat.tolist()) == set(here.goal.ids(here.examples).tolist())


def test_rows_that_are_not_used_stay_and_scales_and_padding_hold(tmp_path: Path) -> None:
    here = lesson_of("bert", "sequence-classification", tmp_path, np.array([0, 1, 2, 1]), num_labels=3)
    table = here.model.tree.embeddings.words
    before = table.weight.detach().clone()
    used = np.unique(here.examples.ids.flat)
    rows = used_rows(here.model, here.examples.ids.flat, Specials([]))  # type: ignore[arg-type]
    assert rows is not None and rows.used.tolist() == used.tolist()
    ids = np.random.default_rng(0).permutation(used)[:8]
    batch = as_tensors(pack(here.model.arch, [ids]))
    assert torch.equal(rows(batch.ids), table(batch.ids))
    trained(here, rows)
    changed = (table.weight.detach() != before).any(1).numpy()
    assert not changed[np.setdiff1d(np.arange(len(changed)), used)].any() and changed[used].any()


def test_most_of_a_table_is_the_table(tmp_path: Path) -> None:
    here = lesson_of("bert", "sequence-classification", tmp_path, np.array([0, 1, 2, 1]), num_labels=3)
    assert used_rows(here.model, np.arange(350), Specials([])) is None  # type: ignore[arg-type]
    here.model.tree.embeddings.words.weight.requires_grad_(False)
    assert used_rows(here.model, np.arange(9), Specials([])) is None  # type: ignore[arg-type]
