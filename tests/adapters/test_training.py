"""Adapters on a model in memory: what they compute, what trains, and what saving sees."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

import enfold
from enfold.adapters import IA3, LoRA, add_adapter, count_parameters, merge_adapter
from enfold.adapters.settings import Settings
from enfold.errors import InputError
from enfold.packing import pack
from tests.adapters.support import adapted, answers, load, scramble
from tests.reference import make_reference

KINDS: list[Settings] = [LoRA(rank=3), LoRA(rank=2, kind="dora", targets="all-linear"), IA3()]


def bert(**values: Any) -> Any:
    config = enfold.BertConfig(
        vocab_size=40, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, **values
    )
    torch.manual_seed(0)
    return enfold.BertForSequenceClassification(config)


IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


@pytest.mark.parametrize("settings", KINDS)
def test_a_fresh_adapter_changes_nothing(settings: Settings) -> None:
    model = bert().eval()
    before = model(IDS, MASK).logits
    add_adapter(model, settings)
    torch.testing.assert_close(model(IDS, MASK).logits, before, atol=1e-6, rtol=1e-6)


def test_fresh_numbers_are_those_of_the_papers() -> None:
    model = bert().eval()
    weight = model.tensor("layers.0.attention.query.weight")
    add_adapter(model, LoRA(rank=4, kind="dora"))
    leaf = model.tree.layers.get_submodule("0").attention.project.query
    bound = 1 / np.sqrt(12)  # He et al. with a = √5
    assert 0.5 * bound < float(leaf.lora_A.detach().abs().max()) <= bound
    assert not leaf.lora_B.any()
    np.testing.assert_allclose(leaf.magnitude.detach(), np.linalg.norm(weight, axis=1), rtol=1e-6)


@pytest.mark.parametrize("settings", KINDS)
def test_padded_packed_and_merged_agree(settings: Settings) -> None:
    model = bert().eval()
    add_adapter(model, settings)
    scramble(model)
    padded = model(IDS, MASK).logits.detach().numpy()
    rows = [np.array([1, 2, 3, 4]), np.array([5, 6])]
    packed = model.run(pack(model.arch, rows))["logits"]
    quick = model.run(pack(model.arch, rows), plan=model.quick_plan())["logits"]
    np.testing.assert_allclose(packed, padded, atol=1e-6)
    np.testing.assert_allclose(quick, padded, atol=1e-6)
    merge_adapter(model)
    np.testing.assert_allclose(model.run(pack(model.arch, rows))["logits"], padded, atol=1e-6)
    assert {type(module).__name__ for module in model.modules()}.isdisjoint({"LowRankLinear", "RescaledLinear"})
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert [*model.state_dict()] == [*bert().state_dict()]


def test_an_adapter_is_heeded_after_answers_were_given_quickly() -> None:
    model = bert().eval()
    rows = [np.array([1, 2, 3, 4])]
    model.run(pack(model.arch, rows), plan=model.quick_plan())  # lays query, key and value side by side
    add_adapter(model, LoRA())
    scramble(model)
    batch = pack(model.arch, rows)
    np.testing.assert_allclose(
        model.run(batch, plan=model.quick_plan())["logits"], model(IDS[:1]).logits.detach(), atol=1e-6
    )


@pytest.mark.parametrize("settings", KINDS)
def test_only_adapter_and_head_learn(settings: Settings) -> None:
    model = bert()
    total = count_parameters(model).total
    count = add_adapter(model, settings)
    model.train()
    model(IDS, MASK, labels=torch.tensor([0, 1])).loss.backward()
    named = dict(model.named_parameters())
    learning = {name for name, parameter in named.items() if parameter.grad is not None}
    assert learning == {name for name, parameter in named.items() if parameter.requires_grad}
    ends = ("lora_A", "lora_B", "magnitude", "factors")
    assert all(name.endswith(ends) or name.startswith("tree.head.") for name in learning)
    assert {"tree.head.0.dense.weight", "tree.head.0.output.bias"} < learning
    assert count.trainable == sum(named[name].numel() for name in learning)
    assert count.total > total
    assert f"{count.trainable:,} of {count.total:,} parameters train" in str(count)


def test_norms_train_where_they_are_asked_for() -> None:
    model = bert()
    add_adapter(model, LoRA(also_train="layers.0.attention.norm"))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    norm = "tree.layers.0.attention.join"
    assert {f"{norm}.weight", f"{norm}.bias"} < learning
    assert "tree.layers.1.attention.join.weight" not in learning


def test_names_of_parameters_are_stable() -> None:
    model = bert()
    add_adapter(model, LoRA(kind="dora", targets=("query", "expand")))
    at = "tree.layers.1.attention.project.query"
    own = [name for name, _ in model.named_parameters() if name.startswith(at)]
    assert own == [f"{at}.{part}" for part in ("base_weight", "base_bias", "lora_A", "lora_B", "magnitude")]
    again = bert()
    add_adapter(again, LoRA(kind="dora", targets=("query", "expand")))
    scramble(model)
    learnt = {name: value for name, value in model.state_dict().items() if "lora" in name or "magnitude" in name}
    report = again.load_state_dict(learnt, strict=False)
    assert not report.unexpected_keys


def test_a_few_steps_lower_the_loss_and_leave_the_base_alone() -> None:
    model = bert()
    add_adapter(model, LoRA(rank=4, alpha=8))
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.02)
    model.train()
    losses = []
    for _ in range(20):
        loss = model(IDS, MASK, labels=torch.tensor([0, 1])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(value, dict(model.named_parameters())[name]) for name, value in frozen.items())
    assert not model.untrained


def test_dropout_falls_on_what_enters_a() -> None:
    model = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0)
    add_adapter(model, LoRA(dropout=0.5))
    scramble(model)
    model.train()
    first, second = (model(IDS, MASK).logits for _ in range(2))
    assert not torch.allclose(first, second)
    rows = [np.array([1, 2, 3, 4])]
    answer = model.run(pack(model.arch, rows))["logits"]  # tasks answer beside training without dropout
    model.eval()
    np.testing.assert_allclose(answer, model(IDS[:1]).logits.detach(), atol=1e-6)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_gradients_and_dropout_are_those_of_peft(kind: Any) -> None:
    linear = torch.nn.Linear(6, 5)
    base = torch.nn.Sequential(linear)
    config = peft.LoraConfig(r=2, lora_alpha=3, lora_dropout=0.5, target_modules=["0"], use_dora=kind == "dora")
    theirs = peft.get_peft_model(base, config).train()
    from enfold.engines.torch.adapters import LowRankLinear
    from enfold.engines.torch.leaves import Linear
    from enfold.leaves import Linear as Leaf

    plain = Linear(Leaf(name="x", inputs=6, outputs=5))
    plain.weight.data, plain.bias.data = linear.weight.data.clone(), linear.bias.data.clone()
    ours = LowRankLinear(plain, rank=2, scale=1.5, dropout=0.5, has_lengths=kind == "dora").train()
    named = {name.replace(".default", ""): value for name, value in theirs.named_parameters()}
    at = "base_model.model.0"
    pairs = [(ours.lora_A, named[f"{at}.lora_A.weight"]), (ours.lora_B, named[f"{at}.lora_B.weight"])]
    if ours.magnitude is not None:
        pairs.append((ours.magnitude, named[f"{at}.lora_magnitude_vector.weight"]))
    for own, their in pairs:
        own.data = their.data = their.data + 0.3 * torch.randn(their.shape)
    hidden, weights = torch.randn(7, 6), torch.randn(7, 5)
    results = []
    for module in (ours, theirs):
        torch.manual_seed(5)
        result = module(hidden)
        (result * weights).sum().backward()
        results.append(result)
    torch.testing.assert_close(results[0], results[1])
    for own, their in pairs:
        torch.testing.assert_close(own.grad, their.grad)


@pytest.mark.parametrize("settings", KINDS)
def test_save_pretrained_writes_the_merged_model_and_changes_nothing(tmp_path: Path, settings: Settings) -> None:
    reference, model = adapted(tmp_path / "base", "bert", "sequence-classification", settings)
    before, names = answers(model, reference), [name for name, _ in model.named_parameters()]
    model.save_pretrained(tmp_path / "merged")
    assert [name for name, _ in model.named_parameters()] == names
    for engine in ("torch", "cpu"):
        whole = load(tmp_path / "merged", "sequence-classification", engine=engine)
        torch.testing.assert_close(answers(whole, reference), before, atol=1e-5, rtol=1e-5)


def test_a_copy_has_an_adapter_of_its_own() -> None:
    model = bert().eval()
    add_adapter(model, LoRA())
    scramble(model)
    twin = copy.deepcopy(model)
    before = model(IDS, MASK).logits
    merge_adapter(twin)
    torch.testing.assert_close(twin(IDS, MASK).logits, before, atol=1e-6, rtol=1e-6)
    assert count_parameters(model).trainable < count_parameters(twin).trainable


@pytest.mark.parametrize("settings", KINDS)
def test_half_precision_models_train_adapters_in_full(settings: Settings) -> None:
    model = bert().to(torch.bfloat16)
    add_adapter(model, settings)
    changes = [value for name, value in model.named_parameters() if name.endswith(("lora_A", "lora_B", "factors"))]
    assert {value.dtype for value in changes} == {torch.float32}
    model(IDS, MASK, labels=torch.tensor([0, 1])).loss.backward()
    assert all(value.grad is not None for value in changes)


def test_generation_hears_the_adapter(tmp_path: Path) -> None:
    reference, model = adapted(tmp_path / "base", "llama", "causal-lm", LoRA(targets="all-linear"))
    prompt = reference.inputs["input_ids"][:1]
    unmerged = model.generate(prompt, max_new_tokens=8, do_sample=False)
    merge_adapter(model)
    assert torch.equal(unmerged, model.generate(prompt, max_new_tokens=8, do_sample=False))


def test_a_vocabulary_head_stays_as_it_was_trained(tmp_path: Path) -> None:
    make_reference("gpt_neox", "causal-lm", 0, tmp_path / "neox")
    model = load(tmp_path / "neox", "causal-lm")
    add_adapter(model, LoRA())
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(name.endswith(("lora_A", "lora_B")) for name in learning)


def test_what_cannot_be_adapted_is_said() -> None:
    model = bert()
    with pytest.raises(InputError, match="has no adapter that could be merged"):
        merge_adapter(model)
    with pytest.raises(InputError, match=r"expected LoRA\(…\) or IA3\(…\)"):
        add_adapter(model, {"rank": 3})  # type: ignore[arg-type]
    add_adapter(model, LoRA())
    with pytest.raises(InputError, match="has an adapter already: merge_adapter"):
        add_adapter(model, LoRA())
    cpu = enfold.AutoModelForSequenceClassification.from_config(model.config, engine="cpu")
    with pytest.raises(InputError, match="expected a model on the PyTorch engine"):
        add_adapter(cpu, LoRA())


def test_a_refused_adapter_leaves_the_model_as_it_was() -> None:
    model = bert()
    names = [name for name, _ in model.named_parameters()]
    with pytest.raises(InputError, match="name no leaf"):
        add_adapter(model, LoRA(targets=("query", "c_attn")))
    assert [name for name, _ in model.named_parameters()] == names
    assert all(parameter.requires_grad for parameter in model.parameters())
