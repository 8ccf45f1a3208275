"""Our own family: any choice of an architecture trains, is saved, and answers alike on both engines."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

import enfold
from enfold.auto import load_model, make_model
from enfold.engines.torch.leaves import BatchNorm
from enfold.errors import ConfigError, TensorMismatchError
from enfold.families import FAMILIES
from enfold.leaves import tensor_shapes
from enfold.packing import pack

FAMILY = FAMILIES["enfold"]
NORMS, PLACEMENTS = ("layer", "rms", "batch"), ("after", "before", "parallel")
POSITIONS = ("learned", "sinusoidal", "rotary", "relative")
READERS = ["sequence-classification", "token-classification", "question-answering", "multiple-choice"]
SMALL = {"vocab_size": 40, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 32}
SMALL |= {"num_hidden_layers": 2, "max_position_embeddings": 40}
STILL = {f"{name}_dropout": 0.0 for name in ("hidden", "attention", "embedding", "activation", "classifier")}


def random_config(draw: random.Random) -> Any:
    heads = draw.choice([1, 2, 4, 6])
    return enfold.EnfoldConfig(
        vocab_size=draw.randint(20, 60),
        hidden_size=heads * draw.choice([2, 4, 6]),
        num_hidden_layers=draw.randint(1, 3),
        num_attention_heads=heads,
        num_key_value_heads=draw.choice([each for each in (1, 2, 3, 6) if heads % each == 0] + [None]),
        intermediate_size=draw.randint(5, 40),
        hidden_act=draw.choice(["gelu", "gelu_new", "relu", "silu", "tanh"]),
        gated=draw.random() < 0.5,
        use_bias=draw.random() < 0.6,
        norm=draw.choice([*NORMS, "batch"]),
        norm_placement=draw.choice(PLACEMENTS),
        norm_eps=draw.choice([1e-12, 1e-5, 1e-3]),
        positions=draw.choice(POSITIONS),
        rope_theta=draw.choice([100.0, 10000.0]),
        max_position_embeddings=draw.randint(25, 50),
        type_vocab_size=draw.choice([0, 1, 2, 3]),
        causal=draw.random() < 0.5,
        tie_word_embeddings=draw.random() < 0.6,
        pad_token_id=draw.choice([None, 0]),
        num_labels=draw.randint(2, 4),
        **{name: draw.choice([0.0, 0.05]) for name in STILL},
    )


def random_batch(config: Any, kind: str, draw: random.Random) -> dict[str, torch.Tensor]:
    """Padded inputs and labels for a head."""
    seeded = torch.Generator().manual_seed(draw.randrange(1 << 30))
    shape = (4, 3, 12) if kind == "multiple-choice" else (6, 12)
    ids = torch.randint(1, config.vocab_size, shape, generator=seeded)
    mask = (torch.arange(12) < torch.randint(2, 13, (*shape[:-1], 1), generator=seeded)).long()
    batch = {"input_ids": ids * mask, "attention_mask": mask}
    match kind:
        case "masked-lm" | "causal-lm":
            batch["labels"] = ids.masked_fill(mask == 0, -100)
        case "token-classification":
            batch["labels"] = (ids % config.num_labels).masked_fill(mask == 0, -100)
        case "sequence-classification":
            batch["labels"] = ids[:, 0] % config.num_labels
        case "multiple-choice":
            batch["labels"] = torch.arange(4) % 3
        case "question-answering":
            batch |= {"start_positions": torch.zeros(6).long(), "end_positions": torch.ones(6).long()}
    return batch


def train(model: Any, batch: dict[str, torch.Tensor], steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    losses = []
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def trained(config: Any, kind: Any, *, steps: int = 3, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = make_model(config, kind).train()  # type: ignore[attr-defined]
    if kind != "base":
        train(model, random_batch(config, kind, random.Random(seed)), steps)
    return model


def rows_of(config: Any, draw: random.Random) -> list[np.ndarray]:
    return [np.array([draw.randrange(1, config.vocab_size) for _ in range(length)]) for length in (9, 1, 20, 13)]


@pytest.mark.parametrize("seed", range(40))
def test_any_architecture_trains_and_answers_alike_on_both_engines(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    config = random_config(draw)
    kind: Any = "causal-lm" if config.causal else "masked-lm"
    if draw.random() < 0.5:
        kind = draw.choice(READERS)
    torch.manual_seed(seed)
    model = make_model(config, kind).train()  # type: ignore[attr-defined]
    losses = train(model, random_batch(config, kind, draw), 12)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]), config
    model.save_pretrained(tmp_path)
    batch = pack(model.arch, rows_of(config, draw))
    expected = model.run(batch)
    back, cpu = load_model(tmp_path, kind), load_model(tmp_path, kind, engine="cpu")
    assert back.config == cpu.config
    for name, values in expected.items():
        np.testing.assert_array_equal(back.run(batch)[name], values)
        np.testing.assert_allclose(cpu.run(batch)[name], values, atol=1e-5 * max(1.0, np.abs(values).max()))
    rounded = load_model(tmp_path, kind, engine="cpu", dtype="int8")
    for name, values in rounded.run(batch).items():
        # eight bits keep about two digits; a wrong norm would not keep one
        assert np.abs(values - expected[name]).max() < 0.1 * max(1.0, np.abs(expected[name]).max())
    assert set(load_file(tmp_path / "model.safetensors")) == {
        name if not name.startswith("head.0") else _head_name(name, kind)
        for name in tensor_shapes(model.blueprint.leaves)
    }


def _head_name(name: str, kind: Any) -> str:
    _, _, leaf, suffix = name.split(".")
    return f"{FAMILY.heads[kind].branches[0].names[leaf]}.{suffix}"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_result_does_not_depend_on_batch_mates(causal: bool, placement: str, engine: Any, tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(**SMALL, norm="batch", norm_placement=placement, causal=causal)
    trained(config, "causal-lm" if causal else "masked-lm").save_pretrained(tmp_path)
    model = load_model(tmp_path, "base", engine=engine)
    rows = rows_of(config, random.Random(1))
    together = model.run(pack(model.arch, rows), fields=("last_hidden_state",))["last_hidden_state"]
    alone = [model.run(pack(model.arch, [row]), fields=("last_hidden_state",))["last_hidden_state"] for row in rows]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=2e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_decoders_write_the_same_on_both_engines(norm: str, placement: str, tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(**SMALL, norm=norm, norm_placement=placement, causal=True, eos_token_id=2)
    trained(config, "causal-lm", steps=20).save_pretrained(tmp_path)
    ids = np.array([[5, 6, 7], [9, 8, 7]])
    texts = [
        load_model(tmp_path, "causal-lm", engine=engine).generate(
            ids if engine == "cpu" else torch.from_numpy(ids), max_new_tokens=8, do_sample=False
        )
        for engine in ("torch", "cpu")
    ]
    assert np.asarray(texts[0]).tolist() == np.asarray(texts[1]).tolist()


# ── what the choices are: the architectures of known families ────────────────


def test_choices_describe_the_known_architectures() -> None:
    own = {"embedding_dropout": 0.1, "attention_dropout": 0.1, "hidden_dropout": 0.1, "classifier_dropout": 0.1}
    bert = FAMILIES["bert"].translate(enfold.BertConfig())
    ours = enfold.EnfoldConfig(
        vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        norm_placement="after", positions="learned", layer_norm_eps=1e-12, pad_token_id=0, **own,
    )  # fmt: skip
    assert FAMILY.translate(ours) == bert
    gpt2 = FAMILIES["gpt2"].translate(enfold.GPT2Config())
    ours = enfold.EnfoldConfig(
        vocab_size=50257, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        hidden_act="gelu_new", positions="learned", max_position_embeddings=1024, type_vocab_size=0, causal=True,
    )  # fmt: skip
    assert FAMILY.translate(ours) == gpt2
    llama = FAMILIES["llama"].translate(enfold.LlamaConfig(num_key_value_heads=8))
    ours = enfold.EnfoldConfig(
        vocab_size=32000, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008,
        num_key_value_heads=8, hidden_act="silu", gated=True, use_bias=False, norm="rms", norm_eps=1e-6,
        max_position_embeddings=2048, type_vocab_size=0, causal=True, tie_word_embeddings=False, hidden_dropout=0.0,
        attention_dropout=0.0, embedding_dropout=0.0,
    )  # fmt: skip
    assert FAMILY.translate(ours) == llama
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    neox = FAMILIES["gpt_neox"].translate(enfold.GPTNeoXConfig(rope_parameters=rope))
    ours = enfold.EnfoldConfig(
        vocab_size=neox.vocab_size, hidden_size=neox.hidden_size, num_hidden_layers=neox.num_layers,
        num_attention_heads=neox.num_heads, intermediate_size=neox.intermediate_size, norm_placement="parallel",
        max_position_embeddings=neox.max_length, type_vocab_size=0, causal=True, tie_word_embeddings=False,
        hidden_dropout=0.0, attention_dropout=0.0, embedding_dropout=0.0,
    )  # fmt: skip
    assert FAMILY.translate(ours) == replace(neox, pad_token_id=None)


def test_each_dropout_has_one_place() -> None:
    rates = {"hidden": 0.11, "attention": 0.12, "embedding": 0.13, "activation": 0.14, "classifier": 0.15}
    dropout = FAMILY.translate(enfold.EnfoldConfig(**{f"{name}_dropout": rate for name, rate in rates.items()})).dropout
    assert (dropout.attention_output, dropout.feed_forward, dropout.attention) == (0.11, 0.11, 0.12)
    assert (dropout.embeddings, dropout.activation, dropout.head, dropout.final) == (0.13, 0.14, 0.15, 0.0)


def test_a_rate_outside_of_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"attention dropout is 1\.0"):
        make_model(enfold.EnfoldConfig(**SMALL, attention_dropout=1.0), "base")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"norm": "bach", "positions": "rope"}, "norm is 'bach'.*layer, rms, batch\n.*positions is 'rope', expected"),
        ({"norm_placement": "pre"}, "norm_placement is 'pre', expected one of after, before, parallel"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0, expected a whole number of 1 or more, or null"),
        ({"num_key_value_heads": "2"}, "num_key_value_heads is '2'"),
        ({"num_key_value_heads": 2}, "3 attention heads can't share 2"),
        ({"pad_token_id": -1}, "pad_token_id is -1"),
        ({"pad_token_id": 40}, "pad_token_id 40 is outside"),
        ({"num_attention_heads": 5}, "24 is not a multiple"),
        ({"num_attention_heads": 0}, "num_heads is 0"),
        ({"num_attention_heads": 8}, "3 numbers of a head are rotated, expected an even number"),
        ({"rope_theta": 0.0}, "rope_theta is 0.0, expected more than 0"),
        ({"hidden_act": "gelo"}, "hidden_act is 'gelo'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"norm_eps": 0.0}, "epsilon is 0.0"),
    ],
)
def test_what_can_not_be_built_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_model(enfold.EnfoldConfig(**{**SMALL, **values}), "base")


def test_a_misspelt_choice_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"'norm_place' \(near: norm_placement"):
        enfold.EnfoldConfig(norm_place="before")


def test_heads_that_see_too_much_or_too_little_are_refused() -> None:
    with pytest.raises(ConfigError, match="predicts the next token, and this stack would see it: set causal to true"):
        enfold.EnfoldForCausalLM(enfold.EnfoldConfig(**SMALL))
    with pytest.raises(ConfigError, match="sees both sides, and this one is causal"):
        enfold.EnfoldForMaskedLM(enfold.EnfoldConfig(**SMALL, causal=True))


def test_the_known_names_make_it(tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(**SMALL, norm="batch")
    model = enfold.AutoModelForMaskedLM.from_config(config)
    model.save_pretrained(tmp_path)
    assert isinstance(enfold.EnfoldForMaskedLM.from_pretrained(tmp_path), torch.nn.Module)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["EnfoldForMaskedLM"]
    classifier = enfold.AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    assert classifier.untrained == (
        *("sequence_classifier.dense.weight", "sequence_classifier.dense.bias"),
        *("sequence_classifier.output.weight", "sequence_classifier.output.bias"),
    )


def test_a_trained_tokenizer_lies_beside_a_model(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from enfold.tokenization.training import train_tokenizer

    texts = ["我喜歡讀書。", "I like to read books."] * 3
    for way in ({"kind": "wordpiece"}, {"kind": "bpe", "style": "roberta"}, {"kind": "unigram"}):
        folder = tmp_path / str(way["kind"])
        tokenizer = train_tokenizer(texts, vocab_size=320, **way)  # type: ignore[arg-type]
        tokenizer.save_pretrained(folder)
        config = enfold.EnfoldConfig(**{**SMALL, "vocab_size": len(tokenizer)}, pad_token_id=tokenizer.pad_token_id)
        trained(config, "masked-lm").save_pretrained(folder)
        for load in (enfold.AutoTokenizer, AutoTokenizer):
            assert load.from_pretrained(folder)(texts)["input_ids"] == tokenizer(texts)["input_ids"]
        batch = enfold.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="np")
        enfold.AutoModelForMaskedLM.from_pretrained(folder, engine="cpu")(**batch)


# ── batch normalisation ──────────────────────────────────────────────────────


def batch_norms(model: Any) -> dict[str, BatchNorm]:
    return {module.leaf.name: module for module in model.modules() if isinstance(module, BatchNorm)}


def test_it_is_torchs_own_over_the_real_tokens() -> None:
    config = enfold.EnfoldConfig(**SMALL, **STILL, norm="batch", norm_placement="after", norm_eps=1e-4)
    model = trained(config, "masked-lm")
    leaf = batch_norms(model)["layers.0.attention.norm"]
    theirs = nn.BatchNorm1d(24, eps=1e-4)
    theirs.load_state_dict({**leaf.state_dict(), "num_batches_tracked": torch.tensor(0)})
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def see(module: Any, inputs: Any, output: Any) -> None:
        seen.append((sum(each.detach() for each in inputs), output[1]))

    hook = leaf.register_forward_hook(see)
    for _ in range(3):
        model(**random_batch(config, "masked-lm", random.Random(5)))
    hook.remove()
    for summed, normed in seen:
        torch.testing.assert_close(normed, theirs(summed))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(leaf, name), getattr(theirs, name))
    for each in (model, theirs):
        each.eval()
    hidden = torch.randn(7, 24)
    torch.testing.assert_close(leaf(hidden, torch.zeros(7, 24))[1], theirs(hidden))


def test_padding_counts_for_nothing() -> None:
    config = enfold.EnfoldConfig(**SMALL, **STILL, norm="batch")
    model = trained(config, "token-classification")
    other = copy.deepcopy(model)
    batch = random_batch(config, "token-classification", random.Random(3))
    padded = {
        name: nn.functional.pad(each, (0, 9), value=-100 if name == "labels" else 0) for name, each in batch.items()
    }
    padded["input_ids"][:, 12:] = 7  # whatever stands there
    for each, inputs in ((model, batch), (other, padded)):
        each(**inputs).loss.backward()
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, msg=name)
    for name, leaf in batch_norms(model).items():
        torch.testing.assert_close(leaf.running_var, batch_norms(other)[name].running_var)


def test_statistics_are_saved_and_no_optimizer_sees_them(tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(**SMALL, norm="batch")
    model = trained(config, "masked-lm")
    assert not [name for name, _ in model.named_parameters() if "running" in name]
    assert len([name for name in model.state_dict() if "running" in name]) == 2 * len(batch_norms(model)) == 10
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for name, leaf in batch_norms(model).items():
        assert abs(stored[f"{name}.running_mean"]).sum() > 0
        np.testing.assert_array_equal(stored[f"{name}.running_mean"], leaf.running_mean.numpy())
        np.testing.assert_array_equal(stored[f"{name}.running_var"], leaf.running_var.numpy())
    assert "masked_lm.norm.running_mean" not in stored  # heads have layer norms
    del stored["layers.1.feed_forward.norm.running_var"]
    save_file(stored, tmp_path / "model.safetensors")
    for engine in ("torch", "cpu"):
        with pytest.raises(TensorMismatchError, match=r"missing +layers.1.feed_forward.norm.running_var"):
            load_model(tmp_path, "masked-lm", engine=engine)  # type: ignore[arg-type]


def test_answering_beside_training_uses_and_leaves_the_running_statistics() -> None:
    config = enfold.EnfoldConfig(**SMALL, norm="batch")
    model = trained(config, "masked-lm")
    before = copy.deepcopy(model.state_dict())
    batch = pack(model.arch, rows_of(config, random.Random(2)))
    while_training = model.run(batch)["logits"]
    with model.inference():
        model(input_ids=torch.ones(2, 5, dtype=torch.long))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    np.testing.assert_array_equal(model.eval().run(batch)["logits"], while_training)
    model.train()(input_ids=torch.ones(2, 5, dtype=torch.long))
    assert not all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_lone_token_is_normed_by_what_was_seen_before() -> None:
    config = enfold.EnfoldConfig(**SMALL, **STILL, norm="batch", causal=True)
    model = trained(config, "causal-lm")
    before = copy.deepcopy(model.state_dict())
    lone = {"input_ids": torch.tensor([[3]])}
    in_training = model(**lone).logits
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(in_training, model.eval()(**lone).logits)
    in_training.sum().backward()
    assert all(torch.isfinite(each.grad).all() for each in model.parameters() if each.grad is not None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_statistics_are_never_narrower_than_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(**SMALL, norm="batch")
    model = trained(config, "masked-lm").to(dtype)
    for _ in range(3):
        model(**random_batch(config, "masked-lm", random.Random(0))).loss.backward()
    assert all(torch.isfinite(each.grad).all() for each in model.parameters() if each.grad is not None)
    for leaf in batch_norms(model).values():
        assert leaf.weight.dtype is dtype
        assert leaf.running_mean.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)
    model.save_pretrained(tmp_path)
    rows = pack(model.arch, rows_of(config, random.Random(0)))
    cpu = load_model(tmp_path, "masked-lm", engine="cpu").run(rows)["logits"]
    np.testing.assert_allclose(cpu, model.run(rows)["logits"], atol=1e-5 if dtype is torch.float64 else 0.05)


def test_gradients_are_those_of_finite_differences() -> None:
    config = enfold.EnfoldConfig(**SMALL, **STILL, norm="batch", norm_placement="parallel")
    model = trained(config, "token-classification").double()
    batch = random_batch(config, "token-classification", random.Random(1))
    weight = batch_norms(model)["layers.1.attention.norm"].weight
    model(**batch).loss.backward()
    for index in (0, 7, 23):
        around = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += step
                around.append(model(**batch).loss.item())
                weight[index] -= step
        assert (around[0] - around[1]) / 2e-6 == pytest.approx(weight.grad[index].item(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_numpy_alone_gives_what_the_kernels_give(placement: str, tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(**SMALL, norm="batch", norm_placement=placement)
    model = trained(config, "masked-lm")
    model.save_pretrained(tmp_path)
    code = """
import sys
import numpy as np
from enfold.auto import load_model
from enfold.engines.cpu import native_module
assert not native_module.available
model = load_model(sys.argv[1], "masked-lm", engine="cpu")
np.save(sys.argv[1] + "/logits.npy", model(input_ids=np.arange(1, 13).reshape(2, 6)).logits)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env={**os.environ, "ENFOLD_ISA": "numpy"})
    expected = load_model(tmp_path, "masked-lm", engine="cpu")(input_ids=np.arange(1, 13).reshape(2, 6)).logits
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_rounded_models_are_saved_with_their_statistics(dtype: str, tmp_path: Path) -> None:
    config = enfold.EnfoldConfig(**{**SMALL, "hidden_size": 96, "intermediate_size": 64}, norm="batch")
    trained(config, "masked-lm").save_pretrained(tmp_path / "plain")
    rounded = load_model(tmp_path / "plain", "masked-lm", engine="cpu", dtype=dtype)
    rounded.save_pretrained(tmp_path / "rounded")
    batch = pack(rounded.arch, rows_of(config, random.Random(0)))
    again = load_model(tmp_path / "rounded", "masked-lm", engine="cpu")
    np.testing.assert_array_equal(again.run(batch)["logits"], rounded.run(batch)["logits"])


def test_a_bound_plan_knows_batch_norms() -> None:
    for placement in PLACEMENTS:
        model = trained(enfold.EnfoldConfig(**SMALL, norm="batch", norm_placement=placement), "masked-lm")
        batch = pack(model.arch, rows_of(model.config, random.Random(4)))
        quick = model.run(batch, plan=model.quick_plan())["logits"]
        np.testing.assert_allclose(quick, model.run(batch)["logits"], atol=1e-6)
