"""From the metadata of a GGUF file to the configuration that a Hugging Face checkpoint has in its config.json."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from enfold.checkpoint.gguf.header import PLAIN_TYPES, Header
from enfold.checkpoint.gguf.names import NAMINGS, Naming
from enfold.errors import ConfigError

__all__ = ["configuration", "naming_of"]

_ROPE_FACTORS: Final = "rope_freqs.weight"


def naming_of(header: Header) -> Naming:
    """The names of a file's architecture.

    Raises:
        ConfigError: the file states none, or one that isn't read.
    """
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in NAMINGS:
        raise ConfigError(
            f"{header.path} holds a model of the architecture {architecture!r}; expected one of {', '.join(NAMINGS)}"
        )
    return NAMINGS[architecture]


def configuration(header: Header) -> dict[str, Any]:
    """The values of config.json.

    Raises:
        ConfigError: the architecture isn't read, or values are missing, of the wrong type or of no meaning here;
            all are listed.
    """
    naming = naming_of(header)
    keys = _Keys(header)
    config: dict[str, Any] = {"model_type": naming.model_type, "architectures": [naming.class_name]}
    config |= _gpt2(keys) if naming.model_type == "gpt2" else _decoder(keys, naming.model_type)
    config["vocab_size"] = _vocabulary_size(keys)
    config["tie_word_embeddings"] = "output.weight" not in keys.tensors
    for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        if (number := keys.count(f"tokenizer.ggml.{key}_token_id", None, least=0)) is not None:
            config[f"{role}_token_id"] = number
    if keys.problems:
        listed = "\n  ".join(keys.problems)
        raise ConfigError(
            f"{header.path} has metadata that no {naming.model_type} model can be built from:\n  {listed}"
        )
    return config


class _Keys:
    """Metadata by key, checked: what is wrong is noted, so that all of it is told at once."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.tensors = {entry.name: entry for entry in header.entries}
        self.architecture = header.metadata["general.architecture"]
        self.problems: list[str] = []

    def get(self, key: str) -> Any:
        """The value of a key; one that begins with a dot is the architecture's own."""
        return self.header.metadata.get(self._full(key))

    def _full(self, key: str) -> str:
        return self.architecture + key if key.startswith(".") else key

    def count(self, key: str, default: Any = ..., *, least: int = 1) -> Any:
        """A whole number of at least `least`; a list that repeats one number for every layer counts as it."""
        value = self.get(key)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        if value is None and default is not ...:
            return default
        if type(value) is int and least <= value < 2**31:
            return value
        return self._wrong(key, value, f"a whole number of at least {least}")

    def number(self, key: str, default: Any = ...) -> Any:
        """A finite number over 0."""
        value = self.get(key)
        if value is None and default is not ...:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
            return float(value)
        return self._wrong(key, value, "a number over 0")

    def _wrong(self, key: str, value: Any, expected: str) -> int:
        found = "is missing" if value is None else f"is {_short(value)}"
        self.problems.append(f"{self._full(key)} {found}; expected {expected}")
        return 1  # goes on, to find what else is wrong

    def refuse(self, problem: str) -> None:
        """Notes what can't be had."""
        self.problems.append(problem)

    def floats(self, name: str) -> npt.NDArray[np.float32] | None:
        """The values of a small float32 tensor; None where the file has no such tensor."""
        entry = self.tensors.get(name)
        if entry is None:
            return None
        if PLAIN_TYPES.get(entry.type) != "float32":
            self.refuse(f"{name} is of another type; expected float32")
            return None
        return self.header.data[entry.begin : entry.end].copy().view("<f4")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _gpt2(keys: _Keys) -> dict[str, Any]:
    positions = keys.count(".context_length")
    return {
        "n_positions": positions,
        "n_ctx": positions,
        "n_embd": keys.count(".embedding_length"),
        "n_layer": keys.count(".block_count"),
        "n_head": keys.count(".attention.head_count"),
        "n_inner": keys.count(".feed_forward_length"),
        "layer_norm_epsilon": keys.number(".attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
    }


def _decoder(keys: _Keys, model_type: str) -> dict[str, Any]:
    """Llama and its relatives."""
    width, heads = keys.count(".embedding_length"), keys.count(".attention.head_count")
    theta = keys.number(".rope.freq_base", 10000.0)
    head_width = _head_width(keys, width // heads)
    if keys.count(".expert_count", 0, least=0):
        keys.refuse("it is a mixture of experts, which isn't read")
    config = {
        "hidden_size": width,
        "num_hidden_layers": keys.count(".block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": keys.count(".attention.head_count_kv", heads),
        "head_dim": head_width,
        "intermediate_size": keys.count(".feed_forward_length"),
        "hidden_act": "silu",
        "rms_norm_eps": keys.number(".attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.count(".context_length"),
        "rope_theta": theta,
        "rope_scaling": _rope_scaling(keys, theta, head_width),
    }
    if model_type != "qwen2":  # whose queries, keys and values always have a bias
        config["attention_bias"] = "blk.0.attn_q.bias" in keys.tensors
    if model_type == "llama":
        config["mlp_bias"] = "blk.0.ffn_up.bias" in keys.tensors
    return config


def _head_width(keys: _Keys, default: int) -> int:
    rotated = keys.count(".rope.dimension_count", None)
    width: int = keys.count(".attention.key_length", rotated or default)
    for key, other in ((".rope.dimension_count", rotated), (".attention.value_length", None)):
        other = other or keys.count(key, width)
        if other != width:
            keys.refuse(f"{key[1:]} is {other}, and the width of a head {width}; expected the same")
    return width


def _vocabulary_size(keys: _Keys) -> int:
    tokens = keys.get("tokenizer.ggml.tokens")
    stored = keys.tensors.get("token_embd.weight")
    default = len(tokens) if isinstance(tokens, list) else stored.shape[0] if stored else ...
    size: int = keys.count(".vocab_size", default)
    return size


def _rope_scaling(keys: _Keys, theta: float, head_width: int) -> dict[str, Any] | None:
    factors = keys.floats(_ROPE_FACTORS)
    kind = keys.get(".rope.scaling.type") or "none"
    if factors is not None:
        return _llama3_scaling(keys, factors, theta, head_width)
    if kind in ("linear", "yarn"):
        scaling = {"rope_type": kind, "factor": keys.number(".rope.scaling.factor")}
        if kind == "yarn":
            original = keys.count(".rope.scaling.original_context_length", None)
            scaling |= {"original_max_position_embeddings": original} if original else {}
        return scaling
    if kind != "none":
        keys.refuse(f"rope.scaling.type is {kind!r}; expected 'none', 'linear' or 'yarn'")
    # Files of 2023 state a factor alone.
    linear = keys.number(".rope.scale_linear", 1.0)
    return {"rope_type": "linear", "factor": linear} if linear != 1 else None


def _llama3_scaling(
    keys: _Keys, factors: npt.NDArray[np.float32], theta: float, head_width: int
) -> dict[str, Any] | None:
    """The settings behind the tensor in which Llama 3.1 and its successors state their scaling, checked against it.

    The file holds by what each frequency is divided; config.json holds what that was computed from. All of Meta's
    checkpoints differ in the factor alone (8 in 3.1, 32 in 3.2), which is the largest of the numbers.
    """
    scaling: dict[str, Any] = {
        "rope_type": "llama3",
        "factor": float(factors.max(initial=1.0)),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    expected = _llama3_factors(scaling, theta, head_width)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        keys.refuse(f"{_ROPE_FACTORS} holds {_short(factors.tolist())}; expected those of Llama 3.1, 3.2 or 3.3")
    return scaling


def _llama3_factors(scaling: Mapping[str, Any], theta: float, head_width: int) -> npt.NDArray[np.float64]:
    """By what each of the (head_width / 2,) frequencies is divided: 1 for the fast ones, `factor` for the slow."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] / (
        2 * np.pi * theta ** (np.arange(0, head_width, 2) / head_width)
    )
    kept = np.clip((turns - low) / (high - low), 0, 1)
    factors: npt.NDArray[np.float64] = 1 / ((1 - kept) / scaling["factor"] + kept)
    return factors
