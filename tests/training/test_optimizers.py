"""Optimizers and schedulers of the caller's: the reference's losses, runs that go on to the last bit, refusals."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.optim import lr_scheduler

import enfold
from enfold.checkpoint.safetensors import write_safetensors
from enfold.errors import InputError
from enfold.training.callbacks import TrainerCallback
from enfold.training.optimizer_state import memory_of, restore_memory
from enfold.training.trainer import Trainer
from enfold.training.trainer_optimizers import extra_parameters
from tests.training.trainers import CASES, STEPS, arguments, both, features, pad

BY_NAME = {case.name: case for case in CASES}
CLASSIFY = BY_NAME["SequenceClassification"]

Made = tuple[Any, Any]


def losses(trainer: Any) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def rates(trainer: Any) -> list[float]:
    return [line["learning_rate"] for line in trainer.state.log_history if "loss" in line]


def ours(where: Path, made: Callable[[Any], Made] = lambda model: (None, None), **changes: Any) -> Any:
    own = {"max_steps": 8, **changes}
    kind = own.pop("kind", Trainer)
    given = {name: own.pop(name) for name in ("eval_dataset", "callbacks", "data_collator") if name in own}
    _, model = both(CLASSIFY, where / "model")
    chosen = enfold.TrainingArguments(**arguments(where / "out", **own))
    rows = given.pop("train_dataset", features(CLASSIFY, 60))
    return kind(model, chosen, train_dataset=rows, optimizers=made(model), **given)


def adamw(model: Any) -> Made:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    return optimizer, lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / STEPS))


def one_cycle(model: Any) -> Made:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    return optimizer, lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=STEPS + 1)


def groups(model: Any) -> Made:
    wide = [each for each in model.parameters() if each.ndim > 1]
    rest = [each for each in model.parameters() if each.ndim == 1]
    members = [{"params": wide, "lr": 1e-3}, {"params": rest, "lr": 4e-3, "weight_decay": 0.0}]
    return torch.optim.Adam(members), None


def restarts(model: Any) -> Made:
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4, centered=True)
    return optimizer, lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=7)


# ── the same as the reference ────────────────────────────────────────────────


@pytest.mark.parametrize("made", [adamw, one_cycle, groups, restarts])
@pytest.mark.parametrize("name", ["SequenceClassification", "CausalLM", "Seq2SeqLM"])
def test_losses_are_the_references_with_the_same_optimizer(
    made: Callable[[Any], Made], name: str, tmp_path: Path
) -> None:
    rows = features(BY_NAME[name], 90)
    chosen = arguments(tmp_path / "out", warmup_steps=3)
    trainers = []
    for library, model in zip((transformers, enfold), both(BY_NAME[name], tmp_path), strict=True):
        args = library.TrainingArguments(**chosen)
        trainer = library.Trainer(model, args, data_collator=pad, train_dataset=rows, optimizers=made(model))
        if library is enfold:
            trainer.data_collator = None  # features are packed
        trainer.train()
        trainers.append(trainer)
    reference, trainer = trainers
    assert len(losses(trainer)) == STEPS
    assert losses(trainer) == pytest.approx(losses(reference), abs=1e-4)
    assert rates(trainer) == pytest.approx(rates(reference), abs=1e-9)
    assert sum(losses(trainer)[-5:]) < sum(losses(trainer)[:5]), "the curve is one of learning"


def test_words_that_never_occur_decay_as_the_callers_optimizer_has_it(tmp_path: Path) -> None:
    rows = features(CLASSIFY, 30)
    theirs, mine = both(CLASSIFY, tmp_path)
    before = theirs.get_input_embeddings().weight.detach().clone()
    chosen = arguments(tmp_path / "out", max_steps=10)
    for library, model in ((transformers, theirs), (enfold, mine)):
        args = library.TrainingArguments(**chosen)
        library.Trainer(model, args, data_collator=pad, train_dataset=rows, optimizers=adamw(model)).train()
    wanted = theirs.get_input_embeddings().weight.detach()
    assert not torch.equal(wanted[-1], before[-1])
    assert torch.allclose(mine.tree.embeddings.words.weight.detach()[61:], wanted[61:], atol=1e-6)


def test_a_scheduler_that_waits_for_a_metric_is_given_it(tmp_path: Path) -> None:
    def made(model: Any) -> Made:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        return optimizer, lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)

    rows, held_out = features(CLASSIFY, 60), features(CLASSIFY, 12, seed=1)
    chosen = arguments(tmp_path / "out", max_steps=30, eval_strategy="steps", eval_steps=3)
    chosen |= {"metric_for_best_model": "loss"}
    found = []
    for library, model in zip((transformers, enfold), both(CLASSIFY, tmp_path), strict=True):
        args = library.TrainingArguments(**chosen)
        trainer = library.Trainer(model, args, pad, rows, held_out, optimizers=made(model))
        trainer.train()
        found.append(trainer)
    assert losses(found[1]) == pytest.approx(losses(found[0]), abs=1e-4)
    assert rates(found[1]) == pytest.approx(rates(found[0]))
    assert len(set(rates(found[1]))) > 1
    with pytest.raises(InputError, match="ReduceLROnPlateau goes by the metric of evaluations: set eval_strategy"):
        ours(tmp_path, made).train()


class Sized:
    """Overrides of what makes the optimizer, for both libraries."""

    def create_optimizer(self, model: Any = None) -> Any:
        self.optimizer = torch.optim.Adagrad(self.model.parameters(), lr=1e-2)  # type: ignore[attr-defined]
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler = lr_scheduler.LinearLR(self.optimizer, 1.0, 0.1, num_training_steps)
        return self.lr_scheduler


class Bare:
    """Without weight decay on embeddings."""

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        return [name for name, each in model.named_parameters() if each.ndim > 1 and "embed" not in name]


class Kind:
    """Another class for the same groups."""

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: Any, model: Any = None) -> Any:
        return torch.optim.NAdam, {"lr": args.learning_rate, "betas": (0.8, 0.99)}


class Later:
    """Another scheduler beside the optimizer of the arguments."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler = lr_scheduler.ExponentialLR(optimizer or self.optimizer, 0.9)  # type: ignore[attr-defined]
        return self.lr_scheduler


@pytest.mark.parametrize("override", [Sized, Bare, Kind, Later])
def test_methods_that_make_optimizers_may_be_overridden(override: type, tmp_path: Path) -> None:
    rows = features(CLASSIFY, 60)
    chosen = arguments(tmp_path / "out", max_steps=25, weight_decay=0.1)
    found = []
    for library, model in zip((transformers, enfold), both(CLASSIFY, tmp_path), strict=True):
        kind = type("Own", (override, library.Trainer), {})
        trainer = kind(model, library.TrainingArguments(**chosen), data_collator=pad, train_dataset=rows)
        trainer.train()
        found.append(trainer)
    assert losses(found[1]) == pytest.approx(losses(found[0]), abs=1e-4)
    assert rates(found[1]) == pytest.approx(rates(found[0]), abs=1e-9)


def test_both_may_be_made_in_one_method(tmp_path: Path) -> None:
    class Own(Trainer):
        def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
            self.lr_scheduler = lr_scheduler.LinearLR(self.optimizer, 1.0, 0.5, num_training_steps)

    class Forgets(Trainer):
        def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
            pass

    trainer = ours(tmp_path, kind=Own)
    trainer.train()
    assert rates(trainer)[0] == 0.1
    assert trainer.get_learning_rates() == pytest.approx([0.05])
    with pytest.raises(InputError, match=r"Forgets.create_optimizer_and_scheduler set no self.optimizer"):
        ours(tmp_path, kind=Forgets).train()


def test_a_class_and_its_options_are_taken(tmp_path: Path) -> None:
    rows = features(CLASSIFY, 60)
    found = []
    for library, model in zip((transformers, enfold), both(CLASSIFY, tmp_path), strict=True):
        args = library.TrainingArguments(**arguments(tmp_path / "out", max_steps=10))
        kind = (torch.optim.Adamax, {"lr": 4e-3})
        trainer = library.Trainer(model, args, pad, rows, optimizer_cls_and_kwargs=kind)
        trainer.train()
        found.append(trainer)
    assert losses(found[1]) == pytest.approx(losses(found[0]), abs=1e-4)


def test_the_arguments_optimizer_is_the_same_however_it_is_made(tmp_path: Path) -> None:
    plain, whole = ours(tmp_path, weight_decay=0.1), ours(tmp_path, weight_decay=0.1)
    made = whole.create_optimizer()
    assert whole.get_num_trainable_parameters() == sum(each.numel() for each in whole.model.parameters())
    for trainer in (plain, whole):
        trainer.train()
    assert whole.optimizer is made
    assert losses(whole) == pytest.approx(losses(plain), abs=1e-6)


def test_a_second_run_has_an_optimizer_of_its_own(tmp_path: Path) -> None:
    trainer = ours(tmp_path)
    trainer.train()
    first = trainer.optimizer, trainer.lr_scheduler
    trainer.train()
    assert trainer.optimizer is not first[0]
    assert trainer.lr_scheduler is not first[1]
    given = ours(tmp_path, groups)
    before = given.optimizer
    for _ in range(2):
        given.train()
        assert given.optimizer is before
    assert rates(given)[0] == 0.0, "a warm-up of its own"


# ── going on ─────────────────────────────────────────────────────────────────


class Remembering(torch.optim.Optimizer):
    """Keeps what JSON has no names for: tensors in lists, tuples, dictionaries with numbers for keys."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.5)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "seen": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["seen"] += 1
            assert type(group["betas"]) is tuple
            for each in group["params"]:
                if each.grad is None:
                    continue
                state = self.state[each]
                if not state:
                    state["last"] = [torch.zeros_like(each), torch.zeros_like(each)]
                    state["sums"] = {1: (torch.zeros_like(each), 0.0), "count": 0, "best": float("inf")}
                state["last"] = [each.grad.clone(), state["last"][0]]
                total, norm = state["sums"][1]
                state["sums"] = {1: (total + each.grad, norm + float(each.grad.norm())), "count": group["seen"]}
                state["sums"]["best"] = float("inf")
                mean = state["last"][0] * group["betas"][0] + state["last"][1] * group["betas"][1]
                each.sub_(group["lr"] * (mean + 0.01 * state["sums"][1][0]) / (1 + 0.001 * state["sums"][1][1]))


def remembering(model: Any) -> Made:
    optimizer = Remembering(model.parameters(), lr=0.05)
    first = lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 6)
    return optimizer, lr_scheduler.SequentialLR(optimizer, [first, lr_scheduler.ExponentialLR(optimizer, 0.8)], [6])


def plain_adam(model: Any) -> Made:
    return torch.optim.Adam(model.parameters(), lr=3e-3, amsgrad=True), None


def half(model: Any) -> Made:
    """A part of the parameters alone, at a rate that the optimizer itself changes."""
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.ndim > 1], lr=torch.tensor(2e-3))
    return optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 20)


class Halt(TrainerCallback):
    """Stops a run as a killed process would be."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 9:
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("made", [adamw, one_cycle, groups, remembering, plain_adam, half])
def test_a_run_goes_on_to_the_last_bit(made: Callable[[Any], Made], tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"max_steps": 20, "save_strategy": "steps", "save_steps": 3}
    whole = ours(tmp_path / "whole", made, **chosen)
    whole.train()
    halted = ours(tmp_path / "parts", made, callbacks=[Halt()], **chosen)
    with pytest.raises(KeyboardInterrupt):
        halted.train()
    trainer = ours(tmp_path / "parts", made, **chosen)
    assert trainer.train(resume_from_checkpoint=True).global_step == 20
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name
    assert (losses(trainer), rates(trainer)) == (losses(whole), rates(whole))
    files = [each for each in (tmp_path / "parts" / "out").rglob("*") if each.is_file()]
    assert {each.suffix for each in files} <= {".json", ".safetensors"}
    assert whole.optimizer is not None
    told = [memory_of(each.optimizer, each.lr_scheduler) for each in (whole, trainer)]
    assert told[0].plain == told[1].plain
    assert all(torch.equal(tensor, told[1].tensors[name]) for name, tensor in told[0].tensors.items())


def test_what_a_checkpoint_cannot_hold_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for each in group["params"]:
                    self.state[each]["names"] = {"a", "b"}
            return super().step(closure)

    def made(model: Any) -> Made:
        return Odd(list(model.parameters())[:1], lr=0.1, momentum=0.9), None

    chosen: dict[str, Any] = {"max_steps": 12, "save_strategy": "steps", "save_steps": 3}
    with pytest.raises(KeyboardInterrupt):
        ours(tmp_path, made, callbacks=[Halt()], **chosen).train()
    assert caplog.text.count("checkpoints can't hold these parts of the optimizer") == 1
    assert "0.names (set)" in caplog.text
    caplog.clear()
    ours(tmp_path, made, **chosen).train(resume_from_checkpoint=True)
    assert "holds no 0.names (set): they begin anew" in caplog.text


def test_a_checkpoint_goes_with_its_optimizer(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4}
    ours(tmp_path, adamw, **chosen).train()
    for other in (groups, one_cycle, lambda model: (None, None)):
        with pytest.raises(InputError, match="is of a run with other data, model or optimizer"):
            ours(tmp_path, other, **chosen).train(resume_from_checkpoint=True)


def test_parameters_of_a_loss_are_learnt_and_kept(tmp_path: Path) -> None:
    class Scaled(Trainer):
        scale: torch.nn.Parameter

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            outputs = model(**inputs)
            loss = outputs.loss * self.scale.exp() - self.scale
            return (loss, outputs) if return_outputs else loss

    def trainer(where: Path, **changes: Any) -> Any:
        scale = torch.nn.Parameter(torch.zeros(()))
        made = ours(
            where,
            lambda model: (torch.optim.SGD([*model.parameters(), scale], lr=0.05, momentum=0.9), None),
            kind=Scaled,
            save_strategy="steps",
            save_steps=3,
            max_steps=12,
            **changes,
        )
        made.scale = scale
        return made

    whole = trainer(tmp_path / "whole")
    whole.train()
    assert float(whole.scale.detach()) != 0
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "parts", callbacks=[Halt()]).train()
    again = trainer(tmp_path / "parts")
    again.train(resume_from_checkpoint=True)
    assert torch.equal(again.scale, whole.scale)


def test_parameters_that_the_optimizer_leaves_out_stay_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = ours(tmp_path, lambda model: (torch.optim.SGD(model.tree.head.parameters(), lr=0.1), None))
    before = {name: each.detach().clone() for name, each in trainer.model.named_parameters()}
    with caplog.at_level(logging.INFO, "enfold"):
        trainer.train()
    assert "parameters are not the optimizer's, and stay as they are" in caplog.text
    changed = {name for name, each in trainer.model.named_parameters() if not torch.equal(each, before[name])}
    assert changed == {name for name in before if ".head." in name}


def test_optimizers_with_two_sets_of_weights_are_told_which(tmp_path: Path) -> None:
    told: list[str] = []

    class Switching(torch.optim.SGD):
        def train(self) -> None:
            told.append("train")

        def eval(self) -> None:
            told.append("eval")

    trainer = ours(
        tmp_path,
        lambda model: (Switching(model.parameters(), lr=0.1), None),
        max_steps=4,
        eval_strategy="steps",
        eval_steps=2,
        eval_dataset=features(CLASSIFY, 4),
    )
    trainer.train()
    assert told == ["train", "train", "eval", "train", "train", "eval"]


# ── refusals ─────────────────────────────────────────────────────────────────


def test_optimizers_that_are_of_no_use_are_refused(tmp_path: Path) -> None:
    _, other = both(CLASSIFY, tmp_path)
    far = torch.optim.SGD(other.parameters(), lr=0.1)

    def refused(message: str, made: Callable[[Any], Any], **changes: Any) -> None:
        with pytest.raises(InputError, match=message):
            ours(tmp_path, made, **changes).train()

    refused("the optimizer is <class.*give a class as optimizer_cls_and_kwargs", lambda _: (torch.optim.SGD, None))
    refused(r"expected two: \(optimizer, scheduler\)", lambda _: far)
    refused("holds none of the model's parameters that learn: make the optimizer of", lambda _: (far, None))
    refused("a scheduler sets the rates of the optimizer that it was made with", lambda _: (None, adamw(other)[1]))
    refused("sets the rates of another optimizer", lambda model: (groups(model)[0], adamw(other)[1]))
    refused("the scheduler is 'linear', expected one of torch", lambda model: (groups(model)[0], "linear"))
    refused("computes the loss several times in a step", lambda model: (torch.optim.LBFGS(model.parameters()), None))
    chosen = enfold.TrainingArguments(**arguments(tmp_path / "out"))
    with pytest.raises(InputError, match="model_init makes another one: give model, or override create_optimizer_and"):
        Trainer(args=chosen, model_init=lambda: other, optimizers=(far, None))
    with pytest.raises(InputError, match="two ways to say the same"):
        Trainer(other, chosen, optimizers=(far, None), optimizer_cls_and_kwargs=(torch.optim.SGD, {}))
    with pytest.raises(InputError, match=r"optimizer_cls_and_kwargs is 'sgd', expected \(class, options\)"):
        Trainer(other, chosen, optimizer_cls_and_kwargs="sgd")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is no optimizer before training"):
        Trainer(other, chosen).get_learning_rates()
    with pytest.raises(InputError, match="no optimizer to make a scheduler for: call create_optimizer before"):
        Trainer(other, chosen).create_scheduler(5)


def test_several_processes_learn_the_models_parameters_alone(tmp_path: Path) -> None:
    _, model = both(CLASSIFY, tmp_path)
    named = dict(model.named_parameters())
    extra = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([*named.values(), extra], lr=0.1)
    found = extra_parameters(optimizer, named, model, 1)
    assert found == {f"optimizer.0.{len(named)}": extra}
    with pytest.raises(InputError, match="1 of the optimizer's parameters are not the model's, and 2 processes would"):
        extra_parameters(optimizer, named, model, 2)


def test_memory_goes_back_to_what_it_came_from_alone(tmp_path: Path) -> None:
    _, model = both(CLASSIFY, tmp_path)
    optimizer, scheduler = adamw(model)
    write_safetensors(tmp_path / "optimizer.safetensors", {})
    kept = memory_of(optimizer, scheduler).plain
    restore_memory(tmp_path, optimizer, scheduler, kept)
    for other, scheduled, of in ((groups(model)[0], None, kept), (optimizer, scheduler, memory_of(optimizer).plain)):
        with pytest.raises(InputError, match="is of a run with another optimizer or scheduler: it has 1 groups"):
            restore_memory(tmp_path, other, scheduled, of)
