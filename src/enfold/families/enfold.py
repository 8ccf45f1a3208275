"""A family of our own, for training from scratch: its config.json spells the choices of an architecture."""

from collections.abc import Mapping
from typing import Any, get_args

from enfold import arch
from enfold.arch import Architecture, Biases, Dropout, NormKind, NormPlacement
from enfold.config import Config
from enfold.errors import ConfigError
from enfold.families.base import Family, activation, depth
from enfold.heads import Branch, Head, HeadKind


def translate(config: Config) -> Architecture:
    """An enfold configuration as an architecture."""
    _check(config)
    length, heads = config.max_position_embeddings, config.num_attention_heads
    ways: Mapping[str, dict[str, Any]] = {
        "learned": {"positions": arch.LearnedPositions(rows=length)},
        "sinusoidal": {"positions": arch.SinusoidalPositions(rows=length)},
        "rotary": {"relative": arch.Rotary(size=config.hidden_size // (heads or 1), base=config.rope_theta)},
        "relative": {"relative": arch.RelativeBias(buckets=32, max_distance=128, causal=config.causal)},
    }
    return Architecture(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
        num_heads=heads, kv_heads=heads if config.num_key_value_heads is None else config.num_key_value_heads,
        layer_order=tuple(range(depth(config, "num_hidden_layers"))), max_length=length, causal=config.causal,
        type_vocab_size=config.type_vocab_size, pad_token_id=config.pad_token_id,
        activation=activation(config, "hidden_act"), gated=config.gated,
        biases=Biases(project=config.use_bias, output=config.use_bias, feed_forward=config.use_bias),
        embedding_norm=config.norm_placement == "after",  # otherwise the first layer begins with a norm
        norm=config.norm, norm_eps=config.norm_eps, norm_placement=config.norm_placement,
        tied_output=config.tie_word_embeddings, initializer_range=config.initializer_range,
        dropout=Dropout(
            embeddings=config.embedding_dropout, attention=config.attention_dropout,
            attention_output=config.hidden_dropout, feed_forward=config.hidden_dropout,
            activation=config.activation_dropout, head=config.classifier_dropout,
        ),
        **ways[config.positions],
    )  # fmt: skip


_CHOICES = {
    "norm": get_args(NormKind),
    "norm_placement": get_args(NormPlacement),
    "positions": ("learned", "sinusoidal", "rotary", "relative"),
}


def _check(config: Config) -> None:
    problems = [
        f"{key} is {config.get(key)!r}, expected one of {', '.join(known)}"
        for key, known in _CHOICES.items()
        if config.get(key) not in known
    ]
    for key, least in (("num_key_value_heads", 1), ("pad_token_id", 0)):
        number = config.get(key, least)
        if not isinstance(number, int) or number < least:
            problems.append(f"{key} is {number!r}, expected a whole number of {least} or more, or null")
    if config.rope_theta <= 0:
        problems.append(f"rope_theta is {config.rope_theta}, expected more than 0")
    if problems:
        raise ConfigError("this enfold configuration can't be built:\n  " + "\n  ".join(problems))


DEFAULTS = {
    "vocab_size": 30000, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": None, "intermediate_size": 1024, "hidden_act": "gelu", "gated": False, "use_bias": True,
    "norm": "layer", "norm_placement": "before", "norm_eps": 1e-5, "positions": "rotary", "rope_theta": 10000.0,
    "max_position_embeddings": 512, "type_vocab_size": 2, "causal": False, "tie_word_embeddings": True,
    "hidden_dropout": 0.1, "attention_dropout": 0.1, "embedding_dropout": 0.1, "activation_dropout": 0.0,
    "classifier_dropout": 0.1, "initializer_range": 0.02,
    "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip

LEAVES = ("embeddings.words", "embeddings.positions", "embeddings.types", "embeddings.norm", "relative.table")
LAYERS: tuple[str, ...] = ("attention.query", "attention.key", "attention.value", "attention.output", "attention.norm")
LAYERS += tuple(f"feed_forward.{part}" for part in ("expand", "gate", "up", "shrink", "norm"))
NAMES = tuple((name, f"@{name}") for name in (*LEAVES, *(f"layers.{{}}.{part}" for part in LAYERS), "final.norm"))


def _scored(outputs: Any, name: str) -> Branch:
    """The last token, which sees all of the text in an encoder and in a decoder alike."""
    names = {"dense": f"{name}.dense", "output": f"{name}.output"}
    return Branch(select="last", dense="tanh", outputs=outputs, dropout=True, names=names)


MASKED_LM = Branch(
    dense="own",
    norm=True,
    outputs="vocabulary",
    names={"dense": "masked_lm.dense", "norm": "masked_lm.norm", "output": "masked_lm.output"},
)
HEADS: Mapping[HeadKind, Head] = {
    "base": Head(),
    "masked-lm": Head((MASKED_LM,)),
    "causal-lm": Head((Branch(outputs="vocabulary", bias="none", names={"output": "causal_lm.output"}),)),
    "sequence-classification": Head((_scored("labels", "sequence_classifier"),)),
    "multiple-choice": Head((_scored(1, "choice_classifier"),)),
    "token-classification": Head((Branch(outputs="labels", dropout=True, names={"output": "token_classifier"}),)),
    "question-answering": Head((Branch(outputs=2, names={"output": "span_classifier"}),)),
}

_ALSO = {"hidden_dropout_prob": "hidden_dropout", "attention_probs_dropout_prob": "attention_dropout"}
_ALSO |= {"layer_norm_eps": "norm_eps", "rms_norm_eps": "norm_eps"}

ENFOLD = Family(
    model_type="enfold", class_prefix="Enfold", prefix="", defaults=DEFAULTS, translate=translate, names=NAMES,
    heads=HEADS, tokenizer="generic", aliases=_ALSO,
)  # fmt: skip
