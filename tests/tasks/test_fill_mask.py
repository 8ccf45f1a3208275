"""Filled masks: the reference's records, long texts read around each mask, and little computed."""

from typing import Any

import pytest

from enfold.errors import InputError, TaskError
from enfold.tasks import pipeline
from enfold.tokenization import Tokenizer
from tests.tasks.oracle import ENGINES, assert_equal, folder, golden, tiny_pipeline
from tests.tasks.tiny import LIMIT, Tiny

UNCASED = Tiny(family="bert", head="masked-lm", vocabulary="uncased")
ROBERTA = Tiny(family="roberta", head="masked-lm", vocabulary="roberta")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("tiny", "call", "records"), golden("fill-mask"))
def test_records_are_those_of_the_reference(tiny: Tiny, call: Any, records: Any, engine: str) -> None:
    assert_equal(tiny_pipeline("fill-mask", tiny, engine)(*call["args"], **call["kwargs"]), records)


def spied(monkeypatch: pytest.MonkeyPatch, task: Any) -> list[tuple[list[int], int]]:
    """Collects, for each token whose logits are computed, the ids of its window and its place there."""
    seen: list[tuple[list[int], int]] = []
    run = task.model.run

    def spy(batch: Any, *, fields: Any = (), tokens: Any = None) -> Any:
        for token in tokens:
            begin, end = next(span for span in batch.spans if span[0] <= token < span[1])
            seen.append((batch.ids[begin:end].tolist(), int(token) - begin))
        outputs = run(batch, fields=fields, tokens=tokens)
        assert len(outputs["logits"]) == len(tokens)
        return outputs

    monkeypatch.setattr(task.model, "run", spy)
    return seen


def test_logits_are_computed_for_masks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = tiny_pipeline("fill-mask", UNCASED)
    seen = spied(monkeypatch, fill)
    fill(["The [MASK] is [MASK].", "Nothing but a long sentence and one [MASK]."])
    assert [ids[place] for ids, place in seen] == [fill.tokenizer.mask_token_id] * 3


def test_a_mask_anywhere_in_a_long_text_is_read_with_what_surrounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = tiny_pipeline("fill-mask", UNCASED)
    for place in range(0, 3000, 293):
        seen = spied(monkeypatch, fill)
        words = ["river"] * 3000
        words[place] = "[MASK]"
        records = fill(" ".join(words), top_k=2, targets=["king", "cat"])
        ((ids, at),) = seen
        room = min(LIMIT // 4 - 1, place, 2999 - place)
        assert room <= at < len(ids) - room
        (best, _) = records
        assert best["sequence"].split() == [best["token_str"] if word == "[MASK]" else word for word in words]
        monkeypatch.undo()


def test_masks_of_a_long_text_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = tiny_pipeline("fill-mask", UNCASED)
    seen = spied(monkeypatch, fill)
    places = [0, 5, 100, 101, 900]
    words = [f"{number}" for number in range(901)]
    for place in places:
        words[place] = "[MASK]"
    found = fill(" ".join(words), targets=["king"])
    assert len(found) == len(places) <= len(seen) <= 2 * len(places)
    for place, (record,) in zip(places, found, strict=True):
        filled = record["sequence"].split()
        assert filled.count("[MASK]") == len(places) - 1
        assert filled[1 + place] == "king", "the sequence keeps [CLS] where it keeps masks"


def test_a_mask_that_was_cut_away_is_refused() -> None:
    fill = tiny_pipeline("fill-mask", UNCASED, long="truncate")
    with pytest.raises(InputError, match="1 of 2 masks are behind the limit of 128 tokens"):
        fill("[MASK] " + "river " * 500 + "[MASK]")


def test_the_best_are_the_best_and_targets_keep_their_scores() -> None:
    fill = tiny_pipeline("fill-mask", UNCASED)
    every = fill("A [MASK].", top_k=10**6)
    scores = [record["score"] for record in every]
    assert len({record["token"] for record in every}) == len(scores) == len(fill.tokenizer)
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-3)
    assert fill("A [MASK].", top_k=300) == every[:300]
    targets = fill("A [MASK].", targets=["king", "cat", "king"], top_k=50)
    assert targets == [record for record in every if record["token_str"] in ("king", "cat")]
    (one,) = fill("A [MASK].", targets="Paris")
    assert one["token_str"] == "paris"


def test_a_target_may_begin_with_a_space() -> None:
    (one,) = tiny_pipeline("fill-mask", ROBERTA)("I saw<mask>.", targets=[" Paris"])
    assert (one["token_str"], one["sequence"]) == (" Paris", "I saw Paris.")


def test_a_list_gives_a_list() -> None:
    fill = tiny_pipeline("fill-mask", UNCASED)
    assert fill(["A [MASK]."]) == [fill("A [MASK].")]
    assert fill([]) == []


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (None, {}, "NoneType"),
        ([1], {}, "int"),
        ("", {}, "empty"),
        ("No mask here", {}, r"write \[MASK\].*No mask here"),
        (["A [MASK].", "A <mask>."], {}, r"write \[MASK\]"),
        ("A [MASK].", {"top_k": 0}, "top_k is 0"),
        ("A [MASK].", {"top_k": True}, "top_k is True"),
        ("A [MASK].", {"targets": []}, "expected a word"),
        ("A [MASK].", {"targets": ["cat", 3]}, "expected a word"),
        ("A [MASK].", {"targets": ["cat", "unbelievably", " ", "☃"]}, r"un \+ .*' ' is nothing; '☃' is \[UNK\]"),
    ],
)
def test_what_can_not_be_filled_is_refused(inputs: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_pipeline("fill-mask", UNCASED)(inputs, **options)


def test_a_tokenizer_without_mask_token_is_refused() -> None:
    tokenizer = Tokenizer.from_folder(folder(UNCASED))
    tokenizer.mask_token = None
    with pytest.raises(TaskError, match="no mask token"):
        pipeline("fill-mask", folder(UNCASED), tokenizer=tokenizer, engine="cpu")
