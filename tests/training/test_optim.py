"""Schedules as the reference has them; Lion, layer decay and weight decay by their formulas."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from enfold.auto import load_model
from enfold.training.optim import Lion, clip, make_optimizer, rate_at, set_rate
from enfold.training.settings import Settings
from tests.training.support import tiny


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("warmup", "total"), [(0, 40), (7, 40), (0.1, 33), (0.06, 100), (1, 1), (40, 40)])
def test_schedules_are_the_references(schedule: Any, warmup: float, total: int) -> None:
    settings = Settings(schedule=schedule, warmup=warmup)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    name = {"constant": "constant_with_warmup"}.get(schedule, schedule)
    arguments = transformers.TrainingArguments(warmup_steps=warmup, report_to=[])
    scheduler: Any = transformers.get_scheduler(name, optimizer, arguments.get_warmup_steps(total), total)
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [rate_at(step, total, settings) for step in range(total)] == pytest.approx(expected, abs=1e-12)


def test_lion_steps_by_its_formula() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5, 4))
    value, average = weight.detach().clone().double(), torch.zeros(5, 4, dtype=torch.float64)
    optimizer = Lion([weight], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(20):
        gradient = torch.randn(5, 4)
        weight.grad = gradient
        optimizer.step()
        update = (0.9 * average + 0.1 * gradient.double()).sign()
        value = value - 0.01 * (update + 0.1 * value)
        average = 0.99 * average + 0.01 * gradient.double()
    assert torch.allclose(weight.double(), value, atol=1e-6)


def test_each_layer_has_its_share_of_the_rate_and_matrices_alone_decay(tmp_path: Path) -> None:
    model: Any = load_model(tiny(tmp_path), "sequence-classification", engine="torch")
    named = dict(model.named_parameters())
    settings = Settings(layer_decay=0.5, weight_decay=0.3)
    optimizer = make_optimizer(named.items(), settings, 1e-2, model.arch.num_layers)
    found = {id(each): group for group in optimizer.param_groups for each in group["params"]}
    assert len(found) == len(named) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in named.items():
        depth = (
            0 if "embeddings" in name else 3 if ".head." in name else 1 + int(name.split("layers.")[1].split(".")[0])
        )
        group = found[id(parameter)]
        assert group["lr"] == pytest.approx(1e-2 * 0.5 ** (3 - depth)), name
        assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0), name
    set_rate(optimizer, 4.0)
    assert {group["lr"] for group in optimizer.param_groups} == {4.0, 2.0, 1.0, 0.5}


@pytest.mark.parametrize("name", ["adamw", "adafactor", "sgd", "lion"])
def test_every_optimizer_goes_down(name: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    inputs = torch.randn(64, 4)
    wanted = inputs.sum(1, keepdim=True)
    optimizer = make_optimizer(model.named_parameters(), Settings(optimizer=name), 1e-2, 2)
    losses = []
    for _ in range(100):
        loss = (model(inputs) - wanted).square().mean()
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]


def test_adamw_is_torchs_with_the_settings_numbers() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    settings = Settings(betas=(0.8, 0.9), epsilon=1e-3, weight_decay=0.2)
    one = make_optimizer([("weight", ours)], settings, 0.1, 2)
    set_rate(one, 0.1)
    other = torch.optim.AdamW([theirs], lr=0.1 * 1.0, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2)
    for _ in range(5):
        ours.grad = theirs.grad = torch.randn(3, 3)
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("limit", [None, 0.5, 100.0])
def test_long_gradients_are_shortened_as_torch_does(limit: float | None) -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(1))]
    gradients = [torch.randn(3, 2), torch.randn(4), None]
    theirs = [nn.Parameter(torch.zeros_like(each)) for each in ours]
    for parameters in (ours, theirs):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
    expected = torch.nn.utils.clip_grad_norm_(theirs, limit or math.inf)
    assert clip(ours, limit) == pytest.approx(float(expected))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or other.grad is None or torch.allclose(one.grad, other.grad)
