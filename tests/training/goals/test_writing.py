"""Sequence to sequence: what is read, what is written, and gaps that can be filled again."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from enfold.auto import load_model
from enfold.errors import InputError, TextTooLongError
from enfold.tokenization import Tokenizer
from enfold.training.goals import Reading
from enfold.training.goals.writing import Seq2Seq, SpanCorruption, _spans
from enfold.training.settings import Long, Settings
from tests.support import shared
from tests.tasks.writers import VOCABULARIES, build
from tests.training.goals.support import lesson, table_of

ROWS = [
    {"source": "How old are you?", "target": "Wie alt bist du?"},
    {"source": "a house", "target": "ein Haus, ein Heim, 北京"},
    {"source": "unbelievable stories of old", "target": "ja"},
]


@pytest.fixture(scope="module", params=["t5", "marian"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name: str = request.param
    return build(name, shared("vocab", VOCABULARIES[name]), tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    folder = build("t5", shared("vocab", "t5-small"), tmp_path_factory.mktemp("t5-gaps"))
    model: Any = load_model(str(folder), "seq2seq-lm")
    yield Reading(Tokenizer.from_folder(folder), model.arch, 64, "window")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_references(place: Path, smoothing: float) -> None:
    here = lesson(place, None, ROWS, Seq2Seq, settings=Settings(label_smoothing=smoothing))
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    total = weight = 0.0
    for index, row in enumerate(ROWS):
        inputs = tokenizer(row["source"], text_target=row["target"], return_tensors="pt")
        assert here.examples.ids[index].tolist() == inputs["input_ids"][0].tolist()
        with torch.no_grad():
            out = model(**inputs)
        labels = inputs["labels"][0]
        loss = torch.nn.functional.cross_entropy(out.logits[0], labels, label_smoothing=smoothing, reduction="sum")
        assert smoothing or float(loss) == pytest.approx(float(out.loss) * len(labels), rel=1e-5)
        total, weight = total + float(loss), weight + len(labels)
    assert here.loss() == pytest.approx(total / weight, rel=2e-5)


@pytest.mark.parametrize("long", ["truncate", "error"])
def test_long_texts_are_cut_on_both_sides_with_a_count_or_refused(
    place: Path, long: Long, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*ROWS, {"source": "a", "target": "long " * 50}]
    if long == "error":
        with pytest.raises(
            TextTooLongError, match=r"1 of 4 targets are over the limit of 16 tokens, the first at row 4"
        ):
            lesson(place, None, rows, Seq2Seq, max_length=16, long=long)
        with pytest.raises(TextTooLongError, match=r"1 of 4 texts are over the limit of 16 tokens, the first at row 4"):
            flipped = [{"source": row["target"], "target": row["source"]} for row in rows]
            lesson(place, None, flipped, Seq2Seq, max_length=16, long=long)
        return
    here = lesson(place, None, rows, Seq2Seq, max_length=16, long=long)
    targets: Any = here.examples.targets
    end = here.reading.tokenizer.eos_token_id
    assert len(targets[3]) == 16 and targets[3][-1] == end
    assert "1 of 4 targets were cut at 16 tokens" in caplog.text


def test_windows_are_refused(place: Path) -> None:
    with pytest.raises(InputError, match="learns from each text as a whole"):
        lesson(place, None, ROWS, Seq2Seq, long="window")


def test_an_evaluation_writes_in_the_order_of_the_rows(place: Path) -> None:
    """The metrics are those of what the model writes greedily, one text after another."""
    from enfold.training import metrics

    rows = [{"source": " ".join(["house"] * (1 + index % 7)), "target": f"Haus {index}"} for index in range(18)]
    here = lesson(place, None, rows, _Short())
    expected = metrics.Generation()
    for row in rows:
        ids = here.reading.tokenizer(row["source"])["input_ids"]
        written = here.model.generate(torch.tensor([ids]), max_new_tokens=_Short.written_tokens, num_beams=1)
        expected.update([here.reading.tokenizer.decode(written[0].tolist(), skip_special_tokens=True)], [row["target"]])
    found = here.goal.examine(here.model, here.reading, table_of(rows, Seq2Seq))
    assert found == pytest.approx(expected.result())


@given(length=st.integers(2, 3000), share=st.floats(0.05, 0.5), mean=st.floats(1, 10), seed=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_spans_hide_the_promised_share(length: int, share: float, mean: float, seed: int) -> None:
    starts, ends = _spans(length, share, mean, np.random.default_rng(seed))
    hidden = sum(ends) - sum(starts)
    assert hidden == max(1, min(length - 1, round(length * share)))
    assert 1 <= len(starts) <= 99
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False)), "two never touch"
    assert starts[0] > 0 and ends[-1] <= length


def test_gaps_can_be_filled_again(t5: Reading) -> None:
    """The source with its spans put back is the text, and each time others are hidden."""
    goal = SpanCorruption()
    goal.start = 0
    rows = [{"text": "the quick brown fox jumps over the lazy dog " * 9}, {"text": "Ada lives in London, 北京"}]
    examples = goal.encode(table_of(rows, SpanCorruption), t5)
    sentinels = t5.tokenizer.convert_tokens_to_ids([f"<extra_id_{index}>" for index in range(100)])
    draw = np.random.default_rng(0)
    sources = set()
    hidden = whole = 0
    for _ in range(20):
        batch = goal.batch(t5, examples, np.arange(len(examples)), draw)
        assert batch.source is not None
        targets = batch.targets.numpy()
        for index, (begin, end) in enumerate(batch.source.spans):
            source = batch.source.ids[begin:end].tolist()
            written = targets[slice(*batch.packed.spans[index])].tolist()
            read = batch.packed.ids[slice(*batch.packed.spans[index])].tolist()
            assert read == [0, *written[:-1]]
            used = [each for each in source if each in sentinels]
            assert used == sentinels[: len(used)]
            assert [each for each in written if each in sentinels] == sentinels[: len(used) + 1]
            assert written[-2:] == [sentinels[len(used)], t5.tokenizer.eos_token_id]
            spans = {
                sentinel: written[written.index(sentinel) + 1 : written.index(following)]
                for sentinel, following in zip(used, sentinels[1:], strict=False)
            }
            filled = [token for each in source for token in spans.get(each, [each])]
            assert filled == examples.ids[index].tolist()
            hidden, whole = hidden + sum(map(len, spans.values())), whole + len(filled) - 1
            sources.add(tuple(source))
    assert hidden / whole == pytest.approx(0.15, abs=0.02)
    assert len(sources) > 0.9 * 20 * len(examples)


def test_gaps_have_the_references_loss(t5: Reading, tmp_path: Path) -> None:
    folder = build("t5", shared("vocab", "t5-small"), tmp_path)
    here = lesson(folder, None, [{"text": "the quick brown fox jumps over the lazy dog " * 5}], SpanCorruption)
    batch = here.batch()
    assert batch.source is not None and len(batch.source.spans) == 1 + (len(here.examples) - 1)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    total = 0.0
    for (begin, end), (first, last) in zip(batch.source.spans, batch.packed.spans, strict=True):
        with torch.no_grad():
            labels = batch.targets[None, first:last]
            total += float(model(input_ids=batch.source.ids[None, begin:end], labels=labels).loss) * (last - first)
    assert float(here.objective()(batch).detach()) == pytest.approx(total, rel=1e-5)


def test_a_tokenizer_without_sentinels_is_refused(t5: Reading, tmp_path: Path) -> None:
    folder = build("marian", shared("vocab", VOCABULARIES["marian"]), tmp_path)
    with pytest.raises(InputError, match="needs a tokenizer with sentinels"):
        lesson(folder, None, [{"text": "a b c"}], SpanCorruption)


def test_blank_targets_are_named(place: Path) -> None:
    with pytest.raises(InputError, match=r"1 of 4 rows .*\n  row 4: 'target' is '', expected a text"):
        lesson(place, None, [*ROWS, {"source": "a", "target": ""}], Seq2Seq)


def test_an_evaluation_takes_constant_memory(t5: Reading, tmp_path: Path) -> None:
    folder = build("t5", shared("vocab", "t5-small"), tmp_path)
    model: Any = load_model(str(folder), "seq2seq-lm", engine="torch")
    peaks = []
    for count in (40, 160):
        table = table_of([{"source": "house", "target": "Haus"}] * count, Seq2Seq)
        goal = _Short()
        goal.examine(model, t5, table.take(range(8)))
        tracemalloc.start()
        goal.examine(model, t5, table)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


class _Short(Seq2Seq):
    """Writes few tokens."""

    written_tokens = 6
