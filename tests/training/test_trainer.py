"""The Trainer: the same losses, metrics and arrays as the reference's, the same calls, and clear refusals."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import enfold
from enfold.errors import InputError
from enfold.training.arguments import TrainingArguments
from enfold.training.callbacks import EarlyStoppingCallback, TrainerCallback
from enfold.training.collators import DataCollatorForLanguageModeling, DataCollatorWithPadding
from enfold.training.trainer import Trainer
from enfold.training.trainer_names import ABSENT
from tests.training.support import tiny
from tests.training.trainers import BATCH, BERT, CASES, LABELS, STEPS, Case, arguments, both, features, pad

BY_NAME = {case.name: case for case in CASES}
CLASSIFY = BY_NAME["SequenceClassification"]


def losses(trainer: Any) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def ours(where: Path, case: Case = CLASSIFY, count: int = 60, **changes: Any) -> Trainer:
    own = {"logging_steps": 2, "max_steps": 8, **changes}
    names = TrainingArguments.__dataclass_fields__
    trained = {name: value for name, value in own.items() if name not in names}
    chosen = {name: value for name, value in own.items() if name in names}
    _, model = both(case, where / "model")
    trained.setdefault("train_dataset", features(case, count))
    kind = trained.pop("kind", Trainer)
    return kind(model, TrainingArguments(**arguments(where / "out", **chosen)), **trained)  # type: ignore[no-any-return]


# ── the same as the reference ────────────────────────────────────────────────


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_losses_metrics_and_predictions_are_the_references(case: Case, tmp_path: Path) -> None:
    rows, held_out = features(case, 90), features(case, 23, seed=1)
    theirs, mine = both(case, tmp_path)
    chosen = arguments(tmp_path / "out", eval_strategy="steps", eval_steps=20)
    said: list[Any] = []

    def measure(found: Any) -> dict[str, float]:
        said.append(found)
        label = found.label_ids[0] if isinstance(found.label_ids, tuple) else found.label_ids
        return {"labels": float(np.sum(np.asarray(label) != -100))}

    reference = transformers.Trainer(
        theirs,
        transformers.TrainingArguments(**chosen),
        data_collator=pad,
        train_dataset=rows,
        eval_dataset=held_out,
        compute_metrics=measure,
    )
    expected = reference.train()
    trainer = Trainer(
        mine, TrainingArguments(**chosen), train_dataset=rows, eval_dataset=held_out, compute_metrics=measure
    )
    found = trainer.train()
    assert len(losses(trainer)) == STEPS
    assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)
    assert np.mean(losses(reference)[-5:]) < 0.95 * np.mean(losses(reference)[:5]), "the curve is one of learning"
    assert (found.global_step, found.training_loss) == (STEPS, pytest.approx(expected.training_loss, abs=1e-4))
    assert set(found.metrics) >= set(expected.metrics)
    assert found.metrics["total_flos"] > 0
    for line, wanted in zip(trainer.state.log_history[:-1], reference.state.log_history[:-1], strict=True):
        assert set(line) == set(wanted) - {"eval_model_preparation_time"}
        for name in set(line) & {"epoch", "step", "learning_rate", "eval_loss", "eval_labels"}:
            assert line[name] == pytest.approx(wanted[name], abs=1e-4), name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_predictions_are_the_references(case: Case, tmp_path: Path) -> None:
    held_out = features(case, 23, seed=1)
    theirs, mine = both(case, tmp_path)
    chosen = arguments(tmp_path / "out")
    reference = transformers.Trainer(theirs, transformers.TrainingArguments(**chosen), data_collator=pad)
    expected = reference.predict(held_out)  # type: ignore[arg-type]
    found = Trainer(mine, TrainingArguments(**chosen)).predict(held_out)
    assert set(found.metrics) == set(expected.metrics or {}) - {"test_model_preparation_time"}
    assert found.metrics["test_loss"] == pytest.approx((expected.metrics or {})["test_loss"], abs=1e-5)
    as_tuple = [each if isinstance(each, tuple) else (each,) for each in (found.predictions, expected.predictions)]
    lengths = [len(row["input_ids"]) for row in held_out]
    written = [len(row["labels"]) for row in held_out] if case.name == "Seq2SeqLM" else lengths
    for index, (ours_, theirs_) in enumerate(zip(*as_tuple, strict=True)):
        assert ours_.shape == theirs_.shape
        if case.name == "SequenceClassification":
            assert np.allclose(ours_, theirs_, atol=1e-5)
            continue
        for row, length in enumerate(lengths if index and case.name == "Seq2SeqLM" else written):
            assert np.allclose(ours_[row, :length], theirs_[row, :length], atol=1e-5)
    pairs = zip(np.atleast_2d(found.label_ids), np.atleast_2d(expected.label_ids), strict=True)  # type: ignore[arg-type]
    assert all(np.array_equal(*pair) for pair in pairs)


def test_label_smoothing_and_weight_decay_are_the_references(tmp_path: Path) -> None:
    for name in ("SequenceClassification", "TokenClassification", "CausalLM"):
        case = BY_NAME[name]
        theirs, mine = both(case, tmp_path)
        rows = features(case, 40)
        chosen = arguments(tmp_path / "out", label_smoothing_factor=0.2, weight_decay=0.05, max_steps=20)
        chosen |= {"lr_scheduler_type": "cosine", "max_grad_norm": 0.5}
        reference = transformers.Trainer(
            theirs, transformers.TrainingArguments(**chosen), data_collator=pad, train_dataset=rows, eval_dataset=rows
        )
        trainer = Trainer(mine, TrainingArguments(**chosen), train_dataset=rows, eval_dataset=rows)
        reference.train()
        trainer.train()
        assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(reference.evaluate()["eval_loss"], abs=1e-4)


def test_accumulated_batches_are_one(tmp_path: Path) -> None:
    """As the reference has it for causal models; for other heads it adds the means of batches up."""
    case = BY_NAME["CausalLM"]
    rows = features(case, 64)
    theirs, mine = both(case, tmp_path)
    chosen = arguments(tmp_path / "out", gradient_accumulation_steps=4, max_steps=12)
    reference = transformers.Trainer(
        theirs, transformers.TrainingArguments(**chosen), data_collator=pad, train_dataset=rows
    )
    reference.train()
    trainer = Trainer(mine, TrainingArguments(**chosen), train_dataset=rows)
    trainer.train()
    assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd"])
def test_optimizers_are_the_references(optimizer: str, tmp_path: Path) -> None:
    rows = features(CLASSIFY, 40)
    theirs, mine = both(CLASSIFY, tmp_path)
    chosen = arguments(tmp_path / "out", optim=optimizer, learning_rate=1e-2, max_steps=20, weight_decay=0.01)
    chosen |= {"lr_scheduler_type": "constant"}
    reference = transformers.Trainer(
        theirs, transformers.TrainingArguments(**chosen), data_collator=pad, train_dataset=rows
    )
    reference.train()
    trainer = Trainer(mine, TrainingArguments(**chosen), train_dataset=rows)
    trainer.train()
    assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)


BART = {"vocab_size": 180, "d_model": 24, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 3}
BART |= {"decoder_attention_heads": 3, "encoder_ffn_dim": 30, "decoder_ffn_dim": 30, "max_position_embeddings": 40}


@pytest.mark.parametrize(
    ("name", "config", "label"),
    [
        (
            "BertForPreTraining",
            lambda: transformers.BertConfig(**BERT),
            lambda row: {"labels": row["input_ids"], "next_sentence_label": row["labels"] % 2},
        ),
        (
            "BertForNextSentencePrediction",
            lambda: transformers.BertConfig(**BERT),
            lambda row: {"labels": row["labels"] % 2},
        ),
        (
            "ElectraForPreTraining",
            lambda: transformers.ElectraConfig(**BERT, embedding_size=24),
            lambda row: {"labels": [each % 2 for each in row["input_ids"]]},
        ),
        (
            "BartForSequenceClassification",
            lambda: transformers.BartConfig(**BART, dropout=0.0, num_labels=LABELS),
            lambda row: {"input_ids": [*row["input_ids"], 2], "attention_mask": [1, *row["attention_mask"]]},
        ),
    ],
)
def test_heads_that_few_train_are_trained_alike(name: str, config: Any, label: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    getattr(transformers, name)(config()).save_pretrained(tmp_path / name)
    theirs, mine = (getattr(library, name).from_pretrained(tmp_path / name) for library in (transformers, enfold))
    rows = [{**row, **label(row)} for row in features(CLASSIFY, 40)]
    chosen = arguments(tmp_path / "out", max_steps=8)
    reference = transformers.Trainer(
        theirs, transformers.TrainingArguments(**chosen), data_collator=pad, train_dataset=rows
    )
    reference.train()
    trainer = Trainer(mine, TrainingArguments(**chosen), train_dataset=rows)
    trainer.train()
    assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)


def test_tensors_of_a_torch_dataset_and_other_ways_to_compute_give_the_same(tmp_path: Path) -> None:
    rows = features(CLASSIFY, 40)

    class Tensors(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {name: torch.tensor(value) for name, value in rows[index].items()}

    curves = []
    for changes in ({}, {"train_dataset": Tensors()}, {"activation_checkpointing": True}, {"optim": "adamw_torch"}):
        trainer = ours(tmp_path, **{"train_dataset": rows, "logging_steps": 1, **changes})
        trainer.train()
        curves.append(losses(trainer))
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], abs=1e-5)


def test_a_head_without_a_loss_is_refused(tmp_path: Path) -> None:
    transformers.BertModel(transformers.BertConfig(**BERT)).save_pretrained(tmp_path / "base")
    model = enfold.AutoModel.from_pretrained(tmp_path / "base")
    chosen = TrainingArguments(**arguments(tmp_path / "out"))
    with pytest.raises(InputError, match="a base model has no loss"):
        Trainer(model, chosen, train_dataset=features(CLASSIFY, 8)).train()
    with pytest.raises(InputError, match="gave no loss, with input_ids, attention_mask"):
        Trainer(model, chosen, train_dataset=[{"input_ids": [5, 6]}]).train()
    with pytest.raises(InputError, match="activation_checkpointing is not to be had with a compute_loss"):
        ours(tmp_path, activation_checkpointing=True, data_collator=pad).train()


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_other_problems_of_classifiers_are_the_references(problem: str, tmp_path: Path) -> None:
    case = CLASSIFY
    rows = features(case, 40)
    for row in rows:
        row["labels"] = [float(row["labels"] == label) for label in range(LABELS)]
    theirs, mine = both(case, tmp_path)
    theirs.config.problem_type = mine.config.problem_type = problem
    chosen = arguments(tmp_path / "out", max_steps=15)
    reference = transformers.Trainer(
        theirs,
        transformers.TrainingArguments(**chosen),
        data_collator=lambda given: {**pad(given), "labels": torch.tensor([row["labels"] for row in given])},
        train_dataset=rows,
    )
    reference.train()
    trainer = Trainer(mine, TrainingArguments(**chosen), train_dataset=rows)
    trainer.train()
    assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)


def test_padding_on_either_side_changes_nothing(tmp_path: Path) -> None:
    for case in (BY_NAME["TokenClassification"], BY_NAME["QuestionAnswering"]):
        plain = features(case, 30)
        curves = []
        for side in ("none", "right", "left"):
            rows = []
            for number, row in enumerate(plain):
                extra = 0 if side == "none" else number % 4
                made = {}
                for name, value in row.items():
                    if isinstance(value, list):
                        more = [-100 if name == "labels" else 0] * extra
                        made[name] = value + more if side == "right" else more + value
                    else:
                        made[name] = value + (extra if side == "left" else 0)
                rows.append({name: np.array(value) for name, value in made.items()})
            trainer = ours(tmp_path, case, train_dataset=rows, logging_steps=1)
            trainer.train()
            curves.append(losses(trainer))
        assert curves[1] == pytest.approx(curves[0], abs=1e-6)
        assert curves[2] == pytest.approx(curves[0], abs=1e-6)


# ── collators and losses of one's own ────────────────────────────────────────


def test_a_loss_of_ones_own_is_what_is_learnt(tmp_path: Path) -> None:
    weights = torch.tensor([1.0, 3.0, 0.5])

    class Weighted(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = torch.nn.functional.cross_entropy(outputs.logits, labels, weights)
            return (loss, outputs) if return_outputs else loss

    class Theirs(transformers.Trainer):  # type: ignore[misc]
        compute_loss = Weighted.compute_loss

    rows, held_out = features(CLASSIFY, 60), features(CLASSIFY, 11, seed=3)
    theirs, mine = both(CLASSIFY, tmp_path)
    chosen = arguments(tmp_path / "out", max_steps=20)
    reference = Theirs(theirs, transformers.TrainingArguments(**chosen), data_collator=pad, train_dataset=rows)
    reference.train()
    trainer = Weighted(mine, TrainingArguments(**chosen), train_dataset=rows)
    trainer.train()
    assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)
    expected = reference.evaluate(held_out)["eval_loss"]  # type: ignore[arg-type]
    assert trainer.evaluate(held_out)["eval_loss"] == pytest.approx(expected, abs=1e-4)
    assert trainer.predict(held_out).predictions.shape == (11, LABELS)


def test_a_loss_function_is_given_outputs_and_labels(tmp_path: Path) -> None:
    def function(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        flat = outputs.logits.reshape(-1, LABELS)
        return torch.nn.functional.cross_entropy(flat, labels.reshape(-1), reduction="sum") / num_items_in_batch

    case = BY_NAME["TokenClassification"]
    whole = ours(tmp_path, case, logging_steps=1, gradient_accumulation_steps=2)
    called = ours(tmp_path, case, logging_steps=1, gradient_accumulation_steps=2, compute_loss_func=function)
    whole.train()
    called.train()
    assert losses(called) == pytest.approx(losses(whole), abs=1e-5)


@pytest.mark.parametrize("name", ["TokenClassification", "CausalLM", "Seq2SeqLM"])
def test_a_collator_of_ones_own_is_called(name: str, tmp_path: Path) -> None:
    calls = []

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        calls.append(len(rows))
        return pad(rows)

    case = BY_NAME[name]
    packed = ours(tmp_path, case, logging_steps=1, gradient_accumulation_steps=2)
    called = ours(tmp_path, case, logging_steps=1, gradient_accumulation_steps=2, data_collator=collate)
    packed.train()
    called.train()
    assert set(calls) == {BATCH}
    assert losses(called) == pytest.approx(losses(packed), abs=1e-5)


def test_masks_are_chosen_anew_each_time_and_the_same_for_a_seed(tmp_path: Path) -> None:
    folder = tiny(tmp_path, "masked-lm")
    tokenizer = enfold.AutoTokenizer.from_pretrained(folder)
    rows = [dict(tokenizer("ada lives in london . a good film , a bad book ?")) for _ in range(8)]
    curves = []
    for seed in (1, 1, 2):
        model = enfold.AutoModelForMaskedLM.from_pretrained(folder)
        chosen = arguments(tmp_path / "out", max_steps=6, seed=seed, learning_rate=1e-9)
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3)
        trainer = Trainer(model, TrainingArguments(**chosen), collator, rows, rows[:3])
        trainer.train()
        curves.append(losses(trainer))
        assert trainer.evaluate()["eval_loss"] == trainer.evaluate()["eval_loss"]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]
    assert len(set(curves[0])) > 1


def test_next_tokens_are_learnt_from_ids_alone(tmp_path: Path) -> None:
    case = BY_NAME["CausalLM"]
    tokenizer = enfold.AutoTokenizer.from_pretrained(tiny(tmp_path))
    bare = [{"input_ids": row["input_ids"]} for row in features(case, 30)]
    with_labels = ours(tmp_path, case, logging_steps=1, train_dataset=features(case, 30))
    with_collator = ours(
        tmp_path,
        case,
        logging_steps=1,
        train_dataset=bare,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    with_labels.train()
    with_collator.train()
    assert losses(with_collator) == pytest.approx(losses(with_labels), abs=1e-6)


# ── what is told, kept and stopped ───────────────────────────────────────────


class Events(TrainerCallback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda args, state, control, **kwargs: self.told.append(f"{name[3:]} {state.global_step}")
        return super().__getattribute__(name)


def test_callbacks_are_told_in_the_references_order(tmp_path: Path) -> None:
    rows = features(CLASSIFY, 3 * BATCH)
    theirs, mine = both(CLASSIFY, tmp_path)
    chosen = arguments(tmp_path / "out", max_steps=-1, num_train_epochs=2, logging_steps=2, eval_strategy="epoch")
    chosen |= {"save_strategy": "epoch"}
    seen = []
    for library, model in ((transformers, theirs), (enfold.training.trainer, mine)):
        events = Events()
        made = transformers.TrainingArguments if library is transformers else TrainingArguments
        trainer = library.Trainer(
            model, made(**chosen), data_collator=pad, train_dataset=rows, eval_dataset=rows, callbacks=[events]
        )
        trainer.train()
        seen.append(events.told)
    assert seen[1] == seen[0]


def test_gradients_are_there_around_the_optimizers_step(tmp_path: Path) -> None:
    norms: list[float] = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            gradients = [each.grad for each in kwargs["model"].tree.head.parameters()]
            norms.append(float(torch.linalg.vector_norm(torch.stack([each.norm() for each in gradients]))))
            assert kwargs["lr_scheduler"].get_last_lr() == [kwargs["optimizer"].param_groups[0]["lr"]]

    ours(tmp_path, callbacks=[Look]).train()
    assert len(norms) == 8
    assert all(0 < norm <= 1.001 for norm in norms)


def test_events_that_never_come_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Waits(TrainerCallback):
        def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            raise AssertionError

    class Theirs(transformers.TrainerCallback):
        def on_epoch_ends(self) -> None:
            raise AssertionError

    ours(tmp_path, callbacks=[Waits, Theirs, transformers.PrinterCallback])
    assert "Waits has on_substep_end, which the Trainer never calls" in caplog.text
    assert "Theirs has on_epoch_ends, which the Trainer never calls" in caplog.text
    assert "PrinterCallback" not in caplog.text


def test_training_stops_where_a_callback_says_so(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            assert kwargs["model"] is not None
            control.should_training_stop = state.global_step == 3

    trainer = ours(tmp_path, callbacks=[Stop])
    assert trainer.train().global_step == 3


def test_what_a_callback_stopped_goes_on_where_it_is_asked_for_again(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = control.should_save = state.global_step == 3

    ours(tmp_path, callbacks=[Stop], save_strategy="steps").train()
    again = ours(tmp_path, save_strategy="steps")
    found = again.train(resume_from_checkpoint=True)
    assert found.global_step == again.state.max_steps > 3 and found.training_loss > 0


def test_callbacks_ask_for_logs_evaluations_and_checkpoints(tmp_path: Path) -> None:
    class Ask(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_log = control.should_evaluate = control.should_save = state.global_step == 3

    rows = features(CLASSIFY, 8)
    trainer = ours(tmp_path, callbacks=[Ask()], eval_dataset=rows, logging_steps=500, save_strategy="steps")
    trainer.train()
    assert [line["step"] for line in trainer.state.log_history if "loss" in line] == [3]
    assert [line["step"] for line in trainer.state.log_history if "eval_loss" in line] == [3]
    assert sorted(each.name for each in (tmp_path / "out" / "checkpoints").iterdir()) == [
        "step-00000003",
        "step-00000008",
    ]
    with pytest.raises(InputError, match="should_save, and save_strategy is 'no'"):
        ours(tmp_path, callbacks=[Ask()], eval_dataset=rows).train()


def test_an_epoch_is_not_cut_short_in_silence(tmp_path: Path) -> None:
    class Cut(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_epoch_stop = True

    with pytest.raises(InputError, match="should_epoch_stop, which is not to be had: set should_training_stop"):
        ours(tmp_path, callbacks=[Cut()]).train()


def test_early_stopping_and_the_best_model(tmp_path: Path) -> None:
    values = iter([0.5, 0.9, 0.91, 0.2, 0.3, 1.0, 1.0])
    weights: list[torch.Tensor] = []

    def measure(found: Any) -> dict[str, float]:
        weights.append(trainer.model.tree.state_dict()["embeddings.words.weight"].clone())
        return {"score": next(values)}

    trainer = ours(
        tmp_path,
        max_steps=30,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        eval_dataset=features(CLASSIFY, 8),
        compute_metrics=measure,
        callbacks=[EarlyStoppingCallback(2, 0.05)],
    )
    assert trainer.train().global_step == 8, "the third is better by less than the threshold, as is the fourth"
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.91, 6)
    assert torch.equal(trainer.model.tree.state_dict()["embeddings.words.weight"], weights[2])
    kept = sorted(each.name for each in (tmp_path / "out" / "checkpoints").iterdir())
    assert kept == ["step-00000006", "step-00000008"]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "out" / "checkpoints" / "step-00000006")


@pytest.mark.parametrize("resume", [True, "folder"])
def test_a_run_goes_on_to_the_last_bit(resume: Any, tmp_path: Path) -> None:
    class Halt(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 9:
                raise KeyboardInterrupt

    held_out = features(CLASSIFY, 12, seed=4)
    chosen: dict[str, Any] = {"max_steps": 20, "save_strategy": "steps", "save_steps": 3, "logging_steps": 4}
    chosen |= {"train_sampling_strategy": "random", "eval_strategy": "steps", "eval_steps": 5, "eval_dataset": held_out}
    whole = ours(tmp_path / "whole", **chosen)
    whole.train()
    halted = ours(tmp_path / "parts", callbacks=[Halt()], **chosen)
    with pytest.raises(KeyboardInterrupt):
        halted.train()
    trainer = ours(tmp_path / "parts", **chosen)
    place = resume if resume is True else tmp_path / "parts" / "out" / "checkpoints" / "step-00000006"
    assert trainer.train(resume_from_checkpoint=place).global_step == 20
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name
    names = {"loss", "eval_loss", "step", "epoch", "learning_rate"}
    kept = [
        [{name: line[name] for name in names & set(line)} for line in each.state.log_history[:-1]]
        for each in (trainer, whole)
    ]
    assert kept[0] == kept[1]


def test_there_must_be_a_checkpoint_to_go_on_from(tmp_path: Path) -> None:
    trainer = ours(tmp_path, save_strategy="steps", save_steps=4)
    with pytest.raises(InputError, match="there is no checkpoint in"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train()
    other = ours(tmp_path, save_strategy="steps", save_steps=4, learning_rate=1e-5)
    with pytest.raises(InputError, match="other settings"):
        other.train(resume_from_checkpoint=True)


def test_a_run_that_starts_anew_moves_earlier_checkpoints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        ours(tmp_path, save_strategy="steps", save_steps=4).train()
    assert "2 checkpoints of an earlier run are moved" in caplog.text
    assert len(list((tmp_path / "out" / "earlier-checkpoints").iterdir())) == 2


def test_what_is_saved_is_what_was_trained(tmp_path: Path) -> None:
    folder = tiny(tmp_path)
    tokenizer = enfold.AutoTokenizer.from_pretrained(folder)
    model = enfold.AutoModelForSequenceClassification.from_pretrained(folder)
    texts = ["a good film", "a bad book", "ada lives in london", "good good"]
    rows = [{**tokenizer(text), "label": number % 2, "text": text} for number, text in enumerate(texts)]
    trainer = Trainer(
        model,
        TrainingArguments(**arguments(tmp_path / "out", max_steps=5)),
        DataCollatorWithPadding(tokenizer),
        rows,
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    trainer.save_metrics("train", {"loss": 1.0})
    trainer.save_metrics("eval", {"eval_loss": 2.0})
    trainer.save_metrics("test", {"test_loss": 3.0}, combined=False)
    for name, metrics in (("train", {"loss": 1.0}), ("all", {"loss": 1.0, "eval_loss": 2.0})):
        assert json.loads((tmp_path / "out" / f"{name}_results.json").read_text(encoding="utf-8")) == metrics
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = loaded(**inputs).logits.numpy()
    assert np.allclose(trainer.predict(rows).predictions, expected, atol=1e-5)
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 5
    assert enfold.AutoTokenizer.from_pretrained(tmp_path / "out")("a good film") == tokenizer("a good film")


def test_predictions_need_no_labels_and_datasets_have_names(tmp_path: Path) -> None:
    trainer = ours(tmp_path, BY_NAME["CausalLM"])
    found = trainer.predict([{"input_ids": [5, 6, 7]}, {"input_ids": [8, 9]}])
    assert found.label_ids is None
    assert found.predictions.shape == (2, 3, 60)
    assert "test_loss" not in found.metrics
    rows = features(BY_NAME["CausalLM"], 4)
    assert {"eval_one_loss", "eval_two_loss"} <= set(trainer.evaluate({"one": rows, "two": rows[:2]}))


def test_metrics_get_what_they_ask_for(tmp_path: Path) -> None:
    given = []
    trainer = ours(
        tmp_path,
        eval_dataset=features(CLASSIFY, 6),
        compute_metrics=lambda found: given.append(found) or {"a": np.float64(1)},
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
        include_for_metrics=["inputs", "loss"],
    )
    assert trainer.evaluate(metric_key_prefix="dev")["dev_a"] == 1.0
    predictions, labels, inputs, rows = given[0]
    assert predictions.shape == labels.shape == rows.shape == (6,)
    assert inputs.shape[0] == 6


def test_names_of_the_references_trainer_are_there_or_explained(tmp_path: Path) -> None:
    theirs, mine = both(CLASSIFY, tmp_path)
    chosen = arguments(tmp_path / "out", max_steps=1)
    rows = features(CLASSIFY, 8)
    reference = transformers.Trainer(theirs, transformers.TrainingArguments(**chosen), pad, rows)
    trainer = Trainer(mine, TrainingArguments(**chosen), pad, rows)
    reference.train()
    trainer.train()
    names = {name for name in dir(reference) if not name.startswith("_")}
    assert sorted(name for name in names if not hasattr(trainer, name) and name not in ABSENT) == []
    assert sorted(name for name in ABSENT if hasattr(trainer, name)) == []
    for name, advice in ABSENT.items():
        with pytest.raises(AttributeError, match=re.escape(f"this Trainer has no {name}: {advice}")):
            getattr(trainer, name)
    with pytest.raises(AttributeError, match=r"has no hyperparameter_search: enfold\.tune"):
        trainer.hyperparameter_search  # noqa: B018
    with pytest.raises(AttributeError, match="a Trainer has no attribute 'evalute'; did you mean evaluate"):
        trainer.evalute  # noqa: B018
    assert trainer.model_wrapped is trainer.model
    assert (trainer.tokenizer, trainer.is_in_train, trainer.end()) == (None, False, None)


def test_batches_can_be_looked_at(tmp_path: Path) -> None:
    held_out = features(CLASSIFY, 6, seed=1)
    trainer = ours(tmp_path, eval_dataset={"small": held_out}, data_collator=pad)
    assert len(trainer.get_train_dataloader()) == 60 // BATCH
    batch = next(iter(trainer.get_train_dataloader()))
    assert torch.isfinite(trainer.model(**batch).loss)
    ids = [each["input_ids"] for each in trainer.get_eval_dataloader("small")]
    assert [len(each) for each in ids] == [4, 2]
    assert torch.equal(ids[0], pad(held_out[:4])["input_ids"])
    by_name = trainer.evaluate("small")["eval_loss"]
    assert by_name == trainer.evaluate(held_out)["eval_loss"]
    with pytest.raises(InputError, match="no eval_dataset named 'large'; there is small"):
        trainer.evaluate("large")


def test_outputs_may_be_left_out_of_metrics_while_training(tmp_path: Path) -> None:
    shapes = []
    case = BY_NAME["QuestionAnswering"]
    trainer = ours(
        tmp_path,
        case,
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        eval_dataset=features(case, 4),
        compute_metrics=lambda found: shapes.append(np.shape(found.predictions)) or {},
    )
    trainer.train(ignore_keys_for_eval=["end_logits"])
    trainer.evaluate()
    assert shapes == [(4, 9), (4, 9), (2, 4, 9)]


# ── refusals ─────────────────────────────────────────────────────────────────

BAD_ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("SequenceClassification", {"input_ids": [1, 2]}, "row 1: there are no labels, only input_ids"),
    (
        "SequenceClassification",
        {"text": "好", "labels": 1},
        "no input_ids, only text, labels: tokenize the texts before",
    ),
    ("SequenceClassification", {"input_ids": [[1, 2]], "labels": 1}, r"shape \(1, 2\), expected one row of ids"),
    ("SequenceClassification", {"input_ids": [1, 999], "labels": 1}, "the id 999, and the model has 0 to 179"),
    ("SequenceClassification", {"input_ids": [1] * 41, "labels": 1}, "41 tokens, and the model reads 40"),
    ("SequenceClassification", {"input_ids": [1, 2], "labels": 3}, "the label 3, and the model has 0 to 2"),
    ("SequenceClassification", {"input_ids": [1, 2], "labels": "yes"}, "labels are 'yes', expected numbers"),
    ("SequenceClassification", {"input_ids": [1, 2], "labels": [0, 1]}, "labels are 2 numbers, expected one"),
    ("SequenceClassification", {"input_ids": [1], "attention_mask": [0], "labels": 1}, "no tokens but padding"),
    ("SequenceClassification", {"input_ids": [1], "attention_mask": [1, 1], "labels": 1}, "2 values for 1 ids"),
    ("TokenClassification", {"input_ids": [1, 2], "labels": [0]}, r"shape \(1,\), expected one for each of 2 tokens"),
    ("QuestionAnswering", {"input_ids": [1, 2], "start_positions": 0}, "there are no end_positions"),
    ("Seq2SeqLM", {"input_ids": [1, 2], "labels": [-100]}, "labels hold no token"),
]


@pytest.mark.parametrize(("name", "row", "message"), BAD_ROWS)
def test_features_that_cannot_be_learnt_from_are_named(
    name: str, row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    case = BY_NAME[name]
    with pytest.raises(InputError, match=message):
        ours(tmp_path, case, train_dataset=[*features(case, 1), row]).train()


def test_many_wrong_features_are_counted(tmp_path: Path) -> None:
    rows = [{"input_ids": [1], "labels": 9}] * 25
    with pytest.raises(InputError, match=r"25 features can't be learnt from:(\n.*){10}\n  and 15 more"):
        ours(tmp_path, train_dataset=rows).train()


def test_models_and_methods_that_are_not_for_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes a model, or model_init"):
        Trainer()
    with pytest.raises(InputError, match="'bert-base-uncased', expected a loaded model"):
        Trainer("bert-base-uncased")
    with pytest.raises(InputError, match=r"Linear, and this Trainer trains models of enfold"):
        Trainer(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="engine='torch'"):
        Trainer(enfold.AutoModelForSequenceClassification.from_pretrained(tiny(tmp_path), engine="cpu"))

    class Sampled(Trainer):
        def get_train_dataloader(self) -> None:
            return None

    with pytest.raises(InputError, match="Sampled overrides get_train_dataloader, which this Trainer never calls"):
        ours(tmp_path, kind=Sampled)
    with pytest.raises(InputError, match=r"the optimizer is <object object.*expected a torch.optim.Optimizer"):
        ours(tmp_path, optimizers=(object(), None))
    with pytest.raises(InputError, match="eval_strategy is 'epoch', and there is no eval_dataset"):
        ours(tmp_path, eval_strategy="epoch")
    with pytest.raises(InputError, match="train_dataset has no rows"):
        ours(tmp_path, train_dataset=[]).train()
    with pytest.raises(
        InputError, match=r"train_dataset is a BatchEncoding of columns .input_ids, token_type_ids, att"
    ):
        tokenizer = enfold.AutoTokenizer.from_pretrained(tiny(tmp_path))
        ours(tmp_path, train_dataset=tokenizer(["a film"])).train()
    with pytest.raises(InputError, match="train_dataset is a generator, expected a list of features"):
        ours(tmp_path, train_dataset=(row for row in features(CLASSIFY, 2))).train()
    with pytest.raises(InputError, match="row 0 of the dataset is a str"):
        ours(tmp_path, train_dataset=["a text"]).train()
    with pytest.raises(InputError, match="not to be had for question-answering"):
        ours(tmp_path, BY_NAME["QuestionAnswering"], label_smoothing_factor=0.1).train()
    with pytest.raises(InputError, match="a object is no callback"):
        ours(tmp_path, callbacks=[object()])
    with pytest.raises(InputError, match="metric_for_best_model is 'f1', and the evaluation has loss"):
        rows = features(CLASSIFY, 8)
        ours(tmp_path, eval_strategy="epoch", eval_dataset=rows, metric_for_best_model="f1").train()
    with pytest.raises(InputError, match=r"eval_strategy is 'no'.*metric_for_best_model is not set"):
        ours(tmp_path, callbacks=[EarlyStoppingCallback()]).train()


def test_lines_are_written_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    ours(tmp_path, report_to="tensorboard", eval_strategy="epoch", eval_dataset=features(CLASSIFY, 4)).train()
    assert list((tmp_path / "out" / "tensorboard").glob("events.*"))


def test_early_stopping_looks_at_the_dataset_that_it_is_told_of(tmp_path: Path) -> None:
    trainer = ours(
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        eval_dataset={"one": features(CLASSIFY, 4), "two": features(CLASSIFY, 4, 1)},
        metric_for_best_model="two_loss",
        callbacks=[EarlyStoppingCallback(2, 100.0)],
    )
    assert trainer.train().global_step == 6
    assert trainer.state.best_metric is not None


def test_a_model_can_be_made_when_it_is_wanted(tmp_path: Path) -> None:
    _, model = both(CLASSIFY, tmp_path)
    trainer = Trainer(
        args=TrainingArguments(**arguments(tmp_path / "out", max_steps=2)),
        model_init=lambda: model,
        train_dataset=features(CLASSIFY, 8),
    )
    assert trainer.train().global_step == 2


def test_choices_are_learnt_together(tmp_path: Path) -> None:
    """The packed path against calls of the model with padded batches."""
    folder = tmp_path / "choices"
    transformers.AutoModelForMultipleChoice.from_config(CLASSIFY.config()).save_pretrained(folder)
    single = features(CLASSIFY, 40)
    rows = []
    for number in range(20):
        pair = single[2 * number : 2 * number + 2]
        rows.append({name: [row[name] for row in pair] for name in ("input_ids", "attention_mask")})
        rows[-1]["labels"] = number % 2
    curves = []
    for own in (False, True):
        model = enfold.AutoModelForMultipleChoice.from_pretrained(folder)
        chosen = TrainingArguments(**arguments(tmp_path / "out", max_steps=8))
        trainer = Trainer(model, chosen, train_dataset=rows, eval_dataset=rows)
        if own:
            trainer = Trainer(model, chosen, partial(trainer.collate), rows, rows)
        trainer.train()
        curves.append([*losses(trainer), trainer.evaluate()["eval_loss"]])
    assert curves[1] == pytest.approx(curves[0], abs=1e-5)
    assert len(curves[0]) == 9
