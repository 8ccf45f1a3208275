"""TrainingArguments: the field's names and defaults, every name known or refused; collators as the field has them."""

import dataclasses
import json
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import enfold
from enfold.errors import InputError
from enfold.training import collators
from enfold.training.argument_names import LACKING, NO_DIFFERENCE, OF_TEXTS, OLDER
from enfold.training.arguments import TrainingArguments
from enfold.training.seq2seq import Seq2SeqTrainingArguments
from tests.training.support import tiny

OWN = {field.name: field for field in dataclasses.fields(TrainingArguments)}


def default_of(field: Any) -> Any:
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


# ── arguments ────────────────────────────────────────────────────────────────


def test_every_name_of_the_reference_is_known_with_its_default() -> None:
    own = {name: default_of(field) for name, field in OWN.items()}
    known = {**own, **NO_DIFFERENCE, **{name: default for name, (default, _) in LACKING.items()}}
    for field in dataclasses.fields(transformers.TrainingArguments):
        name = OLDER.get(field.name, field.name)
        assert name in known, field.name
        if name != "output_dir":
            assert known[name] == default_of(field), field.name


def test_the_references_own_defaults_are_taken(tmp_path: Path) -> None:
    theirs = transformers.TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    given = {field.name: default_of(field) for field in dataclasses.fields(theirs)}
    ours = TrainingArguments(**given)
    assert ours.output_dir == TrainingArguments().output_dir == "trainer_output"
    for name in OWN:
        if name not in ("output_dir", "report_to", "warmup_ratio", "eval_steps", "use_cpu", "disable_tqdm"):
            assert getattr(ours, name) == getattr(theirs, name, None), name


def test_defaults_become_settings() -> None:
    settings = TrainingArguments().to_settings()
    assert (settings.batch_size, settings.epochs, settings.learning_rate, settings.weight_decay) == (8, 3.0, 5e-5, 0.0)
    assert (settings.order, settings.optimizer, settings.schedule, settings.warmup) == ("random", "adamw", "linear", 0)
    assert (settings.log_every, settings.evaluate_every, settings.save_every) == (500, None, 500)
    assert (settings.seed, settings.precision, settings.max_grad_norm) == (42, "float32", 1.0)


def test_arguments_become_settings() -> None:
    settings = TrainingArguments(
        "out",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=3,
        max_steps=7,
        lr_scheduler_type="constant_with_warmup",
        warmup_ratio=0.1,
        optim="lion_32bit",
        adam_beta2=0.99,
        max_grad_norm=0,
        bf16=True,
        gradient_checkpointing=True,
        torch_compile=True,
        label_smoothing_factor=0.1,
        train_sampling_strategy="group_by_length",
        eval_strategy="steps",
        eval_steps=5,
        save_steps=10,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        save_total_limit=2,
    ).to_settings(processes=2)
    assert (settings.batch_size, settings.max_steps, settings.schedule, settings.warmup) == (24, 7, "constant", 0.1)
    assert (settings.optimizer, settings.betas, settings.max_grad_norm) == ("lion", (0.9, 0.99), None)
    assert (settings.precision, settings.checkpoint_activations, settings.compile) == ("bfloat16", True, True)
    assert (settings.order, settings.label_smoothing, settings.keep) == ("bucketed", 0.1, 2)
    assert (settings.evaluate_every, settings.save_every, settings.metric) == (5, 10, "-loss")


def test_older_names_are_what_they_are_now(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "enfold"):
        old = TrainingArguments(
            evaluation_strategy="epoch",
            group_by_length=True,
            no_cuda=True,
            overwrite_output_dir=True,
            save_safetensors=True,
            dataloader_num_workers=4,
            per_gpu_train_batch_size=2,
        )
    assert (old.eval_strategy, old.train_sampling_strategy, old.use_cpu) == ("epoch", "group_by_length", True)
    assert (old.evaluation_strategy, old.dataloader_num_workers, old.per_device_train_batch_size) == ("epoch", 4, 2)
    assert "dataloader_num_workers=4 makes no difference here" in caplog.text
    with pytest.raises(InputError, match="evaluation_strategy and eval_strategy were both given"):
        TrainingArguments(evaluation_strategy="epoch", eval_strategy="steps")


def test_enumerations_of_the_reference_and_yamls_no_are_taken() -> None:
    strategy = transformers.trainer_utils.IntervalStrategy.EPOCH
    chosen = TrainingArguments(eval_strategy=strategy, save_strategy=False, lr_scheduler_type="cosine")
    assert (chosen.eval_strategy, chosen.save_strategy) == ("epoch", "no")


def test_all_that_is_not_to_be_had_is_told_at_once() -> None:
    with pytest.raises(InputError) as error:
        TrainingArguments(
            fp16=True,
            deepspeed="ds.json",
            push_to_hub=True,
            report_to=["wandb", "tensorboard"],
            learning_rte=1e-3,
            optim="galore_adamw",
            lr_scheduler_type="polynomial",
            num_train_epochs=0,
            eval_steps=2.5,
            per_device_train_batch_size=0,
            save_strategy="often",
        )
    said = str(error.value)
    for part in (
        "fp16=True is not to be had: bf16=True or float32 here",
        "deepspeed='ds.json' is not to be had",
        "push_to_hub=True is not to be had: save_model(folder)",
        "report_to='wandb' is not to be had: 'tensorboard' or 'none'",
        "learning_rte is unknown; did you mean learning_rate",
        "optim is 'galore_adamw', expected one of adamw_torch_fused",
        "lr_scheduler_type is 'polynomial', expected one of linear, cosine",
        "num_train_epochs is 0, expected a number above 0",
        "eval_steps is 2.5, expected a whole number, or a share below 1",
        "per_device_train_batch_size is 0, expected a whole number of 1 or more",
        "save_strategy is 'often', expected one of no, steps, epoch, best",
    ):
        assert part in said, part
    assert len(said.splitlines()) == 12


@pytest.mark.parametrize("name", sorted(LACKING))
def test_other_values_than_the_default_are_refused(name: str) -> None:
    TrainingArguments(**{name: LACKING[name][0]})
    other: Any = False if LACKING[name][0] is True else "something else"
    with pytest.raises(InputError, match=f"{name}={other!r} is not to be had"):
        TrainingArguments(**{name: other})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_strategy": "steps"}, "needs evaluations: set eval_strategy"),
        ({"eval_strategy": "epoch", "save_strategy": "steps"}, "needs checkpoints where evaluations are"),
        ({"eval_strategy": "steps", "eval_steps": 3, "save_steps": 10}, "a multiple of eval_steps: 10 and 3"),
    ],
)
def test_the_best_model_needs_checkpoints_where_evaluations_are(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingArguments(load_best_model_at_end=True, **options)


def test_what_the_best_is_follows_from_its_name() -> None:
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    assert (TrainingArguments(**best).metric_for_best_model, TrainingArguments(**best).greater_is_better) == (
        "loss",
        False,
    )
    assert TrainingArguments(**best, metric_for_best_model="f1").to_settings().metric == "f1"


def test_a_constant_rate_has_no_warm_up_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert TrainingArguments(lr_scheduler_type="constant", warmup_steps=9).to_settings().warmup == 0
    assert "'constant_with_warmup' has one" in caplog.text


def test_unknown_attributes_are_errors_and_known_ones_can_be_read() -> None:
    chosen = TrainingArguments("out")
    assert (chosen.fp16, chosen.local_rank, chosen.train_batch_size, chosen.device.type) == (False, -1, 8, "cpu")
    assert "learning_rate=5e-05" in repr(chosen)
    assert '"output_dir": "out"' in chosen.to_json_string()
    with pytest.raises(AttributeError, match="have no 'learning_rat'"):
        _ = chosen.learning_rat


def test_arguments_of_texts_are_the_references(tmp_path: Path) -> None:
    own = {field.name: default_of(field) for field in dataclasses.fields(Seq2SeqTrainingArguments)}
    known = {
        **own,
        **NO_DIFFERENCE,
        **{name: default for name, (default, _) in Seq2SeqTrainingArguments.lacking.items()},
    }
    theirs = {field.name: default_of(field) for field in dataclasses.fields(transformers.Seq2SeqTrainingArguments)}
    for given, default in theirs.items():
        name = OLDER.get(given, given)
        if name != "output_dir":
            assert known[name] == default, name
    assert set(own) - set(OWN) | {"sortish_sampler"} == set(OF_TEXTS)
    chosen = Seq2SeqTrainingArguments(
        "out",
        predict_with_generate=True,
        generation_max_length=30,
        generation_config=enfold.GenerationConfig(num_beams=2),
        sortish_sampler=False,
    )
    assert json.loads(chosen.to_json_string())["generation_config"] == {"num_beams": 2}
    assert Seq2SeqTrainingArguments(generation_config=tmp_path).to_dict()["generation_config"] == str(tmp_path)
    assert (chosen.predict_with_generate, chosen.sortish_sampler, chosen.to_settings().batch_size) == (True, False, 8)


def test_all_that_is_wrong_with_arguments_of_texts_is_told_at_once() -> None:
    wrong: dict[str, Any] = {"generation_max_length": 0, "generation_num_beams": 1.5, "generation_config": {}}
    with pytest.raises(InputError) as error:
        Seq2SeqTrainingArguments(**wrong, sortish_sampler=True, predict_with_generat=True, deepspeed="ds.json")
    for part in (
        "generation_max_length is 0, expected a whole number of 1 or more, or None",
        "generation_num_beams is 1.5, expected a whole number",
        "generation_config is a dict, expected an enfold.GenerationConfig",
        "sortish_sampler=True is not to be had: train_sampling_strategy='group_by_length'",
        "predict_with_generat is unknown; did you mean predict_with_generate?",
        "deepspeed='ds.json' is not to be had",
    ):
        assert part in str(error.value), part
    assert len(str(error.value).splitlines()) == 7
    with pytest.raises(
        InputError, match="predict_with_generate is one of Seq2SeqTrainingArguments, for a Seq2SeqTrainer"
    ):
        TrainingArguments(predict_with_generate=True)


# ── collators ────────────────────────────────────────────────────────────────


def encoded(tokenizer: Any, count: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    words = ["a", "good", "bad", "film", "北", "京", "ada", "lives"]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(count)]
    return [dict(tokenizer(text)) for text in texts]


def same(ours: Any, theirs: Any) -> None:
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert type(ours[name]) is type(value), name
        if value is not None:
            assert ours[name].dtype == value.dtype, name
            assert np.array_equal(np.asarray(ours[name]), np.asarray(value)), name


def tokenizers(folder: Path, side: str) -> tuple[Any, Any]:
    ours = enfold.AutoTokenizer.from_pretrained(tiny(folder, "masked-lm"))
    theirs = transformers.BertTokenizerFast.from_pretrained(tiny(folder, "masked-lm"))
    ours.padding_side = theirs.padding_side = side
    return ours, theirs


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 8}, {"padding": "max_length", "max_length": 20}])
def test_padding_collators_give_what_the_references_do(
    tmp_path: Path, options: dict[str, Any], kind: str, side: str
) -> None:
    ours, theirs = tokenizers(tmp_path, side)
    for seed in range(3):
        rows = encoded(ours, 5, seed)
        labelled = [{**row, "label": number} for number, row in enumerate(rows)]
        tagged = [{**row, "labels": list(range(len(row["input_ids"])))} for row in rows]
        written = [{**row, "labels": row["input_ids"][: 1 + number]} for number, row in enumerate(rows)]
        for name, given in (
            ("DataCollatorWithPadding", labelled),
            ("DataCollatorWithPadding", rows),
            ("DataCollatorForTokenClassification", tagged),
            ("DataCollatorForTokenClassification", rows),
            ("DataCollatorForSeq2Seq", written),
            ("DataCollatorForSeq2Seq", rows),
        ):
            chosen = {"return_tensors": kind, **options}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = getattr(transformers, name)(theirs, **chosen)([dict(row) for row in given])
            same(getattr(collators, name)(ours, **chosen)(given), expected)


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_the_default_collator_gives_what_the_references_does(kind: Any) -> None:
    for given in (
        [{"input_ids": [1, 2], "label": 1, "text": "a"}, {"input_ids": [3, 4], "label": 0, "text": "b"}],
        [{"input_ids": [1, 2], "label": 1.5}, {"input_ids": [3, 4], "label": 0.5}],
        [{"input_ids": np.array([1, 2]), "label_ids": [1, 0]}, {"input_ids": np.array([3, 4]), "label_ids": [0, 0]}],
        [{"input_ids": [1, 2], "other": None}, {"input_ids": [3, 4], "other": None}],
    ):
        same(collators.default_data_collator(given, kind), transformers.default_data_collator(given, kind))
        same(collators.DefaultDataCollator(kind)(given), transformers.DefaultDataCollator(kind)(given))
    with pytest.raises(InputError, match="input_ids have different lengths, and this collator pads nothing"):
        collators.default_data_collator([{"input_ids": [1]}, {"input_ids": [1, 2]}])


@pytest.mark.parametrize(
    "options", [{}, {"mlm_probability": 0.5}, {"mask_replace_prob": 0.5, "random_replace_prob": 0.3}]
)
def test_masks_are_the_references_for_a_seed(tmp_path: Path, options: dict[str, Any]) -> None:
    ours, theirs = tokenizers(tmp_path, "right")
    for seed in range(4):
        rows = encoded(ours, 6, seed)
        made = collators.DataCollatorForLanguageModeling(ours, seed=seed, **options)
        expected = transformers.DataCollatorForLanguageModeling(theirs, seed=seed, **options)
        for _ in range(2):
            same(made(rows), expected([dict(row) for row in rows]))


def test_labels_of_next_tokens_are_the_references(tmp_path: Path) -> None:
    ours, theirs = tokenizers(tmp_path, "right")
    rows = encoded(ours, 6, 0)
    expected = transformers.DataCollatorForLanguageModeling(theirs, mlm=False, pad_to_multiple_of=8)(rows)
    same(collators.DataCollatorForLanguageModeling(ours, mlm=False, pad_to_multiple_of=8)(rows), expected)


def test_choices_are_padded_as_the_references_are(tmp_path: Path) -> None:
    ours, theirs = tokenizers(tmp_path, "right")
    single = encoded(ours, 8, 0)
    rows = [
        {**{name: [single[at][name], single[at + 1][name]] for name in single[0]}, "label": at % 2}
        for at in range(0, 8, 2)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = transformers.DataCollatorForMultipleChoice(theirs)([dict(row) for row in rows])
    same(collators.DataCollatorForMultipleChoice(ours)(rows), expected)


def test_padding_without_a_tokenizer_pads_what_there_is() -> None:
    given = [
        {"input_ids": [1, 2, 3], "labels": [1, 0, 1], "name": "甲"},
        {"input_ids": torch.tensor([4]), "labels": np.array([0]), "name": "乙"},
    ]
    batch = collators.padded(given, 7)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 7, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[1, 0, 1], [0, -100, -100]]


def test_collators_refuse_what_they_cannot_do(tmp_path: Path) -> None:
    tokenizer, _ = tokenizers(tmp_path, "right")
    made = collators.DataCollatorForLanguageModeling
    with pytest.raises(InputError, match=r"enfold.fit.*hides whole words"):
        made(tokenizer, whole_word_mask=True)
    with pytest.raises(InputError, match="mlm_probability is 2, expected a share"):
        made(tokenizer, mlm_probability=2)
    with pytest.raises(InputError, match="more than 1 together"):
        made(tokenizer, mask_replace_prob=0.9, random_replace_prob=0.2)
    with pytest.raises(InputError, match="a list of dictionaries; got nothing"):
        collators.DataCollatorWithPadding(tokenizer)([])
