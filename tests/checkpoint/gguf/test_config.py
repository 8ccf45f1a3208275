"""Metadata become the values that transformers reads out of them; what it loses is kept, what is wrong is listed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enfold.checkpoint.gguf import gguf_config
from enfold.errors import ConfigError
from tests.checkpoint.gguf.make import metadata, reference, smollm2, tensors, write

# The reference reads these too, but no config.json has them.
_FOREIGN = {"_model_name_or_path", "unk_token_id", "feed_forward_length"}


def _config(folder: Path, architecture: str = "llama", *, more: Any = None, **changed: Any) -> dict[str, Any]:
    path = write(folder / "m.gguf", metadata(architecture, **changed), tensors(architecture) | (more or {}))
    return gguf_config(path)


def _assert_equal_to_reference(path: Path) -> None:
    ours, theirs = gguf_config(path), reference(path)["config"]
    assert set(theirs) - set(ours) <= _FOREIGN
    assert {key: ours[key] for key in theirs if key in ours} == {key: theirs[key] for key in theirs if key in ours}


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gpt2"])
def test_equal_to_the_reference(tmp_path: Path, architecture: str, untied: bool) -> None:
    path = write(tmp_path / "m.gguf", metadata(architecture), tensors(architecture, untied=untied))
    _assert_equal_to_reference(path)
    assert gguf_config(path)["tie_word_embeddings"] is not untied


def test_the_real_file() -> None:
    _assert_equal_to_reference(smollm2())
    assert gguf_config(smollm2()) | {"rms_norm_eps": 1e-5} == {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "intermediate_size": 1536,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


def test_what_may_be_left_out(tmp_path: Path) -> None:
    left_out = ("attention__head_count_kv", "rope__freq_base", "rope__dimension_count")
    config = _config(tmp_path, **{f"llama__{key}": None for key in left_out})
    assert (config["num_key_value_heads"], config["rope_theta"], config["head_dim"]) == (4, 10000.0, 16)
    assert "pad_token_id" not in config


def test_the_width_of_heads_is_stated(tmp_path: Path) -> None:
    wide: dict[str, Any] = {"qwen3__attention__key_length": 128, "qwen3__rope__dimension_count": None}
    assert _config(tmp_path, "qwen3", **wide, qwen3__attention__value_length=128)["head_dim"] == 128
    with pytest.raises(ConfigError, match=r"attention\.value_length is 64, and the width of a head 128"):
        _config(tmp_path, "qwen3", **wide, qwen3__attention__value_length=64)
    with pytest.raises(ConfigError, match=r"rope\.dimension_count is 16, and the width of a head 32"):
        _config(tmp_path, "llama", llama__attention__key_length=32)


def test_biases_are_seen_in_the_tensors(tmp_path: Path) -> None:
    bias = {"blk.0.attn_q.bias": (np.zeros(64, np.float32), "F32")}
    assert _config(tmp_path, more=bias)["attention_bias"] is True
    assert "attention_bias" not in _config(tmp_path, "qwen2")


def test_the_vocabulary_is_stated_or_counted(tmp_path: Path) -> None:
    assert _config(tmp_path, llama__vocab_size=300)["vocab_size"] == 300
    assert _config(tmp_path)["vocab_size"] == 259
    assert _config(tmp_path, tokenizer__ggml__tokens=None)["vocab_size"] == 259


def test_one_number_for_every_layer_is_a_number(tmp_path: Path) -> None:
    assert _config(tmp_path, llama__attention__head_count_kv=[2, 2])["num_key_value_heads"] == 2
    with pytest.raises(ConfigError, match=r"llama\.attention\.head_count_kv is \[2, 4\]; expected a whole number"):
        _config(tmp_path, llama__attention__head_count_kv=[2, 4])


class TestScaledPositions:
    @pytest.mark.parametrize("kind", ["linear", "yarn"])
    def test_by_metadata(self, tmp_path: Path, kind: str) -> None:
        stated: dict[str, Any] = {"llama__rope__scaling__type": kind, "llama__rope__scaling__factor": 4.0}
        config = _config(tmp_path, **stated, llama__rope__scaling__original_context_length=128)
        original = {"original_max_position_embeddings": 128} if kind == "yarn" else {}
        assert config["rope_scaling"] == {"rope_type": kind, "factor": 4.0, **original}

    def test_by_the_older_key(self, tmp_path: Path) -> None:
        assert _config(tmp_path, llama__rope__scale_linear=2.0)["rope_scaling"] == {"rope_type": "linear", "factor": 2}
        assert _config(tmp_path, llama__rope__scale_linear=1.0)["rope_scaling"] is None
        assert _config(tmp_path, llama__rope__scaling__type="none")["rope_scaling"] is None

    @pytest.mark.parametrize("factor", [8.0, 32.0])
    def test_by_the_tensor_of_llama_3(self, tmp_path: Path, factor: float) -> None:
        from transformers import LlamaConfig
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        scaling = {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
        sizes: dict[str, Any] = {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 131072}
        sizes["rope_theta"] = 500000.0
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](LlamaConfig(**sizes, rope_scaling={**scaling}), "cpu")
        plain = 1 / 500000.0 ** (np.arange(0, 64, 2) / 64)
        factors = {"rope_freqs.weight": ((plain / scaled.numpy()).astype(np.float32), "F32")}
        stated: dict[str, Any] = {"llama__rope__freq_base": 500000.0, "llama__rope__dimension_count": 64}
        config = _config(tmp_path, more=factors, **stated)
        assert config["rope_scaling"] == {**scaling, "factor": pytest.approx(factor, rel=1e-5)}

    def test_what_is_not_understood_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"rope\.scaling\.type is 'longrope'; expected 'none', 'linear' or 'yarn'"
        ):
            _config(tmp_path, llama__rope__scaling__type="longrope")
        odd = {"rope_freqs.weight": (np.linspace(1, 7, 8, dtype=np.float32), "F32")}
        with pytest.raises(ConfigError, match=r"rope_freqs\.weight holds \[1\.0.*expected those of Llama 3\.1"):
            _config(tmp_path, more=odd)
        for values, kind, message in (
            (np.ones(3, np.float16), "F16", r"rope_freqs\.weight is of another type; expected float32"),
            (np.ones(0, np.float32), "F32", r"rope_freqs\.weight holds \[\]; expected those of Llama"),
        ):
            with pytest.raises(ConfigError, match=message):
                _config(tmp_path, more={"rope_freqs.weight": (values, kind)})


@pytest.mark.parametrize("architecture", ["bert", "mamba"])
def test_an_architecture_that_is_not_read_is_named(tmp_path: Path, architecture: str) -> None:
    path = write(tmp_path / "m.gguf", {"general.architecture": architecture}, {})
    with pytest.raises(
        ConfigError, match=f"of the architecture '{architecture}'; expected one of llama, qwen2, qwen3, gpt2"
    ):
        gguf_config(path)


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _config(
            tmp_path,
            llama__block_count=None,
            llama__embedding_length="wide",
            llama__attention__layer_norm_rms_epsilon=float("nan"),
            llama__rope__freq_base=float("inf"),
            llama__attention__head_count=0,
            llama__expert_count=8,
        )
    message = str(caught.value)
    for problem in (
        "llama.block_count is missing; expected a whole number of at least 1",
        "llama.embedding_length is 'wide'",
        "llama.attention.layer_norm_rms_epsilon is nan; expected a number over 0",
        "llama.rope.freq_base is inf",
        "llama.attention.head_count is 0",
        "mixture of experts",
    ):
        assert problem in message
