"""The Seq2SeqTrainer: metrics of texts that a model writes, from the same arrays as the reference's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import enfold
from enfold.errors import InputError
from tests.training.support import tiny
from tests.training.trainers import CASES, T5, VOCABULARY, arguments, both, features, pad

CLASSIFY = next(case for case in CASES if case.name == "SequenceClassification")
TEXTS = next(case for case in CASES if case.name == "Seq2SeqLM")
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 64,
    "dropout": 0.0,
    "init_std": 0.3,
    "scale_embedding": True,
}
BART = {**SMALL, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
BART |= {"forced_eos_token_id": 2}
MARIAN = {**SMALL, "pad_token_id": 3, "eos_token_id": 0, "decoder_start_token_id": 3, "num_beams": 2}
MARIAN |= {"forced_eos_token_id": 0, "max_length": 12}


@dataclass(frozen=True)
class Family:
    """A family's tiny model."""

    name: str
    config: Callable[[], Any]


FAMILIES = [
    Family("t5", lambda: transformers.T5Config(**T5)),
    Family("bart", lambda: transformers.BartConfig(**BART)),
    Family("marian", lambda: transformers.MarianConfig(**MARIAN)),
]
# ends texts early, and would learn steps of rounding
WIDE = Family("t5-wide", lambda: transformers.T5Config(**T5, initializer_factor=2.0))
EACH = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def models(family: Family, where: Path) -> tuple[Any, Any]:
    """The same model in the reference library and in this one."""
    folder = where / family.name
    if not folder.exists():
        torch.manual_seed(0)
        transformers.AutoModelForSeq2SeqLM.from_config(family.config()).save_pretrained(folder)
    load = "AutoModelForSeq2SeqLM"
    return tuple(getattr(library, load).from_pretrained(folder) for library in (transformers, enfold))  # type: ignore[return-value]


def trainers(family: Family, where: Path, seen: list[Any], **changes: Any) -> tuple[Any, Any]:
    """The reference's trainer and ours; what their metrics are given goes to ``seen``."""
    own = {name: changes.pop(name) for name in ("train_dataset", "eval_dataset") if name in changes}
    chosen = arguments(where / "out", predict_with_generate=True, **changes)

    def measure(found: Any) -> dict[str, float]:
        seen.append((found.predictions.copy(), found.label_ids.copy()))
        return {"gen_len": float((found.predictions != 0).sum(1).mean())}

    made = []
    for library, model in zip((transformers, enfold), models(family, where), strict=True):
        args = library.Seq2SeqTrainingArguments(**chosen)
        made.append(library.Seq2SeqTrainer(model, args, data_collator=pad, compute_metrics=measure, **own))
    return made[0], made[1]


def same(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert set(ours) == set(theirs) - {name for name in theirs if name.endswith("model_preparation_time")}
    for name in ours:
        if not name.endswith(("runtime", "per_second")):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name


LENGTHS: list[dict[str, Any]] = [
    {"max_length": 7},
    {"max_length": 30, "num_beams": 3},
    {"max_new_tokens": 9},
    {"max_new_tokens": 25, "num_beams": 2, "length_penalty": 0.5},
    {"num_beams": 3, "early_stopping": True, "no_repeat_ngram_size": 2, "max_length": 24, "min_length": 4},
]


@pytest.mark.parametrize("family", [*FAMILIES, WIDE], ids=lambda family: family.name)
@pytest.mark.parametrize("options", LENGTHS, ids=lambda options: ",".join(options))
def test_metrics_see_the_arrays_that_the_references_do(family: Family, options: dict[str, Any], tmp_path: Path) -> None:
    seen: list[Any] = []
    reference, trainer = trainers(family, tmp_path, seen, eval_dataset=features(TEXTS, 11, seed=1))
    expected, found = reference.evaluate(**options), trainer.evaluate(**options)
    same(expected, found)
    assert "eval_gen_len" in found
    for theirs, ours in zip(*seen, strict=True):
        assert np.array_equal(ours, theirs)
    rows = features(TEXTS, 6, seed=2)
    theirs, ours = (each.predict(rows, **options) for each in (reference, trainer))
    same(theirs.metrics, ours.metrics)
    assert np.array_equal(ours.predictions, theirs.predictions)
    assert np.array_equal(ours.label_ids, theirs.label_ids)


@EACH
def test_a_model_that_learns_is_judged_by_what_it_writes_then(family: Family, tmp_path: Path) -> None:
    seen: list[Any] = []
    rows = features(TEXTS, 40)
    chosen: dict[str, Any] = {"max_steps": 24, "eval_strategy": "steps", "eval_steps": 8, "logging_steps": 8}
    chosen |= {"generation_max_length": 9, "generation_num_beams": 2}
    reference, trainer = trainers(
        family, tmp_path, seen, train_dataset=rows, eval_dataset=features(TEXTS, 9, seed=1), **chosen
    )
    reference.train()
    trainer.train()
    lines = [
        [line for line in each.state.log_history if "eval_loss" in line or "loss" in line]
        for each in (reference, trainer)
    ]
    assert len(lines[0]) == 6
    for theirs, ours in zip(*lines, strict=True):
        for name in ("loss", "eval_loss", "eval_gen_len"):
            assert ours.get(name) == pytest.approx(theirs.get(name), abs=1e-4), name
    written = [[predictions for predictions, _ in seen[begin : begin + 3]] for begin in (0, 3)]
    assert all(np.array_equal(*pair) for pair in zip(*written, strict=True))
    assert not np.array_equal(written[0][0], written[0][2]), "what is written changes"


def with_decoder_inputs(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """What the reference's collator makes where it has a model: labels, one place further on."""
    batch = pad(rows)
    shifted = torch.roll(batch["labels"], 1, dims=1)
    shifted[:, 0] = 0
    return {**batch, "decoder_input_ids": shifted.clamp(min=0)}


def test_decoder_inputs_made_of_labels_are_not_what_a_text_begins_with(tmp_path: Path) -> None:
    """Label smoothing needs them in the reference; the loss beside the texts is smoothed in both."""
    seen: list[Any] = []
    rows = features(TEXTS, 9, seed=1)
    reference, trainer = trainers(FAMILIES[0], tmp_path, seen, label_smoothing_factor=0.2)
    for each in (reference, trainer):
        each.data_collator = with_decoder_inputs
    same(reference.evaluate(rows, max_length=11), trainer.evaluate(rows, max_length=11))
    assert np.array_equal(seen[1][0], seen[0][0])
    starts = torch.tensor([[0, 41, 52]] * len(rows))
    begun = [{**row, "decoder_input_ids": start.tolist()} for row, start in zip(rows, starts, strict=True)]
    for each in (reference, trainer):
        each.data_collator = lambda given: pad([{n: row[n] for n in row if n != "labels"} for row in given])
    theirs, ours = (each.predict(begun, max_length=25, num_beams=2) for each in (reference, trainer))
    assert np.array_equal(ours.predictions, theirs.predictions)
    assert (ours.predictions[:, 1:3] == [41, 52]).all()


def test_without_a_length_all_batches_have_the_references(tmp_path: Path) -> None:
    """Whose very first batch may have a token more than all that follow."""
    reference, trainer = trainers(FAMILIES[0], tmp_path, [])
    rows = features(TEXTS, 7, seed=1)
    reference.predict(rows)
    for family_rows in (rows, features(TEXTS, 9, seed=2)):
        expected = reference.predict(family_rows)
        found = trainer.predict(family_rows)
        assert np.array_equal(found.predictions, expected.predictions)
        assert np.array_equal(found.label_ids, expected.label_ids)


def test_options_of_a_file_or_an_object_stand_in_place_of_the_models(tmp_path: Path) -> None:
    values = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "max_length": 13, "num_beams": 2}
    expected = transformers.GenerationConfig(**values)
    expected.save_pretrained(tmp_path / "options")
    rows = features(TEXTS, 5, seed=3)
    theirs, _ = trainers(FAMILIES[0], tmp_path, [], generation_config=str(tmp_path / "options"))
    wanted = theirs.predict(rows).predictions
    own = enfold.GenerationConfig(**values)
    for given in (tmp_path / "options", str(tmp_path / "options" / "generation_config.json"), own):
        _, model = models(FAMILIES[0], tmp_path)
        chosen = arguments(tmp_path / "out", predict_with_generate=True, generation_config=given)
        trainer = enfold.Seq2SeqTrainer(model, enfold.Seq2SeqTrainingArguments(**chosen), data_collator=pad)
        assert np.array_equal(trainer.predict(rows).predictions, wanted)
        assert model.generation_config.num_beams == 2
        trainer.save_model(tmp_path / "saved")
    lacking = arguments(tmp_path / "out", generation_config=enfold.GenerationConfig(num_beams=2))
    with pytest.raises(InputError, match=r"neither decoder_start_token_id nor bos_token_id: model.generation_config"):
        enfold.Seq2SeqTrainer(model, enfold.Seq2SeqTrainingArguments(**lacking))


@pytest.mark.parametrize("changes", [{"prediction_loss_only": True}, {"predict_with_generate": False}])
def test_nothing_is_written_where_it_is_not_wanted(changes: dict[str, Any], tmp_path: Path) -> None:
    rows = features(TEXTS, 6, seed=1)
    theirs, ours = both(TEXTS, tmp_path)
    chosen = arguments(tmp_path / "out", **{"predict_with_generate": True, **changes})
    reference = transformers.Seq2SeqTrainer(theirs, transformers.Seq2SeqTrainingArguments(**chosen), data_collator=pad)
    trainer = enfold.Seq2SeqTrainer(ours, enfold.Seq2SeqTrainingArguments(**chosen), data_collator=pad)
    ours.generate = None
    same(reference.evaluate(rows), trainer.evaluate(rows))
    expected, found = reference.predict(rows), trainer.predict(rows)
    same(expected.metrics or {}, found.metrics)
    assert (found.predictions is None) == (expected.predictions is None) == ("prediction_loss_only" in changes)


def test_labels_may_lack_and_datasets_have_names(tmp_path: Path) -> None:
    reference, trainer = trainers(FAMILIES[1], tmp_path, seen := [])
    bare = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in features(TEXTS, 5)]
    expected, found = (each.predict(bare, max_length=8) for each in (reference, trainer))
    assert np.array_equal(found.predictions, expected.predictions)
    assert found.label_ids is None
    assert set(found.metrics) == {"test_runtime", "test_samples_per_second", "test_steps_per_second"}
    rows = features(TEXTS, 4)
    metrics = trainer.evaluate({"one": rows, "two": rows[:2]}, max_length=26)
    assert {"eval_one_gen_len", "eval_two_gen_len"} <= set(metrics)
    assert [predictions.shape for predictions, _ in seen] == [(4, 26), (2, 26)], "the options are those of each"


def test_a_collator_and_a_tokenizer_pad_as_the_references_do(tmp_path: Path) -> None:
    folder = tiny(tmp_path, "masked-lm")
    libraries = {transformers: transformers.BertTokenizerFast, enfold: enfold.AutoTokenizer}
    said = []
    texts = [("a good film", "good"), ("ada lives in london", "a bad book"), ("a book , a film .", "ada")]
    for (library, kind), model in zip(libraries.items(), models(FAMILIES[0], tmp_path), strict=True):
        tokenizer = kind.from_pretrained(folder)
        rows = [{**tokenizer(text), "labels": tokenizer(target)["input_ids"]} for text, target in texts]
        for row in rows:
            row.pop("token_type_ids", None)
        chosen = arguments(tmp_path / "out", predict_with_generate=True, per_device_eval_batch_size=2)
        trainer = library.Seq2SeqTrainer(
            model,
            library.Seq2SeqTrainingArguments(**chosen),
            library.DataCollatorForSeq2Seq(tokenizer, model),
            processing_class=tokenizer,
        )
        said.append(trainer.predict(rows, max_length=22))
    assert np.array_equal(said[1].predictions, said[0].predictions)
    assert np.array_equal(said[1].label_ids, said[0].label_ids)


def test_a_batch_is_written_at_once(tmp_path: Path) -> None:
    _, trainer = trainers(FAMILIES[0], tmp_path, [], per_device_eval_batch_size=4)
    write, sizes = trainer.model.generate, []
    trainer.model.generate = lambda **given: sizes.append(len(given["input_ids"])) or write(**given)
    trainer.predict(features(TEXTS, 10))
    assert sizes == [4, 4, 2]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    _, classifier = both(CLASSIFY, tmp_path)
    _, model = models(FAMILIES[0], tmp_path)
    with_texts = enfold.Seq2SeqTrainingArguments(**arguments(tmp_path / "out", predict_with_generate=True))
    with pytest.raises(InputError, match="needs a model that writes, and this is a BertForSequenceClassification"):
        enfold.Seq2SeqTrainer(classifier, with_texts)
    with pytest.raises(InputError, match="args are TrainingArguments, expected Seq2SeqTrainingArguments"):
        enfold.Seq2SeqTrainer(model, enfold.TrainingArguments())  # type: ignore[arg-type]
    trainer = enfold.Seq2SeqTrainer(model, with_texts, data_collator=pad)
    rows = features(TEXTS, 2)
    with pytest.raises(InputError, match=r"'num_beam' is no option .near: num_beams"):
        trainer.predict(rows, num_beam=3)
    shown = enfold.Seq2SeqTrainer(
        model, with_texts, data_collator=lambda given: {**pad(given), "inputs_embeds": torch.zeros(1)}
    )
    with pytest.raises(InputError, match="and the batch has inputs_embeds: leave them out"):
        shown.predict(rows)
    model.config.pad_token_id = None
    with pytest.raises(InputError, match="nothing says what texts are padded with"):
        trainer.predict(rows)
