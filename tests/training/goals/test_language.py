"""Language models: blocks that lose nothing, masks of the promised shares, and the reference's losses."""

import random
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from enfold.errors import InputError
from enfold.training.goals import Reading
from enfold.training.goals.base import IGNORED
from enfold.training.goals.language import CausalLM, MaskedLM, blocks
from enfold.training.settings import Settings
from tests.cli.tiny import tiny_bert
from tests.support import shared
from tests.tasks.writers import build
from tests.training.goals.support import lesson, reading_of, reference, table_of, tiny_folder

WORDS = ["Ada", "unbelievable", "London", "北京", "的首都", "。", "don't", "naïve", "ａｂ", "walks"]


def texts(count: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [{"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 30)))} for _ in range(count)]


def reading(kind: str, max_length: int, folder: Any) -> Reading:
    if kind == "gpt2":
        return reading_of(build("gpt2", shared("vocab", "gpt2"), folder), max_length=max_length)
    return reading_of(tiny_folder(kind, "masked-lm"), max_length=max_length)


@pytest.mark.parametrize("kind", ["uncased", "chinese", "roberta", "gpt2"])
@pytest.mark.parametrize("seed", range(4))
def test_blocks_lose_no_token_and_are_as_long_as_the_model_reads(kind: str, seed: int, tmp_path: Any) -> None:
    limit = random.Random(seed).randint(9, 40)
    rows = [*texts(12, seed), {"text": "  \u3000"}, *texts(1, seed + 9)]
    how = reading(kind, limit, tmp_path)
    made = blocks(table_of(rows, CausalLM), how, words=kind != "gpt2")
    (around,) = how.tokenizer.encode_many(["a"])
    own = np.flatnonzero(~around.special_mask)
    before, after = int(own[0]), len(around) - 1 - int(own[-1])
    lengths = made.ids.lengths
    assert (lengths <= limit).all() and (lengths[:-2] == limit).all()
    got = np.concatenate([made.ids[index][before : len(made.ids[index]) - after] for index in range(len(made))])
    separator = around.ids[own[-1] + 1 :].tolist() or [how.tokenizer.eos_token_id]
    wanted: list[int] = []
    for index, row in enumerate([row for row in rows if row["text"].strip()]):
        wanted += (separator if index else []) + how.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    assert got.tolist() == wanted
    assert made.rows[0] == 0 and made.rows[-1] in (11, 13) and (np.diff(made.rows) >= 0).all()


def test_a_single_last_token_is_not_lost() -> None:
    how = reading_of(tiny_folder("uncased", "masked-lm"), max_length=12)
    for words in range(2, 40):
        made = blocks(table_of([{"text": "a " * words}], CausalLM), how, words=False)
        assert made.ids.lengths.sum() == words + 2 * len(made)
        assert (made.ids.lengths > 3).all()


def test_a_llamas_blocks_begin_as_its_texts_do(tmp_path: Any) -> None:
    how = reading_of(tiny_folder("roberta", "masked-lm"), max_length=10)
    made = blocks(table_of(texts(5), CausalLM), how, words=False)
    opening, closing = how.tokenizer.bos_token_id, how.tokenizer.eos_token_id
    assert {made.ids[index][0] for index in range(len(made))} == {opening}
    assert {made.ids[index][-1] for index in range(len(made))} == {closing}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": " "}, {"text": ""}], r"the data has no text: all of its 2 rows are blank"),
        ([{"text": "a b"}, {"text": None}], r"row 2: None where a text should be"),
    ],
)
def test_rows_that_are_none_are_named(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        blocks(table_of(rows, CausalLM), reading_of(tiny_folder("uncased", "masked-lm")), words=False)


def test_what_cannot_be_is_said(tmp_path: Any) -> None:
    how = reading("gpt2", 20, tmp_path)
    with pytest.raises(InputError, match="a tokenizer with a mask token"):
        MaskedLM().encode(table_of(texts(2), MaskedLM), how)
    with pytest.raises(InputError, match="too little text to learn from"):
        CausalLM().encode(table_of([{"text": "a"}], CausalLM), how)
    with pytest.raises(InputError, match="long='truncate', and language models learn from texts as a whole"):
        CausalLM().encode(table_of(texts(2), CausalLM), Reading(how.tokenizer, how.arch, 20, "truncate"))


@pytest.mark.parametrize("vocabulary", ["uncased", "chinese", "roberta"])
def test_masks_have_the_promised_shares(vocabulary: str) -> None:
    """15 % of the words, whole; of their tokens 80 % hidden, 10 % others, 10 % as they are."""
    how = reading_of(tiny_folder(vocabulary, "masked-lm"), max_length=100)
    goal = MaskedLM()
    examples = goal.encode(table_of(texts(40), MaskedLM), how)
    draw = np.random.default_rng(0)
    everything = np.arange(len(examples))
    targets: Any = examples.targets
    special = np.isin(examples.ids.flat, how.tokenizer.all_special_ids)
    counts = np.zeros(4)
    words = learnt_words = 0
    seen = np.zeros(len(examples.ids.flat))
    for _ in range(60):
        batch = goal.batch(how, examples, everything, draw)
        assert batch.tokens is not None
        places = batch.tokens.numpy()
        hidden = np.zeros(len(special), bool)
        hidden[places] = True
        seen += hidden
        assert not (hidden & special).any() and not (hidden & (targets.flat < 0)).any()
        owners = np.repeat(everything, examples.ids.lengths) * 100_000 + targets.flat
        for owner in np.unique(owners[hidden]):
            assert hidden[owners == owner].all(), "a word is hidden whole"
        words += len(np.unique(owners[targets.flat >= 0]))
        learnt_words += len(np.unique(owners[hidden]))
        before, after = examples.ids.flat[places], batch.packed.ids.numpy()[places]
        assert batch.targets.tolist() == before.tolist()
        masked = after == how.tokenizer.mask_token_id
        counts += [len(places), masked.sum(), (~masked & (before != after)).sum(), (before == after).sum()]
        rest = np.setdiff1d(np.arange(len(special)), places)
        assert (batch.packed.ids.numpy()[rest] == examples.ids.flat[rest]).all()
    assert learnt_words / words == pytest.approx(0.15, abs=0.005)
    assert counts[1:] / counts[0] == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    assert (seen[targets.flat >= 0] > 0).mean() > 0.99, "each time others"


def test_words_are_whole_and_chinese_characters_are_words() -> None:
    for vocabulary in ("uncased", "chinese", "roberta"):
        how = reading_of(tiny_folder(vocabulary, "masked-lm"), max_length=100)
        made = MaskedLM().encode(table_of([{"text": "unbelievable 北京大学 london"}], MaskedLM), how)
        targets: Any = made.targets
        words = [word for word in targets[0].tolist() if word >= 0]
        assert sorted(set(words)) == list(range(6)), (vocabulary, words)


def test_tokens_alone_may_be_hidden() -> None:
    how = reading_of(tiny_folder("uncased", "masked-lm"), max_length=100)
    goal = MaskedLM(share=0.3, whole_words=False)
    examples = goal.encode(table_of([{"text": "unbelievable " * 20}], MaskedLM), how)
    batch = goal.batch(how, examples, np.arange(1), np.random.default_rng(0))
    assert len(batch.targets) == round(0.3 * (len(examples.ids[0]) - 2))


def test_a_masked_words_loss_is_the_references() -> None:
    place = tiny_folder("uncased", "masked-lm")
    here = lesson(place, None, texts(6), MaskedLM, max_length=40)
    batch = here.batch(seed=3)
    model = reference(place, "masked-lm")
    assert batch.tokens is not None
    labels = torch.full_like(batch.packed.ids, IGNORED)
    labels[batch.tokens] = batch.targets
    total = 0.0
    for begin, end in batch.packed.spans:
        with torch.no_grad():
            count = int((labels[begin:end] != IGNORED).sum())
            out = model(input_ids=batch.packed.ids[None, begin:end], labels=labels[None, begin:end])
            total += float(out.loss) * count
    assert float(here.objective()(batch).detach()) == pytest.approx(total, rel=1e-5)
    assert batch.weight == len(batch.targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_next_tokens_loss_is_the_references(smoothing: float, tmp_path: Any) -> None:
    place = build("gpt2", shared("vocab", "gpt2"), tmp_path)
    here = lesson(place, None, texts(5), CausalLM, max_length=30, settings=Settings(label_smoothing=smoothing))
    model = transformers.GPT2LMHeadModel.from_pretrained(place).eval()
    total = 0.0
    for index in range(len(here.examples)):
        ids = torch.as_tensor(here.examples.ids[index]).long()[None]
        with torch.no_grad():
            out = model(input_ids=ids, labels=ids)
            loss = torch.nn.functional.cross_entropy(
                out.logits[0, :-1], ids[0, 1:], label_smoothing=smoothing, reduction="sum"
            )
        assert smoothing or float(loss) == pytest.approx(float(out.loss) * (ids.shape[1] - 1), rel=1e-5)
        total += float(loss)
    weight = int((here.examples.ids.lengths - 1).sum())
    assert here.loss() == pytest.approx(total / weight, rel=1e-5)


def test_text_without_words_is_not_learnt(tmp_path: Any) -> None:
    """A block of special tokens alone would have a loss of nothing."""
    place = tiny_bert(tmp_path / "tiny", "masked-lm")
    how = reading_of(place, max_length=6)
    with pytest.raises(InputError, match="too little text to learn from"):
        MaskedLM().encode(table_of([{"text": "[SEP] [CLS]"}], MaskedLM), how)
    made = MaskedLM().encode(table_of([{"text": "[SEP] [SEP] [SEP] [SEP] a good film"}], MaskedLM), how)
    assert made.ids.lengths.tolist() == [5]
